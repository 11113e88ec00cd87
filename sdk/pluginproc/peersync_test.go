package pluginproc

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

// startProcess starts this binary as one of its plugins and kills it at the end of the test.
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

// shortDir makes a directory whose path is short enough for sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// socketsBelow lists the sockets below dir. It fails the test if another user could reach one.
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

// TestHostCallsNeedNoSocket: a plugin calls its host, also after another Configure, without
// any socket besides its own.
func TestHostCallsNeedNoSocket(t *testing.T) {
	dir := shortDir(t)
	p := startProcess(t, "reporter", dir)
	h := reportsHost{summaries: make(chan string, 1)}
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
	if sockets := socketsBelow(t, dir); len(sockets) != 1 {
		t.Errorf("the sockets are %v, want that of the plugin", sockets)
	}
	p.Kill()
	if left := socketsBelow(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestHandleFailsWithoutHost(t *testing.T) {
	p := startProcess(t, "reporter", "")
	if err := p.Client().Configure(t.Context(), []byte{0x80}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	err := p.Client().PeerSync().Handle(t.Context(), []peersync.Event{peersync.Start{}})
	if err == nil || !strings.Contains(err.Error(), "no host") {
		t.Errorf("a replicator without a host handled events: %v", err)
	}
}

func TestKillEndsHandleAndItsCall(t *testing.T) {
	p := startProcess(t, "reporter", "")
	h := blockingHost{called: make(chan struct{}), ended: make(chan struct{})}
	p.Client().ServeHost(h)
	if err := p.Client().Configure(t.Context(), []byte{0x80}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-h.called
		p.Kill()
	}()
	err := p.Client().PeerSync().Handle(t.Context(), []peersync.Event{peersync.Start{}})
	if !errors.Is(err, peersync.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	select {
	case <-h.ended:
	default:
		t.Error("the call goes on")
	}
}

// blockingHost is a host whose Report waits for its context.
type blockingHost struct {
	peersync.HostServices
	called, ended chan struct{}
}

func (h blockingHost) Report(ctx context.Context, _ peersync.Report) error {
	close(h.called)
	<-ctx.Done()
	close(h.ended)
	return ctx.Err()
}
