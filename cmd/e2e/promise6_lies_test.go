package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// TestPromise6LiesEndABoard has a plugin contradict what it said before. There is
// nothing to wait for then: the board refuses to serve and says why, until its
// operator has looked at it.
func TestPromise6LiesEndABoard(t *testing.T) {
	t.Parallel()
	for how, lie := range map[string]struct {
		told   func(*badHouse) // has the plugin tell it
		reason string
		lost   bool // the store does not have what was acknowledged
		accept bool // it had claimed more than it has, so that it looks rolled back
	}{
		"count":     {told: (*badHouse).refused, reason: "2 outcomes for 1 records"},
		"rewind":    {told: (*badHouse).refused, reason: "store is damaged"},
		"forget":    {told: (*badHouse).refused, reason: "acknowledged envelopes are gone", lost: true},
		"pretend":   {told: (*badHouse).pretendAndEnd, reason: "the store came back with epoch [0-9a-f]+ and 5 envelopes, the board has served epoch [0-9a-f]+ and 8: acknowledged envelopes are gone", lost: true},
		"boast":     {told: (*badHouse).boastAndEnd, reason: "store is damaged: it stored an envelope at", accept: true},
		"huge":      {told: (*badHouse).readAgain, reason: "plugin broke its contract: "},
		"backwards": {told: (*badHouse).readAgain, reason: "plugin broke its contract: "},
		"again":     {told: (*badHouse).readAgain, reason: "plugin broke its contract: "},
		"short":     {told: (*badHouse).readAgain, reason: "it ends at 0 and had reached 5|broke its contract"},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := newBadHouse(t)
			h.misbehave(how)
			lie.told(h)
			h.undisturbed()
			h.behave()
			h.untilProblem(lie.reason)
			out, err := h.run("status")
			if err == nil || !strings.Contains(out, "PROBLEM") {
				t.Errorf("the status command shows no problem: %v\n%s", err, out)
			}
			h.refused() // for good
			h.undisturbed()
			h.stop()
			if lie.accept {
				if out, err := h.run("storage", "accept", "-server", "bad"); err != nil {
					t.Fatalf("accept the store: %v\n%s", err, out)
				}
			}
			if !lie.lost {
				h.start()
				h.recovered()
				h.stop()
			}
		})
	}
}

func (h *badHouse) untilProblem(reason string) {
	h.Helper()
	re := regexp.MustCompile(reason)
	h.until("a problem", func(st manager.Status) bool { return re.MatchString(st.Servers[0].Relay.Problem) })
}

// pretendAndEnd has the plugin acknowledge what it does not store, which nobody
// can know, and end, upon which everybody does.
func (h *badHouse) pretendAndEnd() {
	h.Helper()
	h.store("bad", h.posts("bad", 3, 1000))
	h.plugin().kill()
}

// boastAndEnd has the plugin end and come back with more than it was given. The
// board learns that it is not true when it stores more.
func (h *badHouse) boastAndEnd() {
	h.Helper()
	h.plugin().kill()
	for h.status().Servers[0].Relay.Problem == "" {
		p := h.posts("bad", 1, 1000)
		if h.try("bad", p[0]) { // before the board has looked
			h.acknowledged = append(h.acknowledged, p[0])
		}
	}
}

// readAgain has the plugin read what the relay does not have in memory, and tell
// the reader something else.
func (h *badHouse) readAgain() {
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
