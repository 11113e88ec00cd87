package main

import (
	"os"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	plugintest.Main(m, newPlugin())
}

// crowd is how many envelopes of one signature the suite stores. The statements are the
// same for any number.
const crowd = 5000

// TestContract checks every sentence of the contract: called directly, over gRPC, and in a
// process in the sandbox of a relay, with the grant that the README asks for.
func TestContract(t *testing.T) {
	s := startServer(t)
	transports := append(plugintest.Transports(t, newPlugin())[:2], inSandbox(t, s.socketDir()))
	for _, transport := range transports {
		t.Run(transport.Name, func(t *testing.T) {
			storagetest.Run(t, storagetest.Opener{Crowd: crowd, Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
				return transport.Open(tb, dir, s.config(dir))
			}})
		})
	}
}

// inSandbox is the plugin in the sandbox of a relay, with a grant for the sockets in some
// directories.
func inSandbox(tb testing.TB, sockets ...string) plugintest.Transport {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return plugintest.External("sandbox", func(dir string) (pluginproc.Command, error) {
		p, err := catalog.Named(self, &sandbox.Policy{Sockets: sockets})
		if err != nil {
			return pluginproc.Command{}, err
		}
		return p.Confined(dir)
	})
}

// TestGrantIsNeeded shows what the plugin says without the grant, and with one for another
// directory.
func TestGrantIsNeeded(t *testing.T) {
	s := startServer(t)
	for name, c := range map[string]struct {
		granted []string
		want    string
	}{
		"none":              {nil, "There is no directory " + s.socketDir()},
		"another directory": {[]string{t.TempDir()}, "There is no directory " + s.socketDir()},
	} {
		_, err := inSandbox(t, c.granted...).Open(t, t.TempDir(), s.config(t.TempDir()))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
