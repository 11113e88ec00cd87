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

// house is a relay on the loopback network with its files, which may be started
// and ended many times.
type house struct {
	testing.TB
	ctx   context.Context // of the test, with the end of patience
	dir   string
	net   onion.Network // to be a client on
	relay *process      // the last that was started
}

// newHouse writes the configuration of a relay. Blocks are its servers and
// whatever else is not as usual, where $HOUSE is the directory of it all; "main"
// is the server that most tests have.
func newHouse(t testing.TB, blocks string) *house {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	// The name is short, as sockets of plugins are in there.
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &house{TB: t, ctx: ctx, dir: dir}
	if h.net, err = onion.Loopback(filepath.Join(dir, "net")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.net.Close() })
	h.write("server.hcl", `
		network "loopback" { registry = "net" }
		log { level = "debug" }
	`+strings.ReplaceAll(blocks, "$HOUSE", dir))
	return h
}

func (h *house) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

func (h *house) write(name, text string) {
	h.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.Fatal(err)
	}
}

// run runs cwtch-relay to its end.
func (h *house) run(args ...string) (output string, err error) {
	args = append(args, "-config", h.path("server.hcl"))
	out, err := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-relay"), args...).CombinedOutput()
	return string(out), err
}

// start starts the relay and returns when clients can reach it.
func (h *house) start() {
	h.Helper()
	p, err := startRelay(exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl")))
	if err != nil {
		h.Fatal(err)
	}
	h.relay = p
	h.Cleanup(func() {
		p.kill()
		if err := p.raced(); err != nil {
			h.Error(err)
		}
		if h.Failed() {
			h.Logf("the log of relay %d ends with:\n%s", p.pid(), lastLines(withoutDebug(p.log.String()), 40))
		}
	})
}

// stop ends the relay as its operator does.
func (h *house) stop() {
	h.Helper()
	if err := h.relay.terminate(); err != nil {
		h.Fatal(err)
	}
}

func (h *house) status() manager.Status {
	h.Helper()
	st, err := manager.Ask(h.ctx, h.path("data"))
	if err != nil {
		h.Fatal(err)
	}
	return st
}

// until asks for the status until it is as wanted. There is no event for that,
// as there is none for operators.
func (h *house) until(what string, wanted func(manager.Status) bool) manager.Status {
	h.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
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

// plugin is the process of the store of the first server. One that has ended by
// the time that it is looked at has a successor.
func (h *house) plugin() (o *other) {
	h.Helper()
	h.until("a plugin", func(st manager.Status) bool {
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

func (h *house) keys(server string) *identity.Server {
	h.Helper()
	keys, err := identity.Load(h.path("data", "servers", server, "keys"))
	if err != nil {
		h.Fatal(err)
	}
	return keys
}

// mint makes tokens as a purchase would, without the proof of work, since the
// test can read the key of the server.
func (h *house) mint(server string, n int) []token.Token {
	h.Helper()
	secret := h.keys(server).Scalar
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
func (h *house) connect(server string) *client.Board {
	h.Helper()
	return h.connectBy(h.net, server)
}

func (h *house) connectBy(d client.Dialer, server string) *client.Board {
	h.Helper()
	b, err := client.Open(h.ctx, d, h.keys(server).Board.Onion())
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { b.Close() })
	return b
}

// log reads all that is on a board, in order.
func (h *house) log(server string) []wire.Envelope {
	h.Helper()
	return h.logFrom(server, nil)
}

func (h *house) logFrom(server string, last []byte) (found []wire.Envelope) {
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

// post is one envelope with the token that pays for it.
type post struct {
	wire.Envelope
	token token.Token
}

// name is what tells envelopes apart.
func name(e wire.Envelope) string { return string(e.Signature) }

// posts makes envelopes with ciphertexts of a size, and tokens for them.
func (h *house) posts(server string, n, size int) []post {
	h.Helper()
	posts := make([]post, n)
	for i, t := range h.mint(server, n) {
		body := make([]byte, 64+size)
		rand.Read(body)
		posts[i] = post{wire.Envelope{Signature: body[:64:64], Ciphertext: body[64:]}, t}
	}
	return posts
}

// submit posts over a connection of its own, with up to window posts under way,
// and calls answered with each result. It returns when all are answered, or with
// an error when the connection ends.
func (h *house) submit(server string, posts []post, window int, answered func(i int, success bool)) error {
	b, err := client.Open(h.ctx, h.net, h.keys(server).Board.Onion())
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

// store posts all and insists that they are stored.
func (h *house) store(server string, posts []post) {
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

// try posts one and reports whether it was stored.
func (h *house) try(server string, p post) (stored bool) {
	h.Helper()
	if err := h.submit(server, []post{p}, 1, func(_ int, success bool) { stored = success }); err != nil {
		h.Fatal(err)
	}
	return stored
}
