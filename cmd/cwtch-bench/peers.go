package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
)

const (
	// livePeers is how many relays replicate what is posted at another one.
	livePeers = 3
	// peerPace is the time between two posts of a load that leaves a processor free.
	peerPace = 5 * time.Millisecond
	// pacedClients send the posts of that load.
	pacedClients = 16
	// peersTimeout bounds the wait for links, and for envelopes on their way to peers.
	peersTimeout = 2 * time.Minute
)

func peersRows(p plan) []group {
	paced := fmt.Sprintf("%.0f posts/s", 1/peerPace.Seconds())
	return []group{
		{fmt.Sprintf("posts at a relay with %d live peers, which share its processors", livePeers), []*row{
			{Name: "peers.alone.rate", Text: "64 clients, without peers", Unit: "/s"},
			{Name: "peers.linked.rate", Text: "64 clients, with peers", Unit: "/s"},
			{Name: "peers.rate.ratio", Text: "with / without", Unit: "×", Target: atLeast(0.8)},
			{Name: "peers.lag", Text: "last post to all peers have all", Unit: "s"},
			{Name: "peers.alone.cpu", Text: "relay + plugin for a post, without peers", Unit: "µs CPU"},
			{Name: "peers.linked.cpu", Text: "relay + plugins for a post, until the peers have it", Unit: "µs CPU"},
			{Name: "peers.cpu.ratio", Text: "without / with: the rate if peers had their own processors", Unit: "×", Target: atLeast(0.8)},
			{Name: "peers.far.cpu", Text: "each peer for an envelope", Unit: "µs CPU"},
			{Name: "peers.paced.alone.p50", Text: paced + ", p50 without peers", Unit: "ms"},
			{Name: "peers.paced.linked.p50", Text: paced + ", p50 with peers", Unit: "ms"},
			{Name: "peers.paced.alone.cpu", Text: paced + ", for a post without peers", Unit: "µs CPU"},
			{Name: "peers.paced.linked.cpu", Text: paced + ", for a post with peers", Unit: "µs CPU"},
		}},
		{fmt.Sprintf("a relay with a peersync block and %d envelopes", p.Many), []*row{
			{Name: "peers.start.alone", Text: "start to the first accepted post, without the block", Unit: "s"},
			{Name: "peers.start", Text: "start to the first accepted post", Unit: "s", Target: atMost(2)},
			{Name: "peers.start.cpu", Text: "relay + storage until then", Unit: "s CPU"},
			{Name: "peers.keys", Text: "memory of the relay for the key of an envelope", Unit: "bytes"},
		}},
		hostileRows(),
	}
}

// measurePeers measures what replication costs a relay: while it posts, and at its start.
func (b *bench) measurePeers(ctx context.Context) error {
	if err := b.measureLinkedPosts(ctx); err != nil {
		return err
	}
	return b.measureLinkedStart(ctx)
}

// peerBlocks returns the blocks of a server that replicates with others.
func peerBlocks(others ...*relayHome) string {
	var text strings.Builder
	text.WriteString("  peersync \"mesh\" {}\n")
	for i, other := range others {
		text.WriteString(peerBlock(i, other.keys.Board.Onion()))
	}
	return text.String()
}

func peerBlock(number int, onion identity.Onion) string {
	return fmt.Sprintf(`  peer "peer-%d" {
    onion = "%s.onion"
    envelopes_per_hour = 1000000000
    bytes_per_day = "1TiB"
  }
`, number, onion)
}

// star is a relay with peers that all have a link to it, and to nobody else.
type star struct {
	center *relay
	peers  []*relay
	total  uint64 // posts so far
}

// startStar starts a relay and its peers, all without envelopes.
func (b *bench) startStar(ctx context.Context) (s *star, err error) {
	center, err := b.prepareHome(ctx, "center", 0, bornNow)
	if err != nil {
		return nil, err
	}
	var homes []*relayHome
	for i := range livePeers {
		h, err := b.prepareHome(ctx, fmt.Sprintf("peer-%d", i), 0, bornNow)
		if err != nil {
			return nil, err
		}
		h.used = peerBlocks(center)
		homes = append(homes, h)
	}
	center.used = peerBlocks(homes...)
	s = &star{}
	defer func() {
		if err != nil {
			s.killAll()
		}
	}()
	if s.center, err = b.startRelay(ctx, center); err != nil {
		return nil, err
	}
	for _, h := range homes {
		r, err := b.startRelay(ctx, h)
		if err != nil {
			return nil, err
		}
		s.peers = append(s.peers, r)
	}
	for _, r := range append([]*relay{s.center}, s.peers...) {
		if err := r.awaitLinks(ctx, func(l replica.LinkStatus) bool { return l.State == "up" }); err != nil {
			return nil, fmt.Errorf("links come up: %w", r.withLogTail(err))
		}
	}
	return s, nil
}

// awaitLinks waits until all links of the relay are as they should be, and notes the process
// of its peersync plugin.
func (r *relay) awaitLinks(ctx context.Context, isRight func(replica.LinkStatus) bool) error {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	for {
		st, err := manager.AskStatus(ctx, r.dataDir())
		if err != nil {
			return err
		}
		others := st.Servers[0].Others
		if len(others) == 1 && others[0].PID != 0 && others[0].Replication != nil && !slices.ContainsFunc(others[0].Replication.Links, func(l replica.LinkStatus) bool { return !isRight(l) }) {
			r.peersync = others[0].PID
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w; the plugins are %+v", ctx.Err(), others)
		}
	}
}

// awaitCopies waits until all peers have what was posted.
func (s *star) awaitCopies(ctx context.Context) error {
	for _, r := range s.peers {
		if err := r.awaitLinks(ctx, func(l replica.LinkStatus) bool { return l.Stored >= s.total }); err != nil {
			return fmt.Errorf("a peer gets %d envelopes: %w", s.total, r.withLogTail(err))
		}
	}
	return nil
}

func (s *star) stopAll() error {
	var errs []error
	for _, r := range append(s.peers, s.center) {
		errs = append(errs, r.stopAndWait(), os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

func (s *star) killAll() {
	for _, r := range append(s.peers, s.center) {
		if r != nil {
			r.killRunning()
		}
	}
}

// peerCPU returns the processor time of all peers.
func (s *star) peerCPU() (sum time.Duration, err error) {
	for _, r := range s.peers {
		one, err := r.cpuTime()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// measureLinkedPosts has a relay without peers and one with peers take turns.
func (b *bench) measureLinkedPosts(ctx context.Context) error {
	home, err := b.prepareHome(ctx, "alone", 0, bornNow)
	if err != nil {
		return err
	}
	alone, err := b.startRelay(ctx, home)
	if err != nil {
		return err
	}
	defer alone.killRunning()
	linked, err := b.startStar(ctx)
	if err != nil {
		return err
	}
	defer linked.killAll()
	turns := []*star{{center: alone}, linked, linked, {center: alone}}
	full, err := b.postInTurn(ctx, turns, 64, b.plan.Posts[64]/4, 0)
	if err != nil {
		return err
	}
	paced, err := b.postInTurn(ctx, turns, pacedClients, b.plan.PeerPaced, peerPace)
	if err != nil {
		return err
	}
	set := b.sheet.setFigure
	set("peers.alone.rate", full[0].rate)
	set("peers.linked.rate", full[1].rate)
	set("peers.rate.ratio", full[1].rate/full[0].rate)
	set("peers.lag", full[1].lag)
	set("peers.alone.cpu", full[0].cpu)
	set("peers.linked.cpu", full[1].cpu)
	set("peers.cpu.ratio", full[0].cpu/full[1].cpu)
	set("peers.far.cpu", full[1].farCPU)
	set("peers.paced.alone.p50", toMilliseconds(percentileOf(paced[0].latencies, 0.5)))
	set("peers.paced.linked.p50", toMilliseconds(percentileOf(paced[1].latencies, 0.5)))
	set("peers.paced.alone.cpu", paced[0].cpu)
	set("peers.paced.linked.cpu", paced[1].cpu)
	return errors.Join(linked.stopAll(), alone.stopAndWait(), os.RemoveAll(home.dir))
}

// linkedResult is what postUntilCopied measures.
type linkedResult struct {
	postResult
	lag    float64 // seconds from the last post until all peers had everything
	farCPU float64 // µs of each peer for an envelope
}

// postInTurn returns the means of the turns without peers, and of those with.
func (b *bench) postInTurn(ctx context.Context, turns []*star, clients, n int, pace time.Duration) (means [2]linkedResult, err error) {
	for _, s := range turns {
		res, err := b.postUntilCopied(ctx, s, clients, n, pace)
		if err != nil {
			return means, fmt.Errorf("%d clients, %d peers: %w", clients, len(s.peers), err)
		}
		m := &means[0]
		if len(s.peers) > 0 {
			m = &means[1]
		}
		m.rate += res.rate / 2
		m.cpu += res.cpu / 2
		m.lag += res.lag / 2
		m.farCPU += res.farCPU / 2
		m.latencies = append(m.latencies, res.latencies...)
	}
	return means, nil
}

// postUntilCopied has clients post, and waits until the peers have everything. The processor time
// is for both. A tenth of n comes first and is not counted.
func (b *bench) postUntilCopied(ctx context.Context, s *star, clients, n int, pace time.Duration) (res linkedResult, err error) {
	r, warm := s.center, max(clients, n/10)
	posts, err := r.posts.makePosts(ctx, warm+n, b.plan.Size)
	if err != nil {
		return res, err
	}
	conns, err := r.connectAll(ctx, clients, 16<<10)
	if err != nil {
		return res, err
	}
	defer closeAll(conns)
	if _, err := postAll(conns, posts[:warm]); err != nil {
		return res, err
	}
	s.total += uint64(warm)
	if err := s.awaitCopies(ctx); err != nil {
		return res, err
	}
	s.total += uint64(n)
	far, err := s.peerCPU()
	if err != nil {
		return res, err
	}
	var posting time.Duration
	took, err := r.measureCPU(func() (err error) {
		begun := time.Now()
		if pace == 0 {
			res.latencies, err = postAll(conns, posts[warm:])
		} else {
			res.latencies, err = postPaced(ctx, conns, posts[warm:], pace)
		}
		if posting = time.Since(begun); err != nil {
			return err
		}
		return s.awaitCopies(ctx)
	})
	if err != nil {
		return res, err
	}
	farAfter, err := s.peerCPU()
	res.rate, res.cpu = float64(n)/posting.Seconds(), took.cpuPerItem(n)
	res.lag = (took.elapsed - posting).Seconds()
	res.farCPU = cost{cpu: farAfter - far}.cpuPerItem(n * max(1, len(s.peers)))
	return res, err
}

// postPaced sends a post at every tick, and returns how long each took from its tick.
func postPaced(ctx context.Context, conns []*peer, posts []post, pace time.Duration) ([]time.Duration, error) {
	latencies := make([]time.Duration, len(posts))
	begun := time.Now()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range conns {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(posts) {
					return nil
				}
				due := time.Duration(i) * pace
				select {
				case <-time.After(due - time.Since(begun)):
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := c.postAndWait(posts[i].payload); err != nil {
					return err
				}
				latencies[i] = time.Since(begun) - due
			}
		})
	}
	return latencies, g.Wait()
}

// measureLinkedStart starts a relay with many envelopes, without a peersync plugin and with one.
func (b *bench) measureLinkedStart(ctx context.Context) (err error) {
	if b.linked == nil {
		if b.linked, err = b.prepareHome(ctx, "linked", b.plan.Many, bornNow); err != nil {
			return err
		}
	}
	absent, err := b.prepareHome(ctx, "absent", 0, bornNow)
	if err != nil {
		return err
	}
	defer os.RemoveAll(absent.dir)
	b.linked.used = ""
	alone, err := b.timeFirstPost(ctx, b.linked)
	if err != nil {
		return err
	}
	b.linked.used = peerBlocks(absent)
	linked, err := b.timeFirstPost(ctx, b.linked)
	if err != nil {
		return err
	}
	b.sheet.setFigure("peers.start.alone", alone.seconds)
	b.sheet.setFigure("peers.start", linked.seconds)
	b.sheet.setFigure("peers.start.cpu", linked.cpu)
	b.sheet.setFigure("peers.keys", float64(linked.memory-alone.memory)*1024/float64(b.linked.stored))
	return nil
}

// firstPost is what timeFirstPost measures.
type firstPost struct {
	seconds float64 // from the start of the relay to the result of a post
	cpu     float64 // seconds of relay and storage plugin until then
	memory  int     // KiB of the relay's process when that has settled
}

// timeFirstPost starts a relay and posts something to it.
func (b *bench) timeFirstPost(ctx context.Context, s *relayHome) (res firstPost, err error) {
	maker, err := newPostMaker(s.keys)
	if err != nil {
		return res, err
	}
	posts, err := maker.makePosts(ctx, 1, b.plan.Size)
	if err != nil {
		return res, err
	}
	start := time.Now()
	r, err := b.startRelay(ctx, s)
	if err != nil {
		return res, err
	}
	defer r.killRunning()
	p, err := r.openConnection(ctx, 16<<10)
	if err == nil {
		err = p.postAndWait(posts[0].payload)
	}
	res.seconds = time.Since(start).Seconds()
	if err != nil {
		return res, r.withLogTail(err)
	}
	p.Close()
	s.stored++
	used, err := r.cpuTime()
	if err != nil {
		return res, err
	}
	res.cpu = used.Seconds()
	if _, err := awaitStableRSS(ctx, r.cmd.Process.Pid); err != nil {
		return res, err
	}
	res.memory, err = readMemory(r.cmd.Process.Pid, "RssAnon")
	return res, errors.Join(err, r.stopAndWait())
}
