package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// badHouse has a server on the plugin that misbehaves on demand, and another one
// in the same process that must not notice.
type badHouse struct {
	*house
	acknowledged []post // on the bad server
}

func newBadHouse(t *testing.T, options ...string) *badHouse {
	t.Helper()
	h := newHouse(t, badPlugin(t, options...)+`
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

// What badstore is told by is in its own directory, since it sees no other.
const (
	badFault = "data/servers/bad/storage/fault"
	badStart = "data/servers/bad/storage/start" // what to do wrong before the handshake
)

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
		h.Error("a post was acknowledged by a plugin that cannot have stored it")
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
	for how, complaint := range map[string]string{
		"crash":  `msg="plugin ended; it is started again" server=bad plugin=storage/badstore error="exit status 3`,
		"fatal":  `msg="plugin ended; it is started again" server=bad plugin=storage/badstore error="exit status 2: panic: told to panic aside`,
		"panic":  `level=ERROR msg="?panic.* server=bad plugin=storage/badstore .*told to panic in append`,
		"hang":   `level=WARN msg="posts are refused, because of the store" server=bad count=1 error=".*deadline exceeded`,
		"hangup": `msg="plugin ended; it is started again" server=bad plugin=storage/badstore`,
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			h := newBadHouse(t)
			h.misbehave(how)
			h.refused()
			h.undisturbed()
			if _, err := h.relay.log.await(complaint); err != nil {
				t.Error(err)
			}
			h.behave()
			h.recovered()
			h.stop()
		})
	}
}

// TestPromise6PluginsMayTalk has a plugin talk too much. It can be used
// meanwhile.
func TestPromise6PluginsMayTalk(t *testing.T) {
	t.Parallel()
	h := newBadHouse(t)
	t.Run("flood", func(t *testing.T) {
		h.misbehave("flood")
		h.storeBad(1)
		h.undisturbed()
		if _, err := h.relay.log.await(`lines were left out`); err != nil {
			t.Error(err)
		}
		h.storeBad(1)
		h.behave()
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

// TestPromise6PluginsMayRefuseToEnd has a plugin answer neither a post nor the
// calls by which it is asked to end. The relay ends all the same, tells that the
// plugin did not, and nothing of it is left.
func TestPromise6PluginsMayRefuseToEnd(t *testing.T) {
	t.Parallel()
	h := newBadHouse(t)
	h.misbehave("stubborn")
	h.refused()
	h.undisturbed()
	plugin := h.plugin()
	if err := h.relay.terminate(); err == nil {
		t.Error("the relay does not tell by its exit status that a plugin had to be killed")
	}
	if log := h.relay.log.String(); !strings.Contains(log, "did not close in time and was killed") {
		t.Error("the log does not say that a plugin had to be killed")
	}
	if err := plugin.gone(h.ctx); err != nil {
		t.Error(err)
	}
	h.behave()
	h.start()
	h.recovered()
	h.stop()
}

// TestPromise6PluginsMayFork has a plugin start a program that outlives the call.
// It ends with the plugin, however that ends. Without a grant there is none.
func TestPromise6PluginsMayFork(t *testing.T) {
	t.Parallel()
	t.Run("granted", func(t *testing.T) {
		t.Parallel()
		h := newBadHouse(t, "sandbox { processes = true }")
		h.misbehave("escape") // from the group by which it is found, which is not granted
		h.storeBad(1)
		if _, err := h.relay.log.await(`msg="told to fork and could not".*operation not permitted`); err != nil {
			t.Error(err)
		}
		h.misbehave("fork")
		h.storeBad(1)
		h.behave()
		plugin := h.plugin()
		children, err := descendants(plugin.pid)
		if err != nil || len(children) != 1 {
			t.Fatalf("the plugin has %d children, not 1: %v", len(children), err)
		}
		h.undisturbed()
		plugin.kill()
		if err := children[0].gone(h.ctx); err != nil {
			t.Error(err)
		}
		children[0].close()
		h.recovered()
		h.stop()
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		h := newBadHouse(t)
		h.misbehave("fork")
		h.storeBad(1)
		if _, err := h.relay.log.await(`msg="told to fork and could not".*operation not permitted`); err != nil {
			t.Error(err)
		}
		h.undisturbed()
		h.behave()
		h.recovered()
		h.stop()
	})
}

// badPlugin declares the plugin, with more options of its block.
func badPlugin(t *testing.T, options ...string) string {
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
  args     = ["$HOUSE/%s"]
  %s
}
`, path, sha256.Sum256(content), badStart, strings.Join(options, "\n"))
}
