package host

import (
	"os"
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
	if _, err := p.socketDir(long); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got %v", err)
	}
	for _, dir := range p.dirs {
		os.RemoveAll(dir)
	}
}
