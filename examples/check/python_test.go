package check_test

import (
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// TestPython checks every sentence of the contract of a store against the plugin
// in Python, in the sandbox and over mutual TLS, kill -9 included.
func TestPython(t *testing.T) {
	dir := buildPython(t)
	if dir == "" {
		t.SkipNow()
	}
	external := plugintest.External("python", func(data string) (host.Command, error) {
		return sandbox.Wrap(host.Command{Path: filepath.Join(dir, "storage-python.pyz")}, sandbox.Policy{
			Dir:  data,
			Read: []string{filepath.Join(dir, "venv")},
		})
	})
	storagetest.Run(t, storagetest.Opener{
		Open: func(tb testing.TB, data string) (*plugintest.Opened, error) { return external.Open(tb, data, nil) },
		Disk: true,
	})
}
