// Package plugintest runs one implementation of a plugin over three transports: direct calls,
// gRPC within the process, and a process as a relay starts it. The conformance suites
// storagetest, statstest and peersynctest use it.
//
// The process is the test binary itself, so the tests need
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
// [External] runs a program in any language, and [Attached] uses a process that was started by
// hand.
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

// Main runs the tests, or the plugin in a process that a test has started. Call it from
// TestMain.
func Main(m *testing.M, p plugin.Plugin) {
	if os.Getenv(rpc.Handshake.MagicCookieKey) != "" {
		plugin.Serve(p)
		return
	}
	os.Exit(m.Run())
}

// Opened is an open implementation. One of Store, Exporter and Replicator is set.
type Opened struct {
	Store      storage.Store
	Exporter   stats.Exporter
	Replicator peersync.Replicator
	// Kill ends the process as kill -9 does, and waits for its end. It is nil if there is
	// no process.
	Kill func()
	// Close closes the implementation and ends the process. After Kill or another Close it
	// does nothing.
	Close func() error

	process *pluginproc.Process // nil if there is none
	done    bool                // closed or killed
}

// closeOnce makes Close do nothing after Close or Kill.
func (o *Opened) closeOnce() {
	closing, killing := o.Close, o.Kill
	o.Close = func() error {
		if o.done {
			return nil
		}
		o.done = true
		return closing()
	}
	if killing != nil {
		o.Kill = func() {
			o.done = true
			killing()
		}
	}
}
