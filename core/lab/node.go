package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/keyindex"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// node is a core peer: a relay with one board, its store and its plugin.
type node struct {
	w          *world
	index      int
	name       string
	group      *Group
	hostile    behaviour
	neighbours []int
	spans      []span
	jump       time.Duration // of the clock

	// What survives the process of the relay:
	store   *store
	cursors map[string][]byte
	had     bitSet // envelopes that it has ever stored

	// Of the present process:
	on         bool
	life       int // changes with each start and stop
	engine     *exchange.Engine
	replicator peersync.Replicator // nil: it failed, and starts again soon
	started    time.Duration       // the replicator
	told       uint64              // mark of the store that the engine knows
	batch      []peersync.Event    // for the replicator
	handling   bool                // a Handle is due
	tickDue    bool
	wakeAt     time.Duration
	traffic    time.Duration // when the last frame of use has passed
	jobs       int           // under way
	diskFree   time.Duration
	conns      []*end // by index of the other node
	dialing    []bool
	readers    []*attachment
	report     peersync.Report
	one        [1]peerlink.Frame
}

const (
	activeTick = time.Second
	idleTick   = 10 * time.Second
	// isIdle is how long no frame of use has passed at a node that is idle.
	isIdle = 5 * time.Second
	never  = time.Duration(1<<63 - 1)
)

// peer is the number by which others know the node.
func (n *node) peer() peersync.Peer { return peersync.Peer(n.index + 1) }

// clock returns the time by the clock of the relay.
func (n *node) clock() time.Time {
	return beginning.Add(n.w.now + n.group.Skew + n.jump)
}

func (n *node) hour() storage.Hour { return storage.HourOf(n.clock()) }

func (n *node) advance() { n.engine.Advance(n.w.now, n.clock()) }

// start turns the relay on.
func (n *node) start() {
	if n.on {
		return
	}
	w := n.w
	n.on = true
	n.life++
	cfg := exchange.Config{Plugin: w.algorithm.Name, Version: w.algorithm.Version}
	for i := range cfg.Seed {
		cfg.Seed[i] = byte(w.chance.Uint32())
	}
	for _, i := range n.neighbours {
		g := w.nodes[i].group
		cfg.Peers = append(cfg.Peers, exchange.PeerConfig{
			Peer: w.nodes[i].peer(), Gives: !g.Mirror,
			Quota: exchange.Quota{EnvelopesPerHour: uint64(g.EnvelopesPerHour), BytesPerDay: uint64(g.BytesPerDay)},
		})
	}
	n.engine = exchange.New(cfg)
	n.conns, n.dialing = make([]*end, len(w.nodes)), make([]bool, len(w.nodes))
	n.jobs, n.diskFree, n.traffic, n.readers = 0, w.now, w.now, nil
	n.advance()
	n.prune()
	n.told = n.store.mark + 1 // not what it is
	n.syncState()
	n.openReplicator()
	n.planTick(time.Duration(w.chance.Int64N(int64(activeTick))))
}

// stop turns the relay off. After a crash, the others notice later, and what was being appended
// is stored or not.
func (n *node) stop(crash bool) {
	if !n.on {
		return
	}
	for _, e := range n.conns {
		if e == nil {
			continue
		}
		if crash {
			e.conn.closed = true
			other := e.other
			n.w.after(time.Duration(n.w.chance.Int64N(int64(time.Minute))), func() { other.notice() })
		} else {
			e.closeWith(nil)
		}
	}
	for _, a := range n.readers {
		a.detach()
	}
	n.closeReplicator()
	n.on, n.life, n.engine, n.conns, n.readers, n.batch = false, n.life+1, nil, nil, nil, nil
}

// openReplicator opens the plugin, which begins with Start.
func (n *node) openReplicator() {
	w := n.w
	r, err := w.algorithm.Open(w.ctx, &services{n})
	if err != nil {
		w.fail(fmt.Errorf("open the plugin %q: %w", w.algorithm.Name, err))
		return
	}
	n.replicator, n.started, n.wakeAt, n.tickDue = r, w.now, never, false
	start := peersync.Start{State: n.store.state(), Hour: n.hour()}
	for i := range start.Seed {
		start.Seed[i] = byte(w.chance.Uint32())
	}
	start.Peers = n.listPeers()
	n.batch = []peersync.Event{start}
	n.planHandle()
}

// listPeers returns the numbers of the peers, ascending.
func (n *node) listPeers() (numbers []peersync.Peer) {
	for _, i := range n.neighbours {
		numbers = append(numbers, n.w.nodes[i].peer())
	}
	slices.Sort(numbers)
	return numbers
}

func (n *node) closeReplicator() {
	if n.replicator == nil {
		return
	}
	if err := n.replicator.Close(); err != nil {
		n.w.noteFailure(fmt.Errorf("close: %w", err))
	}
	n.replicator, n.batch = nil, nil
}

// pump carries out what the engine asks for.
func (n *node) pump() {
	if !n.on {
		return
	}
	n.syncState()
	for _, e := range n.conns {
		if e != nil {
			e.transmit()
		}
	}
	for c, ok := n.engine.NextClose(); ok; c, ok = n.engine.NextClose() {
		n.closeConn(c)
	}
	for job, ok := n.engine.NextJob(); ok; job, ok = n.engine.NextJob() {
		n.startJob(job)
	}
	if n.batch == nil && n.replicator != nil {
		if n.batch = n.engine.Events(); len(n.batch) > 0 {
			n.planHandle()
		} else {
			n.batch = nil
		}
	}
	n.checkStep()
}

func (n *node) closeConn(c exchange.Close) {
	if c.Breach {
		n.w.noteBreach(n, int(c.Peer)-1, c.Reason)
	}
	if e := n.conns[c.Peer-1]; e != nil {
		e.closeWith(c.Last)
	}
}

// syncState tells the engine what has become of the store.
func (n *node) syncState() {
	if n.told != n.store.mark {
		n.told = n.store.mark
		n.engine.SetState(n.hostile.stateOf(n))
	}
}

// planHandle plans the next Handle.
func (n *node) planHandle() {
	if n.handling {
		return
	}
	n.handling = true
	life := n.life
	n.w.after(n.w.scenario.Handle, func() {
		n.handling = false
		if n.life == life {
			n.handle()
		} else if n.on && (n.batch != nil || n.tickDue) {
			n.planHandle()
		}
	})
}

// handle passes events to the replicator.
func (n *node) handle() {
	if n.replicator == nil {
		return
	}
	events := n.batch
	_, begins := firstOf(events).(peersync.Start)
	if n.tickDue && !begins {
		n.tickDue = false
		events = append(events, peersync.Tick{Now: n.w.now - n.started, Hour: n.hour()})
	}
	if len(events) == 0 {
		return
	}
	n.advance()
	err := n.replicator.Handle(n.w.ctx, events)
	n.batch = nil
	if err != nil {
		n.restartReplicator(err)
	}
	n.pump()
	if n.tickDue {
		n.planHandle()
	}
}

func firstOf(events []peersync.Event) peersync.Event {
	if len(events) == 0 {
		return nil
	}
	return events[0]
}

// restartReplicator does after an error of Handle what a relay does.
func (n *node) restartReplicator(err error) {
	n.w.noteFailure(err)
	n.closeReplicator()
	n.engine.Restart(n.listPeers())
	life := n.life
	n.w.after(time.Second, func() {
		if n.life == life && n.replicator == nil {
			n.openReplicator()
		}
	})
}

// planTick plans the next look at the time.
func (n *node) planTick(after time.Duration) {
	life := n.life
	n.w.after(after, func() {
		if n.life == life {
			n.tick()
		}
	})
}

func (n *node) tick() {
	n.advance()
	n.prune()
	n.dialPeers()
	n.hostile.act(n)
	n.tickDue = true
	n.planHandle()
	n.pump()
	if n.jobs > 0 || n.w.now-n.traffic < isIdle {
		n.planTick(activeTick)
	} else {
		n.planTick(idleTick)
	}
}

// prune raises the floor by the retention of the relay, until the world heals.
func (n *node) prune() {
	hours := storage.Hour(n.group.Retention / time.Hour)
	if hours == 0 || n.w.calm {
		return
	}
	n.store.prune(n.hour() - min(hours, n.hour()))
	n.syncState()
}

// dialPeers dials where the engine wants a link.
func (n *node) dialPeers() {
	for _, i := range n.neighbours {
		if n.conns[i] != nil || n.dialing[i] {
			continue
		}
		if at, wanted := n.engine.NextDial(n.w.nodes[i].peer()); wanted && at <= n.w.now {
			n.dial(n.w.nodes[i])
		}
	}
}

func (n *node) dial(other *node) {
	n.dialing[other.index] = true
	life := n.life
	n.w.after(n.w.scenario.Link.Dial, func() {
		if n.life != life {
			return
		}
		n.dialing[other.index] = false
		switch {
		case n.conns[other.index] != nil:
			return
		case !other.on || n.w.areSeparated(n, other):
			n.advance()
			n.engine.DialFailed(other.peer())
			n.pump()
			return
		}
		if stale := other.conns[n.index]; stale != nil {
			stale.notice()
		}
		n.w.connect(n, other)
	})
}

// startJob gives a job to the store, which does one thing after the other.
func (n *node) startJob(job exchange.Job) {
	took := n.w.scenario.Disk.Read
	if job.Kind == exchange.Store || job.Kind == exchange.Lower {
		took = n.w.scenario.Disk.Append
	}
	n.jobs++
	life := n.life
	n.onDisk(took, func() {
		if n.life != life {
			if n.w.chance.IntN(2) == 0 && job.Kind == exchange.Store { // the process ended after it was durable
				n.storeRecords(job)
			}
			return
		}
		n.jobs--
		n.advance()
		n.engine.Done(job, n.perform(job))
		n.pump()
	})
}

// onDisk does something after what the disk has to do before.
func (n *node) onDisk(took time.Duration, do func()) {
	n.diskFree = max(n.diskFree, n.w.now) + took
	n.w.at(n.diskFree, do)
}

// perform does a job.
func (n *node) perform(job exchange.Job) (result exchange.Result) {
	if err := n.failNow(); err != nil {
		return exchange.Result{Err: err}
	}
	switch job.Kind {
	case exchange.Look:
		for _, id := range job.IDs {
			f := exchange.Found{}
			if number, ok := n.held(id); ok {
				f = exchange.Found{Held: true, Born: n.store.places[number].born, Size: n.w.sizeOf(number)}
			}
			result.Found = append(result.Found, f)
		}
	case exchange.Fetch:
		for _, id := range job.IDs {
			if number, ok := n.held(id); ok && !n.hostile.withholds {
				result.Records = append(result.Records, n.store.record(number))
			}
		}
	case exchange.Store:
		result.Outcomes = n.storeRecords(job)
	case exchange.Lower:
		for _, k := range job.Keys {
			if number, ok := n.held(k.ID); ok {
				n.store.append(number, k.Born, 0)
			}
		}
	}
	return result
}

func (n *node) held(id storage.ID) (number int32, ok bool) {
	number, ok = n.w.numbers[id]
	return number, ok && n.store.holds(number)
}

// storeRecords appends what a peer has sent.
func (n *node) storeRecords(job exchange.Job) (outcomes []storage.OutcomeStatus) {
	for _, r := range job.Records {
		number := n.checkRecord(r)
		if number < 0 {
			outcomes = append(outcomes, storage.Expired)
			continue
		}
		outcome := n.store.append(number, r.Born, job.Peer)
		if outcome == storage.Stored {
			n.noteStored(number, job.Peer)
		}
		outcomes = append(outcomes, outcome)
	}
	return outcomes
}

// failNow returns an error if the store is to fail now.
func (n *node) failNow() error {
	if share := n.w.scenario.Disk.Fail; share > 0 && !n.w.calm && n.w.chance.Float64() < share {
		return errDiskFails
	}
	return nil
}

var errDiskFails = fmt.Errorf("the simulated disk fails: %w", peersync.ErrUnavailable)

// post takes an envelope from a client, and calls done when it is durable.
func (n *node) post(number int32, done func()) {
	life := n.life
	n.onDisk(n.w.scenario.Disk.Append, func() {
		if n.life != life && n.w.chance.IntN(2) == 0 || n.failNow() != nil {
			return
		}
		outcome := n.store.append(number, n.hour(), 0)
		if outcome == storage.Stored {
			n.noteStored(number, 0)
		}
		if n.life == life {
			n.advance()
			n.pump()
			done()
		}
	})
}

// noteStored records that the node has an envelope now, from a peer or a client, and passes it to
// the members that listen.
func (n *node) noteStored(number int32, via peersync.Peer) {
	e := &n.w.envelopes[number]
	if n.hostile.isHonest() {
		if e.committed == 0 {
			e.committed, e.origin = n.w.now, n
		}
		if e.sought && !n.w.frozen && !n.had.has(number) {
			e.peers.arrive(n.w.now, n.w.honest)
		}
		n.had.add(number)
		if via != 0 {
			n.w.tally.Replicated++
			n.w.tally.ReplicatedBytes += uint64(n.w.sizeOf(number))
		}
		if e.author < 0 {
			n.w.tally.Junk++
		}
	}
	for _, a := range n.readers {
		a.push(number, len(n.store.log))
	}
}

// noteBody counts bodies that the receiver has already.
func (n *node) noteBody(b *peerlink.Body) {
	number := n.w.numberOf(b.Signature, b.Ciphertext)
	size := uint64(len(b.Signature) + len(b.Ciphertext))
	if number >= 0 && n.store.holds(number) {
		n.w.tally.Duplicates++
		n.w.tally.DuplicateBytes += size
	}
}

// noteTraffic remembers when the node was busy.
func (n *node) noteTraffic(f peerlink.Frame) {
	switch f.(type) {
	case *peerlink.Ping, *peerlink.Pong, *peerlink.Credit, *peerlink.State:
	default:
		n.traffic = n.w.now
	}
}

// services are what the plugin of a node can call.
type services struct{ n *node }

var _ peersync.HostServices = (*services)(nil)

func (h *services) Wake(_ context.Context, after time.Duration) error {
	if err := peersync.CheckWake(after); err != nil {
		return err
	}
	n := h.n
	at := n.w.now + after
	n.wakeAt = at
	life, started := n.life, n.started
	n.w.at(at, func() {
		if n.life != life || n.started != started || n.wakeAt != at {
			return
		}
		n.wakeAt, n.tickDue = never, true
		n.planHandle()
	})
	return nil
}

func (h *services) Report(_ context.Context, r peersync.Report) error {
	if err := r.Check(); err != nil {
		return err
	}
	h.n.report = r
	return nil
}

func (h *services) Log(_ context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	from, most, err := req.Bounds()
	if err == nil {
		err = h.n.failNow()
	}
	if err != nil {
		return peersync.LogPage{}, err
	}
	s := h.n.store
	page := peersync.LogPage{Epoch: s.epoch, Last: storage.Seq(len(s.log))}
	for i := max(int(min(from, 1<<40))-1, s.first); i < len(s.log) && len(page.Entries) < most; i++ {
		if e := s.log[i]; e.number >= 0 {
			page.Entries = append(page.Entries, peersync.Entry{Seq: storage.Seq(i + 1), Key: s.key(e.number), Size: h.n.w.sizeOf(e.number), Via: e.via})
		}
	}
	return page, nil
}

func (h *services) Keys(_ context.Context, ranges []peersync.Range, most int) ([][]peersync.Key, error) {
	if err := peersync.CheckKeys(ranges, most); err != nil {
		return nil, err
	}
	if err := h.n.failNow(); err != nil {
		return nil, err
	}
	var lists [][]peersync.Key
	for _, in := range ranges {
		if most == 0 {
			break
		}
		keys := h.n.store.index.Keys(in, most)
		lists, most = append(lists, keys), most-len(keys)
	}
	return lists, nil
}

// findSums returns the sums for a peer. They are not keyed as those of a relay are, because nobody in
// the lab crafts ids: with a secret for each link, most of the time of a run would go into hashes.
func (h *services) findSums(peer peersync.Peer) (*keyindex.Index, error) {
	n := h.n
	if peer == 0 {
		return n.store.index, n.failNow()
	}
	if i := int(peer) - 1; i >= len(n.conns) || n.conns[i] == nil {
		return nil, peersync.ErrPeerUnknown
	}
	return n.store.index, n.failNow()
}

func (h *services) RangeSum(_ context.Context, peer peersync.Peer, ranges []peersync.Range) ([]peersync.Sum, error) {
	if err := peersync.CheckRanges(ranges); err != nil {
		return nil, err
	}
	s, err := h.findSums(peer)
	if err != nil {
		return nil, err
	}
	out := make([]peersync.Sum, len(ranges))
	for i, in := range ranges {
		out[i] = s.Sum(in)
		h.n.hostile.alterSum(h.n, &out[i])
	}
	return out, nil
}

func (h *services) Split(_ context.Context, peer peersync.Peer, ranges []peersync.Range, parts int) ([][]peersync.Part, error) {
	if err := peersync.CheckSplit(ranges, parts); err != nil {
		return nil, err
	}
	s, err := h.findSums(peer)
	if err != nil {
		return nil, err
	}
	out := make([][]peersync.Part, len(ranges))
	for i, in := range ranges {
		out[i] = s.Split(in, parts)
		for j := range out[i] {
			h.n.hostile.alterSum(h.n, &out[i][j].Sum)
		}
	}
	return out, nil
}

func (h *services) Send(_ context.Context, to peersync.Peer, message []byte) error {
	return h.n.engine.Send(to, message)
}

func (h *services) Push(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	return h.n.engine.Push(to, ids)
}

func (h *services) Offer(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	return h.n.engine.Offer(to, ids)
}

func (h *services) Request(_ context.Context, from peersync.Peer, keys []peersync.Key) error {
	return h.n.engine.Request(from, keys)
}

func (h *services) Drop(_ context.Context, peer peersync.Peer, reason string) error {
	if _, known := h.n.engine.Status(peer); !known {
		return h.n.engine.Drop(peer, reason)
	}
	h.n.w.tally.Drops++
	if other := h.n.w.nodes[peer-1]; h.n.hostile.isHonest() && other.hostile.isHonest() {
		h.n.w.violate("I11", "%s drops %s, which is honest: %s", h.n.name, other.name, reason)
	}
	return h.n.engine.Drop(peer, reason)
}

func (h *services) Rest(_ context.Context, peer peersync.Peer, pause time.Duration) error {
	return h.n.engine.Rest(peer, pause)
}

func (h *services) Save(_ context.Context, cursors ...peersync.Cursor) error {
	if err := peersync.CheckCursors(cursors); err != nil {
		return err
	}
	added := 0
	for _, c := range cursors {
		if _, known := h.n.cursors[c.Name]; !known && len(c.Value) > 0 {
			added++
		}
	}
	if len(h.n.cursors)+added > peersync.MaxCursors {
		return fmt.Errorf("more than %d cursors: %w", peersync.MaxCursors, peersync.ErrTooLarge)
	}
	for _, c := range cursors {
		if len(c.Value) == 0 {
			delete(h.n.cursors, c.Name)
		} else {
			h.n.cursors[c.Name] = slices.Clone(c.Value)
		}
	}
	return nil
}

func (h *services) Load(_ context.Context, name string) ([]byte, error) {
	if err := peersync.CheckCursorName(name); err != nil {
		return nil, err
	}
	return slices.Clone(h.n.cursors[name]), nil
}

func (h *services) List(context.Context) ([]string, error) {
	names := make([]string, 0, len(h.n.cursors))
	for name := range h.n.cursors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
