package plugin

import (
	"errors"
	"testing"
)

func TestFileIsBelowTheDirectory(t *testing.T) {
	cfg := Config{Dir: "/data/plugin"}
	for written, want := range map[string]string{
		"a.db":         "/data/plugin/a.db",
		"./sub//b.db":  "/data/plugin/sub/b.db",
		"sub/../c.db":  "/data/plugin/c.db",
		"/etc/passwd":  "",
		"../d.db":      "",
		"sub/../../e":  "",
		".":            "",
		"sub/..":       "",
		"":             "",
		"../../../etc": "",
	} {
		got, err := cfg.File(written, "cache", "path")
		if got != want {
			t.Errorf("%q is %q, want %q", written, got, want)
		}
		var diags Diagnostics
		if want == "" && (!errors.As(err, &diags) || len(diags) != 1 || len(diags[0].Path) != 2) {
			t.Errorf("%q: %v, want a diagnostic of the attribute", written, err)
		}
	}
}
