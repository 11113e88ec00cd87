package skeleton

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// TestNewGoPluginPassesItsTests builds a new plugin as an author does, and runs its tests.
func TestNewGoPluginPassesItsTests(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range Kinds("go") {
		t.Run(string(kind), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new")
			files, err := Write(dir, Options{Language: "go", Kind: kind, Name: "my_first", Version: "0.1.0", Replace: root})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(files, "README.md") || !slices.Contains(files, "go.mod") {
				t.Errorf("files: %q", files)
			}
			// A plugin needs the dependencies of this module.
			sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600); err != nil {
				t.Fatal(err)
			}
			runCommand(t, dir, "go", "mod", "tidy")
			runCommand(t, dir, "go", "vet", "./...")
			runCommand(t, dir, "go", "test", "-short", "./...")
			runCommand(t, dir, "go", "build", "-o", "plugin", ".")
			if out := runCommand(t, dir, "./plugin", "describe"); !strings.Contains(out, `"name": "my_first"`) {
				t.Errorf("describe: %s", out)
			}
		})
	}
}

func runCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(dir, Options{Language: "go", Kind: plugin.KindStorage, Name: "x", Version: "0.1.0"}); err == nil || !errors.As(err, new(*NotEmptyError)) {
		t.Errorf("a directory with files in it: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.org/other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, replace := range []string{dir, filepath.Join(dir, "nowhere")} {
		o := Options{Language: "go", Kind: plugin.KindStorage, Name: "x", Version: "0.1.0", Replace: replace}
		if _, err := Write(filepath.Join(dir, "new"), o); err == nil || !strings.HasPrefix(err.Error(), "look for the sdk: ") {
			t.Errorf("%s in place of the sdk: %v", replace, err)
		}
	}
	if _, err := Write(filepath.Join(dir, "new"), Options{Language: "go", Kind: plugin.KindStorage, Name: "../x", Version: "0.1.0"}); err == nil {
		t.Error("an invalid name was accepted")
	}
}
