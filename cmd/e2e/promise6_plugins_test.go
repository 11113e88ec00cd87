package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// badStoreHarness runs two servers in one relay: "bad" uses badstore, which
// misbehaves on demand, and "good" must not notice.
type badStoreHarness struct {
	*harness
	acknowledged []post // on the bad server
}

func newBadStoreHarness(t *testing.T, options ...string) *badStoreHarness {
	t.Helper()
	h := newHarness(t, badstoreConfig(t, options...)+`
		limits { post_timeout = "3s" }
		server "bad" {
			storage "badstore" { fault = "fault" }
		}
		server "good" {}
	`)
	h.start()
	b := &badStoreHarness{harness: h}
	b.storeOnBadServer(5)
	return b
}

// misbehave makes the plugin do something wrong from now on.
func (h *badStoreHarness) misbehave(how string) { h.writeFile(badFault, how) }

func (h *badStoreHarness) behave() { os.Remove(h.path(badFault)) }

// These files instruct badstore. They are in its own directory because it sees no
// other.
const (
	badFault = "data/servers/bad/storage/fault"
	badStart = "data/servers/bad/storage/start" // what to do wrong before the handshake
)

func (h *badStoreHarness) storeOnBadServer(n int) {
	h.Helper()
	posts := h.newPosts("bad", n, 1000)
	h.mustStore("bad", posts)
	h.acknowledged = append(h.acknowledged, posts...)
}

// expectRefused posts to the bad server and expects a refusal.
func (h *badStoreHarness) expectRefused() {
	h.Helper()
	if h.tryPost("bad", h.newPosts("bad", 1, 1000)[0]) {
		h.Error("a post was acknowledged by a plugin that cannot have stored it")
	}
}

// checkGoodServer posts to and reads from the good server.
func (h *badStoreHarness) checkGoodServer() {
	h.Helper()
	before := len(h.readBoard("good"))
	h.mustStore("good", h.newPosts("good", 3, 1000))
	if after := len(h.readBoard("good")); after != before+3 {
		h.Errorf("the good server had %d envelopes and has %d after 3 more", before, after)
	}
}

// awaitRecovery waits until the bad server takes posts again, and checks that it has
// everything it acknowledged.
func (h *badStoreHarness) awaitRecovery() {
	h.Helper()
	for !h.tryPost("bad", h.newPosts("bad", 1, 1000)[0]) {
		if problem := h.status().Servers[0].Relay.Problem; problem != "" {
			h.Fatalf("the board has a problem: %s", problem)
		}
	}
	h.storeOnBadServer(5)
	there := make(map[string]int)
	for _, e := range h.readBoard("bad") {
		there[envelopeKey(e)]++
	}
	for i, p := range h.acknowledged {
		if there[envelopeKey(p.Envelope)] != 1 {
			h.Errorf("post %d was acknowledged and is there %d times", i, there[envelopeKey(p.Envelope)])
		}
	}
}

// TestPromise6PluginsMayFail makes a plugin fail in every way from which it can
// recover. Posts are refused after a bounded time, the relay and the other server do
// not notice, and afterwards all is well.
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
			h := newBadStoreHarness(t)
			h.misbehave(how)
			h.expectRefused()
			h.checkGoodServer()
			if _, err := h.relay.log.await(complaint); err != nil {
				t.Error(err)
			}
			h.behave()
			h.awaitRecovery()
			h.stop()
		})
	}
}

// TestPromise6PluginsMayTalk makes a plugin log and print too much. Its server works
// meanwhile.
func TestPromise6PluginsMayTalk(t *testing.T) {
	t.Parallel()
	h := newBadStoreHarness(t)
	t.Run("flood", func(t *testing.T) {
		h.misbehave("flood")
		h.storeOnBadServer(1)
		h.checkGoodServer()
		if _, err := h.relay.log.await(`lines were left out`); err != nil {
			t.Error(err)
		}
		h.storeOnBadServer(1)
		h.behave()
		if n := strings.Count(h.relay.log.String(), "a flood of words"); n > 10_000 {
			t.Errorf("%d lines of the flood are in the log", n)
		}
		h.awaitRecovery()
	})
	t.Run("print", func(t *testing.T) {
		h.misbehave("print")
		h.storeOnBadServer(1)
		h.checkGoodServer()
		h.behave()
		h.awaitRecovery()
	})
	h.stop()
}

// TestPromise6PluginsMayRefuseToEnd makes a plugin answer neither posts nor the
// calls that ask it to end. The relay ends all the same, reports the plugin, and
// leaves nothing of it running.
func TestPromise6PluginsMayRefuseToEnd(t *testing.T) {
	t.Parallel()
	h := newBadStoreHarness(t)
	h.misbehave("stubborn")
	h.expectRefused()
	h.checkGoodServer()
	plugin := h.storagePlugin()
	if err := h.relay.terminate(); err == nil {
		t.Error("the relay does not tell by its exit status that a plugin had to be killed")
	}
	if log := h.relay.log.String(); !strings.Contains(log, "did not close in time and was killed") {
		t.Error("the log does not say that a plugin had to be killed")
	}
	if err := plugin.awaitExit(h.ctx); err != nil {
		t.Error(err)
	}
	h.behave()
	h.start()
	h.awaitRecovery()
	h.stop()
}

// TestPromise6PluginsMayFork makes a plugin start another program. With a grant the
// program ends with the plugin, even when that is killed. Without a grant it does
// not start.
func TestPromise6PluginsMayFork(t *testing.T) {
	t.Parallel()
	t.Run("granted", func(t *testing.T) {
		t.Parallel()
		h := newBadStoreHarness(t, "sandbox { processes = true }")
		h.misbehave("escape") // leaving the process group is never granted
		h.storeOnBadServer(1)
		if _, err := h.relay.log.await(`msg="told to fork and could not".*operation not permitted`); err != nil {
			t.Error(err)
		}
		h.misbehave("fork")
		h.storeOnBadServer(1)
		h.behave()
		plugin := h.storagePlugin()
		children, err := descendants(plugin.pid)
		if err != nil || len(children) != 1 {
			t.Fatalf("the plugin has %d children, not 1: %v", len(children), err)
		}
		h.checkGoodServer()
		plugin.kill()
		if err := children[0].awaitExit(h.ctx); err != nil {
			t.Error(err)
		}
		children[0].close()
		h.awaitRecovery()
		h.stop()
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		h := newBadStoreHarness(t)
		h.misbehave("fork")
		h.storeOnBadServer(1)
		if _, err := h.relay.log.await(`msg="told to fork and could not".*operation not permitted`); err != nil {
			t.Error(err)
		}
		h.checkGoodServer()
		h.behave()
		h.awaitRecovery()
		h.stop()
	})
}

// badstoreConfig declares the badstore plugin, with further options in its block.
func badstoreConfig(t *testing.T, options ...string) string {
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
  args     = ["$DIR/%s"]
  %s
}
`, path, sha256.Sum256(content), badStart, strings.Join(options, "\n"))
}
