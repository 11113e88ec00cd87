//go:build linux

package storefiletest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// CheckPathOption opens the store of a plugin at paths as an operator may write them.
func CheckPathOption(t *testing.T, p plugin.Plugin, defaultPath string) {
	direct := plugintest.Transports(t, p)[0]
	for written, want := range map[string]string{
		"":        defaultPath,
		"sub/b.x": "sub/b.x",
		"../d.x":  "refused",
	} {
		dir := t.TempDir()
		config := map[string]any{"path": written}
		if written == "" {
			config = nil
		}
		opened, err := direct.Open(t, dir, config)
		if want == "refused" {
			var diags plugin.Diagnostics
			if !errors.As(err, &diags) || len(diags) != 1 || len(diags[0].Path) != 1 || diags[0].Path[0] != "path" {
				t.Errorf("path %q: %v, want a diagnostic of the path", written, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("path %q: %v", written, err)
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil {
			t.Errorf("path %q: %v", written, err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}
}
