package e2e_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// TestPromise1SuccessMeansDurable kills the plugin, the relay or both at random
// moments while clients post. Afterwards every acknowledged envelope is on the
// board, none is there twice, and no token can be spent again.
func TestPromise1SuccessMeansDurable(t *testing.T) {
	t.Parallel()
	// The timeout is long, so all posts wait for the next plugin and are acknowledged.
	h := newHarness(t, `
		limits { post_timeout = "60s" }
		server "main" {}
	`)
	h.start()
	a := &postRecorder{harness: h, state: make(map[string]postState)}
	for _, victim := range []func() bool{a.killPlugin, a.killRelay, a.killBoth, a.killRelay, a.killPlugin, a.killBoth} {
		if relayDied := a.postUntil(victim); relayDied {
			h.start()
		}
		a.checkBoard()
		a.retryUnknown()
	}
	a.checkBoard()
	a.reuseTokens()
	h.stop()
}

// TestPromise1PluginDiesAfterCommit kills the plugin after it has stored a batch and
// before it has answered. The posts are durable, so they are acknowledged all the
// same, and none is on the board twice.
func TestPromise1PluginDiesAfterCommit(t *testing.T) {
	t.Parallel()
	h := newHarness(t, badstoreConfig(t)+`
		limits { post_timeout = "60s" }
		server "main" {
			storage "badstore" { fault = "fault" }
		}
	`)
	h.start()
	fault := "data/servers/main/storage/fault" // where the plugin can see it
	h.writeFile(fault, "die")
	posts := h.newPosts("main", 32, 1000)
	h.mustStore("main", posts)
	if _, err := os.Stat(h.path(fault)); err == nil {
		t.Fatal("the plugin did not die")
	}
	if log := h.readBoard("main"); !slices.EqualFunc(log, envelopes(posts), sameEnvelope) {
		t.Errorf("the board has %d envelopes, not the %d that were posted, in their order", len(log), len(posts))
	}
	h.stop()
}

// postRecorder records what the clients have posted and learned.
type postRecorder struct {
	*harness

	mu      sync.Mutex
	posts   []post
	state   map[string]postState // by name of the envelope
	victims []*foreignProcess
}

type postState int

const (
	unknown postState = iota // the connection ended before the result came
	acknowledged
	refused
)

// Each client has several posts in flight.
const (
	clients = 4
	perKill = 80 // posts of each client
	window  = 16
)

// postUntil lets the clients post and calls kill at a random moment. It returns the
// result of kill: whether the relay has died.
func (a *postRecorder) postUntil(kill func() bool) (relayDied bool) {
	a.Helper()
	begun := len(a.posts)
	a.posts = append(a.posts, a.harness.newPosts("main", clients*perKill, 2000)...)
	moment := 1 + rand.IntN(clients*perKill/2)
	due := make(chan struct{})
	answers := 0
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for c := range clients {
		mine := a.posts[begun+c*perKill:][:perKill]
		wg.Go(func() {
			errs[c] = a.submit("main", mine, window, func(i int, success bool) {
				a.mu.Lock()
				defer a.mu.Unlock()
				a.state[envelopeKey(mine[i].Envelope)] = refused
				if success {
					a.state[envelopeKey(mine[i].Envelope)] = acknowledged
				}
				if answers++; answers == moment {
					close(due)
				}
			})
		})
	}
	a.victims = append(a.victims, a.storagePlugin())
	select {
	case <-due:
	case <-a.ctx.Done():
		a.Fatal("no results come")
	}
	relayDied = kill()
	wg.Wait()
	if err := errors.Join(errs...); err != nil && !relayDied {
		a.Errorf("connections ended although the relay did not: %v", err)
	}
	return relayDied
}

func (a *postRecorder) killPlugin() bool {
	a.victims[len(a.victims)-1].kill()
	return false
}

func (a *postRecorder) killRelay() bool {
	a.relay.kill()
	return true
}

func (a *postRecorder) killBoth() bool {
	if rand.IntN(2) == 0 {
		a.killPlugin()
		a.relay.cmd.Process.Signal(syscall.SIGKILL)
	} else {
		a.relay.cmd.Process.Signal(syscall.SIGKILL)
		a.killPlugin()
	}
	a.relay.kill()
	return true
}

// checkBoard compares the board with the record.
func (a *postRecorder) checkBoard() {
	a.Helper()
	there := a.countOnBoard()
	count := make(map[postState]int)
	for i, p := range a.posts {
		s := a.state[envelopeKey(p.Envelope)]
		count[s]++
		if s == acknowledged && there[envelopeKey(p.Envelope)] == 0 {
			a.Errorf("post %d was acknowledged and is lost", i)
		}
		if s == refused {
			a.Errorf("post %d was refused although the store came back in time", i)
		}
	}
	a.Logf("%d posts acknowledged, of %d the result is not known; the board has %d", count[acknowledged], count[unknown], len(there))
}

// countOnBoard counts how often each envelope is on the board.
func (a *postRecorder) countOnBoard() map[string]int {
	a.Helper()
	known := make(map[string]wire.Envelope)
	for _, p := range a.posts {
		known[envelopeKey(p.Envelope)] = p.Envelope
	}
	there := make(map[string]int)
	for _, e := range a.readBoard("main") {
		if there[envelopeKey(e)]++; there[envelopeKey(e)] > 1 {
			a.Error("an envelope is on the board twice")
		}
		if string(known[envelopeKey(e)].Ciphertext) != string(e.Ciphertext) {
			a.Error("an envelope is on the board that nobody has posted")
		}
	}
	return there
}

// retryUnknown posts envelopes with an unknown result again, as a client does after
// a lost connection. With the old token that succeeds if and only if the first
// attempt had no effect. With a new token it always succeeds, and the envelope is on
// the board once.
func (a *postRecorder) retryUnknown() {
	a.Helper()
	there := a.countOnBoard()
	var doubtful []post
	for _, p := range a.posts {
		if a.state[envelopeKey(p.Envelope)] == unknown {
			doubtful = append(doubtful, p)
		}
	}
	err := a.submit("main", doubtful, window, func(i int, success bool) {
		if was := there[envelopeKey(doubtful[i].Envelope)] == 1; success == was {
			a.Errorf("a post that was stored: %t, succeeds with its old token: %t", was, success)
		}
	})
	if err != nil {
		a.Fatal(err)
	}
	for i, t := range a.mintTokens("main", len(doubtful)) {
		doubtful[i].token = t
		a.state[envelopeKey(doubtful[i].Envelope)] = acknowledged
	}
	a.mustStore("main", doubtful)
}

// reuseTokens tries to pay for new envelopes with spent tokens.
func (a *postRecorder) reuseTokens() {
	a.Helper()
	thief := a.harness.newPosts("main", len(a.posts), 100)
	for i := range thief {
		thief[i].token = a.posts[i].token
	}
	err := a.submit("main", thief, window, func(i int, success bool) {
		if success && a.state[envelopeKey(a.posts[i].Envelope)] == acknowledged {
			a.Errorf("the token of post %d was spent twice", i)
		}
	})
	if err != nil {
		a.Fatal(err)
	}
	a.countOnBoard()
}
