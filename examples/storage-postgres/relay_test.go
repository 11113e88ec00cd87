package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// patience bounds a test with relays.
const patience = 3 * time.Minute

// sharedSchema is the schema of the board that the relays of a test share.
const sharedSchema = "club"

// relayConfig is filled in with the program of the plugin and the directory of the socket.
const relayConfig = `data_dir = "data"
network "loopback" { registry = "net" }
log { level = "debug" }
plugin "storage" "postgres" {
  path = %q
  dev  = true
  sandbox { sockets = [%[2]q] }
}
server "club" {
  storage "postgres" {
    socket        = %[2]q
    password_file = "password"
    schema        = "club"
  }
}
`

// programs builds the plugin, and finds the relay: on the path, or else in the repository
// that the module is part of.
func programs(tb testing.TB) (relay, plugin string) {
	tb.Helper()
	bin := tb.TempDir()
	plugin = filepath.Join(bin, "storage-postgres")
	builds := []*exec.Cmd{exec.Command("go", "build", "-o", plugin, ".")}
	relay, err := exec.LookPath("cwtch-relay")
	if err != nil {
		relay = filepath.Join(bin, "cwtch-relay")
		builds = append(builds, exec.Command("go", "build", "-C", "../..", "-o", relay, "./cmd/cwtch-relay"))
	}
	for _, build := range builds {
		if out, err := build.CombinedOutput(); err != nil {
			tb.Fatalf("%s: %v\n%s", build, err, out)
		}
	}
	return relay, plugin
}

// relay is a relay of a test, in a directory and on a network of its own.
type relay struct {
	testing.TB
	ctx     context.Context
	dir     string
	program string
	net     onion.Network
	bundle  bundle.Bundle
	cmd     *exec.Cmd
	ended   chan struct{} // closed after the end of cmd
	log     *bytes.Buffer // to read then
}

// newRelay prepares a relay with a configuration, and with the password of the database. With
// keys it has an identity that another relay has made.
func newRelay(ctx context.Context, s testing.TB, program, text string, keys []byte) *relay {
	s.Helper()
	dir, err := os.MkdirTemp("", "relay-") // short enough for sockets
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	r := &relay{TB: s, ctx: ctx, dir: dir, program: program}
	own := filepath.Join(dir, "data", "servers", "club")
	config := filepath.Join(dir, "server.hcl")
	r.writeFile(config, text)
	if keys != nil {
		r.writeFile(filepath.Join(own, "keys"), string(keys))
	} else if out, err := exec.Command(program, "bundle", "-config", config).CombinedOutput(); err != nil { // makes the keys
		s.Fatalf("make keys: %v\n%s", err, out)
	}
	r.writeFile(filepath.Join(own, "storage", "password"), password+"\n")
	if r.net, err = onion.Loopback(filepath.Join(dir, "net")); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { r.net.Close() })
	return r
}

func (r *relay) writeFile(path, text string) {
	r.Helper()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		r.Fatal(err)
	}
}

// announcement waits for the bundle of a server.
type announcement struct {
	text  []byte
	found chan string // gets the bundle
}

var bundlePattern = regexp.MustCompile(`server:[^\s"]+\s`)

func (a *announcement) Write(b []byte) (int, error) {
	a.text = append(a.text, b...)
	if found := bundlePattern.Find(a.text); found != nil {
		select {
		case a.found <- strings.TrimSpace(string(found)):
		default:
		}
	}
	return len(b), nil
}

// start starts the relay and waits until its server is published.
func (r *relay) start() {
	r.Helper()
	r.cmd = exec.CommandContext(r.ctx, r.program, "-config", filepath.Join(r.dir, "server.hcl"))
	r.cmd.WaitDelay = 10 * time.Second
	out := &announcement{found: make(chan string, 1)}
	r.log, r.ended = new(bytes.Buffer), make(chan struct{})
	r.cmd.Stdout, r.cmd.Stderr = out, r.log
	if err := r.cmd.Start(); err != nil {
		r.Fatal(err)
	}
	cmd, ended := r.cmd, r.ended
	go func() {
		cmd.Wait() // killed
		close(ended)
	}()
	r.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	select {
	case text := <-out.found:
		var err error
		if r.bundle, err = bundle.Parse(text); err != nil {
			r.Fatal(err)
		}
	case <-ended:
		r.Fatalf("the relay ended:\n%s", r.log)
	}
}

// kill ends the relay as kill -9 does. Its plugin ends with it.
func (r *relay) kill() {
	r.cmd.Process.Kill()
	<-r.ended
}

func (r *relay) keys() []byte {
	r.Helper()
	keys, err := os.ReadFile(filepath.Join(r.dir, "data", "servers", "club", "keys"))
	if err != nil {
		r.Fatal(err)
	}
	return keys
}

func (r *relay) connect() *client.Board {
	r.Helper()
	b, err := client.Open(r.ctx, r.net, r.bundle.Board)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { b.Close() })
	return b
}

// read returns the signatures of all envelopes, in the order in which the relay has them.
func (r *relay) read() (signatures []string) {
	r.Helper()
	b := r.connect()
	defer b.Close()
	err := b.Sync(r.ctx, nil, func(e client.Event) error {
		if e.Kind == client.Replayed && !e.Repeat {
			signatures = append(signatures, string(e.Envelope.Signature))
		}
		return nil
	})
	if err != nil {
		r.Fatal(err)
	}
	return signatures
}

func (r *relay) buy(n int) []token.Token {
	r.Helper()
	tokens, err := client.Buy(r.ctx, r.net, r.bundle, n, nil)
	if err != nil {
		r.Fatal(err)
	}
	return tokens
}

func newEnvelope() wire.Envelope {
	body := make([]byte, 1000)
	rand.Read(body)
	return wire.Envelope{Signature: body[:64:64], Ciphertext: body[64:]}
}

// postAll posts an envelope for each token, over one connection, and returns the signatures.
func (r *relay) postAll(tokens []token.Token) (posted []string, err error) {
	b, err := client.Open(r.ctx, r.net, r.bundle.Board)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if err := b.Sync(r.ctx, nil, nil); err != nil {
		return nil, err
	}
	for _, t := range tokens {
		e := newEnvelope()
		if err := b.Post(r.ctx, e, t, nil); err != nil {
			return posted, err
		}
		posted = append(posted, string(e.Signature))
	}
	return posted, nil
}

// startTwoRelays starts two relays with one identity on one board.
func startTwoRelays(t *testing.T, s *server) (one, two *relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	program, plugin := programs(t)
	text := fmt.Sprintf(relayConfig, plugin, s.socketDir())
	one = newRelay(ctx, t, program, text, nil)
	one.start()
	two = newRelay(ctx, t, program, text, one.keys())
	two.start()
	if one.bundle.Board != two.bundle.Board {
		t.Fatal("the relays have different identities")
	}
	return one, two
}

// TestTwoRelays has two relays serve one board at a time.
func TestTwoRelays(t *testing.T) {
	s := startServer(t)
	one, two := startTwoRelays(t, s)
	relays := []*relay{one, two}
	const posts = 25 // of each poster

	// A token that one relay has sold is redeemed by the other.
	bought := [][]token.Token{one.buy(2*posts + 10), two.buy(2*posts + 10)}
	posted := make([][]string, 4)
	var wg sync.WaitGroup
	for i := range posted {
		wg.Go(func() {
			var err error
			if posted[i], err = relays[i%2].postAll(bought[1-i%2][i/2*posts:][:posts]); err != nil {
				t.Errorf("poster %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	expectOneLog(t, s, one, two, 4*posts)
	place := make(map[string]int)
	for i, signature := range one.read() {
		place[signature] = i + 1
	}
	for i, mine := range posted {
		for j, signature := range mine {
			if place[signature] == 0 || j > 0 && place[signature] < place[mine[j-1]] {
				t.Errorf("envelope %d of poster %d is at %d", j, i, place[signature])
			}
		}
	}

	t.Run("token", func(t *testing.T) {
		spent := bought[1][0] // at the first relay
		b := two.connect()
		if err := b.Sync(two.ctx, nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := b.Post(two.ctx, newEnvelope(), spent, nil); !errors.Is(err, client.ErrRefused) {
			t.Errorf("post with a token that was spent at the other relay: %v, want ErrRefused", err)
		}
	})

	t.Run("watch", func(t *testing.T) {
		reader := two.connect()
		if err := reader.Sync(two.ctx, nil, nil); err != nil {
			t.Fatal(err)
		}
		mine, err := one.postAll(bought[0][2*posts:][:1])
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range reader.Events(two.ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == client.New && string(e.Envelope.Signature) == mine[0] {
				break
			}
		}
	})

	t.Run("killed", func(t *testing.T) {
		cut := make(chan []string)
		go func() {
			mine, _ := one.postAll(bought[0][2*posts+1:])
			cut <- mine
		}()
		more, err := two.postAll(bought[1][2*posts:][:4])
		if err != nil {
			t.Fatal(err)
		}
		one.kill()
		mine := <-cut
		after, err := two.postAll(bought[1][2*posts+4:][:4])
		if err != nil {
			t.Fatalf("post at one relay while the other is killed: %v", err)
		}
		one.start()
		found := make(map[string]int)
		for _, signature := range one.read() {
			found[signature]++
		}
		for _, signature := range append(append(mine, more...), after...) {
			if found[signature] != 1 {
				t.Errorf("an acknowledged envelope is there %d times", found[signature])
			}
		}
		expectOneLog(t, s, one, two, len(found))
	})
}

// expectOneLog checks that both relays have n envelopes in the order of the database, which
// has no gap.
func expectOneLog(t *testing.T, s *server, one, two *relay, n int) {
	t.Helper()
	entries := readAll(t, s.openShared(t))
	for _, r := range []*relay{one, two} {
		r.awaitLength(n) // what the other relay has stored comes a moment later
	}
	a, b := one.read(), two.read()
	if len(entries) != n || len(a) != n || len(b) != n {
		t.Fatalf("the database has %d envelopes and the relays show %d and %d, want %d", len(entries), len(a), len(b), n)
	}
	for i, e := range entries {
		if a[i] != string(e.Signature) || b[i] != a[i] {
			t.Fatalf("envelope %d is another one at another relay", i+1)
		}
	}
}

// openShared opens the board of the relays as a third relay would.
func (s *server) openShared(t *testing.T) *Store {
	t.Helper()
	schemas.Lock()
	dir := t.TempDir()
	if schemas.of == nil {
		schemas.of = make(map[string]string)
	}
	schemas.of[dir] = sharedSchema
	schemas.Unlock()
	return s.open(t, dir)
}

// TestFloorOfAnotherRelay shows that both relays stop showing what a third one has pruned,
// though they have it in memory.
func TestFloorOfAnotherRelay(t *testing.T) {
	s := startServer(t)
	one, two := startTwoRelays(t, s)
	third := s.openShared(t)
	old, young := newRecords(50), newRecords(5)
	now := storage.HourOf(time.Now())
	for i := range old {
		old[i].Born = now - 100
	}
	for i := range young {
		young[i].Born = now
	}
	mustAppend(t, third, storage.Stored, append(old, young...)...)
	for _, r := range []*relay{one, two} {
		r.awaitLength(len(old) + len(young))
	}
	p, err := third.Prune(t.Context(), storage.PruneRequest{Floor: now - 1, Max: 10})
	if err != nil || !p.More {
		t.Fatalf("prune: %+v, %v", p, err)
	}
	for _, r := range []*relay{one, two} {
		r.awaitLength(len(young))
		if got := r.read(); got[0] != string(young[0].Signature) {
			t.Error("the relay shows something else than what is left")
		}
	}
}

// awaitLength reads until the relay has n envelopes. A reader is not told when there are fewer.
func (r *relay) awaitLength(n int) {
	r.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for len(r.read()) != n {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			r.Fatalf("the relay never has %d envelopes", n)
		}
	}
}
