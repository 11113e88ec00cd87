package pluginproc

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketDirThatIsTooLong(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 20))
	if err := os.MkdirAll(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", "/tmp")
	p := &Process{}
	short, err := p.socketDir(long)
	if err != nil || len(short) > maxSocketDir {
		t.Errorf("%s, %v", short, err)
	}
	t.Setenv("TMPDIR", long)
	if short, err := p.socketDir(long); err != nil || filepath.Dir(short) != "/tmp" {
		t.Errorf("with such a TMPDIR: %s, %v", short, err)
	}
	for _, dir := range p.dirs {
		os.RemoveAll(dir)
	}
}

func TestStaleDirectoriesAreRemoved(t *testing.T) {
	temp := t.TempDir()
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{ // and whether they stay
		fmt.Sprintf("cwtch-relay-%d-1", gone.Process.Pid): false,
		fmt.Sprintf("cwtch-relay-%d-1", os.Getpid()):      true,
		fmt.Sprintf("cwtch-other-%d-1", gone.Process.Pid): true,
		"cwtch-relay-mine": true,
	}
	for name := range names {
		if err := os.MkdirAll(filepath.Join(temp, name, "plugin-dir"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(temp, fmt.Sprintf("cwtch-relay-%d-2", gone.Process.Pid))
	if err := os.Symlink(filepath.Join(temp, "cwtch-relay-mine"), link); err != nil {
		t.Fatal(err)
	}
	removeStale(temp)
	for name, stays := range names {
		if _, err := os.Stat(filepath.Join(temp, name, "plugin-dir")); (err == nil) != stays {
			t.Errorf("%s: %v, should stay: %v", name, err, stays)
		}
	}
}

// TestSocketDirThatNoHandshakeLineCanName is replaced: a plugin that says it is
// taken to break its contract, and is started again and again.
func TestSocketDirThatNoHandshakeLineCanName(t *testing.T) {
	for _, name := range []string{"a|b", "a\nb"} {
		odd := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(odd, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, temp := range []string{t.TempDir(), odd} {
			t.Setenv("TMPDIR", temp)
			var p Process
			dir, err := p.socketDir(odd)
			if err != nil || strings.ContainsAny(dir, "|\n") {
				t.Errorf("%q, TMPDIR=%q: %q, %v", odd, temp, dir, err)
			}
			os.Remove(dir)
		}
	}
}
