package sqlite

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// smallPlugin is the plugin with a log of SQLite that begins anew all the time,
// instead of once in some thousand envelopes.
var smallPlugin = newPlugin(Options{MaxWAL: 64 << 10})

func TestMain(m *testing.M) { plugintest.Main(m, smallPlugin) }

// TestContract proves the plugin with so little in memory that its checks meet all that
// it does, over each transport.
func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, smallPlugin) {
		t.Run(transport.Name, func(t *testing.T) { proveContract(t, transport, 10_000) })
	}
}

// TestContractOfDefaults proves the plugin as it is shipped, with as large a crowd as the
// suite has: what that costs does not depend on the transport.
func TestContractOfDefaults(t *testing.T) {
	proveContract(t, plugintest.Transports(t, Plugin())[0], storefiletest.Crowd)
}

func proveContract(t *testing.T, transport plugintest.Transport, crowd int) {
	storagetest.Run(t, storagetest.Opener{
		Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
			return transport.Open(tb, dir, nil)
		},
		Disk:  true,
		Crowd: crowd,
	})
}
