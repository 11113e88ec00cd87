package main

import (
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) { plugintest.Main(m, newPlugin()) }

// needDurability are the checks that end the process and look for what it has
// stored. This store may break only these sentences.
var needDurability = []string{
	"DuplicateSpends", "ManyTokens", "Conflict", "Find", "FindLowest", "GroundKeys", "Epoch", "Reopened", "Model", "Killed",
	"Expired", "PrunedTokens", "PrunedAgain", "PrunedSignature", "PrunedNumbers", "PruneReopened", "PruneKilled",
	"Hours", "Keys", "Get", "OneBorn",
}

// TestContract checks every sentence of the contract. In a process it leaves out
// those about the next process.
func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, newPlugin()) {
		t.Run(transport.Name, func(t *testing.T) {
			checks := storagetest.Checks(storagetest.Opener{Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
				return transport.Open(tb, dir, nil)
			}})
			if transport.Name == "process" {
				checks = slices.DeleteFunc(checks, func(c plugintest.Check) bool { return slices.Contains(needDurability, c.Name) })
			}
			plugintest.RunTests(t, checks)
		})
	}
}

// TestNewProcessHasNewEpoch shows that the next process has another epoch, so that
// no relay goes on with sequence numbers of the lost log.
func TestNewProcessHasNewEpoch(t *testing.T) {
	transports := plugintest.Transports(t, newPlugin())
	process := transports[slices.IndexFunc(transports, func(t plugintest.Transport) bool { return t.Name == "process" })]
	var infos [2]storage.Info
	for i := range infos {
		opened, err := process.Open(t, t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if infos[i], err = opened.Store.Info(t.Context()); err != nil {
			t.Fatal(err)
		}
		opened.Kill()
	}
	if infos[0].Epoch == infos[1].Epoch {
		t.Error("two processes have one epoch")
	}
}
