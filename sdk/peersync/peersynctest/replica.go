package peersynctest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Replica is a relay in a [World], and the [peersync.HostServices] of its replicator. It records
// every call and every breach of the contract.
type Replica struct {
	// Refuse, if set, is called before every call of the host, with the name of the method
	// and the peer, or 0. The call returns its error, if there is one. It is also called with
	// "store" before an envelope of a peer is stored, which is Lost after an error.
	Refuse func(call string, peer peersync.Peer) error
	// Twist, if set, replaces each message that the replicator sends by those that it
	// returns, of 1 to [peersync.MaxMessage] bytes. See [NewTwist] for a hostile one.
	Twist func(message []byte) [][]byte
	// Silent keeps the relay from sending anything, although its links are up.
	Silent bool
	// Calls are the calls of the host so far, one line each.
	Calls []string
	// Faults are the breaches of the contract by the replicator.
	Faults []string

	world *World
	index int
	clock int // hours by which its clock is ahead of the world

	epoch    storage.Epoch
	floor    storage.Hour
	log      []peersync.Entry // log[i] has sequence number i+1
	pruned   int              // so many entries at the beginning of log are below floor
	seqs     map[storage.ID]storage.Seq
	first    map[storage.ID]storage.Hour // Born with which the entry was stored
	keys     []peersync.Key              // of what is in log and not below floor, ascending
	cursors  map[string][]byte
	report   peersync.Report
	readings []reading

	numbers    []peersync.Peer // of the other relays; 0: not configured
	lastNumber peersync.Peer
	terms      []Terms
	accounts   []account
	incoming   map[storage.ID]*link         // what a link will bring, or say that it is gone
	parked     map[storage.ID][]parkedOffer // offers of what is incoming
	traffic    Traffic
	// doubleRequests counts requests for what the replicator had requested from another peer,
	// without outcome yet.
	doubleRequests int

	replicator peersync.Replicator // nil: the relay is off
	startedAt  time.Duration
	wakeAt     time.Duration
	pending    []peersync.Event
	up         map[peersync.Peer]bool // according to the events handled so far
	handling   bool
}

// Traffic is what a relay has received from its peers.
type Traffic struct {
	Envelopes int
	Bytes     int // of the envelopes
	Wasted    int // envelopes that it had already
}

// reading is a page that the replicator read of the log.
type reading struct{ first, last storage.Seq }

var _ peersync.HostServices = (*Replica)(nil)

func newReplica(w *World, index, n int) *Replica {
	r := &Replica{
		world: w, index: index, wakeAt: never,
		cursors: make(map[string][]byte), numbers: make([]peersync.Peer, n), terms: make([]Terms, n), accounts: make([]account, n),
		incoming: make(map[storage.ID]*link), parked: make(map[storage.ID][]parkedOffer),
		lastNumber: peersync.Peer(100 * (index + 1)),
	}
	for other := range n {
		if other != index {
			r.lastNumber++
			r.numbers[other] = r.lastNumber
		}
	}
	r.Renew()
	return r
}

// Peer returns the number by which the relay knows another one, and 0 if that is not configured.
func (r *Replica) Peer(other int) peersync.Peer {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.numbers[other]
}

// SetTerms changes what the relay allows another one, and breaks the link to it.
func (r *Replica) SetTerms(other int, terms Terms) {
	r.world.Cut(r.index, other)
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.terms[other], r.accounts[other] = terms, account{}
}

// RemovePeer removes another relay from the configuration. The link to it breaks.
func (r *Replica) RemovePeer(other int) { r.setPeer(other, 0) }

// AddPeer adds another relay to the configuration, as a peer with a new number.
func (r *Replica) AddPeer(other int) {
	r.lastNumber++
	r.setPeer(other, r.lastNumber)
}

func (r *Replica) setPeer(other int, number peersync.Peer) {
	r.world.Cut(r.index, other)
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.numbers[other] = number
	r.queueEvent(peersync.PeersChanged{Peers: r.configuredPeers()})
}

// configuredPeers returns the numbers of the peers, ascending.
func (r *Replica) configuredPeers() (out []peersync.Peer) {
	for _, number := range r.numbers {
		if number > 0 {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// SetClock makes the clock of the relay differ from the others by some hours.
func (r *Replica) SetClock(hours int) {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.clock = hours
}

// presentHour returns the hour by the clock of the relay. The caller holds the mutex of the world.
func (r *Replica) presentHour() storage.Hour {
	return firstHour + storage.Hour(int(r.world.now/time.Hour)+r.clock)
}

// Last returns the end of the log.
func (r *Replica) Last() storage.Seq {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.lastSeq()
}

func (r *Replica) lastSeq() storage.Seq { return storage.Seq(len(r.log)) }

// Has reports whether an envelope is in the log.
func (r *Replica) Has(id storage.ID) bool {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.findEntry(id) != nil
}

// Traffic returns what the relay has received so far.
func (r *Replica) Traffic() Traffic {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.traffic
}

// Renew empties the board and gives it a new epoch, like the loss of a store.
func (r *Replica) Renew() {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.log, r.pruned, r.keys, r.readings, r.floor = nil, 0, nil, nil, 0
	r.seqs, r.first = make(map[storage.ID]storage.Seq), make(map[storage.ID]storage.Hour)
	binary.BigEndian.PutUint64(r.epoch[:], r.world.rng.Uint64())
	r.tellLog()
	r.tellPeers()
}

// RaiseFloor makes the relay let go of all envelopes that were born before an hour, as a
// relay does with what is old, and refuse them from now on. A lower floor than the present
// one changes nothing.
func (r *Replica) RaiseFloor(floor storage.Hour) {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	if floor <= r.floor {
		return
	}
	r.floor = floor
	r.keys = r.keysWithin(peersync.Range{Lo: peersync.Key{Born: floor}})
	r.tellLog()
	r.tellPeers()
}

// LastReport returns the last report of the replicator.
func (r *Replica) LastReport() peersync.Report {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.report
}

func (r *Replica) logState() peersync.State {
	s := peersync.State{Epoch: r.epoch, Last: r.lastSeq(), Count: uint64(len(r.keys)), Floor: r.floor}
	for r.pruned < len(r.log) && !r.keeps(r.log[r.pruned]) { // the floor only rises
		r.pruned++
	}
	if r.pruned < len(r.log) {
		s.First = r.log[r.pruned].Seq
	}
	return s
}

// keeps reports whether an entry is not below the floor.
func (r *Replica) keeps(e peersync.Entry) bool { return e.Born >= r.floor }

// tellLog tells the replicator that the log or the floor has moved.
func (r *Replica) tellLog() { r.queueEvent(peersync.LogAdvanced{State: r.logState()}) }

// tellPeers tells the peers that the floor or the epoch has changed.
func (r *Replica) tellPeers() {
	for _, l := range r.world.links {
		if at := l.endOf(r); at >= 0 && l.up {
			l.tellState(at)
		}
	}
}

// addEnvelope appends an envelope, unless it is below the floor. It lowers the hour of one that is
// there.
func (r *Replica) addEnvelope(key peersync.Key, size uint32, via peersync.Peer) {
	if key.Born < r.floor {
		return
	}
	if e := r.findEntry(key.ID); e != nil {
		r.moveKey(e, key.Born)
		return
	}
	r.insertKey(key)
	r.log = append(r.log, peersync.Entry{Seq: r.lastSeq() + 1, Key: key, Size: size, Via: via})
	r.seqs[key.ID], r.first[key.ID] = r.lastSeq(), key.Born
	r.tellLog()
}

func (r *Replica) insertKey(key peersync.Key) {
	at, _ := slices.BinarySearchFunc(r.keys, key, peersync.Key.Compare)
	r.keys = slices.Insert(r.keys, at, key)
}

// lowerBorn returns the hour of an entry after the relay has learned of another one.
func (r *Replica) lowerBorn(e peersync.Entry, other storage.Hour) storage.Hour {
	return max(r.floor, storage.LowerBorn(r.first[e.ID], e.Born, other))
}

// moveKey lowers the hour of an entry, if another one is earlier.
func (r *Replica) moveKey(e *peersync.Entry, born storage.Hour) {
	if born = r.lowerBorn(*e, born); born < e.Born {
		at, _ := slices.BinarySearchFunc(r.keys, e.Key, peersync.Key.Compare)
		r.keys = slices.Delete(r.keys, at, at+1)
		e.Born = born
		r.insertKey(e.Key)
	}
}

// findEntry returns the entry with an id, or nil.
func (r *Replica) findEntry(id storage.ID) *peersync.Entry {
	if seq := r.seqs[id]; seq > 0 && r.keeps(r.log[seq-1]) {
		return &r.log[seq-1]
	}
	return nil
}

// queueEvent queues an event for the replicator, if there is one. What can be said together with
// the event before is.
func (r *Replica) queueEvent(e peersync.Event) {
	if r.replicator == nil {
		return
	}
	if n := len(r.pending); n > 0 {
		if joined := joinEvents(r.pending[n-1], e); joined != nil {
			r.pending[n-1] = joined
			return
		}
	}
	r.pending = append(r.pending, e)
}

// joinEvents returns an event that stands for both, or nil.
func joinEvents(before, e peersync.Event) peersync.Event {
	switch e := e.(type) {
	case peersync.LogAdvanced:
		if _, ok := before.(peersync.LogAdvanced); ok {
			return e
		}
	case peersync.Tick:
		if _, ok := before.(peersync.Tick); ok {
			return e
		}
	case peersync.Sent:
		b, ok := before.(peersync.Sent)
		if ok && b.Peer == e.Peer && b.RetryAfter == e.RetryAfter && len(b.Outcomes) < peersync.MaxIDs {
			e.Outcomes = append(b.Outcomes, e.Outcomes...)
			return e
		}
	case peersync.Received:
		b, ok := before.(peersync.Received)
		if ok && b.Peer == e.Peer && b.RetryAfter == e.RetryAfter && len(b.Outcomes) < peersync.MaxIDs {
			e.Outcomes = append(b.Outcomes, e.Outcomes...)
			return e
		}
	}
	return nil
}

func (r *Replica) queueTick() {
	r.queueEvent(peersync.Tick{Now: r.world.now - r.startedAt, Hour: r.presentHour()})
}

// handleQueued passes some of the queued events to the replicator. When there are none, it is
// time to wake it.
func (r *Replica) handleQueued(ctx context.Context) error {
	w := r.world
	w.mu.Lock()
	if len(r.pending) == 0 {
		r.queueTick()
	}
	most := 8
	if w.rng.IntN(16) == 0 {
		most = peersync.MaxEvents
	}
	n := 1 + w.rng.IntN(min(len(r.pending), most))
	for peersync.CheckEvents(r.pending[:n]) != nil {
		n--
	}
	events := slices.Clone(r.pending[:n])
	r.pending = slices.Delete(r.pending, 0, n)
	w.mu.Unlock()
	return r.callHandle(ctx, events)
}

// callHandle calls Handle and keeps track of the peers that are up.
func (r *Replica) callHandle(ctx context.Context, events []peersync.Event) error {
	r.world.mu.Lock()
	for _, e := range events { // Handle may call a peer although a later event takes it down
		switch e := e.(type) {
		case peersync.PeerUp:
			r.up[e.Peer] = true
		case peersync.Tick:
			if r.startedAt+e.Now >= r.wakeAt {
				r.wakeAt = never
			}
		}
	}
	r.handling = true
	r.world.mu.Unlock()
	err := r.replicator.Handle(ctx, events)
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.handling = false
	for _, e := range events {
		switch e := e.(type) {
		case peersync.PeerUp:
			r.up[e.Peer] = true
		case peersync.PeerDown:
			r.up[e.Peer] = false
		}
	}
	return err
}

// isConnected reports whether a link is up.
func (r *Replica) isConnected() bool {
	return slices.ContainsFunc(r.world.links, func(l *link) bool { return l.up && l.endOf(r) >= 0 })
}

// endOf returns which end of the link a relay is, or -1.
func (l *link) endOf(r *Replica) int {
	return slices.IndexFunc(l.ends[:], func(end *linkEnd) bool { return end.Replica == r })
}

// linkTo returns the link to another relay, and the index of its end at r.
func (r *Replica) linkTo(other *Replica) (*link, int) {
	for _, l := range r.world.links {
		if at := l.endOf(r); at >= 0 && l.ends[1-at].Replica == other {
			return l, at
		}
	}
	return nil, 0
}

// linkWith returns the link to a peer, and the index of its end at r.
func (r *Replica) linkWith(peer peersync.Peer) (*link, int) {
	if other := slices.Index(r.numbers, peer); other >= 0 && peer > 0 {
		return r.linkTo(r.world.Replicas[other])
	}
	return nil, 0
}

func (r *Replica) recordFault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf("relay %d: ", r.index)+fmt.Sprintf(format, args...))
}

// refuses returns the error of Refuse.
func (r *Replica) refuses(call string, peer peersync.Peer) error {
	if r.Refuse == nil {
		return nil
	}
	return r.Refuse(call, peer)
}

// beginCall records a call and makes the checks that all calls share. If it returns no error, the
// caller holds the mutex of the world and must unlock it.
func (r *Replica) beginCall(ctx context.Context, name string, broken error, peer peersync.Peer, args ...any) error {
	r.world.mu.Lock()
	line := name
	for _, arg := range args {
		line += fmt.Sprintf(" %v", arg)
	}
	r.Calls = append(r.Calls, line)
	err := errors.Join(ctx.Err(), broken)
	switch {
	case !r.handling:
		r.recordFault("%s was called outside of Handle", name)
		err = errors.New("called outside of Handle")
	case broken != nil:
		r.recordFault("%s: %v", name, broken)
	case err == nil:
		err = r.refuses(name, peer)
	}
	if err != nil {
		r.world.mu.Unlock()
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// digestOf returns a short text that stands for data in a line of Calls.
func digestOf(data []byte) string {
	h := fnv.New64a()
	h.Write(data)
	return fmt.Sprintf("%d:%x", len(data), h.Sum64())
}

// digestIDs, digestKeys and digestRanges do the same for lists.
func digestIDs(ids []storage.ID) string {
	var b []byte
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return digestOf(b)
}

func digestKeys(keys []peersync.Key) string {
	var b []byte
	for _, k := range keys {
		b = append(binary.BigEndian.AppendUint32(b, uint32(k.Born)), k.ID[:]...)
	}
	return digestOf(b)
}

func digestRanges(ranges []peersync.Range) string {
	var keys []peersync.Key
	for _, in := range ranges {
		keys = append(keys, in.Lo, in.Hi)
	}
	return digestKeys(keys)
}

// Log implements [peersync.Replica].
func (r *Replica) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	from, limit, err := req.Bounds()
	if err := r.beginCall(ctx, "log", err, 0, req.From, req.Max); err != nil {
		return peersync.LogPage{}, err
	}
	defer r.world.mu.Unlock()
	page := peersync.LogPage{Epoch: r.epoch, Last: r.lastSeq()}
	for seq := from; seq <= page.Last && len(page.Entries) < limit; seq++ {
		if e := r.log[seq-1]; r.keeps(e) {
			page.Entries = append(page.Entries, e)
		}
	}
	if n := len(page.Entries); n > 0 {
		r.readings = append(r.readings, reading{page.Entries[0].Seq, page.Entries[n-1].Seq})
	}
	return page, nil
}

// Keys implements [peersync.Replica].
func (r *Replica) Keys(ctx context.Context, ranges []peersync.Range, max int) ([][]peersync.Key, error) {
	if err := r.beginCall(ctx, "keys", peersync.CheckKeys(ranges, max), 0, digestRanges(ranges), max); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	var out [][]peersync.Key
	for _, in := range ranges {
		if max == 0 {
			break
		}
		keys := r.keysWithin(in)
		keys = keys[:min(max, len(keys))]
		out = append(out, slices.Clone(keys))
		max -= len(keys)
	}
	return out, nil
}

// beginSums begins a call that returns sums for a peer. If it returns no error, the caller holds
// the mutex of the world and must unlock it. The link is nil for peer 0.
func (r *Replica) beginSums(ctx context.Context, name string, broken error, peer peersync.Peer, args ...any) (*link, error) {
	if peer == 0 {
		return nil, r.beginCall(ctx, name, broken, 0, args...)
	}
	l, _, err := r.beginLinkCall(ctx, name, broken, peer, needNothing, args...)
	return l, err
}

// RangeSum implements [peersync.Replica].
func (r *Replica) RangeSum(ctx context.Context, peer peersync.Peer, ranges []peersync.Range) ([]peersync.Sum, error) {
	l, err := r.beginSums(ctx, "range sum", peersync.CheckRanges(ranges), peer, digestRanges(ranges))
	if err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	sums := make([]peersync.Sum, len(ranges))
	for i, in := range ranges {
		sums[i] = l.sumKeys(r.keysWithin(in))
	}
	return sums, nil
}

// Split implements [peersync.Replica].
func (r *Replica) Split(ctx context.Context, peer peersync.Peer, ranges []peersync.Range, parts int) ([][]peersync.Part, error) {
	l, err := r.beginSums(ctx, "split", peersync.CheckSplit(ranges, parts), peer, digestRanges(ranges), parts)
	if err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	out := make([][]peersync.Part, len(ranges))
	for i, in := range ranges {
		keys := r.keysWithin(in)
		for left := parts; len(keys) > 0; left-- {
			n := (len(keys) + left - 1) / left
			out[i] = append(out[i], peersync.Part{First: keys[0], Last: keys[n-1], Sum: l.sumKeys(keys[:n])})
			keys = keys[n:]
		}
	}
	return out, nil
}

func (r *Replica) keysWithin(in peersync.Range) []peersync.Key {
	lo, _ := slices.BinarySearchFunc(r.keys, in.Lo, peersync.Key.Compare)
	hi := len(r.keys)
	if in.Hi != (peersync.Key{}) {
		hi, _ = slices.BinarySearchFunc(r.keys, in.Hi, peersync.Key.Compare)
	}
	return r.keys[lo:max(lo, hi)]
}

// sumKeys adds keys up, with the secret of the link. A nil link has none.
func (l *link) sumKeys(keys []peersync.Key) (sum peersync.Sum) {
	for _, k := range keys {
		id := k.ID
		if l != nil {
			id = sha256.Sum256(slices.Concat(l.secret[:], k.ID[:]))
		}
		sum.Add(id)
	}
	return sum
}

// Save implements [peersync.Cursors].
func (r *Replica) Save(ctx context.Context, cursors ...peersync.Cursor) error {
	args := make([]any, 0, 2*len(cursors))
	for _, c := range cursors {
		args = append(args, c.Name, digestOf(c.Value))
	}
	if err := r.beginCall(ctx, "save", peersync.CheckCursors(cursors), 0, args...); err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	saved := maps.Clone(r.cursors)
	for _, c := range cursors {
		saved[c.Name] = bytes.Clone(c.Value)
		if len(c.Value) == 0 {
			delete(saved, c.Name)
		}
	}
	if len(saved) > peersync.MaxCursors {
		r.recordFault("save: more than %d cursors", peersync.MaxCursors)
		return peersync.ErrTooLarge
	}
	r.cursors = saved
	return nil
}

// Load implements [peersync.Cursors].
func (r *Replica) Load(ctx context.Context, name string) ([]byte, error) {
	if err := r.beginCall(ctx, "load", peersync.CheckCursorName(name), 0, name); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	return bytes.Clone(r.cursors[name]), nil
}

// List implements [peersync.Cursors].
func (r *Replica) List(ctx context.Context) ([]string, error) {
	if err := r.beginCall(ctx, "list", nil, 0); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	return slices.Sorted(maps.Keys(r.cursors)), nil
}

// Wake implements [peersync.HostServices].
func (r *Replica) Wake(ctx context.Context, after time.Duration) error {
	if err := r.beginCall(ctx, "wake", peersync.CheckWake(after), 0, after); err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	r.wakeAt = r.world.now + after
	return nil
}

// Report implements [peersync.HostServices].
func (r *Replica) Report(ctx context.Context, report peersync.Report) error {
	if err := r.beginCall(ctx, "report", report.Check(), 0, fmt.Sprintf("%+v", report)); err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	r.report = report
	return nil
}
