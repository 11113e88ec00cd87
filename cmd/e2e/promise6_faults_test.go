package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// faulty declares the bolt plugin behind a proxy that misbehaves, and a server
// "bad" that uses it beside a server "good" that must not notice.
func faulty(seed int, mix string) string {
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

// TestPromise6Faults lets answers of the store come late, get lost or never come,
// and the store die at any time, as a seed decides. What was acknowledged must be
// in the file afterwards, once.
func TestPromise6Faults(t *testing.T) {
	t.Parallel()
	const posts = 40
	for seed := range 2 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, faulty(seed, "delay=0.05,fail=0.1,cut=0.15,duplicate=0.1,crash=0.03,hang=0.01"))
			h.start()
			acknowledged := make(map[string]bool)
			for _, p := range h.posts("bad", posts, 1000) {
				if h.try("bad", p) {
					acknowledged[name(p.Envelope)] = true
				}
			}
			h.store("good", h.posts("good", 3, 1000))
			faults := strings.Count(h.relay.log.String(), "msg=fault")
			h.stop()

			// The same file without the proxy in front.
			h.write("server.hcl", `
				network "loopback" { registry = "net" }
				server "bad" {}
				server "good" {}
			`)
			h.start()
			there := make(map[string]int)
			for _, e := range h.log("bad") {
				there[name(e)]++
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

// TestPromise6Lies garbles answers. A relay cannot tell every such answer from
// a true one, but it must stay up, and a server that met an impossible one
// refuses posts and says why.
func TestPromise6Lies(t *testing.T) {
	t.Parallel()
	for _, lie := range []string{"corrupt", "truncate", "huge"} {
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, faulty(1, lie+"=0.5"))
			h.start()
			problem := func() string { return h.status().Servers[0].Relay.Problem }
			for _, p := range h.posts("bad", 60, 1000) {
				if problem() != "" {
					break
				}
				h.try("bad", p)
			}
			if problem() == "" {
				t.Error("sixty posts to a store half of whose answers are garbled, and the server has no problem")
			}
			if h.try("bad", h.posts("bad", 1, 1000)[0]) {
				t.Error("a server that has given up its store acknowledges a post")
			}
			h.store("good", h.posts("good", 3, 1000))
		})
	}
}
