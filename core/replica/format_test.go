package replica

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// TestFormatOfCursors: another content of the file needs another number, and what
// earlier releases wrote is read.
func TestFormatOfTheCursorFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursors")
	c, err := loadCursors(path)
	if err == nil {
		err = c.saveCursors([]peersync.Cursor{{Name: "a", Value: []byte("one")}})
	}
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"format":1,"cursors":{"a":"b25l"}}`
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file is %s, %v; want %s, or another number", got, err, want)
	}
	for content, value := range map[string]string{
		want:                              "one",
		`{"a":"b25l"}`:                    "one", // of the first releases
		`{"a":"b25l","format":"dHdv"}`:    "one",
		`{"format":2,"cursors":[]}`:       "",
		`{"format":2,"cursors":{"a":""}}`: "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadCursors(path)
		switch {
		case value == "" && (err == nil || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: %v", content, err)
		case value != "" && (err != nil || string(c.loadCursor("a")) != value):
			t.Errorf("%s: %v", content, err)
		}
	}
	if err := os.WriteFile(path, []byte(`{"format":2,"cursors":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadCursors(path); err == nil || !strings.Contains(err.Error(), "has format 2 and this release knows formats up to 1") {
		t.Errorf("got %v", err)
	}
}
