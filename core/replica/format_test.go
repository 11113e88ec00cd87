package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
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

// TestFormatOfThePeersFile: another content of the file needs another number, and what the release
// before wrote is read.
func TestFormatOfThePeersFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	onion := identity.NewKey().Onion()
	first := fmt.Sprintf(`{"format":1,"next":3,"peers":[{"onion":%q,"number":2,"envelopes":7,"bytes":240,"hour":500000}]}`, onion)
	if err := os.WriteFile(path, []byte(first), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := loadPeerNumbers(path)
	if err != nil {
		t.Fatal(err)
	}
	quota := exchange.Quota{EnvelopesPerHour: 10, BytesPerDay: 480}
	used := exchange.Quota{EnvelopesPerHour: 7, BytesPerDay: 240}
	if got := n.file.Peers[0].spentOf(quota, time.Unix(500000*3600+1800, 0)); got != used {
		t.Errorf("%+v are used up of the first format, want %+v", got, used)
	}
	if err := n.saveSpent(func(peersync.Peer) exchange.Quota { return used }, time.Unix(1_800_000_001, 0)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"format":2,"next":3,"peers":[{"onion":%q,"number":2,"envelopes":7,"bytes":240,"unix":1800000001}]}`, onion)
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("the file is %s, %v; want %s, or another number", got, err, want)
	}
	if _, err := loadPeerNumbers(path); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(`{"format":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadPeerNumbers(path); err == nil || !strings.Contains(err.Error(), "have format 3 and this release knows formats up to 2") {
		t.Errorf("got %v", err)
	}
}
