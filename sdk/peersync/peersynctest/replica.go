package peersynctest

import (
	"bytes"
	"context"
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
	// Refuse, if set, is called before every call of the host, with the name of the method.
	// The call returns its error, if there is one.
	Refuse func(call string) error
	// Calls are the calls of the host so far, one line each.
	Calls []string
	// Faults are the breaches of the contract by the replicator.
	Faults []string

	world *World
	index int

	epoch   storage.Epoch
	floor   storage.Hour
	log     []peersync.Entry // log[i] has sequence number i+1
	seqs    map[storage.ID]storage.Seq
	keys    []peersync.Key // of what is in log and not below floor, ascending
	cursors map[string][]byte
	report  peersync.Report

	replicator peersync.Replicator
	startedAt  time.Duration
	pending    []peersync.Event
	up         map[peersync.Peer]bool // according to the events handled so far
	handling   bool
}

var _ peersync.HostServices = (*Replica)(nil)

// Last returns the end of the log.
func (r *Replica) Last() storage.Seq { return storage.Seq(len(r.log)) }

// Renew empties the board and gives it a new epoch, like the loss of a store.
func (r *Replica) Renew() {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	r.log, r.keys, r.seqs, r.floor = nil, nil, make(map[storage.ID]storage.Seq), 0
	binary.BigEndian.PutUint64(r.epoch[:], r.world.rng.Uint64())
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
}

// LastReport returns the last report of the replicator.
func (r *Replica) LastReport() peersync.Report {
	r.world.mu.Lock()
	defer r.world.mu.Unlock()
	return r.report
}

func (r *Replica) logState() peersync.State {
	s := peersync.State{Epoch: r.epoch, Last: r.Last(), Count: uint64(len(r.keys)), Floor: r.floor}
	if i := slices.IndexFunc(r.log, r.keeps); i >= 0 {
		s.First = r.log[i].Seq
	}
	return s
}

// keeps reports whether an entry is not below the floor.
func (r *Replica) keeps(e peersync.Entry) bool { return e.Born >= r.floor }

// tellLog tells the replicator, if there is one, that the log or the floor has moved.
func (r *Replica) tellLog() {
	if r.replicator != nil {
		r.queueEvent(peersync.LogAdvanced{State: r.logState()})
	}
}

// addEnvelope appends an envelope that is new and not below the floor, and reports whether
// it was.
func (r *Replica) addEnvelope(key peersync.Key, size uint32, via peersync.Peer) bool {
	if key.Born < r.floor || r.findEntry(key.ID) != nil {
		return false
	}
	at, _ := slices.BinarySearchFunc(r.keys, key, peersync.Key.Compare)
	r.keys = slices.Insert(r.keys, at, key)
	r.log = append(r.log, peersync.Entry{Seq: r.Last() + 1, Key: key, Size: size, Via: via})
	r.seqs[key.ID] = r.Last()
	r.tellLog()
	return true
}

// findEntry returns the entry with an id, or nil.
func (r *Replica) findEntry(id storage.ID) *peersync.Entry {
	if seq := r.seqs[id]; seq > 0 && r.keeps(r.log[seq-1]) {
		return &r.log[seq-1]
	}
	return nil
}

// queueEvent queues an event for the replicator. A LogAdvanced replaces one right before it.
func (r *Replica) queueEvent(e peersync.Event) {
	if n := len(r.pending); n > 0 {
		_, was := r.pending[n-1].(peersync.LogAdvanced)
		if _, is := e.(peersync.LogAdvanced); was && is {
			r.pending[n-1] = e
			return
		}
	}
	r.pending = append(r.pending, e)
}

// handleQueued passes some of the queued events to the replicator.
func (r *Replica) handleQueued(ctx context.Context) error {
	r.world.mu.Lock()
	n := 1 + r.world.rng.IntN(min(len(r.pending), 8))
	for peersync.CheckEvents(r.pending[:n]) != nil {
		n--
	}
	events := slices.Clone(r.pending[:n])
	r.pending = slices.Delete(r.pending, 0, n)
	r.world.mu.Unlock()
	return r.callHandle(ctx, events)
}

// callHandle calls Handle and keeps track of the peers that are up.
func (r *Replica) callHandle(ctx context.Context, events []peersync.Event) error {
	r.world.mu.Lock()
	for _, e := range events { // Handle may call a peer although a later event takes it down
		if e, ok := e.(peersync.PeerUp); ok {
			r.up[e.Peer] = true
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

func (r *Replica) recordFault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf("relay %d: ", r.index)+fmt.Sprintf(format, args...))
}

// beginCall records a call and makes the checks that all calls share. If it returns no error, the
// caller holds the mutex of the world and must unlock it.
func (r *Replica) beginCall(ctx context.Context, name string, broken error, args ...any) error {
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
	case err == nil && r.Refuse != nil:
		err = r.Refuse(name)
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

// Log implements [peersync.Replica].
func (r *Replica) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	from, limit, err := req.Bounds()
	if err := r.beginCall(ctx, "log", err, req.From, req.Max); err != nil {
		return peersync.LogPage{}, err
	}
	defer r.world.mu.Unlock()
	page := peersync.LogPage{Epoch: r.epoch, Last: r.Last()}
	for seq := from; seq <= page.Last && len(page.Entries) < limit; seq++ {
		if e := r.log[seq-1]; r.keeps(e) {
			page.Entries = append(page.Entries, e)
		}
	}
	return page, nil
}

// Keys implements [peersync.Replica].
func (r *Replica) Keys(ctx context.Context, ranges []peersync.Range, max int) ([][]peersync.Key, error) {
	if err := r.beginCall(ctx, "keys", peersync.CheckKeys(ranges, max), ranges, max); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	var lists [][]peersync.Key
	for _, in := range ranges {
		if max == 0 {
			break
		}
		keys := r.keysWithin(in)
		keys = slices.Clone(keys[:min(max, len(keys))])
		lists, max = append(lists, keys), max-len(keys)
	}
	return lists, nil
}

// RangeSum implements [peersync.Replica].
func (r *Replica) RangeSum(ctx context.Context, peer peersync.Peer, ranges []peersync.Range) ([]peersync.Sum, error) {
	if err := r.beginCall(ctx, "range sum", peersync.CheckRanges(ranges), peer, ranges); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	sums := make([]peersync.Sum, len(ranges))
	for i, in := range ranges {
		sums[i] = r.sumWithin(in)
	}
	return sums, nil
}

// Split implements [peersync.Replica].
func (r *Replica) Split(ctx context.Context, peer peersync.Peer, ranges []peersync.Range, parts int) ([][]peersync.Part, error) {
	if err := r.beginCall(ctx, "split", peersync.CheckSplit(ranges, parts), peer, ranges, parts); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	lists := make([][]peersync.Part, len(ranges))
	for i, in := range ranges {
		lists[i] = r.splitRange(in, parts)
	}
	return lists, nil
}

func (r *Replica) splitRange(in peersync.Range, parts int) (out []peersync.Part) {
	for keys := r.keysWithin(in); len(keys) > 0; parts-- {
		n := (len(keys) + parts - 1) / parts
		part := peersync.Part{First: keys[0], Last: keys[n-1]}
		for _, k := range keys[:n] {
			part.Sum.Add(k.ID)
		}
		out, keys = append(out, part), keys[n:]
	}
	return out
}

func (r *Replica) keysWithin(in peersync.Range) []peersync.Key {
	lo, _ := slices.BinarySearchFunc(r.keys, in.Lo, peersync.Key.Compare)
	hi := len(r.keys)
	if in.Hi != (peersync.Key{}) {
		hi, _ = slices.BinarySearchFunc(r.keys, in.Hi, peersync.Key.Compare)
	}
	return r.keys[lo:max(lo, hi)]
}

func (r *Replica) sumWithin(in peersync.Range) (sum peersync.Sum) {
	for _, k := range r.keysWithin(in) {
		sum.Add(k.ID)
	}
	return sum
}

// Save implements [peersync.Cursors].
func (r *Replica) Save(ctx context.Context, cursors ...peersync.Cursor) error {
	var args []any
	for _, c := range cursors {
		args = append(args, c.Name, digestOf(c.Value))
	}
	if err := r.beginCall(ctx, "save", peersync.CheckCursors(cursors), args...); err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	next := maps.Clone(r.cursors)
	for _, c := range cursors {
		next[c.Name] = bytes.Clone(c.Value)
		if len(c.Value) == 0 {
			delete(next, c.Name)
		}
	}
	if len(next) > peersync.MaxCursors {
		r.recordFault("save: more than %d cursors", peersync.MaxCursors)
		return peersync.ErrTooLarge
	}
	r.cursors = next
	return nil
}

// Load implements [peersync.Cursors].
func (r *Replica) Load(ctx context.Context, name string) ([]byte, error) {
	if err := r.beginCall(ctx, "load", peersync.CheckCursorName(name), name); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	return bytes.Clone(r.cursors[name]), nil
}

// List implements [peersync.Cursors].
func (r *Replica) List(ctx context.Context) ([]string, error) {
	if err := r.beginCall(ctx, "list", nil); err != nil {
		return nil, err
	}
	defer r.world.mu.Unlock()
	return slices.Sorted(maps.Keys(r.cursors)), nil
}

// Wake implements [peersync.HostServices]. The Tick comes with the next second of the World.
func (r *Replica) Wake(ctx context.Context, after time.Duration) error {
	if err := r.beginCall(ctx, "wake", peersync.CheckWake(after), after); err != nil {
		return err
	}
	r.world.mu.Unlock()
	return nil
}

// Report implements [peersync.HostServices].
func (r *Replica) Report(ctx context.Context, report peersync.Report) error {
	if err := r.beginCall(ctx, "report", report.Check(), fmt.Sprintf("%+v", report)); err != nil {
		return err
	}
	defer r.world.mu.Unlock()
	r.report = report
	return nil
}
