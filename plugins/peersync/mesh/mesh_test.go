package mesh

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest/protocoltest"
)

func TestMain(m *testing.M) { plugintest.Main(m, Plugin()) }

func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, Plugin()) {
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

func TestProtocol(t *testing.T) {
	protocoltest.Run(t, protocoltest.Opener{
		Command: func(string) (pluginproc.Command, error) { return pluginproc.Command{Path: "/proc/self/exe"}, nil },
	})
}
