package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// killRounds is how often a relay at work on what it removes is killed, for each store. More
// rounds than the default find rarer faults.
func killRounds(t *testing.T) int {
	text := os.Getenv("CWTCH_RELAY_KILL_ROUNDS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPromise1Retention kills the relay, the plugin or both at random moments while old
// envelopes are removed and their room is given back. Afterwards every acknowledged envelope
// above the floor is on the board, none that was gone has come back, and no token, neither of
// the ones nor of the others, can be spent again.
func TestPromise1Retention(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"bolt", "sqlite"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			rounds := killRounds(t)
			h := newHarness(t, fmt.Sprintf(`
				limits { post_timeout = "60s" }
				plugin "storage" "aged%s" {
					path = %q
					args = [%q]
					dev  = true
				}
				server "main" {
					storage "aged%s" {}
					retention { max_age = "%dd" }
				}
			`, store, bin+"/agedstore", store, store, maxAge(0)))
			ctx, cancel := context.WithTimeout(t.Context(), patience+time.Duration(rounds)*10*time.Second)
			t.Cleanup(cancel)
			h.ctx = ctx
			h.start()
			a := &agingRecorder{harness: h, gone: make(map[string]bool)}
			for round := range rounds {
				a.postAged(round)
				a.killWhileRemoving(round)
				a.checkBoard(false)
			}
			a.awaitRemoval()
			a.checkBoard(true)
			a.expectCompaction()
			a.checkBoard(true)
			a.reuseTokens()
			h.stop()
			a.checkStopped()
			a.expectCompaction() // the same without a relay
			a.checkStopped()
		})
	}
}

// maxAge is the limit in days before a round: each round lowers it.
func maxAge(round int) int { return 20_000 - round }

// agingRecorder records what was posted and what must be gone.
type agingRecorder struct {
	*harness
	posts []agedPost
	gone  map[string]bool // by name of the envelope: was not on the board once
}

type agedPost struct {
	post
	old bool // the last round or an earlier one removes it
}

// postAged posts what this round removes and what stays, and waits until all of it is stored.
func (a *agingRecorder) postAged(round int) {
	a.Helper()
	const each = 150
	file := "data/servers/main/storage/age"
	for _, old := range []bool{true, false} {
		if old { // half a day older than the next limit allows
			a.writeFile(file, fmt.Sprint(maxAge(round+1)*24+12))
		} else if err := os.Remove(a.path(file)); err != nil {
			a.Fatal(err)
		}
		posts := a.newPosts("main", each, 5000)
		a.mustStore("main", posts)
		for _, p := range posts {
			a.posts = append(a.posts, agedPost{p, old})
		}
	}
}

// killWhileRemoving lowers the limit, which makes the relay remove the old posts, asks for a
// compaction, and kills at a random moment.
func (a *agingRecorder) killWhileRemoving(round int) {
	a.Helper()
	a.replaceInConfig(fmt.Sprintf(`max_age = "%dd"`, maxAge(round)), fmt.Sprintf(`max_age = "%dd"`, maxAge(round+1)))
	plugin := a.storagePlugin()
	due := time.After(rand.N(600 * time.Millisecond))
	asked := make(chan struct{})
	go func() { // until the relay is killed
		defer close(asked)
		a.runRelay("reload")
		a.runRelay("storage", "compact")
	}()
	<-due
	switch round % 3 {
	case 0:
		a.relay.kill()
	case 1:
		plugin.kill()
	case 2:
		plugin.kill()
		a.relay.cmd.Process.Signal(syscall.SIGKILL)
		a.relay.kill()
	}
	<-asked
	if round%3 != 1 {
		a.checkStopped()
		a.start()
	}
}

// checkBoard compares the board with the record. If all is set, everything old must be gone.
func (a *agingRecorder) checkBoard(all bool) {
	a.Helper()
	there := make(map[string]int)
	log := a.readBoard("main")
	if !all { // an envelope is sent again in place of one that was removed during the replay
		log = slices.CompactFunc(log, sameEnvelope)
	}
	for _, e := range log {
		there[envelopeKey(e)]++
	}
	lost, back, twice, left := 0, 0, 0, 0
	for _, p := range a.posts {
		key := envelopeKey(p.Envelope)
		n := there[key]
		delete(there, key)
		switch {
		case n > 1:
			twice++
		case n == 0 && !p.old:
			lost++
		case n == 0:
			a.gone[key] = true
		case a.gone[key]:
			back++
		case p.old:
			left++
		}
	}
	if lost > 0 || back > 0 || twice > 0 || len(there) > 0 {
		a.Errorf("of %d posts %d are lost, %d came back, %d are there twice, and %d were never posted", len(a.posts), lost, back, twice, len(there))
	}
	if all && left > 0 {
		a.Errorf("%d old posts are left", left)
	}
}

// awaitRemoval waits until nothing is left to be removed.
func (a *agingRecorder) awaitRemoval() {
	a.Helper()
	young := uint64(0)
	for _, p := range a.posts {
		if !p.old {
			young++
		}
	}
	a.awaitStatus("only young envelopes", func(st manager.Status) bool {
		r := st.Servers[0].Relay
		return r != nil && r.Store != nil && r.Store.Envelopes == young && !st.Servers[0].Retention.Removing
	})
}

// reuseTokens tries to pay for new envelopes with the tokens of all posts, and for the old
// envelopes with their own once more.
func (a *agingRecorder) reuseTokens() {
	a.Helper()
	thief := a.newPosts("main", len(a.posts), 100)
	for i := range thief {
		thief[i].token = a.posts[i].token
		if a.posts[i].old && i%2 == 0 {
			thief[i].Envelope = a.posts[i].Envelope
		}
	}
	twice := 0
	err := a.submit("main", thief, window, func(_ int, success bool) {
		if success {
			twice++
		}
	})
	if err != nil {
		a.Fatal(err)
	}
	if twice > 0 {
		a.Errorf("%d tokens were spent twice", twice)
	}
	a.checkBoard(true)
}

// checkStopped has the store checked, as the kill or the relay has left it.
func (a *agingRecorder) checkStopped() {
	a.Helper()
	out, err := a.runRelay("storage", "check")
	for err != nil && strings.Contains(out, stillOpen) { // the killed plugin still ends
		out, err = a.runRelay("storage", "check")
	}
	if err != nil || strings.Contains(out, "not verified") {
		a.Errorf("the check says %v: %s", err, out)
	}
}

// expectCompaction checks that a compaction by hand comes to its end.
func (a *agingRecorder) expectCompaction() {
	a.Helper()
	out, err := a.runRelay("storage", "compact")
	if err != nil || !strings.Contains(out, "compacted the store of server main") {
		a.Errorf("%v: %s", err, out)
	}
}
