package sqlite

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// smallPlugin is the plugin with a log of SQLite that begins anew all the time,
// instead of once in some thousand envelopes.
var smallPlugin = newPlugin(Options{MaxWAL: 64 << 10})

func TestMain(m *testing.M) { plugintest.Main(m, smallPlugin) }

func TestContract(t *testing.T) { storefiletest.ProveContract(t, smallPlugin, Plugin()) }
