package transfer

import (
	"os"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestFormatOfMarker shows that another content of the file needs another number, and
// that markers of the first releases, which had no number, are read.
func TestFormatOfMarker(t *testing.T) {
	m := marker{dir: t.TempDir(), epoch: storage.Epoch{1}, Source: "ab", Read: 3, Written: 2}
	if err := m.writeDurably(); err != nil {
		t.Fatal(err)
	}
	const want = `{"format":1,"source":"ab","read":3,"written":2}`
	if got, err := os.ReadFile(m.filePath()); err != nil || string(got) != want {
		t.Errorf("the file is %s, %v; want %s, or another number", got, err, want)
	}
	for content, fault := range map[string]string{
		want:                                   "",
		`{"source":"ab","read":3,"written":2}`: "",
		`{"format":2,"source":"ab"}`:           "has format 2 and this release knows formats up to 1",
	} {
		if err := os.WriteFile(m.filePath(), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, found, err := loadMarker(m.dir, m.epoch)
		if fault == "" && (err != nil || !found || got.Read != 3 || got.Written != 2) || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %+v, %v", content, got, err)
		}
	}
}
