package e2e_test

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestPromise1Reload changes the configuration of the store while clients post.
// First the process reopens the store, then the process is replaced, then three
// commands at once do both. Every post waits and is acknowledged, none is lost or
// stored twice, and no token can be spent again.
func TestPromise1Reload(t *testing.T) {
	t.Parallel()
	h := newHarness(t, badstoreConfig(t, `env = ["A=1"]`)+`
		limits { post_timeout = "60s" }
		server "main" {
			storage "badstore" { pages = 4 }
		}
	`)
	h.start()
	a := &postRecorder{harness: h, state: make(map[string]postState)}
	for _, change := range []func(){
		func() { a.replaceInConfig("pages = 4", "pages = 6") },
		func() { a.replaceInConfig("A=1", "A=2") },
		func() { a.replaceInConfig("pages = 6", "pages = 4"); a.replaceInConfig("A=2", "A=1") },
	} {
		change()
		reloaded := make(chan struct{})
		go func() {
			defer close(reloaded)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if out, err := a.runRelay("reload"); err != nil {
						a.Errorf("reload: %v\n%s", err, out)
					}
				})
			}
			wg.Wait()
		}()
		for under := true; under; {
			select {
			case <-reloaded:
				under = false
			default:
			}
			a.postUntil(func() bool { return false })
		}
		a.checkBoard()
	}
	if n := h.status().Servers[0].Storage.Incarnation; n != 4 {
		t.Errorf("the store is in incarnation %d, not in the fourth", n)
	}
	a.reuseTokens()
	h.stop()
}

// TestPromise1RepublishWhilePosting changes a limit that needs a closed board, so
// the relay withdraws and republishes the server while clients post. A post that is
// refused meanwhile is not on the board, and its token is still unspent.
func TestPromise1RepublishWhilePosting(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `
		limits { post_timeout = "60s" }
		server "main" {}
	`)
	h.start()
	a := &postRecorder{harness: h, state: make(map[string]postState)}
	for _, to := range [][2]string{{"60s", "50s"}, {"50s", "60s"}} {
		a.postUntil(func() bool {
			a.replaceInConfig(to[0], to[1])
			a.relay.cmd.Process.Signal(syscall.SIGHUP)
			return true // as far as the clients can tell
		})
		if out, err := a.runRelay("reload"); err != nil { // waits for the first reload
			t.Errorf("reload: %v\n%s", err, out)
		}
		a.allowRetryOfRefused()
		a.checkBoard()
		a.retryUnknown()
	}
	a.checkBoard()
	a.reuseTokens()
	h.stop()
}

// allowRetryOfRefused checks that refused posts had no effect and marks them for
// another attempt.
func (a *postRecorder) allowRetryOfRefused() {
	a.Helper()
	there := a.countOnBoard()
	for i, p := range a.posts {
		if name := envelopeKey(p.Envelope); a.state[name] == refused {
			if there[name] > 0 {
				a.Errorf("post %d was refused and is on the board", i)
			}
			a.state[name] = unknown
		}
	}
}

// replaceInConfig replaces a text in the configuration.
func (h *harness) replaceInConfig(from, to string) {
	h.Helper()
	text, err := os.ReadFile(h.path("server.hcl"))
	if err != nil {
		h.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		h.Fatalf("the configuration has no %s", from)
	}
	h.writeFile("server.hcl", strings.ReplaceAll(string(text), from, to))
}
