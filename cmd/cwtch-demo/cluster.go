package main

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// group is the group of the cluster.
const group = "night shift"

// clusterConfig is the configuration of a relay of the cluster, before its peers.
const clusterConfig = `network "tor" {}
server "main" {
  peersync "mesh" {}
}
`

// cluster is three relays that replicate, and the member who hosts each.
type cluster struct {
	*demo
	nodes []*node
	texts []string // that were posted to the group
	count int      // envelopes that were posted to the boards
}

// node is a relay of the cluster, with the member who hosts it.
type node struct {
	*host
	person
	text   string // of the bundle
	bundle bundle.Bundle
}

// showCluster shows a group that lives on the relays of its members.
func showCluster(ctx context.Context, s *demo) error {
	c := &cluster{demo: s}
	for _, step := range []func(context.Context) error{
		c.startNodes, c.linkNodes, c.startGroup, c.measureDelays, c.cutOffCarol, c.stopAllButBob,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if s.failed != nil {
			return s.failed
		}
	}
	return nil
}

// startNodes starts a relay for each of three people.
func (c *cluster) startNodes(ctx context.Context) error {
	c.announce("Alice, Bob and Carol host a relay each, with the plugin \"mesh\" that replicates.\nEach relay runs a Tor of its own.")
	for _, name := range []string{"alice", "bob", "carol"} {
		h, err := c.addHost(name)
		if err != nil {
			return err
		}
		n := &node{host: h, person: c.addPerson(name)}
		c.nodes = append(c.nodes, n)
		if err := h.writeConfig(clusterConfig); err != nil {
			return err
		}
		if n.text, err = h.startRelay(ctx); err != nil {
			return err
		}
		if n.bundle, err = bundle.Parse(n.text); err != nil {
			return err
		}
	}
	return nil
}

// linkNodes tells each relay of the others.
func (c *cluster) linkNodes(ctx context.Context) error {
	c.announce("They exchange the addresses of their boards. Each adds the other two to server.hcl,\nas blocks like  peer %q { onion = \"….onion\" }", c.nodes[1].host.name)
	for _, n := range c.nodes {
		if err := c.setPeers(ctx, n, false); err != nil {
			return err
		}
	}
	return c.awaitLinks(ctx, time.Minute, "up", c.nodes...)
}

// setPeers lists the other relays in the configuration of one, and reloads it.
func (c *cluster) setPeers(ctx context.Context, n *node, paused bool) error {
	var peers strings.Builder
	for _, other := range c.nodes {
		if other != n {
			fmt.Fprintf(&peers, "  peer %q {\n    onion = \"%s.onion\"\n    paused = %t\n  }\n", other.host.name, other.bundle.Board, paused)
		}
	}
	text := strings.TrimSuffix(clusterConfig, "}\n") + peers.String() + "}\n"
	if err := n.writeConfig(text); err != nil {
		return err
	}
	n.runRelay(ctx, "reload")
	return c.failed
}

// awaitLinks waits until all links of some relays have a state, and says how long it took.
func (c *cluster) awaitLinks(ctx context.Context, limit time.Duration, state string, nodes ...*node) error {
	begun := time.Now()
	err := c.await(ctx, limit, "all links are "+state, func() (string, error) {
		var missing []string
		for _, n := range nodes {
			links, err := n.readLinks(ctx)
			if err != nil {
				return "", err
			}
			if len(links) != len(c.nodes)-1 {
				missing = append(missing, fmt.Sprintf("%s has %d links", n.host.name, len(links)))
			}
			for _, l := range links {
				if l.State != state {
					missing = append(missing, fmt.Sprintf("%s to %s is %s (%s)", n.host.name, l.Name, l.State, l.Reason))
				}
			}
		}
		return strings.Join(missing, ", "), nil
	})
	if err == nil {
		c.announce("After %.1f s, all links of %s are %s.", time.Since(begun).Seconds(), listNames(nodes), state)
	}
	return err
}

// await asks again and again what is missing, until nothing is.
func (c *cluster) await(ctx context.Context, limit time.Duration, what string, findMissing func() (string, error)) error {
	if c.failed != nil {
		return c.failed
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		missing, err := findMissing()
		if err == nil && missing == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("within %s it did not come true that %s: %s (%v)", limit, what, missing, err)
		}
	}
}

func (n *node) readLinks(ctx context.Context) ([]replica.LinkStatus, error) {
	st, err := manager.AskStatus(ctx, n.dataDir())
	if err != nil {
		return nil, err
	}
	if len(st.Servers) != 1 || len(st.Servers[0].Others) != 1 || st.Servers[0].Others[0].Replication == nil {
		return nil, nil
	}
	return st.Servers[0].Others[0].Replication.Links, nil
}

// startGroup has the members make the group and talk.
func (c *cluster) startGroup(ctx context.Context) error {
	alice := c.nodes[0]
	c.announce("Alice makes a group without a server: it lives on the three relays. Whoever hosts a relay\nreaches it on the same machine, without Tor, so each post goes to the relay of its sender.")
	args := []string{"create", "-serverless"}
	for _, n := range c.nodes {
		args = append(args, "-core-peer", n.text)
	}
	alice.runGroup(ctx, append(args, group)...)
	invite := alice.runGroup(ctx, "invite", group)
	for i, n := range c.nodes {
		if i > 0 {
			n.runGroup(ctx, "join", invite)
		}
		n.runGroup(ctx, "local", string(n.bundle.Board), n.serverDir())
	}
	for i, text := range []string{"The kettle is on.", "Ten minutes.", "Save me a cup."} {
		if i > 0 {
			c.expectTexts(ctx, c.nodes[i])
		}
		c.post(ctx, c.nodes[i], text)
		if err := c.awaitSame(ctx); err != nil {
			return err
		}
	}
	c.readEverywhere(ctx)
	return c.failed
}

// post posts a text to the group. It goes to the relay of its sender, if that runs.
func (c *cluster) post(ctx context.Context, n *node, text string) {
	n.runGroup(ctx, "post", group, text)
	c.texts = append(c.texts, text)
	c.count++
}

// readEverywhere has each member read the group, and checks that nothing is missing.
func (c *cluster) readEverywhere(ctx context.Context) {
	c.announce("Everybody reads everything.")
	for _, n := range c.nodes {
		c.expectTexts(ctx, n)
	}
}

// expectTexts has a member read the group, and checks that each text is there once and
// nothing else.
func (c *cluster) expectTexts(ctx context.Context, n *node) {
	lines := strings.Split(n.runGroup(ctx, "read", group), "\n")
	if c.failed != nil {
		return
	}
	for _, text := range c.texts {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasSuffix(l, text) })
		if i < 0 {
			c.failed = fmt.Errorf("%s does not read %q", n.host.name, text)
			return
		}
		lines = slices.Delete(lines, i, i+1)
	}
	if len(lines) > 0 {
		c.failed = fmt.Errorf("%s reads what nobody posted, or something twice: %q", n.host.name, lines)
	}
}

// cutOffCarol cuts a relay off, has all members post, and lets it come back.
func (c *cluster) cutOffCarol(ctx context.Context) error {
	alice, bob, carol := c.nodes[0], c.nodes[1], c.nodes[2]
	c.announce("Carol's relay is cut off: she pauses both peers. Her relay runs on, and she posts to it.")
	if err := c.setPeers(ctx, carol, true); err != nil {
		return err
	}
	if err := c.awaitLinks(ctx, 10*time.Second, "paused", carol); err != nil {
		return err
	}
	c.post(ctx, carol, "Is anybody there?")
	c.post(ctx, alice, "Carol is late.")
	c.post(ctx, bob, "I kept her a cup.")
	err := c.await(ctx, 10*time.Second, "Alice's and Bob's boards are equal, and Carol's is another", func() (string, error) {
		return c.findMissing(ctx, map[*node]int{alice: c.count - 1, bob: c.count - 1, carol: c.count - 2})
	})
	if err != nil {
		return err
	}
	c.announce("Alice's and Bob's boards have each other's post. They lack Carol's, and she lacks theirs.\nHer relay comes back.")
	if err := c.setPeers(ctx, carol, false); err != nil {
		return err
	}
	begun := time.Now()
	if err := c.awaitLinks(ctx, 2*time.Minute, "up", c.nodes...); err != nil {
		return err
	}
	if err := c.awaitSame(ctx); err != nil {
		return err
	}
	c.announce("Her relay has caught up %.1f s after the reload, and the others have her post.", time.Since(begun).Seconds())
	c.readEverywhere(ctx)
	return c.failed
}

// stopAllButBob stops two relays. The group goes on.
func (c *cluster) stopAllButBob(ctx context.Context) error {
	alice, bob, carol := c.nodes[0], c.nodes[1], c.nodes[2]
	c.announce("Alice and Carol stop their relays. Only Bob's is left.")
	for _, n := range []*node{alice, carol} {
		if err := n.stopRelay(); err != nil {
			return err
		}
	}
	c.announce("The group goes on: all read what is on Bob's board, and post there, over Tor.\nReading takes longer, because it waits for a second relay: one alone decides what is seen.")
	c.expectTexts(ctx, carol)
	c.post(ctx, alice, "My relay is off.")
	c.post(ctx, carol, "Mine, too.")
	c.post(ctx, bob, "Mine is enough.")
	c.expectTexts(ctx, alice)
	c.expectTexts(ctx, bob)
	if c.failed != nil {
		return c.failed
	}
	return c.await(ctx, 10*time.Second, "Bob's board has everything", func() (string, error) {
		return c.findMissing(ctx, map[*node]int{bob: c.count})
	})
}

// awaitSame waits until all boards have everything that was posted, and says how long it took.
func (c *cluster) awaitSame(ctx context.Context) error {
	begun := time.Now()
	counts := make(map[*node]int)
	for _, n := range c.nodes {
		counts[n] = c.count
	}
	err := c.await(ctx, time.Minute, "all boards have the same envelopes", func() (string, error) {
		return c.findMissing(ctx, counts)
	})
	if err == nil {
		c.announce("After %.1f s, each of the three boards has everything that was posted (%d).", time.Since(begun).Seconds(), c.count)
	}
	return err
}

// findMissing reads boards and says what differs from the numbers of envelopes that they
// should have. Boards with the same number should be equal.
func (c *cluster) findMissing(ctx context.Context, counts map[*node]int) (string, error) {
	found := make(map[int]map[storage.ID]int) // by number of envelopes
	for _, n := range c.nodes {
		count, ok := counts[n]
		if !ok {
			continue
		}
		board, err := n.readBoard(ctx)
		if err != nil {
			return "", err
		}
		if len(board) != count {
			return fmt.Sprintf("the board of %s has %d envelopes instead of %d", n.host.name, len(board), count), nil
		}
		if before := found[count]; before != nil && !maps.Equal(before, board) {
			return fmt.Sprintf("the board of %s has other envelopes", n.host.name), nil
		}
		found[count] = board
	}
	return "", nil
}

// readBoard reads the board of the relay, without Tor, and counts each envelope by its id.
func (n *node) readBoard(ctx context.Context) (map[storage.ID]int, error) {
	b, err := client.Open(ctx, socketDialer(n.serverDir()), n.bundle.Board)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	found := make(map[storage.ID]int)
	err = b.Sync(ctx, nil, func(e client.Event) error {
		if e.Kind == client.Replayed {
			found[storage.NewID(e.Envelope.Signature, e.Envelope.Ciphertext)]++
		}
		return nil
	})
	return found, err
}

func (n *node) serverDir() string { return filepath.Join(n.dataDir(), "servers", "main") }

// socketDialer dials the services of a server in this directory, without Tor.
type socketDialer string

func (d socketDialer) Dial(ctx context.Context, service identity.Onion, _ int) (net.Conn, error) {
	return onion.DialSocket(ctx, string(d), service)
}

func listNames(nodes []*node) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.host.name
	}
	return strings.Join(names, ", ")
}
