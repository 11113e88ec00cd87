package e2e_test

import (
	"context"
	"crypto/rand"
	"crypto/sha3"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// harness runs a relay on the loopback network, with its own files. A test may start
// and stop the relay many times.
type harness struct {
	testing.TB
	ctx   context.Context // of the test, with the end of patience
	dir   string
	net   onion.Network // to be a client on
	env   []string      // of the programs
	relay *process      // the last that was started
}

// newHarness writes the configuration of a relay. Blocks declares its servers and
// everything else that differs from the defaults; $DIR in it stands for the
// directory of the test. Most tests call their server "main".
func newHarness(t testing.TB, blocks string) *harness {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	// The name is short because the directory holds sockets of plugins.
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &harness{TB: t, ctx: ctx, dir: dir, env: os.Environ()}
	if h.net, err = onion.Loopback(filepath.Join(dir, "net")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.net.Close() })
	h.writeFile("server.hcl", `
		network "loopback" { registry = "net" }
		log { level = "debug" }
	`+strings.ReplaceAll(blocks, "$DIR", dir))
	return h
}

func (h *harness) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

func (h *harness) writeFile(name, text string) {
	h.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// runRelay runs cwtch-relay and waits for it to end.
func (h *harness) runRelay(args ...string) (output string, err error) {
	args = append(args, "-config", h.path("server.hcl"))
	cmd := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-relay"), args...)
	cmd.Env = h.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// start starts the relay and returns when clients can reach it.
func (h *harness) start() {
	h.Helper()
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Env = h.env
	p, err := startRelay(cmd)
	if err != nil {
		h.Fatal(err)
	}
	h.relay = p
	h.Cleanup(func() {
		p.kill()
		if err := p.raceReport(); err != nil {
			h.Error(err)
		}
		if h.Failed() {
			h.Logf("the log of relay %d ends with:\n%s", p.pid(), lastLines(withoutDebug(p.log.String()), 40))
		}
	})
}

// stop ends the relay as its operator would, with SIGTERM.
func (h *harness) stop() {
	h.Helper()
	if err := h.relay.terminate(); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) status() manager.Status {
	h.Helper()
	st, err := manager.AskStatus(h.ctx, h.path("data"))
	if err != nil {
		h.Fatal(err)
	}
	return st
}

// awaitStatus polls the status until it is as wanted. Operators have no event for
// it, so tests have none.
func (h *harness) awaitStatus(what string, wanted func(manager.Status) bool) manager.Status {
	h.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st := h.status()
		if wanted(st) {
			return st
		}
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			text, _ := json.MarshalIndent(st, "", "  ")
			h.Fatalf("the status never has: %s; it is:\n%s", what, text)
		}
	}
}

// storagePlugin returns the storage process of the first server. If that process has
// just ended, it waits for the next one.
func (h *harness) storagePlugin() (o *foreignProcess) {
	h.Helper()
	h.awaitStatus("a plugin", func(st manager.Status) bool {
		pid := st.Servers[0].Storage.PID
		if pid == 0 {
			return false
		}
		var err error
		o, err = openProcess(pid)
		return err == nil
	})
	h.Cleanup(o.close)
	return o
}

func (h *harness) loadKeys(server string) *identity.Server {
	h.Helper()
	keys, err := identity.Load(h.path("data", "servers", server, "keys"))
	if err != nil {
		h.Fatal(err)
	}
	return keys
}

// mintTokens makes tokens without a proof of work: the test can read the key of the
// server.
func (h *harness) mintTokens(server string, n int) []token.Token {
	h.Helper()
	secret := h.loadKeys(server).Scalar
	k, err := scalar.NewFromCanonicalBytes(secret[:])
	if err != nil {
		h.Fatal(err)
	}
	tokens := make([]token.Token, n)
	for i := range tokens {
		t := &tokens[i]
		rand.Read(t.T[:])
		uniform := sha3.Sum512(t.T[:])
		p, err := curve.NewRistrettoPoint().SetUniformBytes(uniform[:])
		if err != nil {
			h.Fatal(err)
		}
		(*curve.CompressedRistretto)(&t.W).SetRistrettoPoint(p.Mul(p, k))
	}
	return tokens
}

// connect opens a connection to the board of a server.
func (h *harness) connect(server string) *client.Board {
	h.Helper()
	return h.connectBy(h.net, server)
}

func (h *harness) connectBy(d client.Dialer, server string) *client.Board {
	h.Helper()
	b, err := client.Open(h.ctx, d, h.loadKeys(server).Board.Onion())
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { b.Close() })
	return b
}

// readBoard returns all envelopes of a board, in order.
func (h *harness) readBoard(server string) []wire.Envelope {
	h.Helper()
	return h.readBoardFrom(server, nil)
}

func (h *harness) readBoardFrom(server string, last []byte) (found []wire.Envelope) {
	h.Helper()
	b := h.connect(server)
	defer b.Close()
	err := b.Sync(h.ctx, last, func(e client.Event) error {
		if e.Kind == client.Replayed {
			found = append(found, e.Envelope)
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return found
}

// post is an envelope with the token that pays for it.
type post struct {
	wire.Envelope
	token token.Token
}

// envelopeKey identifies an envelope in the tests.
func envelopeKey(e wire.Envelope) string { return string(e.Signature) }

// newPosts makes n envelopes with ciphertexts of the given size, and a token for
// each.
func (h *harness) newPosts(server string, n, size int) []post {
	h.Helper()
	posts := make([]post, n)
	for i, t := range h.mintTokens(server, n) {
		body := make([]byte, 64+size)
		rand.Read(body)
		posts[i] = post{wire.Envelope{Signature: body[:64:64], Ciphertext: body[64:]}, t}
	}
	return posts
}

// submit posts over a new connection, with up to window posts in flight, and calls
// answered with each result. It returns when all are answered, or with an error when
// the connection ends.
func (h *harness) submit(server string, posts []post, window int, answered func(i int, success bool)) error {
	b, err := client.Open(h.ctx, h.net, h.loadKeys(server).Board.Onion())
	if err != nil {
		return err
	}
	slots := make(chan struct{}, window)
	done := make(chan struct{})
	submitted := make(chan struct{})
	defer func() { <-submitted }()
	defer b.Close()
	defer close(done)
	go func() {
		defer close(submitted)
		for _, p := range posts {
			select {
			case slots <- struct{}{}:
			case <-done:
				return
			}
			if _, err := b.Submit(p.Envelope, p.token); err != nil {
				return
			}
		}
	}()
	for range posts {
		e, err := b.Next(h.ctx)
		if err != nil {
			return err
		}
		if e.Kind != client.Posted {
			return fmt.Errorf("event %d before any replay", e.Kind)
		}
		answered(int(e.Post)-1, e.Success)
		<-slots
	}
	return nil
}

// mustStore posts all envelopes and fails the test unless all are stored.
func (h *harness) mustStore(server string, posts []post) {
	h.Helper()
	err := h.submit(server, posts, 16, func(i int, success bool) {
		if !success {
			h.Errorf("post %d was refused", i)
		}
	})
	if err != nil {
		h.Fatal(err)
	}
}

// tryPost posts one envelope and reports whether it was stored.
func (h *harness) tryPost(server string, p post) (stored bool) {
	h.Helper()
	if err := h.submit(server, []post{p}, 1, func(_ int, success bool) { stored = success }); err != nil {
		h.Fatal(err)
	}
	return stored
}
