package bolt

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// smallPlugin is the plugin with an index that moves keys into the tree all the
// time, instead of once in tens of thousands of envelopes.
var smallPlugin = newPlugin(Options{MaxRecent: 64})

func TestMain(m *testing.M) { plugintest.Main(m, smallPlugin) }

func TestContract(t *testing.T) { storefiletest.ProveContract(t, smallPlugin, Plugin()) }
