package peersynctest_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m, floods) }

func TestFlood(t *testing.T) {
	for _, transport := range plugintest.Transports(t, floods) {
		t.Run(transport.Name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
			peersynctest.Run(t, peersynctest.Opener{
				Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
					return transport.OpenPeerSync(tb, dir, nil, host)
				},
				Converges: true,
				Resumes:   true,
			})
		})
	}
}

// TestIdle proves that the contract does not ask for anything: a replicator may
// do nothing at all.
func TestIdle(t *testing.T) {
	idle := floods
	idle.PeerSync = func(context.Context, plugin.Config, peersync.HostServices) (peersync.Replicator, error) {
		return nothing{}, nil
	}
	peersynctest.Run(t, peersynctest.Opener{
		Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
			return plugintest.Transports(tb, idle)[0].OpenPeerSync(tb, dir, nil, host)
		},
	})
}

type nothing struct{}

func (nothing) Handle(context.Context, []peersync.Event) error { return nil }
func (nothing) Close() error                                   { return nil }
