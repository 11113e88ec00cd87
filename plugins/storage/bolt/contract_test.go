package bolt

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// restless is the plugin with an index that moves keys into the tree all the
// time, instead of once in tens of thousands of envelopes.
var restless = newPlugin(Options{maxRecent: 64})

func TestMain(m *testing.M) { plugintest.Main(m, restless) }

func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, restless) {
		crowd := 10_000
		if transport.Name == "direct" {
			crowd = 0 // as many as the suite has: what they cost is the same over each
		}
		t.Run(transport.Name, func(t *testing.T) { prove(t, transport, crowd) })
	}
}

// TestContractOfDefaults proves the plugin as it is shipped.
func TestContractOfDefaults(t *testing.T) {
	prove(t, plugintest.Transports(t, Plugin())[0], 0)
}

func prove(t *testing.T, transport plugintest.Transport, crowd int) {
	storagetest.Run(t, storagetest.Opener{
		Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
			return transport.Open(tb, dir, nil)
		},
		Disk:  true,
		Crowd: crowd,
	})
}
