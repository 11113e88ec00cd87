package replica

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// feeder is a small replicator: it sends each peer the whole log from the beginning, by Push what
// was posted here and by Offer the rest, and then what comes.
type feeder struct {
	host     peersync.HostServices
	next     map[peersync.Peer]storage.Seq
	advanced atomic.Pointer[chan time.Time] // is told of each LogAdvanced; nil: nobody looks

	notAllowed, overQuota atomic.Int64 // outcomes
}

func (f *feeder) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e := e.(type) {
		case peersync.PeerUp:
			f.next[e.Peer] = 1
		case peersync.PeerDown:
			delete(f.next, e.Peer)
		case peersync.Sent:
			for _, o := range e.Outcomes {
				switch o.Status {
				case peersync.NotAllowed:
					f.notAllowed.Add(1)
				case peersync.OverQuota:
					f.overQuota.Add(1)
				}
			}
		case peersync.LogAdvanced:
			if c := f.advanced.Load(); c != nil {
				*c <- time.Now()
			}
		}
	}
	for p := range f.next {
		if err := f.feed(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (f *feeder) feed(ctx context.Context, p peersync.Peer) error {
	for {
		page, err := f.host.Log(ctx, peersync.LogRequest{From: f.next[p], Max: 100})
		if err != nil || len(page.Entries) == 0 {
			return nil // another Tick comes
		}
		for _, e := range page.Entries {
			send := f.host.Push
			if e.Via != 0 {
				send = f.host.Offer
			}
			if e.Via == p {
				f.next[p] = e.Seq + 1
				continue
			}
			switch err := send(ctx, p, []storage.ID{e.ID}); {
			case errors.Is(err, peersync.ErrBusy), errors.Is(err, peersync.ErrPeerUnknown):
				return nil
			case err != nil:
				return err
			}
			f.next[p] = e.Seq + 1
		}
	}
}

func (*feeder) Close() error { return nil }

// node is a relay as far as these tests need one.
type node struct {
	*Replica
	t       *testing.T
	name    string
	key     identity.Key
	store   *countingIndex
	board   *board.Board
	feeder  *feeder
	ln      net.Listener
	cluster *cluster
	unlucky atomic.Int64 // connections of nobody's peers

	mu    sync.Mutex
	conns []net.Conn
}

// cluster is a set of nodes that find each other by name.
type cluster struct {
	mu    sync.Mutex
	nodes map[identity.Onion]*node
	cut   map[identity.Onion]bool // cannot be reached
}

func newCluster(t *testing.T, n int) (*cluster, []*node) {
	c := &cluster{nodes: make(map[identity.Onion]*node), cut: make(map[identity.Onion]bool)}
	var nodes []*node
	for i := range n {
		nodes = append(nodes, c.addNode(t, fmt.Sprint("node", i)))
	}
	for _, x := range nodes {
		var peers []Peer
		for _, y := range nodes {
			if x != y {
				peers = append(peers, peerOf(y))
			}
		}
		if err := x.SetPeers(peers); err != nil {
			t.Fatal(err)
		}
	}
	return c, nodes
}

func peerOf(n *node) Peer { return Peer{Name: n.name, Onion: n.key.Onion(), Gives: true} }

func (c *cluster) addNode(t *testing.T, name string) *node {
	t.Helper()
	x := &node{t: t, name: name, key: identity.NewKey(), store: &countingIndex{Memory: storagetest.NewMemory()}, cluster: c}
	x.board = openBoard(t, x.store)
	dir := t.TempDir()
	r, err := New(Config{
		Store: x.store, Board: func() (Board, error) { return x.board, nil },
		Cursors: filepath.Join(dir, "cursors"), PeersFile: filepath.Join(dir, "peers.json"),
		Plugin: "feeder", Version: func() string { return "v1" }, Onion: x.key.Onion(), Dial: x.dialNode,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err == nil {
		x.ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		t.Fatal(err)
	}
	x.Replica, x.feeder = r, &feeder{host: r, next: make(map[peersync.Peer]storage.Seq)}
	c.mu.Lock()
	c.nodes[x.key.Onion()] = x
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { x.acceptPeers(ctx, &wg) })
	wg.Go(func() { r.Run(ctx, x.feeder) })
	t.Cleanup(func() {
		cancel()
		x.ln.Close()
		wg.Wait()
	})
	return x
}

// acceptPeers does what core/relay does with connections.
func (x *node) acceptPeers(ctx context.Context, wg *sync.WaitGroup) {
	for {
		nc, err := x.ln.Accept()
		if err != nil {
			return
		}
		x.keepConn(nc)
		wg.Go(func() {
			defer nc.Close()
			conn, err := tapir.Server(ctx, nc, x.key)
			switch {
			case err != nil:
			case x.HasPeer(conn.Peer()):
				x.Accept(ctx, conn)
			default:
				x.unlucky.Add(1)
			}
		})
	}
}

func (x *node) keepConn(nc net.Conn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conns = append(x.conns, nc)
}

func (x *node) dialNode(ctx context.Context, onion identity.Onion) (*tapir.Conn, error) {
	x.cluster.mu.Lock()
	to, cut := x.cluster.nodes[onion], x.cluster.cut[onion] || x.cluster.cut[x.key.Onion()]
	x.cluster.mu.Unlock()
	if to == nil || cut {
		return nil, errors.New("unreachable")
	}
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", to.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	x.keepConn(nc)
	return tapir.Client(ctx, nc, x.key, onion)
}

// isolate cuts all connections of a node and lets none stand until heal.
func (c *cluster) isolate(x *node) {
	c.mu.Lock()
	c.cut[x.key.Onion()] = true
	c.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, nc := range x.conns {
		nc.Close()
	}
}

func (c *cluster) heal(x *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.cut, x.key.Onion())
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 40*time.Second {
			t.Fatalf("waited for %s", what)
		}
	}
}

func (x *node) count() uint64 {
	info, err := x.store.Info(context.Background())
	if err != nil {
		x.t.Error(err)
	}
	return info.Count
}

func awaitCounts(t *testing.T, nodes []*node, want uint64) {
	t.Helper()
	await(t, fmt.Sprintf("%d envelopes everywhere", want), func() bool {
		return !slices.ContainsFunc(nodes, func(x *node) bool { return x.count() != want })
	})
}

// linkOf returns the state of the link to a peer.
func (x *node) linkOf(peer *node) (s LinkStatus) {
	for _, l := range x.Status().Links {
		if l.Name == peer.name {
			return l
		}
	}
	return s
}

func awaitUp(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, x := range nodes {
		for _, y := range nodes {
			if x != y {
				await(t, x.name+" to be linked to "+y.name, func() bool { return x.linkOf(y).State == "up" })
			}
		}
	}
}

// TestReplicasConverge posts at three relays before they are linked, while they are, and while
// one is cut off. In the end, each has everything, once.
func TestReplicasConverge(t *testing.T) {
	c, nodes := newCluster(t, 3)
	n := 0
	post := func(each int, nodes ...*node) {
		for _, x := range nodes {
			for range each {
				postEnvelope(t, x.board, n)
				n++
			}
		}
	}
	post(100, nodes...)
	awaitUp(t, nodes...)
	post(100, nodes...)
	awaitCounts(t, nodes, uint64(n))
	c.isolate(nodes[2])
	await(t, "the link to break", func() bool { return nodes[0].linkOf(nodes[2]).State != "up" })
	if s := nodes[0].linkOf(nodes[2]); s.Reason == "" || s.NextDial == nil && s.State == "down" {
		t.Errorf("the link that is down: %+v", s)
	}
	post(50, nodes...)
	awaitCounts(t, nodes[:2], uint64(n-50))
	c.heal(nodes[2])
	awaitUp(t, nodes...)
	awaitCounts(t, nodes, uint64(n))
	want, err := nodes[0].store.Keys(t.Context(), storage.KeysRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range nodes[1:] {
		if got, err := x.store.Keys(t.Context(), storage.KeysRequest{}); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has other keys: %d of %d, %v", x.name, len(got), len(want), err)
		}
	}
	s := nodes[0].linkOf(nodes[1])
	if s.BytesIn == 0 || s.BytesOut == 0 || s.Stored == 0 || s.Version != "v1" || !s.Takes || s.Since == nil {
		t.Errorf("the link that is up: %+v", s)
	}
}

// awaitRefusal posts at a node until its peer has no room for that.
func awaitRefusal(t *testing.T, x *node, nodes []*node) {
	t.Helper()
	awaitUp(t, nodes...)
	posted := 0
	await(t, "the refusal", func() bool { // the replica looks every second
		postEnvelope(t, x.board, posted)
		posted++
		return x.feeder.overQuota.Load() > 0
	})
}

// TestBoardWithoutRoomSaysSo: the peer is told not to send, instead of being charged for nothing.
func TestBoardWithoutRoomSaysSo(t *testing.T) {
	_, nodes := newCluster(t, 2)
	x, y := nodes[0], nodes[1]
	x.board.SetNoRoom(errors.New("the disk is full"))
	awaitRefusal(t, y, nodes)
	if x.count() > 0 {
		t.Errorf("%d envelopes are stored", x.count())
	}
}

// TestCrowdedBoardTakesPostsOnly: the peer is told not to send, and own posts go on.
func TestCrowdedBoardTakesPostsOnly(t *testing.T) {
	_, nodes := newCluster(t, 2)
	x, y := nodes[0], nodes[1]
	x.board.SetCrowded(errors.New("three quarters are taken"))
	awaitRefusal(t, y, nodes)
	if got := x.Status().Crowded; got != "three quarters are taken" {
		t.Errorf("the status says %q", got)
	}
	before := x.count()
	postEnvelope(t, x.board, 1<<20)
	if got := x.count(); got != before+1 {
		t.Errorf("%d envelopes are stored, want %d and one post", got, before)
	}
	x.board.SetCrowded(nil)
	if got := x.Status().Crowded; got != "" {
		t.Errorf("the status says %q", got)
	}
}

// TestOneLinkStays: both sides dial, and one connection is left, with one initiator.
func TestOneLinkStays(t *testing.T) {
	_, nodes := newCluster(t, 2)
	awaitUp(t, nodes...)
	x, y := nodes[0], nodes[1]
	linkOf := func(n *node) *link {
		n.linksMu.Lock()
		defer n.linksMu.Unlock()
		return n.links[1]
	}
	await(t, "one link", func() bool {
		a, b := linkOf(x), linkOf(y)
		return a != nil && b != nil && a.conn.Secret() == b.conn.Secret() && a.dialled != b.dialled
	})
	postEnvelope(t, x.board, 1)
	postEnvelope(t, y.board, 2)
	awaitCounts(t, nodes, 2)
	sums := make([]peersync.Sum, 2)
	for i, n := range nodes {
		await(t, "the keys", func() bool {
			s, err := n.RangeSum(t.Context(), 1, []peersync.Range{{}})
			if err == nil && s[0].Count == 2 {
				sums[i] = s[0]
				return true
			}
			return false
		})
	}
	if plain, err := x.RangeSum(t.Context(), 0, []peersync.Range{{}}); err != nil || sums[0] != sums[1] || plain[0] == sums[0] {
		t.Errorf("keyed sums %v and %v, plain %v, %v", sums[0], sums[1], plain, err)
	}
	if _, err := x.RangeSum(t.Context(), 2, []peersync.Range{{}}); !errors.Is(err, peersync.ErrPeerUnknown) {
		t.Errorf("the sum for a peer that there is not: %v", err)
	}
}

// TestCommitIsToldAtOnce measures how long it takes from the result of a post to the Handle that
// tells of it.
func TestCommitIsToldAtOnce(t *testing.T) {
	c := &cluster{nodes: make(map[identity.Onion]*node), cut: make(map[identity.Onion]bool)}
	x := c.addNode(t, "alone")
	await(t, "Start", func() bool {
		x.linksMu.Lock()
		defer x.linksMu.Unlock()
		return x.open
	})
	told := make(chan time.Time, 1000)
	x.feeder.advanced.Store(&told)
	var worst time.Duration
	for n := range 20 {
		postEnvelope(t, x.board, n)
		begin := time.Now()
		if took := (<-told).Sub(begin); took > worst {
			worst = took
		}
	}
	t.Logf("at most %v from the result to Handle", worst)
	if worst > handlePause+100*time.Millisecond { // each comes right after the one before
		t.Errorf("it took %v from the result to Handle", worst)
	}
}

// TestPeersAreChangedWhileLinked removes, pauses and demotes peers of a replica that runs.
func TestPeersAreChangedWhileLinked(t *testing.T) {
	_, nodes := newCluster(t, 3)
	awaitUp(t, nodes...)
	x, y, z := nodes[0], nodes[1], nodes[2]
	paused, mirror := peerOf(y), peerOf(z)
	paused.Paused, mirror.Gives = true, false
	if err := x.SetPeers([]Peer{paused, mirror}); err != nil {
		t.Fatal(err)
	}
	await(t, "the pause", func() bool { return x.linkOf(y).State == "paused" && y.linkOf(x).State != "up" })
	await(t, "another link", func() bool { return x.linkOf(z).State == "up" && !z.linkOf(x).Takes && z.linkOf(x).State == "up" })
	postEnvelope(t, z.board, 1)
	postEnvelope(t, x.board, 2)
	await(t, "what the mirror takes", func() bool { return z.count() == 2 })
	await(t, "the refusal", func() bool { return z.feeder.notAllowed.Load() > 0 })
	if x.count() != 1 {
		t.Error("something was taken from a mirror")
	}
	if err := x.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	if x.HasPeer(z.key.Onion()) || len(x.Status().Links) > 0 {
		t.Error("a peer that was removed is a peer")
	}
	await(t, "the removal", func() bool { return z.linkOf(x).State != "up" })
	await(t, "an attempt of the one that was removed", func() bool { return x.unlucky.Load() > 0 })
}

// TestPeersThatBreakTheProtocol sends what no relay sends. The link ends, the peer is not talked to
// for a while, and the board is as before.
func TestPeersThatBreakTheProtocol(t *testing.T) {
	for name, talk := range map[string]func(net.Conn, *peerlink.Conn){
		"junk below the records": func(nc net.Conn, _ *peerlink.Conn) { nc.Write(make([]byte, 1000)) },
		"junk in the records":    func(_ net.Conn, c *peerlink.Conn) { c.Write([]byte("\xff\x00\x00\x01x")) },
		"no HELLO":               func(_ net.Conn, c *peerlink.Conn) { c.Write(peerlink.AppendFrame(nil, &peerlink.Ping{})) },
	} {
		t.Run(name, func(t *testing.T) {
			c := &cluster{nodes: make(map[identity.Onion]*node), cut: make(map[identity.Onion]bool)}
			x := c.addNode(t, "node")
			hostile := identity.NewKey()
			if err := x.SetPeers([]Peer{{Name: "hostile", Onion: hostile.Onion(), Gives: true}}); err != nil {
				t.Fatal(err)
			}
			dial := func() (net.Conn, *peerlink.Conn) {
				nc, err := net.Dial("tcp", x.ln.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				conn, err := tapir.Client(t.Context(), nc, hostile, x.key.Onion())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { nc.Close() })
				return nc, peerlink.NewConn(conn, hostile.Onion(), true)
			}
			await(t, "Start", func() bool { return x.Status().Links[0].NextDial != nil })
			nc, link := dial()
			if _, err := peerlink.ReadFrame(link); err != nil {
				t.Fatalf("no HELLO: %v", err)
			}
			talk(nc, link)
			f, err := peerlink.ReadFrame(link)
			e, ok := f.(*peerlink.Err)
			if errors.Is(err, syscall.ECONNRESET) { // what was sent had not all been read
				ok, e = true, &peerlink.Err{Code: peerlink.CodeBreach, RetryAfter: 1}
			}
			if !ok || e.Code != peerlink.CodeBreach || e.RetryAfter == 0 {
				t.Errorf("answered by %#v, %v", f, err)
			}
			await(t, "the end", func() bool { return x.Status().Links[0].State == "refused" && x.Status().Links[0].Reason != "" })
			_, link = dial() // too early
			if f, err := peerlink.ReadFrame(link); err == nil {
				if _, ok := f.(*peerlink.Err); !ok {
					t.Errorf("again: %#v", f)
				}
			}
		})
	}
}

// openReplica returns a replica with peers whose links may stand, without Run.
func openReplica(t *testing.T, peers ...Peer) *Replica {
	t.Helper()
	r := newReplica(t, storagetest.NewMemory())
	if err := r.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
	r.openLinks(t.Context(), peersync.Start{Peers: r.listPeers()})
	t.Cleanup(r.closeLinks)
	return r
}

// dialIn returns a connection that a peer has dialled.
func dialIn(t *testing.T, peer identity.Key) *tapir.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	own := identity.NewKey()
	done := make(chan struct{})
	go func() { defer close(done); tapir.Client(t.Context(), far, peer, own.Onion()) }()
	conn, err := tapir.Server(t.Context(), near, own)
	if err != nil {
		t.Fatal(err)
	}
	<-done
	return conn
}

// TestEndOfAnOldLinkSparesTheNewOne: the engine gives a link up at the very moment when the peer
// dials anew.
func TestEndOfAnOldLinkSparesTheNewOne(t *testing.T) {
	peer := identity.NewKey()
	r := openReplica(t, Peer{Name: "peer", Onion: peer.Onion(), Gives: true})
	old := r.admitLink(dialIn(t, peer), false)
	defer r.work.Done()
	r.linksMu.Lock() // two minutes pass, and it has said no HELLO
	r.begin, old.since = r.begin.Add(-2*time.Minute), old.since.Add(-2*time.Minute)
	r.linksMu.Unlock()
	link := r.admitLink(dialIn(t, peer), false)
	if link == nil {
		t.Fatal("the new link is refused")
	}
	defer r.work.Done()
	r.linksMu.Lock()
	defer r.linksMu.Unlock()
	if r.links[1] != link || link.last != nil || old.last == nil {
		t.Error("the end of the old link closes the new one")
	}
}

// TestRemovedPeerLosesItsLinkOnAFullDisk: what the operator takes away is away, even if it cannot
// be written down.
func TestRemovedPeerLosesItsLinkOnAFullDisk(t *testing.T) {
	removed, stays, added := identity.NewKey(), identity.NewKey(), identity.NewKey()
	peerNamed := func(k identity.Key) Peer { return Peer{Onion: k.Onion(), Gives: true} }
	r := openReplica(t, peerNamed(removed), peerNamed(stays))
	if r.admitLink(dialIn(t, removed), false) == nil {
		t.Fatal("there is no link")
	}
	defer r.work.Done()
	path := r.numbers.path
	r.numbers.path = filepath.Join(t.TempDir(), "missing", "peers.json")
	if err := r.SetPeers([]Peer{peerNamed(added), peerNamed(stays)}); err == nil {
		t.Error("numbers that are not written are no error")
	}
	if r.HasPeer(removed.Onion()) || !r.HasPeer(stays.Onion()) || r.HasPeer(added.Onion()) || len(r.links) > 0 {
		t.Errorf("%d links, peers %+v", len(r.links), r.configured)
	}
	r.numbers.path = path
	if err := r.SetPeers([]Peer{peerNamed(added), peerNamed(removed), peerNamed(stays)}); err != nil {
		t.Fatal(err)
	}
	if want := []peersync.Peer{2, 3, 4}; !slices.Equal(r.listPeers(), want) || r.nameOf(2) != "" || r.peers[2].Number != 2 {
		t.Errorf("the numbers are %+v", r.peers)
	}
}

// TestPeersThatDoNotAnswerKeepNobodyOut: each dial takes as long as it may, and all peers are dialled
// before the first one is dialled again.
func TestPeersThatDoNotAnswerKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var peers []Peer
		for range 4 * maxDials {
			peers = append(peers, Peer{Onion: identity.NewKey().Onion()})
		}
		var mu sync.Mutex
		dialled := make(map[identity.Onion]int)
		r := newReplica(t, storagetest.NewMemory())
		r.dial = func(ctx context.Context, onion identity.Onion) (*tapir.Conn, error) {
			mu.Lock()
			dialled[onion]++
			mu.Unlock()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if err := r.SetPeers(peers); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, &recordingReplicator{}) }()
		time.Sleep(3*dialTimeout + dialTimeout/2)
		r.linksMu.Lock()
		if wait, waits := r.nextAdvance(); waits || len(r.dialing) != maxDials {
			t.Errorf("with %d dials, the clock runs every %v", len(r.dialing), wait)
		}
		r.linksMu.Unlock()
		mu.Lock()
		if len(dialled) != len(peers) {
			t.Errorf("%d of %d peers were dialled", len(dialled), len(peers))
		}
		mu.Unlock()
		cancel()
		<-done
	})
}

// TestNumbersOfPeersLast: a number belongs to one peer for ever.
func TestNumbersOfPeersLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	var onions []identity.Onion
	for range 4 {
		onions = append(onions, identity.NewKey().Onion())
	}
	set := func(peers ...int) (numbers []peersync.Peer) {
		t.Helper()
		n, err := loadPeerNumbers(path)
		if err != nil {
			t.Fatal(err)
		}
		var list []Peer
		for _, p := range peers {
			list = append(list, Peer{Onion: onions[p]})
		}
		known, err := n.setPeers(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range known {
			numbers = append(numbers, p.Number)
		}
		return numbers
	}
	for _, c := range []struct {
		peers []int
		want  []peersync.Peer
	}{
		{[]int{0, 1}, []peersync.Peer{1, 2}},
		{[]int{1, 2, 0}, []peersync.Peer{2, 3, 1}},
		{[]int{2}, []peersync.Peer{3}},
		{nil, nil},
		{[]int{0, 3}, []peersync.Peer{4, 5}},
	} {
		if got := set(c.peers...); !slices.Equal(got, c.want) {
			t.Errorf("peers %v have numbers %v, want %v", c.peers, got, c.want)
		}
	}
	n, err := loadPeerNumbers(path)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	spent := exchange.Quota{EnvelopesPerHour: 7, BytesPerDay: 240}
	if err := n.saveSpent(func(peersync.Peer) exchange.Quota { return spent }, now); err != nil {
		t.Fatal(err)
	}
	if n, err = loadPeerNumbers(path); err != nil {
		t.Fatal(err)
	}
	quota := exchange.Quota{EnvelopesPerHour: 10, BytesPerDay: 480}
	for after, want := range map[time.Duration]exchange.Quota{
		0: spent, -time.Hour: spent, 30 * time.Minute: {EnvelopesPerHour: 2, BytesPerDay: 230}, 2 * time.Hour: {BytesPerDay: 200}, 12 * time.Hour: {}, 24 * time.Hour: {},
	} {
		if got := n.file.Peers[0].spentOf(quota, now.Add(after)); got != want {
			t.Errorf("after %v, %+v are used up, want %+v", after, got, want)
		}
	}
	// What is the same an hour later has been used up anew.
	if err := n.saveSpent(func(peersync.Peer) exchange.Quota { return spent }, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n, err = loadPeerNumbers(path); err != nil {
		t.Fatal(err)
	}
	if got := n.file.Peers[0].spentOf(quota, now.Add(time.Hour)); got != spent {
		t.Errorf("%+v are used up, want %+v", got, spent)
	}
}

// TestRecentIsBounded: what is remembered does not grow, and the latest is kept.
func TestRecentIsBounded(t *testing.T) {
	var r recent
	var first, last storage.ID
	rand.Read(first[:])
	r.note(first, func(f *facts) { f.held = true })
	for range maxRecent {
		rand.Read(last[:])
		r.note(last, func(f *facts) { f.via = 3 })
	}
	if len(r.facts) != maxRecent || len(r.order) != maxRecent || r.find(first).held || r.find(last).via != 3 {
		t.Errorf("%d are remembered", len(r.facts))
	}
}

// TestPushesAreSentFromTheCommit shows that what was posted reaches a peer without being read from the store.
func TestPushesAreSentFromTheCommit(t *testing.T) {
	_, nodes := newCluster(t, 2)
	awaitUp(t, nodes...)
	await(t, "the keys are read", func() bool { return nodes[0].followed.Load() != nil })
	for n := range 50 {
		postEnvelope(t, nodes[0].board, n)
	}
	awaitCounts(t, nodes, 50)
	if calls := nodes[0].store.calls.Load(); calls != 0 {
		t.Errorf("the store was asked for envelopes %d times", calls)
	}
}
