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

// TestPromise1SuccessMeansDurable kills the plugin, the relay and both at
// random moments while clients post. After that every envelope that was
// acknowledged is there, none is there twice, and no token can be spent again.
func TestPromise1SuccessMeansDurable(t *testing.T) {
	t.Parallel()
	// Posts wait for the plugin to be back, and are all acknowledged.
	h := newHouse(t, `
		limits { post_timeout = "60s" }
		server "main" {}
	`)
	h.start()
	a := &account{house: h, state: make(map[string]state)}
	for _, victim := range []func() bool{a.killPlugin, a.killRelay, a.killBoth, a.killRelay, a.killPlugin, a.killBoth} {
		if relayDied := a.postUntil(victim); relayDied {
			h.start()
		}
		a.audit()
		a.postAgain()
	}
	a.audit()
	a.spendAgain()
	h.stop()
}

// TestPromise1CutAfterTheCommit has the plugin die when it has stored a batch
// and before it could say so. The posts are acknowledged all the same, since
// they are durable, and nothing is there twice.
func TestPromise1CutAfterTheCommit(t *testing.T) {
	t.Parallel()
	h := newHouse(t, badPlugin(t)+`
		limits { post_timeout = "60s" }
		server "main" {
			storage "badstore" { fault = "fault" }
		}
	`)
	h.start()
	fault := "data/servers/main/storage/fault" // where the plugin can see it
	h.write(fault, "die")
	posts := h.posts("main", 32, 1000)
	h.store("main", posts)
	if _, err := os.Stat(h.path(fault)); err == nil {
		t.Fatal("the plugin did not die")
	}
	if log := h.log("main"); !slices.EqualFunc(log, envelopes(posts), sameEnvelope) {
		t.Errorf("the board has %d envelopes, not the %d that were posted, in their order", len(log), len(posts))
	}
	h.stop()
}

// account is what the clients know.
type account struct {
	*house

	mu      sync.Mutex
	posts   []post
	state   map[string]state // by name of the envelope
	victims []*other
}

type state int

const (
	unknown state = iota // the connection ended before the result came
	acknowledged
	refused
)

// Four clients post with several posts under way each.
const (
	clients = 4
	perKill = 80 // posts of each client
	window  = 16
)

// postUntil lets the clients post and calls kill at some moment in between. It
// reports what kill does: whether the relay has died.
func (a *account) postUntil(kill func() bool) (relayDied bool) {
	a.Helper()
	begun := len(a.posts)
	a.posts = append(a.posts, a.house.posts("main", clients*perKill, 2000)...)
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
				a.state[name(mine[i].Envelope)] = refused
				if success {
					a.state[name(mine[i].Envelope)] = acknowledged
				}
				if answers++; answers == moment {
					close(due)
				}
			})
		})
	}
	a.victims = append(a.victims, a.plugin())
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

func (a *account) killPlugin() bool {
	a.victims[len(a.victims)-1].kill()
	return false
}

func (a *account) killRelay() bool {
	a.relay.kill()
	return true
}

func (a *account) killBoth() bool {
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

// audit compares the board with the account.
func (a *account) audit() {
	a.Helper()
	there := a.there()
	count := make(map[state]int)
	for i, p := range a.posts {
		s := a.state[name(p.Envelope)]
		count[s]++
		if s == acknowledged && there[name(p.Envelope)] == 0 {
			a.Errorf("post %d was acknowledged and is lost", i)
		}
		if s == refused {
			a.Errorf("post %d was refused although the store came back in time", i)
		}
	}
	a.Logf("%d posts acknowledged, of %d the result is not known; the board has %d", count[acknowledged], count[unknown], len(there))
}

// there counts how often each envelope is on the board.
func (a *account) there() map[string]int {
	a.Helper()
	known := make(map[string]wire.Envelope)
	for _, p := range a.posts {
		known[name(p.Envelope)] = p.Envelope
	}
	there := make(map[string]int)
	for _, e := range a.log("main") {
		if there[name(e)]++; there[name(e)] > 1 {
			a.Error("an envelope is on the board twice")
		}
		if string(known[name(e)].Ciphertext) != string(e.Ciphertext) {
			a.Error("an envelope is on the board that nobody has posted")
		}
	}
	return there
}

// postAgain does what a client does that has lost its connection: it posts what
// is in doubt once more. With the token of the first time that succeeds if and
// only if the first one had no effect at all; with a new token it does in any
// case, and the envelope is there once.
func (a *account) postAgain() {
	a.Helper()
	there := a.there()
	var doubtful []post
	for _, p := range a.posts {
		if a.state[name(p.Envelope)] == unknown {
			doubtful = append(doubtful, p)
		}
	}
	err := a.submit("main", doubtful, window, func(i int, success bool) {
		if was := there[name(doubtful[i].Envelope)] == 1; success == was {
			a.Errorf("a post that was stored: %t, succeeds with its old token: %t", was, success)
		}
	})
	if err != nil {
		a.Fatal(err)
	}
	for i, t := range a.mint("main", len(doubtful)) {
		doubtful[i].token = t
		a.state[name(doubtful[i].Envelope)] = acknowledged
	}
	a.store("main", doubtful)
}

// spendAgain tries to pay for new envelopes with the tokens of all others.
func (a *account) spendAgain() {
	a.Helper()
	thief := a.house.posts("main", len(a.posts), 100)
	for i := range thief {
		thief[i].token = a.posts[i].token
	}
	err := a.submit("main", thief, window, func(i int, success bool) {
		if success && a.state[name(a.posts[i].Envelope)] == acknowledged {
			a.Errorf("the token of post %d was spent twice", i)
		}
	})
	if err != nil {
		a.Fatal(err)
	}
	a.there()
}
