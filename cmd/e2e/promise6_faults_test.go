package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// faultyBoltConfig declares the bolt plugin behind cwtch-fault, a server "bad" that
// uses it, and a server "good" that must not notice.
func faultyBoltConfig(seed int, mix string) string {
	return fmt.Sprintf(`
		limits { post_timeout = "2s" }
		plugin "storage" "faulty_bolt" {
			path = %q
			args = ["-seed", "%d", "-after", "10", "-mix", %q, "--", %q, "plugin-serve", "storage", "bolt"]
			dev  = true
			sandbox { enabled = false } # it starts another program
		}
		server "bad" {
			storage "faulty_bolt" {}
		}
		server "good" {}
	`, filepath.Join(bin, "cwtch-fault"), seed, mix, filepath.Join(bin, "cwtch-relay"))
}

// TestPromise6Faults delays, loses and withholds answers of the store, and kills it,
// as a seed decides. Afterwards every acknowledged envelope must be in the file,
// once.
func TestPromise6Faults(t *testing.T) {
	t.Parallel()
	const posts = 40
	for seed := range 2 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, faultyBoltConfig(seed, "delay=0.05,fail=0.1,cut=0.15,duplicate=0.1,crash=0.03,hang=0.01"))
			h.start()
			acknowledged := make(map[string]bool)
			for _, p := range h.newPosts("bad", posts, 1000) {
				if h.tryPost("bad", p) {
					acknowledged[envelopeKey(p.Envelope)] = true
				}
			}
			h.mustStore("good", h.newPosts("good", 3, 1000))
			faults := strings.Count(h.relay.log.String(), "msg=fault")
			h.stop()

			// The same file, without the proxy.
			h.writeFile("server.hcl", `
				network "loopback" { registry = "net" }
				server "bad" {}
				server "good" {}
			`)
			h.start()
			there := make(map[string]int)
			for _, e := range h.readBoard("bad") {
				there[envelopeKey(e)]++
			}
			for id := range acknowledged {
				if there[id] != 1 {
					t.Errorf("an envelope was acknowledged and is there %d times", there[id])
				}
			}
			t.Logf("%d of %d posts were acknowledged, %d are there, in spite of %d faults", len(acknowledged), posts, len(there), faults)
			if len(acknowledged) < posts/4 || faults < posts/4 {
				t.Error("nearly nothing was acknowledged, or nearly nothing went wrong: the test shows little")
			}
		})
	}
}

// TestPromise6Lies garbles answers of the store. The relay cannot tell every garbled
// answer from a true one. But it must stay up, and a server that meets an impossible
// answer must refuse posts and say why.
func TestPromise6Lies(t *testing.T) {
	t.Parallel()
	for _, lie := range []string{"corrupt", "truncate", "huge"} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, faultyBoltConfig(1, lie+"=0.5"))
			h.start()
			problem := func() string { return h.status().Servers[0].Relay.Problem }
			for _, p := range h.newPosts("bad", 60, 1000) {
				if problem() != "" {
					break
				}
				h.tryPost("bad", p)
			}
			if problem() == "" {
				t.Error("sixty posts to a store half of whose answers are garbled, and the server has no problem")
			}
			if h.tryPost("bad", h.newPosts("bad", 1, 1000)[0]) {
				t.Error("a server that has given up its store acknowledges a post")
			}
			h.mustStore("good", h.newPosts("good", 3, 1000))
		})
	}
}
