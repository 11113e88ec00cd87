package bolt

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) { plugintest.Main(m, Plugin()) }

func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, Plugin()) {
		t.Run(transport.Name, func(t *testing.T) {
			storagetest.Run(t, storagetest.Opener{
				Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
					return transport.Open(tb, dir, nil)
				},
				Disk: true,
			})
		})
	}
}
