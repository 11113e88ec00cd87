package main

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m, nop) }

// TestContract checks every sentence of the contract, and that the cursor works. The
// plugin does not claim that boards become equal.
func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, nop) {
		t.Run(transport.Name, func(t *testing.T) {
			peersynctest.Run(t, peersynctest.Opener{
				Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
					return transport.OpenPeerSync(tb, dir, nil, host)
				},
				Resumes: true,
			})
		})
	}
}

// TestReport follows one log in a simulated world and checks the report.
func TestReport(t *testing.T) {
	world := peersynctest.NewWorld(1, 1)
	relay := world.Replicas[0]
	world.Post(0, 3)
	world.Start(0, &replicator{host: relay})
	expect := func(want string) {
		t.Helper()
		if err := world.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := relay.LastReport().Summary; got != want {
			t.Errorf("reported %q, want %q", got, want)
		}
	}
	expect("has seen the log up to entry 3")
	relay.RaiseFloor(1)
	expect("has seen the log up to entry 3, of which nothing from before hour 1 is kept")
}
