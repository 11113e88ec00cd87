package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// fakeTor publishes on loopback for clients, as far as the console uses a tor.
type fakeTor struct {
	onion.Network
	published chan net.Listener // of ListenFor
	anew      chan identity.Onion

	mu      sync.Mutex
	refuse  error // of the next ListenFor
	clients []onion.ClientKey
	keys    []identity.Onion
}

func newFakeTor(t *testing.T) *fakeTor {
	t.Helper()
	n, err := onion.Loopback(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return &fakeTor{Network: n, published: make(chan net.Listener, 8), anew: make(chan identity.Onion, 8)}
}

func (f *fakeTor) ListenFor(ctx context.Context, key identity.Key, port int, clients []onion.ClientKey) (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refuse; err != nil {
		f.refuse = nil
		return nil, err
	}
	f.clients, f.keys = clients, append(f.keys, key.Onion())
	ln, err := f.Listen(ctx, key, port)
	f.published <- ln
	return ln, err
}

func (f *fakeTor) FindDescriptor(context.Context, identity.Onion) error { return onion.ErrNotPublished }

func (f *fakeTor) Republish(_ context.Context, service identity.Onion) error {
	select {
	case f.anew <- service:
	default: // the test has seen enough
	}
	return nil
}

// startConsoleOnion starts the service of a console in a directory of its own.
func startConsoleOnion(t *testing.T, dir string, every time.Duration, n onion.Network) *consoleOnion {
	t.Helper()
	o := newConsoleOnion(&config.Console{Onion: true, OnionClients: []string{strings.Repeat("A", 52)}})
	o.every = every
	t.Cleanup(func() { o.Close() })
	open := o.adoptNetwork(func(context.Context) (onion.Network, error) { return n, nil })
	if err := o.start(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

// The service is published for its clients, tried again when tor refuses, keeps its address, and
// hands over connections until it is closed.
func TestConsoleOnion(t *testing.T) {
	dir, tor := t.TempDir(), newFakeTor(t)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	tor.refuse = errors.New("tor says no")
	for range 2 {
		o := startConsoleOnion(t, dir, lookEvery, tor)
		<-tor.published
		name, _ := o.describe()
		nc, err := tor.Dial(t.Context(), name, consolePort)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, problem := o.describe(); problem != "" {
			t.Errorf("problem: %s", problem)
		}
		got.Close()
		nc.Close()
		if o.Close() != nil || o.Addr().String() != string(name)+".onion" {
			t.Errorf("address %s", o.Addr())
		}
		if _, err := o.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
	if len(tor.keys) != 2 || tor.keys[0] != tor.keys[1] || len(tor.clients) != 1 {
		t.Errorf("published %v for %v", tor.keys, tor.clients)
	}
	if info, err := os.Stat(filepath.Join(dir, consoleKeys)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has %v, %v", info, err)
	}
}

func TestConsoleOnionThatIsLostIsPublishedAnew(t *testing.T) {
	tor := newFakeTor(t)
	o := startConsoleOnion(t, t.TempDir(), time.Millisecond, tor)
	name, _ := o.describe()
	if got := <-tor.anew; got != name {
		t.Errorf("published %s anew", got)
	}
}

// On a network without clients nothing is published, and the status says so.
func TestConsoleOnionNeedsClients(t *testing.T) {
	tor := newFakeTor(t)
	o := startConsoleOnion(t, t.TempDir(), lookEvery, tor.Network)
	o.ended.Wait()
	if _, problem := o.describe(); problem == "" || len(tor.Status().Services) != 0 {
		t.Errorf("problem %q, services %v", problem, tor.Status().Services)
	}
	key := strings.Repeat("a", 52)
	_, err := loadConfig(t.Context(), writeConsoleConfig(t, `network "loopback" { registry = "net" }
console {
  onion         = true
  onion_clients = ["`+key+`"]
}
`))
	if !errors.As(err, new(configFault)) || !strings.Contains(err.Error(), "loopback network cannot keep") {
		t.Errorf("got %v", err)
	}
}

func writeConsoleConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A damaged key takes the service, and not the console.
func TestConsoleOnionWithDamagedKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, consoleKeys), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := newConsoleOnion(&config.Console{Onion: true})
	err := o.start(dir, slog.New(slog.DiscardHandler))
	if name, problem := o.describe(); err == nil || name != "" || !strings.Contains(problem, consoleKeys) {
		t.Errorf("error %v, name %q, problem %q", err, name, problem)
	}
	if o.Close() != nil {
		t.Error("it does not end")
	}
}

func TestNewConsoleClient(t *testing.T) {
	var out, errs bytes.Buffer
	if status := runCommand(t.Context(), []string{"console", "new-client", "-json"}, &out, &errs); status != 0 {
		t.Fatalf("status %d: %s", status, &errs)
	}
	var c consoleClient
	if err := json.Unmarshal(out.Bytes(), &c); err != nil || len(c.Private) != 52 {
		t.Errorf("%s: %v", &out, err)
	}
	cfg, err := loadConfig(t.Context(), writeConsoleConfig(t, "network \"tor\" {}\nconsole {\n  onion = true\n  onion_clients = [\""+string(c.Public)+"\"]\n}\n"))
	if err != nil || len(cfg.Console.OnionClients) != 1 {
		t.Errorf("the configuration does not take the key: %v", err)
	}
	out.Reset()
	errs.Reset()
	runCommand(t.Context(), []string{"console", "new-client"}, &out, &errs)
	lines := strings.Fields(out.String())
	if len(lines) != 4 || lines[0] != "public" || lines[2] != "private" || strings.Contains(errs.String(), lines[3]) || !strings.Contains(errs.String(), lines[1]) {
		t.Errorf("prints %s%s", &out, &errs)
	}
}

// Status and check name the service of the console if it is not published, and tell it from one
// of a server.
func TestStatusNamesConsoleOnion(t *testing.T) {
	for name, c := range map[string]struct {
		console  manager.ConsoleOnion
		services []onion.Service
		want     string // the findings
	}{
		"published":       {manager.ConsoleOnion{Onion: "c", Published: true}, []onion.Service{{Onion: "c", Published: true}}, ""},
		"not yet":         {manager.ConsoleOnion{Onion: "c"}, []onion.Service{{Onion: "a", Published: true}, {Onion: "c"}}, "WARNING the onion service of the console (c.onion) is not published"},
		"no key":          {manager.ConsoleOnion{Problem: "damaged"}, nil, "WARNING the onion service of the console is not published: damaged"},
		"no key, a board": {manager.ConsoleOnion{Problem: "damaged"}, []onion.Service{{Onion: "a"}}, "PROBLEM 0 of 1 service are published, WARNING the onion service of the console is not published: damaged"},
	} {
		st := manager.Status{Network: &onion.Status{Network: "tor", State: onion.Ready, Services: c.services}, Console: &c.console}
		var got []string
		for _, f := range relayFindings(st, time.Now()) {
			got = append(got, f.level.label()+" "+f.String())
		}
		if strings.Join(got, ", ") != c.want {
			t.Errorf("%s: %q", name, got)
		}
		var out bytes.Buffer
		if err := writeStatus(&out, st, statusView{}, time.Now()); err != nil || strings.Contains(out.String(), "published for its clients, c.onion") != c.console.Published {
			t.Errorf("%s: %v\n%s", name, err, &out)
		}
	}
}
