package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
)

// replicas are relays with a replica each of one board, on one network.
type replicas struct {
	testing.TB
	relays []*harness
	posted map[string]bool // acknowledged somewhere
}

const feedPlugin = `
	plugin "peersync" "testfeed" {
		path = "%s/testfeed"
		dev  = true
	}
	server "main" {
		peersync "testfeed" {}
		# peers
	}
`

// startReplicas starts n relays and then tells each of the others.
func startReplicas(t testing.TB, n int) *replicas {
	c := &replicas{TB: t, posted: make(map[string]bool)}
	for range n {
		h := newHarness(t, fmt.Sprintf(feedPlugin, bin))
		if len(c.relays) > 0 { // one registry for all
			os.Remove(h.path("net"))
			if err := os.Symlink(c.relays[0].path("net"), h.path("net")); err != nil {
				t.Fatal(err)
			}
		}
		h.start()
		c.relays = append(c.relays, h)
	}
	for i := range c.relays {
		c.setPeers(i, "")
	}
	return c
}

// setPeers tells a relay of all others, each with an option, by a reload.
func (c *replicas) setPeers(n int, option string) {
	c.Helper()
	h := c.relays[n]
	var blocks strings.Builder
	for i, other := range c.relays {
		if i != n {
			fmt.Fprintf(&blocks, "\tpeer \"relay-%d\" {\n\tonion = \"%s.onion\"\n%s\n\t}\n", i, other.loadKeys("main").Board.Onion(), option)
		}
	}
	text := fmt.Sprintf("network \"loopback\" { registry = \"net\" }\nlog { level = \"debug\" }\n"+feedPlugin, bin)
	h.writeFile("server.hcl", strings.Replace(text, "# peers", blocks.String(), 1))
	if out, err := h.runRelay("reload"); err != nil {
		c.Fatalf("reload: %v\n%s", err, out)
	}
}

// post posts n envelopes at each relay of a list.
func (c *replicas) post(n int, relays ...int) {
	c.Helper()
	for _, i := range relays {
		posts := c.relays[i].newPosts("main", n, 2000)
		c.relays[i].mustStore("main", posts)
		for _, p := range posts {
			c.posted[envelopeKey(p.Envelope)] = true
		}
	}
}

// linksOf returns the links of a relay.
func linksOf(st manager.Status) []replica.LinkStatus {
	if others := st.Servers[0].Others; len(others) == 1 && others[0].Replication != nil {
		return others[0].Replication.Links
	}
	return nil
}

func allUp(links []replica.LinkStatus) bool {
	return len(links) > 0 && !slices.ContainsFunc(links, func(l replica.LinkStatus) bool { return l.State != "up" })
}

// awaitEqual waits until the boards of all relays hold what was posted anywhere, and checks that
// they hold nothing else, and nothing twice.
func (c *replicas) awaitEqual(when string) {
	c.Helper()
	for _, h := range c.relays {
		h.awaitStatus(fmt.Sprintf("%s: %d envelopes", when, len(c.posted)), func(st manager.Status) bool {
			r := st.Servers[0].Relay
			return r != nil && r.Store != nil && r.Store.Envelopes >= uint64(len(c.posted))
		})
		found := h.readBoard("main")
		seen := make(map[string]bool)
		for _, e := range found {
			if !c.posted[envelopeKey(e)] || seen[envelopeKey(e)] {
				c.Errorf("%s: a board holds an envelope that nobody posted, or one twice", when)
			}
			seen[envelopeKey(e)] = true
		}
		if len(seen) != len(c.posted) {
			c.Errorf("%s: a board holds %d of %d envelopes", when, len(seen), len(c.posted))
		}
	}
}

// TestRelaysReplicate has three relays with a small replicator. What is posted at one is at all in
// the end: after a pause, after the store of one was killed, and after a relay was.
func TestRelaysReplicate(t *testing.T) {
	t.Parallel()
	c := startReplicas(t, 3)
	c.post(100, 0)
	for _, h := range c.relays {
		h.awaitStatus("links", func(st manager.Status) bool { return allUp(linksOf(st)) })
	}
	c.post(30, 0, 1, 2)
	c.awaitEqual("at first")
	reader := c.relays[2].connect("main")
	if err := reader.Sync(c.relays[2].ctx, nil, func(client.Event) error { return nil }); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c.post(1, 0)
	for e, err := reader.Next(c.relays[2].ctx); ; e, err = reader.Next(c.relays[2].ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == client.New {
			t.Logf("a post at one relay reached a reader of another %v later", time.Since(begin))
			break
		}
	}

	c.setPeers(2, "paused = true")
	c.post(20, 0, 1, 2)
	for _, l := range linksOf(c.relays[2].status()) {
		if l.State != "paused" {
			t.Errorf("a link that is paused: %+v", l)
		}
	}
	c.setPeers(2, "")
	c.awaitEqual("after a pause")

	store := c.relays[1].storagePlugin()
	syscall.Kill(store.pid, syscall.SIGKILL)
	c.post(20, 0, 1, 2)
	c.awaitEqual("after the death of a store")

	c.relays[0].relay.kill()
	c.post(20, 1, 2)
	c.relays[0].start()
	c.awaitEqual("after the death of a relay")
	if out, err := c.relays[0].runRelay("status"); err != nil || !strings.Contains(out, "peer relay-1 is up since") {
		t.Errorf("status: %v\n%s", err, out)
	}
}
