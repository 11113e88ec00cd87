package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// TestServersChangeWhileOthersServe adds a server to a running relay, edits, stops, starts and
// deletes it, again and again, while clients post to two others. No post to these fails or waits
// for the changes, and nothing acknowledged is lost, on the changed server neither.
func TestServersChangeWhileOthersServe(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `
		server "a" {}
		server "b" { description = "stays as it is" } # and so does this
	`)
	h.start()
	before, err := os.ReadFile(h.path("server.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	posters := []*steadyPoster{h.postSteadily("a"), h.postSteadily("b")}
	data := h.path("data")
	for i := range 5 {
		h.mustChange(manager.AskAdd(h.ctx, data, manager.NewServer{Name: "guest", Description: "for a while", Autostart: true, MaxAge: "90d"}))
		envelope := wire.Envelope{Ciphertext: fmt.Append(nil, "guest", i), Signature: make([]byte, 64)}
		if err := h.connect("guest").Deliver(h.ctx, envelope, h.mintTokens("guest", 1)[0]); err != nil {
			t.Fatal(err)
		}
		h.mustChange(manager.AskEdit(h.ctx, data, "guest", manager.ServerChange{Description: new("for long"), MaxBytes: new("64MiB")}))
		h.mustChange(manager.AskStop(h.ctx, data, "guest"))
		h.mustChange(manager.AskStart(h.ctx, data, "guest", nil))
		if n := len(h.readBoard("guest")); n != 1 {
			t.Errorf("the server has %d envelopes after it was stopped and started, want 1", n)
		}
		if err := manager.AskDelete(h.ctx, data, "guest", nil); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"servers/guest", "known/guest", "servers.d/guest.hcl"} {
			if _, err := os.Lstat(h.path("data", path)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there (%v)", path, err)
			}
		}
	}
	for _, p := range posters {
		p.wantUndisturbed()
	}
	if now, err := os.ReadFile(h.path("server.hcl")); err != nil || string(now) != string(before) {
		t.Errorf("the main file has changed: %s", now)
	}
	h.stop()
}

// mustChange checks that all steps of a change were taken.
func (h *harness) mustChange(plan *manager.Plan, err error) {
	h.Helper()
	if err != nil || !plan.Applied || plan.Failed() > 0 {
		h.Fatalf("got %+v, %v", plan, err)
	}
}

// steadyPoster posts to one server, one envelope after the other.
type steadyPoster struct {
	*harness
	server  string
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	posts   int
	slowest time.Duration
	err     error
}

func (h *harness) postSteadily(server string) *steadyPoster {
	h.Helper()
	p := &steadyPoster{harness: h, server: server}
	ctx, cancel := context.WithCancel(h.ctx)
	p.cancel = cancel
	board, tokens := h.connect(server), h.mintTokens(server, 2000)
	p.wg.Go(func() { p.err = p.postAll(ctx, board, tokens) })
	return p
}

// postAll posts until ctx ends or the tokens are spent.
func (p *steadyPoster) postAll(ctx context.Context, board *client.Board, tokens []token.Token) error {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for i, t := range tokens {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		begin := time.Now()
		envelope := wire.Envelope{Ciphertext: []byte("text"), Signature: fmt.Appendf(nil, "%064d", i)}
		if err := board.Deliver(p.ctx, envelope, t); err != nil {
			return err
		}
		p.posts++
		p.slowest = max(p.slowest, time.Since(begin))
	}
	return nil
}

// wantUndisturbed ends the posts, and checks them.
func (p *steadyPoster) wantUndisturbed() {
	p.Helper()
	p.cancel()
	p.wg.Wait()
	if p.err != nil || p.posts == 0 || p.slowest > 10*time.Second {
		p.Errorf("server %s: %d posts, the slowest took %v, error %v", p.server, p.posts, p.slowest, p.err)
	}
	if n := len(p.readBoard(p.server)); n != p.posts {
		p.Errorf("server %s has %d of %d envelopes", p.server, n, p.posts)
	}
	p.Logf("server %s: %d posts, the slowest took %v", p.server, p.posts, p.slowest)
}
