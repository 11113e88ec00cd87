package e2e_test

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestPromise1Reload changes the configuration of the store while clients post:
// it is opened anew in its process, its process is exchanged, and both by three
// commands at once. Every post waits for that and is acknowledged, nothing is lost
// or there twice, and no token can be spent again.
func TestPromise1Reload(t *testing.T) {
	t.Parallel()
	h := newHouse(t, badPlugin(t, `env = ["A=1"]`)+`
		limits { post_timeout = "60s" }
		server "main" {
			storage "badstore" { pages = 4 }
		}
	`)
	h.start()
	a := &account{house: h, state: make(map[string]state)}
	for _, change := range []func(){
		func() { a.change("pages = 4", "pages = 6") },
		func() { a.change("A=1", "A=2") },
		func() { a.change("pages = 6", "pages = 4"); a.change("A=2", "A=1") },
	} {
		change()
		reloaded := make(chan struct{})
		go func() {
			defer close(reloaded)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if out, err := a.run("reload"); err != nil {
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
		a.audit()
	}
	if n := h.status().Servers[0].Storage.Incarnation; n != 4 {
		t.Errorf("the store is in incarnation %d, not in the fourth", n)
	}
	a.spendAgain()
	h.stop()
}

// TestPromise1Withdrawal has a server withdrawn and published again while clients
// post, for limits that a board cannot go over to while it is open. What is
// refused then is not on the board, and its token is worth as much as before.
func TestPromise1Withdrawal(t *testing.T) {
	t.Parallel()
	h := newHouse(t, `
		limits { post_timeout = "60s" }
		server "main" {}
	`)
	h.start()
	a := &account{house: h, state: make(map[string]state)}
	for _, to := range [][2]string{{"60s", "50s"}, {"50s", "60s"}} {
		a.postUntil(func() bool {
			a.change(to[0], to[1])
			a.relay.cmd.Process.Signal(syscall.SIGHUP)
			return true // as far as the clients can tell
		})
		if out, err := a.run("reload"); err != nil { // has to wait for the first
			t.Errorf("reload: %v\n%s", err, out)
		}
		a.excuse()
		a.audit()
		a.postAgain()
	}
	a.audit()
	a.spendAgain()
	h.stop()
}

// excuse takes the posts that were refused for such that may be posted again, if
// they had no effect.
func (a *account) excuse() {
	a.Helper()
	there := a.there()
	for i, p := range a.posts {
		if name := name(p.Envelope); a.state[name] == refused {
			if there[name] > 0 {
				a.Errorf("post %d was refused and is on the board", i)
			}
			a.state[name] = unknown
		}
	}
}

// change replaces a text in the configuration.
func (h *house) change(from, to string) {
	h.Helper()
	text, err := os.ReadFile(h.path("server.hcl"))
	if err != nil {
		h.Fatal(err)
	}
	if !strings.Contains(string(text), from) {
		h.Fatalf("the configuration has no %s", from)
	}
	h.write("server.hcl", strings.ReplaceAll(string(text), from, to))
}
