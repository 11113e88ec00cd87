package manager

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// A file that a server needs is deleted, moved or replaced under the running relay. The
// status has a problem at once, for which posts are refused, and none when the file is back.
func TestMissingFileIsAProblem(t *testing.T) {
	h := newTestRelay(t, "main", "good")
	dir := h.cfg.Servers[0].Dir
	h.writeFile(filepath.Join(StorageDir(dir), "messages"), "some")
	if _, err := identity.LoadOrCreate(filepath.Join(dir, "keys")); err != nil {
		t.Fatal(err)
	}
	m := h.start()
	keys, store := filepath.Join(dir, "keys"), StorageDir(dir)
	content, err := os.ReadFile(keys)
	if err != nil {
		t.Fatal(err)
	}
	move := func(path string) (func() error, func() error) {
		return func() error { return os.Rename(path, path+".away") }, func() error { return os.Rename(path+".away", path) }
	}
	keysAway, keysBack := move(keys)
	dirAway, dirBack := move(dir)
	storeAway, storeBack := move(store)
	dataAway, dataBack := move(h.cfg.DataDir)
	lock := filepath.Join(h.cfg.DataDir, lockName)
	lockAway, lockBack := move(lock)
	for _, c := range []struct {
		name       string
		take, back func() error
		want       string
		all        bool // servers
	}{
		{"keys moved", keysAway, keysBack, "key file " + keys + " was deleted or moved", false},
		{"keys deleted, and a backup put back", func() error { return os.Remove(keys) }, func() error { return os.WriteFile(keys, content, 0o600) }, "key file", false},
		{"keys replaced", func() error {
			return errors.Join(keysAway(), os.WriteFile(keys, []byte("others"), 0o600))
		}, keysBack, "was replaced", false},
		{"the directory of the store moved", storeAway, storeBack, "directory " + store + " was deleted or moved", false},
		{"another in its place", func() error { return errors.Join(storeAway(), os.Mkdir(store, 0o700)) },
			func() error { return errors.Join(os.Remove(store), storeBack()) }, "was replaced", false},
		{"the directory of the server", dirAway, dirBack, "key file", false},
		{"the data directory", dataAway, dataBack, "deleted or moved", true},
		{"the lock", lockAway, lockBack, "lock file", true},
	} {
		if err := c.take(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if st := h.serverStatus(m, "main"); st.Relay == nil || !strings.Contains(st.Relay.Problem, c.want) {
			t.Errorf("%s: %+v, want %q", c.name, st.Relay, c.want)
		}
		if st := h.serverStatus(m, "good"); (st.Relay.Problem != "") != c.all {
			t.Errorf("%s: the other server: %q", c.name, st.Relay.Problem)
		}
		if err := c.back(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, name := range []string{"main", "good"} {
			if st := h.serverStatus(m, name); st.Relay.Problem != "" {
				t.Errorf("%s, and back: %s: %q", c.name, name, st.Relay.Problem)
			}
		}
	}
}

func TestSocketAndMarkAreMadeAgain(t *testing.T) {
	h := newTestRelay(t, "main", "good")
	m := h.start()
	mark := filepath.Join(h.cfg.Servers[0].Dir, markName)
	socket := filepath.Join(h.cfg.DataDir, socketName)
	for _, path := range []string{mark, socket} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
		_, err := os.Stat(mark)
		if err == nil {
			_, err = AskStatus(t.Context(), h.cfg.DataDir)
		}
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if _, found, err := loadMark(h.cfg.Servers[0].Dir); err != nil || !found {
		t.Errorf("mark: %v, %v", found, err)
	}
	h.waitUntilRunning(m, "main")
}

// Every batch of posts pays this twice.
func BenchmarkCheckFiles(b *testing.B) {
	dir := b.TempDir()
	p := &watchedFiles{}
	for _, name := range []string{"keys", "storage", "lock"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			b.Fatal(err)
		}
		if err := p.addFile(name, path, nil); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := p.checkFiles(); err != nil {
			b.Fatal(err)
		}
	}
}
