package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// badHouse has a server on the plugin that misbehaves on demand, and another one
// in the same process that must not notice.
type badHouse struct {
	*house
	acknowledged []post // on the bad server
}

func newBadHouse(t *testing.T) *badHouse {
	t.Helper()
	h := newHouse(t, badPlugin(t)+`
		limits { post_timeout = "3s" }
		server "bad" {
			storage "badstore" { fault = "fault" }
		}
		server "good" {}
	`)
	h.start()
	b := &badHouse{house: h}
	b.storeBad(5)
	return b
}

// misbehave has the plugin do something wrong from now on.
func (h *badHouse) misbehave(how string) { h.write(badFault, how) }

func (h *badHouse) behave() { os.Remove(h.path(badFault)) }

// badFault is in the directory of the plugin, since it sees no other.
const badFault = "data/servers/bad/storage/fault"

func (h *badHouse) storeBad(n int) {
	h.Helper()
	posts := h.posts("bad", n, 1000)
	h.store("bad", posts)
	h.acknowledged = append(h.acknowledged, posts...)
}

// refused posts to the bad server and insists on being told no.
func (h *badHouse) refused() {
	h.Helper()
	if h.try("bad", h.posts("bad", 1, 1000)[0]) {
		h.Error("a post was acknowledged by a plugin that can not have stored it")
	}
}

// undisturbed uses the other server.
func (h *badHouse) undisturbed() {
	h.Helper()
	before := len(h.log("good"))
	h.store("good", h.posts("good", 3, 1000))
	if after := len(h.log("good")); after != before+3 {
		h.Errorf("the good server had %d envelopes and has %d after 3 more", before, after)
	}
}

// recovered waits until the bad server takes posts again, and looks for
// everything that it has acknowledged.
func (h *badHouse) recovered() {
	h.Helper()
	for !h.try("bad", h.posts("bad", 1, 1000)[0]) {
		if problem := h.status().Servers[0].Relay.Problem; problem != "" {
			h.Fatalf("the board has a problem: %s", problem)
		}
	}
	h.storeBad(5)
	there := make(map[string]int)
	for _, e := range h.log("bad") {
		there[name(e)]++
	}
	for i, p := range h.acknowledged {
		if there[name(p.Envelope)] != 1 {
			h.Errorf("post %d was acknowledged and is there %d times", i, there[name(p.Envelope)])
		}
	}
}

// TestPromise6PluginsMayFail has a plugin fail in every way that it can come
// back from. Posts are refused after a bounded time, the relay and its other
// server do not notice, and afterwards all is well.
func TestPromise6PluginsMayFail(t *testing.T) {
	t.Parallel()
	h := newBadHouse(t)
	for _, how := range []string{"crash", "hang"} {
		t.Run(how, func(t *testing.T) {
			h.misbehave(how)
			h.refused()
			h.undisturbed()
			h.refused()
			h.behave()
			h.recovered()
		})
	}
	if !strings.Contains(h.relay.log.String(), `msg="plugin ended; it is started again" server=bad plugin=storage/badstore error="exit status 3`) {
		t.Error("the log does not say that the plugin has crashed")
	}

	// One that only talks too much can be used meanwhile.
	t.Run("flood", func(t *testing.T) {
		h.misbehave("flood")
		h.storeBad(1)
		h.undisturbed()
		h.behave()
		if _, err := h.relay.log.await(`lines were left out`); err != nil {
			t.Error(err)
		}
		if n := strings.Count(h.relay.log.String(), "a flood of words"); n > 10_000 {
			t.Errorf("%d lines of the flood are in the log", n)
		}
		h.recovered()
	})
	t.Run("print", func(t *testing.T) {
		h.misbehave("print")
		h.storeBad(1)
		h.undisturbed()
		h.behave()
		h.recovered()
	})
	h.stop()
}

// TestPromise6LiesEndABoard has a plugin contradict what it said before. There is
// nothing to wait for then: the board refuses to serve and says why, until its
// operator has looked at it.
func TestPromise6LiesEndABoard(t *testing.T) {
	for how, reason := range map[string]string{
		"count":  "2 outcomes for 1 records",
		"rewind": "store is damaged",
		"forget": "acknowledged envelopes are gone",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := newBadHouse(t)
			h.misbehave(how)
			h.refused()
			h.undisturbed()
			h.behave()
			h.until("a problem", func(st manager.Status) bool { return strings.Contains(st.Servers[0].Relay.Problem, reason) })
			out, err := h.run("status")
			if err != nil || !strings.Contains(out, "PROBLEM") {
				t.Errorf("the status command shows no problem: %v\n%s", err, out)
			}
			h.refused() // for good
			h.undisturbed()
			h.stop()
			if how != "forget" { // the store has everything
				h.start()
				h.recovered()
				h.stop()
			}
		})
	}
}

// badPlugin declares the plugin.
func badPlugin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(bin, "badstore")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
plugin "storage" "badstore" {
  path     = %q
  checksum = "sha256:%x"
}
`, path, sha256.Sum256(content))
}
