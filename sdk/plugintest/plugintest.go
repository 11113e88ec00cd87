// Package plugintest runs one implementation of a plugin in the three ways in
// which it can be called: directly, over gRPC within the process, and as the
// process that a relay starts. It is what the conformance suites (storagetest,
// statstest, peersynctest) stand on.
//
// The process is the test binary itself, so the package under test needs
//
//	func TestMain(m *testing.M) { plugintest.Main(m, thePlugin) }
//
// and then
//
//	for _, transport := range plugintest.Transports(t, thePlugin) {
//		t.Run(transport.Name, func(t *testing.T) {
//			opened, err := transport.Open(t, t.TempDir(), map[string]any{"path": "x.db"})
//			…
//		})
//	}
//
// A plugin that is not written in Go, or is only there as a binary, is run by
// [External], and one that somebody started by hand by [Attached].
package plugintest

import (
	"os"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Main is to be called from TestMain: it runs the tests, or in a process that
// a test has started the plugin.
func Main(m *testing.M, p plugin.Plugin) {
	if os.Getenv(rpc.Handshake.MagicCookieKey) != "" {
		plugin.Serve(p)
		return
	}
	os.Exit(m.Run())
}

// Opened is an open implementation; that of its kind is set.
type Opened struct {
	Store      storage.Store
	Exporter   stats.Exporter
	Replicator peersync.Replicator
	// Kill ends the process as kill -9 does, and returns when it is gone. It is
	// nil where there is no process.
	Kill func()
	// Close closes the implementation in good order, and the process with it. After
	// Kill or another Close it does nothing.
	Close func() error

	process *pluginproc.Process // nil where there is none
	over    bool                // closed or killed
}

// closeOnce makes Close do nothing after itself or Kill.
func (o *Opened) closeOnce() {
	closing, killing := o.Close, o.Kill
	o.Close = func() error {
		if o.over {
			return nil
		}
		o.over = true
		return closing()
	}
	if killing != nil {
		o.Kill = func() {
			o.over = true
			killing()
		}
	}
}
