package host

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// startProcess starts this binary as one of its plugins. It is killed at the end
// of the test, and goleak sees what that leaves behind.
func startProcess(t *testing.T, name, sockets string) *Process {
	t.Helper()
	p, err := Start(t.Context(), StartConfig{
		Command:   Command{Path: "/proc/self/exe", Args: []string{"debug"}, Env: []string{"TEST_PLUGIN=" + name}},
		SocketDir: sockets,
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// shortDir is a directory whose path leaves room for the name of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// socketsBelow lists the sockets below dir, and fails the test when somebody else
// could reach one.
func socketsBelow(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSocket == 0 {
			return err
		}
		found = append(found, path)
		info, err := os.Stat(filepath.Dir(path))
		if err == nil && info.Mode().Perm() != 0o700 {
			t.Errorf("%s is in a directory with mode %v", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestHostSocket follows a call of the host through a process: its socket lies
// beside that of the plugin, serves through any number of configurations, and is
// gone with the process.
func TestHostSocket(t *testing.T) {
	dir := shortDir(t)
	p := startProcess(t, "reporter", dir)
	h := reported{summaries: make(chan string, 1)}
	p.Client().ServeHost(h)
	for range 2 {
		if err := p.Client().Configure(t.Context(), []byte{0x80}, t.TempDir()); err != nil {
			t.Fatal(err)
		}
		if err := p.Client().PeerSync().Handle(t.Context(), []peersync.Event{peersync.Start{}}); err != nil {
			t.Fatal(err)
		}
		if got := <-h.summaries; got != "started" {
			t.Errorf("reported %q", got)
		}
	}
	sockets := socketsBelow(t, dir)
	if len(sockets) != 2 || filepath.Dir(sockets[0]) != filepath.Dir(sockets[1]) {
		t.Errorf("the sockets are %v, want that of the plugin and one beside it", sockets)
	}
	p.Kill()
	if left := socketsBelow(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNoHost(t *testing.T) {
	p := startProcess(t, "reporter", "")
	err := p.Client().Configure(t.Context(), []byte{0x80}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "no host") {
		t.Errorf("configured without a host: %v", err)
	}
	if err := p.Client().PeerSync().Handle(t.Context(), []peersync.Event{peersync.Start{}}); err == nil {
		t.Error("a replicator without a host handled events")
	}
}

// TestHostNotCalled has a host announced to a plugin that never connects.
func TestHostNotCalled(t *testing.T) {
	dir := shortDir(t)
	p := startProcess(t, "seqs", dir)
	p.Client().ServeHost(reported{})
	if err := p.Client().Configure(t.Context(), []byte{0x80}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if left := socketsBelow(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestHandleBounds shows what the relay does not even send.
func TestHandleBounds(t *testing.T) {
	client := dial(t, &liar{}) // which does not know the service
	client.ServeHost(reported{})
	r := client.PeerSync()
	if err := r.Handle(t.Context(), make([]peersync.Event, peersync.MaxEvents+1)); !errors.Is(err, peersync.ErrTooLarge) {
		t.Errorf("too many events: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Handle(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: %v", err)
	}
	var broken *ContractError
	if err := r.Handle(t.Context(), nil); !errors.As(err, &broken) {
		t.Errorf("a plugin without the service: %v", err)
	}
}
