package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

func TestConfiguredPath(t *testing.T) {
	direct := plugintest.Transports(t, Plugin())[0]
	for written, want := range map[string]string{
		"":        "messages.sqlite", // the default
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
