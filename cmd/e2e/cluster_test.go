package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestClusterHeals kills relays, stores and sync plugins of three replicas at random moments
// while clients post at all of them. Once all run again, whatever any relay has acknowledged is
// on every board, the boards are equal, and they hold nothing twice and nothing that nobody
// posted. The boards have no retention, so their floors are 0. Each round kills one process of
// each kind.
func TestClusterHeals(t *testing.T) {
	t.Parallel()
	startCluster(t, nil).killAndHeal(killRounds(t))
}

// TestClusterHealsOverTor is TestClusterHeals over a private Tor network. Each relay has a tor
// of its own, which dies with it.
func TestClusterHealsOverTor(t *testing.T) {
	t.Parallel()
	startCluster(t, tornet.ForTest(t)).killAndHeal(killRounds(t))
}

// cluster is three relays with replicas of one board, and what clients post there.
type cluster struct {
	testing.TB
	relays []*harness
	blocks string // of the configuration, besides servers
	killed map[string]int

	mu           sync.Mutex
	posted       map[storage.ID]bool // whether it was acknowledged
	acknowledged int
	answers      int
	due          int           // the number of answers for which somebody waits
	reached      chan struct{} // closed then
}

// startCluster starts three relays on a network of Tor, or on the loopback network if that is
// nil, and tells each of the others.
func startCluster(t testing.TB, network *tornet.Network) *cluster {
	c := &cluster{TB: t, posted: make(map[storage.ID]bool), killed: make(map[string]int)}
	c.blocks = "network \"loopback\" { registry = \"net\" }\n"
	if network != nil {
		var torrc strings.Builder
		for _, line := range network.ClientTorrc() {
			fmt.Fprintf(&torrc, "%s,\n", strconv.Quote(line))
		}
		c.blocks = "network \"tor\" { torrc = [" + torrc.String() + "] }\n"
	}
	c.blocks += "log { level = \"debug\" }\n"
	for range 3 {
		h := newHarness(t, "")
		switch {
		case network != nil:
			if err := network.Seed(h.path("data", "tor")); err != nil {
				t.Fatal(err)
			}
		case len(c.relays) > 0: // one registry for all
			os.Remove(h.path("net"))
			if err := os.Symlink(c.relays[0].path("net"), h.path("net")); err != nil {
				t.Fatal(err)
			}
		}
		h.net = socketNetwork{h.net, h.path("data", "servers", "main")}
		h.writeFile("server.hcl", c.blocks+"server \"main\" {\n peersync \"mesh\" {}\n}\n")
		h.start()
		c.relays = append(c.relays, h)
	}
	for i, h := range c.relays {
		h.writeFile("server.hcl", c.blocks+"server \"main\" {\n peersync \"mesh\" {}\n"+c.peersOf(i)+"}\n")
		if out, err := h.runRelay("reload"); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
	}
	for _, h := range c.relays {
		h.awaitStatus("links", func(st manager.Status) bool { return allUp(linksOf(st)) })
	}
	return c
}

// socketNetwork reaches the services of a server on this machine without its network.
type socketNetwork struct {
	onion.Network
	dir string
}

func (n socketNetwork) Dial(ctx context.Context, service identity.Onion, _ int) (net.Conn, error) {
	return onion.DialSocket(ctx, n.dir, service)
}

// peersOf returns the peer blocks of a relay.
func (c *cluster) peersOf(n int) string {
	var blocks strings.Builder
	for i, other := range c.relays {
		if i != n {
			fmt.Fprintf(&blocks, "peer \"relay-%d\" {\n onion = \"%s.onion\"\n envelopes_per_hour = 1000000\n}\n", i, other.loadKeys("main").Board.Onion())
		}
	}
	return blocks.String()
}

// killAndHeal kills processes while clients post, and checks the boards when all run again.
func (c *cluster) killAndHeal(rounds int) {
	ctx, cancel := context.WithTimeout(c.Context(), patience+time.Duration(rounds)*time.Minute)
	c.Cleanup(cancel)
	for _, h := range c.relays {
		h.ctx = ctx
	}
	seed := rand.Uint64()
	c.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	done := make(chan struct{})
	var posters sync.WaitGroup
	for _, h := range c.relays {
		posters.Go(func() { c.postUntil(h, done) })
	}
	for range rounds {
		for _, what := range []string{"relay", "store", "sync"} {
			c.awaitAnswers(1 + random.IntN(80))
			c.kill(random.IntN(len(c.relays)), what)
		}
	}
	c.awaitAnswers(1)
	close(done)
	posters.Wait()
	begun := time.Now()
	board := c.awaitEqual()
	c.Logf("after %d rounds (%v), %d envelopes were acknowledged; the boards hold %d, equal %.1f s after the last post",
		rounds, c.killed, c.acknowledged, len(board), time.Since(begun).Seconds())
	c.checkBoard(board)
}

// kill kills a process of a relay. A relay is started again, plugins are by their relay.
func (c *cluster) kill(n int, what string) {
	c.Helper()
	h := c.relays[n]
	// A relay gives up a plugin that has failed ten times in ten minutes.
	name := fmt.Sprintf("%s %d", what, n)
	if what != "relay" && c.killed[name] > 0 && c.killed[name]%8 == 0 {
		c.kill(n, "relay")
	}
	c.killed[name]++
	switch what {
	case "relay":
		h.relay.kill()
		h.start()
	case "store":
		h.storagePlugin().kill()
	case "sync":
		h.syncPlugin().kill()
	}
}

// syncPlugin returns the process of the peersync plugin. If that has just ended, it waits for
// the next one.
func (h *harness) syncPlugin() (o *foreignProcess) {
	h.Helper()
	h.awaitStatus("a peersync plugin", func(st manager.Status) bool {
		if len(st.Servers[0].Others) != 1 || st.Servers[0].Others[0].PID == 0 {
			return false
		}
		var err error
		o, err = openProcess(st.Servers[0].Others[0].PID)
		return err == nil
	})
	h.Cleanup(o.close)
	return o
}

// postUntil posts small batches at a relay until done is closed. What was not answered because
// the relay died is posted again, with the same token.
func (c *cluster) postUntil(h *harness, done <-chan struct{}) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var posts []post
	for {
		select {
		case <-done:
			return
		case <-h.ctx.Done():
			return
		case <-tick.C:
		}
		if len(posts) == 0 {
			posts = h.newPosts("main", 8, 500)
			c.notePosted(posts)
		}
		answered := 0
		h.submit("main", posts, len(posts), func(i int, success bool) { // its error is that the relay has died
			answered++
			c.noteAnswer(posts[i], success)
		})
		posts = posts[answered:]
	}
}

func envelopeID(e wire.Envelope) storage.ID { return storage.NewID(e.Signature, e.Ciphertext) }

func (c *cluster) notePosted(posts []post) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range posts {
		c.posted[envelopeID(p.Envelope)] = false
	}
}

func (c *cluster) noteAnswer(p post, success bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if success {
		c.posted[envelopeID(p.Envelope)] = true
		c.acknowledged++
	}
	if c.answers++; c.answers == c.due {
		close(c.reached)
	}
}

// awaitAnswers waits for n more answers to posts, at any relay.
func (c *cluster) awaitAnswers(n int) {
	c.Helper()
	c.mu.Lock()
	c.due, c.reached = c.answers+n, make(chan struct{})
	reached := c.reached
	c.mu.Unlock()
	select {
	case <-reached:
	case <-c.relays[0].ctx.Done():
		c.Fatal("no answers come")
	}
}

// awaitEqual waits until all boards are equal and hold what was acknowledged, and returns them.
func (c *cluster) awaitEqual() map[storage.ID]int {
	c.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		var boards []map[storage.ID]int
		for _, h := range c.relays {
			boards = append(boards, h.countBoard())
		}
		if maps.Equal(boards[0], boards[1]) && maps.Equal(boards[0], boards[2]) && c.countMissing(boards[0]) == 0 {
			return boards[0]
		}
		select {
		case <-tick.C:
		case <-c.relays[0].ctx.Done():
			for i, h := range c.relays {
				out, _ := h.runRelay("status")
				c.Logf("relay %d has %d envelopes and lacks %d that were acknowledged\n%s", i, len(boards[i]), c.countMissing(boards[i]), out)
			}
			c.Fatal("the boards do not become equal")
		}
	}
}

// countBoard counts each envelope of a board.
func (h *harness) countBoard() map[storage.ID]int {
	h.Helper()
	found := make(map[storage.ID]int)
	for _, e := range h.readBoard("main") {
		found[envelopeID(e)]++
	}
	return found
}

// countMissing counts what was acknowledged somewhere and is not on a board.
func (c *cluster) countMissing(board map[storage.ID]int) (missing int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, acknowledged := range c.posted {
		if acknowledged && board[id] == 0 {
			missing++
		}
	}
	return missing
}

// checkBoard checks that a board holds nothing twice, and nothing that nobody posted.
func (c *cluster) checkBoard(board map[storage.ID]int) {
	c.Helper()
	for id, count := range board {
		if count > 1 {
			c.Errorf("an envelope is on the boards %d times", count)
		}
		if _, ok := c.posted[id]; !ok {
			c.Error("an envelope is on the boards that nobody posted")
		}
	}
}
