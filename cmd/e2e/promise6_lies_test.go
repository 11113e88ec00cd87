package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// TestPromise6LiesEndABoard makes a plugin contradict itself. Waiting does not help
// then: the board refuses to serve and says why, until an operator acts.
func TestPromise6LiesEndABoard(t *testing.T) {
	t.Parallel()
	for how, lie := range map[string]struct {
		told   func(*badStoreHarness) // makes the plugin tell it
		reason string
		lost   bool // the store does not have what was acknowledged
		accept bool // it had claimed more than it has, so that it looks rolled back
	}{
		"count":     {told: (*badStoreHarness).expectRefused, reason: "2 outcomes for 1 records"},
		"rewind":    {told: (*badStoreHarness).expectRefused, reason: "store is damaged"},
		"forget":    {told: (*badStoreHarness).expectRefused, reason: "acknowledged envelopes are gone", lost: true},
		"pretend":   {told: (*badStoreHarness).pretendAndEnd, reason: "the store came back with epoch [0-9a-f]+ and 5 envelopes, the board has served epoch [0-9a-f]+ and 8: acknowledged envelopes are gone", lost: true},
		"boast":     {told: (*badStoreHarness).boastAndEnd, reason: "store is damaged: it stored an envelope at", accept: true},
		"huge":      {told: (*badStoreHarness).readFromRestartedStore, reason: "plugin broke its contract: "},
		"backwards": {told: (*badStoreHarness).readFromRestartedStore, reason: "plugin broke its contract: "},
		"again":     {told: (*badStoreHarness).readFromRestartedStore, reason: "plugin broke its contract: "},
		"short":     {told: (*badStoreHarness).readFromRestartedStore, reason: "it ends at 0 and had reached 5|broke its contract"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := newBadStoreHarness(t)
			h.misbehave(how)
			lie.told(h)
			h.checkGoodServer()
			h.behave()
			h.awaitProblem(lie.reason)
			out, err := h.runRelay("status")
			if err == nil || !strings.Contains(out, "PROBLEM") {
				t.Errorf("the status command shows no problem: %v\n%s", err, out)
			}
			h.expectRefused() // for good
			h.checkGoodServer()
			h.stop()
			if lie.accept {
				if out, err := h.runRelay("storage", "accept", "-server", "bad"); err != nil {
					t.Fatalf("accept the store: %v\n%s", err, out)
				}
			}
			if !lie.lost {
				h.start()
				h.awaitRecovery()
				h.stop()
			}
		})
	}
}

func (h *badStoreHarness) awaitProblem(reason string) {
	h.Helper()
	re := regexp.MustCompile(reason)
	h.awaitStatus("a problem", func(st manager.Status) bool { return re.MatchString(st.Servers[0].Relay.Problem) })
}

// pretendAndEnd makes the plugin acknowledge posts that it does not store, and kills
// it. The relay notices when the plugin is back.
func (h *badStoreHarness) pretendAndEnd() {
	h.Helper()
	h.mustStore("bad", h.newPosts("bad", 3, 1000))
	h.storagePlugin().kill()
}

// boastAndEnd kills the plugin, which comes back claiming more envelopes than it
// has. The board notices at the next append.
func (h *badStoreHarness) boastAndEnd() {
	h.Helper()
	h.storagePlugin().kill()
	for h.status().Servers[0].Relay.Problem == "" {
		p := h.newPosts("bad", 1, 1000)
		if h.tryPost("bad", p[0]) { // before the board has checked the store
			h.acknowledged = append(h.acknowledged, p[0])
		}
	}
}

// readFromRestartedStore restarts the relay, so that nothing is in memory, and reads
// from a plugin that garbles the pages.
func (h *badStoreHarness) readFromRestartedStore() {
	h.Helper()
	how, err := os.ReadFile(h.path(badFault))
	if err != nil {
		h.Fatal(err)
	}
	h.behave()
	h.stop()
	h.start()
	h.misbehave(string(how))
	b := h.connect("bad")
	defer b.Close()
	err = b.Sync(h.ctx, nil, func(e client.Event) error {
		if e.Kind == client.Replayed {
			h.Error("a reader got an envelope from a store that lies of it")
		}
		return nil
	})
	if err == nil {
		h.Error("a reader was told that it has all of a log that cannot be read")
	}
}
