package exchange

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// world is a few relays in one room: engines with model stores and queues between them. Its
// checks hold after every step.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	now   time.Duration
	nodes []*node
	trace hash.Hash
	ids   []storage.ID // of all envelopes that were ever posted, and of some that never were
	calm  bool         // no cuts, no failures
	seed  uint64
	// hostile is the index of a node that sends frames of its own making; -1 for none.
	hostile int
}

type node struct {
	w      *world
	index  int
	engine *Engine
	log    map[storage.ID]*stored
	state  peersync.State
	jobs   []Job
	ends   []*end // by index of the other node; nil for itself
}

type stored struct {
	storage.Record
	first storage.Hour
}

// end is one end of a connection, and what a replicator knows of the peer there.
type end struct {
	connected bool
	session   int
	queue     [][]byte // written by this end, not received yet
	budget    [channels]int
	up        bool
	sent      map[storage.ID]int // calls that wait for an outcome
	asked     map[storage.ID]int
	maybe     map[storage.ID]int  // outcomes that may not have been those of calls
	announced map[storage.ID]bool // this node has ever pushed or offered it to the other
	messages  int                 // sent on this session
	received  int
	busy      bool
}

var worldStart = time.Unix(1_800_000_000, 0)

func newWorld(t *testing.T, seed uint64, n int) *world {
	w := &world{t: t, seed: seed, hostile: -1, rng: rand.New(rand.NewPCG(seed, 1)), trace: sha256.New()}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(i, n))
	}
	return w
}

func (w *world) newNode(index, n int) *node {
	d := &node{w: w, index: index, log: make(map[storage.ID]*stored)}
	cfg := Config{Plugin: "model", Version: "v1", Seed: [32]byte{byte(index), byte(w.seed), byte(w.seed >> 8)}}
	for i := range n {
		d.ends = append(d.ends, &end{sent: map[storage.ID]int{}, asked: map[storage.ID]int{}, maybe: map[storage.ID]int{}, announced: map[storage.ID]bool{}})
		if i == index {
			continue
		}
		p := PeerConfig{Peer: peersync.Peer(i + 1), Gives: w.rng.IntN(8) > 0}
		if w.rng.IntN(4) == 0 {
			p.Quota = Quota{EnvelopesPerHour: uint64(1 + w.rng.IntN(50)), BytesPerDay: uint64(1 + w.rng.IntN(200_000))}
		}
		cfg.Peers = append(cfg.Peers, p)
	}
	d.engine = New(cfg)
	d.state = peersync.State{Epoch: storage.Epoch{byte(index)}, Floor: storage.HourOf(worldStart) - 100}
	d.engine.Advance(w.now, w.wall())
	d.engine.SetState(d.state)
	return d
}

func (w *world) wall() time.Time { return worldStart.Add(w.now) }

// fail ends the test with the seed.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

func (w *world) note(parts ...any) { fmt.Fprintln(w.trace, parts...) }

// post gives a node a new envelope.
func (d *node) post(size int) storage.ID {
	r := storage.Record{Born: storage.HourOf(d.w.wall()) - storage.Hour(d.w.rng.IntN(50))}
	r.Signature = binary.BigEndian.AppendUint64(nil, uint64(len(d.w.ids)))
	r.Ciphertext = bytes.Repeat([]byte{byte(d.index)}, size)
	r.ID = storage.NewID(r.Signature, r.Ciphertext)
	d.w.ids = append(d.w.ids, r.ID)
	d.append(r)
	return r.ID
}

// append is the Append of the model store.
func (d *node) append(r storage.Record) storage.OutcomeStatus {
	if r.Born < d.state.Floor {
		return storage.Expired
	}
	if s := d.log[r.ID]; s != nil {
		s.Born = storage.LowerBorn(s.first, s.Born, r.Born)
		return storage.Duplicate
	}
	d.log[r.ID] = &stored{r, r.Born}
	d.state.Last++
	d.state.Count++
	d.state.First = 1
	d.engine.SetState(d.state)
	return storage.Stored
}

func (d *node) raiseFloor() {
	d.state.Floor += storage.Hour(d.w.rng.IntN(20))
	for _, id := range sortedIDs(d.log) {
		if d.log[id].Born < d.state.Floor {
			delete(d.log, id)
			d.state.Count--
		}
	}
	d.engine.SetState(d.state)
}

// do carries out a job, and fails now and then.
func (d *node) do(job Job) {
	w, r := d.w, Result{}
	if !w.calm && w.rng.IntN(20) == 0 {
		r.Err = errors.New("disk on fire")
		d.engine.Done(job, r)
		return
	}
	switch job.Kind {
	case Look:
		for _, id := range job.IDs {
			f := Found{}
			if s := d.log[id]; s != nil {
				f = Found{true, s.Born, uint32(len(s.Signature) + len(s.Ciphertext))}
			}
			r.Found = append(r.Found, f)
		}
	case Fetch:
		if len(job.IDs) > MaxFetch {
			w.fail("a job fetches %d ids", len(job.IDs))
		}
		for _, id := range job.IDs {
			if s := d.log[id]; s != nil {
				r.Records = append(r.Records, s.Record)
			}
		}
	case Store:
		if err := storage.CheckBatch(job.Records); err != nil {
			w.fail("%v", err)
		}
		for _, rec := range job.Records {
			if rec.ID != storage.NewID(rec.Signature, rec.Ciphertext) {
				w.fail("an invented id is stored")
			}
			if !slices.Contains(w.ids, rec.ID) {
				if int(job.Peer)-1 != w.hostile {
					w.fail("an invented envelope is stored")
				}
				w.ids = append(w.ids, rec.ID)
			}
			r.Outcomes = append(r.Outcomes, d.append(rec))
		}
	case Lower:
		for _, k := range job.Keys {
			if s := d.log[k.ID]; s != nil {
				s.Born = storage.LowerBorn(s.first, s.Born, k.Born)
			}
		}
	}
	d.engine.Done(job, r)
}

// connect brings up the link between two nodes.
func (w *world) connect(a, b int) {
	x, y := w.nodes[a], w.nodes[b]
	x.ends[b].start(x.ends[b].session + 1)
	y.ends[a].start(x.ends[b].session)
	x.engine.Connect(peersync.Peer(b+1), true)
	y.engine.Connect(peersync.Peer(a+1), false)
}

func (n *end) start(session int) {
	n.connected, n.session, n.queue, n.messages, n.received = true, session, nil, 0, 0
	n.budget = initialCredit
}

// cut breaks the link between two nodes, if there is one.
func (w *world) cut(a, b int) {
	for _, pair := range [][2]int{{a, b}, {b, a}} {
		if n := w.nodes[pair[0]].ends[pair[1]]; n.connected {
			n.connected, n.queue = false, nil
			w.nodes[pair[0]].engine.Disconnect(peersync.Peer(pair[1] + 1))
		}
	}
}

// write has an end write one frame.
func (d *node) write(other int) bool {
	n := d.ends[other]
	if !n.connected {
		return false
	}
	before := 0
	if l := d.engine.findLink(peersync.Peer(other + 1)); l != nil {
		before = len(l.outbox)
	}
	f, ok := d.engine.Next(peersync.Peer(other + 1))
	if d.w.isHostile(d.index) && d.w.rng.IntN(8) == 0 {
		n.queue = append(n.queue, peerlink.AppendFrame(nil, d.w.inventFrame()))
		return true
	}
	if !ok {
		return false
	}
	switch f := f.(type) {
	case *peerlink.Message:
		n.budget[messages] -= peerlink.CreditCost(f)
	case *peerlink.Body:
		n.budget[envelopes] -= peerlink.CreditCost(f)
		if before > 0 {
			d.w.fail("a body overtakes a message")
		}
		if f.Born < d.state.Floor {
			d.w.fail("a body below the floor is sent")
		}
	case *peerlink.Offer:
		for _, o := range f.Envelopes {
			if o.Born < d.state.Floor {
				d.w.fail("a key below the floor is offered")
			}
		}
	}
	if d.w.hostile >= 0 {
		n.queue = append(n.queue, peerlink.AppendFrame(nil, f))
		return true // its credits are not those of an engine
	}
	if n.budget[messages] < 0 || n.budget[envelopes] < 0 {
		d.w.fail("node %d exceeds its credit", d.index)
	}
	n.queue = append(n.queue, peerlink.AppendFrame(nil, f))
	return true
}

// read has a node receive the first frame that the other one has written.
func (d *node) read(other int) bool {
	from := d.w.nodes[other].ends[d.index]
	if !d.ends[other].connected || len(from.queue) == 0 {
		return false
	}
	f, err := peerlink.ReadFrame(bytes.NewReader(from.queue[0]))
	if err != nil {
		d.w.fail("%v", err)
	}
	if c, ok := f.(*peerlink.Credit); ok {
		d.ends[other].budget[c.Channel-1] += int(c.Bytes)
	}
	d.w.note("frame", d.index, other, sha256.Sum256(from.queue[0]))
	from.queue = from.queue[1:]
	d.engine.Receive(peersync.Peer(other+1), f)
	return true
}

// settle carries out what the engines ask for at once, and checks the accounts.
func (w *world) settle() {
	for _, d := range w.nodes {
		for {
			c, ok := d.engine.NextClose()
			if !ok {
				break
			}
			if c.Breach && !w.isHostile(d.index) && !w.isHostile(int(c.Peer)-1) {
				w.fail("node %d closes the link to %d: %v", d.index, c.Peer, c.Reason)
			}
			w.cut(d.index, int(c.Peer)-1)
		}
		for {
			job, ok := d.engine.NextJob()
			if !ok {
				break
			}
			d.jobs = append(d.jobs, job)
		}
		for _, p := range d.engine.peers {
			if m := p.memory(); m > MaxMemory {
				w.fail("peer %d takes %d bytes", p.cfg.Peer, m)
			}
		}
	}
}

// handle is the Handle of a replicator.
func (d *node) handle() bool {
	events := d.engine.Events()
	if err := peersync.CheckEvents(events); err != nil {
		d.w.fail("%v", err)
	}
	for _, event := range events {
		if m, ok := event.(peersync.PeerMessage); ok {
			d.w.note("message", d.index, m.Peer, sha256.Sum256(m.Data))
		} else {
			d.w.note("event", d.index, event)
		}
		switch ev := event.(type) {
		case peersync.PeerUp:
			if n := d.ends[ev.Peer-1]; n.up {
				d.w.fail("a second PeerUp")
			} else {
				n.up = true
			}
		case peersync.PeerDown:
			n := d.ends[ev.Peer-1]
			if !n.up || len(n.sent) > 0 || len(n.asked) > 0 {
				d.w.fail("PeerDown (up %v) with %d and %d ids that are not settled", n.up, len(n.sent), len(n.asked))
			}
			n.up, n.busy = false, false
		case peersync.PeerMessage:
			d.checkMessage(ev)
		case peersync.PeerReady:
			if n := d.ends[ev.Peer-1]; !n.busy {
				d.w.fail("PeerReady without ErrBusy")
			} else {
				n.busy = false
			}
		case peersync.Sent:
			for _, o := range ev.Outcomes {
				d.settleCall(d.ends[ev.Peer-1].sent, o)
			}
		case peersync.Received:
			for _, o := range ev.Outcomes {
				d.checkReceived(ev.Peer, o)
			}
		}
	}
	return len(events) > 0
}

func (d *node) checkMessage(m peersync.PeerMessage) {
	n := d.ends[m.Peer-1]
	if d.w.hostile == int(m.Peer)-1 {
		return
	}
	session, number := int(binary.BigEndian.Uint32(m.Data)), int(binary.BigEndian.Uint32(m.Data[4:]))
	if !n.up || session != n.session || number != n.received {
		d.w.fail("message %d of session %d, expected %d of %d", number, session, n.received, n.session)
	}
	n.received++
}

func (d *node) settleCall(calls map[storage.ID]int, o peersync.Outcome) {
	if calls[o.ID] == 0 {
		d.w.fail("node %d: an outcome (%v) without a call", d.index, o.Status)
	}
	if calls[o.ID]--; calls[o.ID] == 0 {
		delete(calls, o.ID)
	}
}

func (d *node) checkReceived(from peersync.Peer, o peersync.Outcome) {
	n := d.ends[from-1]
	if o.Status == peersync.Stored && d.log[o.ID] == nil && d.state.Floor == storage.HourOf(worldStart)-100 {
		d.w.fail("stored, but not in the log")
	}
	announced := d.w.nodes[from-1].ends[d.index].announced[o.ID]
	report := o.Status != peersync.Gone && o.Status != peersync.Lost
	if n.asked[o.ID] > 0 {
		if d.settleCall(n.asked, o); report {
			n.maybe[o.ID]++ // it may be a report, and the answer is still to come
		}
		return
	}
	if !report && n.maybe[o.ID] > 0 {
		n.maybe[o.ID]--
		return
	}
	if !announced && d.w.hostile != int(from)-1 || !report {
		d.w.fail("node %d: a report (%v) of what was not sent", d.index, o.Status)
	}
}

// call makes a random call of the replicator.
func (d *node) call(other int) {
	w, n := d.w, d.ends[other]
	if !n.up {
		return
	}
	peer := peersync.Peer(other + 1)
	var ids []storage.ID
	for range 1 + w.rng.IntN(40) {
		if len(w.ids) > 0 {
			ids = append(ids, w.ids[w.rng.IntN(len(w.ids))])
		}
	}
	if len(ids) == 0 {
		return
	}
	var err error
	calls, asks := n.sent, false
	switch w.rng.IntN(4) {
	case 0:
		err = d.engine.Push(peer, ids)
	case 1:
		err = d.engine.Offer(peer, ids)
	case 2:
		calls, asks = n.asked, true
		var keys []storage.Key
		for _, id := range ids {
			keys = append(keys, storage.Key{Born: storage.HourOf(w.wall()) - storage.Hour(w.rng.IntN(60)), ID: id})
		}
		err = d.engine.Request(peer, keys)
	case 3:
		m := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(n.session)), uint32(n.messages))
		m = append(m, make([]byte, w.rng.IntN(3)*w.rng.IntN(60_000))...)
		if err = d.engine.Send(peer, m); err == nil {
			n.messages++
		}
		ids = nil
	}
	switch {
	case errors.Is(err, peersync.ErrBusy):
		n.busy = true
	case errors.Is(err, peersync.ErrPeerUnknown):
	case err != nil:
		w.fail("%v", err)
	default:
		for _, id := range dropRepeated(ids, func(id storage.ID) storage.ID { return id }) {
			calls[id]++
			n.announced[id] = n.announced[id] || !asks
		}
	}
}

// step does something random.
func (w *world) step() {
	a := w.rng.IntN(len(w.nodes))
	b := (a + 1 + w.rng.IntN(len(w.nodes)-1)) % len(w.nodes)
	d := w.nodes[a]
	switch n := w.rng.IntN(100); {
	case n < 25:
		d.write(b)
	case n < 50:
		d.read(b)
	case n < 62:
		if len(d.jobs) > 0 {
			i := w.rng.IntN(len(d.jobs))
			job := d.jobs[i]
			d.jobs = slices.Delete(d.jobs, i, i+1)
			d.do(job)
		}
	case n < 74:
		d.handle()
	case n < 80:
		d.call(b)
	case n < 84:
		d.post(w.rng.IntN(3000))
	case n < 95:
		w.now += time.Duration(w.rng.Int64N(int64(time.Second)))
	case n < 96:
		w.now += time.Duration(w.rng.Int64N(int64(3 * time.Minute)))
	case n < 97:
		if w.rng.IntN(5) == 0 {
			d.raiseFloor()
		}
	case n < 98:
		if w.rng.IntN(4) == 0 {
			w.cut(a, b)
		}
	default:
		w.dial(a, b)
	}
	w.advance()
	w.settle()
}

func (w *world) advance() {
	for _, d := range w.nodes {
		d.engine.Advance(w.now, w.wall())
	}
}

func (w *world) dial(a, b int) {
	at, wanted := w.nodes[a].engine.NextDial(peersync.Peer(b + 1))
	if wanted && at <= w.now && !w.nodes[a].ends[b].connected && !w.nodes[b].ends[a].connected {
		w.connect(a, b)
	}
}

// rest moves everything until nothing moves.
func (w *world) rest() {
	for moved := true; moved; {
		moved = false
		w.settle()
		for _, d := range w.nodes {
			for len(d.jobs) > 0 {
				job := d.jobs[0]
				d.jobs = d.jobs[1:]
				d.do(job)
				moved = true
			}
			for b := range w.nodes {
				for b != d.index && (d.read(b) || d.write(b)) {
					moved = true
				}
			}
			for d.handle() {
				moved = true
			}
		}
	}
}

// heal ends all trouble, and checks that nothing is under way in the end.
func (w *world) heal() {
	w.calm = true
	for a := range w.nodes {
		for b := range a {
			w.cut(a, b)
		}
	}
	w.now += maxBlame
	w.advance()
	for a := range w.nodes {
		for b := range a {
			w.connect(a, b)
		}
	}
	for range 4 {
		w.rest()
		for range 2 * len(w.nodes) {
			a := w.rng.IntN(len(w.nodes))
			w.nodes[a].call((a + 1 + w.rng.IntN(len(w.nodes)-1)) % len(w.nodes))
		}
		w.rest()
		w.now += 20 * time.Second // also for offers that wait
		w.advance()
	}
	w.rest()
	for _, d := range w.nodes {
		if len(d.engine.incoming) > 0 || len(d.engine.jobs) > 0 {
			w.fail("node %d: %d ids and %d jobs are left", d.index, len(d.engine.incoming), len(d.engine.jobs))
		}
		for b, n := range d.ends {
			if len(n.sent)+len(n.asked) > 0 {
				w.fail("node %d: %d and %d calls to %d have no outcome", d.index, len(n.sent), len(n.asked), b)
			}
		}
		for _, p := range d.engine.peers {
			w.checkIdle(d, p)
		}
	}
}

// checkIdle checks that all accounts of a link are even.
func (w *world) checkIdle(d *node, p *peer) {
	if p.link == nil {
		w.fail("node %d: the link to %d is down", d.index, p.cfg.Peer)
	}
	l := p.link
	counts := []int{
		len(l.in), len(l.out), l.outOwed, l.askedOwed, l.offeredIn, l.offers, l.unanswered, l.parked, l.wanted, l.storeBytes, l.bodyBytes,
		l.wantedByPeer, l.queued, l.inboxBytes, p.sentWaiting, p.askedWaiting, p.reportWaiting, p.messageBytes, p.outcomes, p.appending, p.fetching,
	}
	for i, n := range counts {
		if n != 0 {
			w.fail("node %d, peer %d: %v are left (%d)", d.index, p.cfg.Peer, counts, i)
		}
	}
}

// isHostile reports whether a node is the hostile one, and still is.
func (w *world) isHostile(index int) bool { return index == w.hostile && !w.calm }

// inventFrame returns a frame that may be anything.
func (w *world) inventFrame() peerlink.Frame {
	ids := []storage.ID{w.ids[w.rng.IntN(len(w.ids))], {byte(w.rng.Uint32())}}[w.rng.IntN(2):]
	born := storage.HourOf(w.wall()) + 100 - storage.Hour(w.rng.IntN(200))
	switch w.rng.IntN(10) {
	case 0:
		return &peerlink.Credit{Channel: peerlink.Channel(1 + w.rng.IntN(2)), Bytes: 1 + w.rng.Uint32N(2000)}
	case 1:
		return &peerlink.Pong{Token: [8]byte{1}}
	case 2:
		return &peerlink.Message{Data: make([]byte, 1+w.rng.IntN(peerlink.MaxFragment))}
	case 3:
		return &peerlink.Offer{Envelopes: []peerlink.Offered{{Key: storage.Key{Born: born, ID: ids[0]}}}}
	case 4:
		return &peerlink.Want{Offered: w.rng.IntN(2) == 0, IDs: ids}
	case 5, 6:
		return &peerlink.Body{Kind: peerlink.BodyKind(w.rng.IntN(3)), Born: born, Signature: []byte{byte(w.rng.Uint32())}, Ciphertext: make([]byte, w.rng.IntN(2000))}
	case 7:
		return &peerlink.Gone{IDs: ids}
	case 8:
		return &peerlink.Taken{Outcomes: []peersync.Outcome{{ID: ids[0], Status: peersync.Stored}}}
	}
	return &peerlink.State{State: peersync.State{Epoch: storage.Epoch{byte(w.rng.Uint32())}, Floor: born}}
}

// runWorld simulates a seed, and returns the digest of its trace.
func runWorld(t *testing.T, seed uint64, steps int) [32]byte {
	w := newWorld(t, seed, 2+int(seed%3))
	if seed%4 == 3 {
		w.hostile = w.rng.IntN(len(w.nodes))
	}
	w.ids = append(w.ids, storage.ID{1}, storage.ID{2}) // nobody has them
	for range steps {
		w.step()
	}
	w.heal()
	return [32]byte(w.trace.Sum(nil))
}

func TestInvariantsHoldInAnyWeather(t *testing.T) {
	seeds := 1000
	if testing.Short() {
		seeds = 100
	}
	for seed := range uint64(seeds) {
		runWorld(t, seed, 400)
	}
}

func TestSameSeedHasSameTrace(t *testing.T) {
	for seed := range uint64(20) {
		if first, second := runWorld(t, seed, 2000), runWorld(t, seed, 2000); first != second {
			t.Fatalf("seed %d has two traces", seed)
		}
	}
}
