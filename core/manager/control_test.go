package manager

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"
)

// sendCommand sends a line to the control socket of a manager, and returns all that
// comes back.
func sendCommand(t testing.TB, m *Manager, line string) string {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		m.serveCommand(context.Background(), far)
	}()
	go io.WriteString(near, line)
	answer, err := io.ReadAll(near)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

// newIdleManager returns a manager without servers.
func newIdleManager(t testing.TB) *Manager {
	path := filepath.Join(t.TempDir(), "server.hcl")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := &Manager{cfg: Config{Path: path}, log: slog.New(slog.DiscardHandler), changing: semaphore.NewWeighted(1)}
	m.closing, m.end = t.Context(), func() {}
	return m
}

func TestControlAnswersOneLine(t *testing.T) {
	m := newIdleManager(t)
	for line, want := range map[string]string{
		`{"command":"status"}` + "\n":               `"servers":[]`,
		`{"command":"dance"}` + "\n":                `"error":"the relay does not know the command \"dance\"`,
		`{"command":"reload"}` + "\n":               `"error":"the relay on this data directory runs with another file`,
		`{"command":"compare","server":"x"}` + "\n": `"error":"the relay has no server \"x\""`,
		"{\n":                                    "", // broken
		strings.Repeat(" ", maxRequest+1) + "\n": "", // too long
		`{"command":"reload","config":"/etc/passwd"}` + "\n": "another file",
	} {
		if got := sendCommand(t, m, line); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%.40q is answered with %q, want %q", line, got, want)
		}
	}
}

// A second reload waits for the first until its context ends.
func TestReloadsTakeTurns(t *testing.T) {
	m := newIdleManager(t)
	m.cfg.Load = func(context.Context) (Config, error) {
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Reload(impatient, false); !errors.Is(err, ErrBusy) {
			t.Errorf("a second reload began: %v", err)
		}
		return m.cfg, nil
	}
	plan, err := m.Reload(t.Context(), false)
	if err != nil || !plan.Applied {
		t.Errorf("got %+v, %v", plan, err)
	}
}

func TestInvalidFileChangesNothing(t *testing.T) {
	m := newIdleManager(t)
	want := errors.New("not valid")
	m.cfg.Load = func(context.Context) (Config, error) { return Config{LogFormat: "other"}, want }
	if plan, err := m.Reload(t.Context(), false); !errors.Is(err, want) || plan != nil || m.cfg.LogFormat != "" {
		t.Errorf("got %+v, %v", plan, err)
	}
}

// More clients than there are slots connect to the control socket and send nothing.
func TestSilentClientsDoNotHoldUpTheEnd(t *testing.T) {
	m, dir := newIdleManager(t), t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := claimDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.releaseDir()
	ln, err := d.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	m.wg.Go(func() { m.serveControl(ctx, ln) })
	for range maxClients + 4 {
		nc, err := d.dialControl(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	begin := time.Now()
	end()
	m.wg.Wait()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the end took %v", took)
	}
}

func FuzzControl(f *testing.F) {
	f.Add(`{"command":"status"}`)
	f.Add(`{"command":"reload","config":"x","dry_run":true}`)
	f.Add(`{"command":1}`)
	m := newIdleManager(f)
	f.Fuzz(func(t *testing.T, line string) {
		answer := sendCommand(t, m, line+"\n")
		if answer != "" && !json.Valid([]byte(answer)) {
			t.Errorf("%q is answered with %q", line, answer)
		}
	})
}
