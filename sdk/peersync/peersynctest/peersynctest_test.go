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

func TestMain(m *testing.M) { plugintest.Main(m, floodPlugin) }

func TestFloodPassesOverEveryTransport(t *testing.T) {
	for _, transport := range plugintest.Transports(t, floodPlugin) {
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

// TestIdleReplicatorPasses shows that the contract allows a replicator that does nothing.
func TestIdleReplicatorPasses(t *testing.T) {
	idle := floodPlugin
	idle.PeerSync = func(context.Context, plugin.Config, peersync.HostServices) (peersync.Replicator, error) {
		return idleReplicator{}, nil
	}
	peersynctest.Run(t, peersynctest.Opener{
		Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
			return plugintest.Transports(tb, idle)[0].OpenPeerSync(tb, dir, nil, host)
		},
	})
}

// TestBeginAtEndPasses shows that a replicator that resumes may begin at the end of the log.
func TestBeginAtEndPasses(t *testing.T) {
	atEnd := floodPlugin
	atEnd.PeerSync = func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
		return &flood{host: host, atEnd: true}, nil
	}
	peersynctest.Run(t, peersynctest.Opener{
		Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
			return plugintest.Transports(tb, atEnd)[0].OpenPeerSync(tb, dir, nil, host)
		},
		Converges: true,
		Resumes:   true,
	})
}

type idleReplicator struct{}

func (idleReplicator) Handle(context.Context, []peersync.Event) error { return nil }
func (idleReplicator) Close() error                                   { return nil }
