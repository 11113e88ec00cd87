package board

import (
	"context"
	"slices"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// entry is an envelope of the log in the form in which connections send it.
type entry struct {
	seq  storage.Seq
	json []byte // shared by all cursors, never changed
}

// tail is the end of the log: the position up to which entries are known to be
// durable, and the latest entries in memory.
type tail struct {
	mu      sync.RWMutex
	seq     storage.Seq   // last entry that cursors may see
	recent  []entry       // ascending without a gap; the last one, if any, is at seq
	bytes   int           // of recent
	max     int           // bytes
	changed chan struct{} // closed and replaced whenever seq rises
}

func (t *tail) initAt(seq storage.Seq, max int) {
	t.seq, t.max, t.changed = seq, max, make(chan struct{})
}

func (t *tail) lastSeq() storage.Seq {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.seq
}

// appendEntries appends entries, which ascend and lie beyond the present end. At a gap,
// what was in memory is dropped.
func (t *tail) appendEntries(es []entry) {
	if len(es) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range es {
		if e.seq != t.seq+1 {
			t.recent, t.bytes = nil, 0
		}
		t.recent = append(t.recent, e)
		t.bytes += len(e.json)
		t.seq = e.seq
	}
	drop := 0
	for t.bytes > t.max && drop < len(t.recent)-1 {
		t.bytes -= len(t.recent[drop].json)
		t.recent[drop] = entry{}
		drop++
	}
	t.recent = t.recent[drop:]
	t.wakeWaiters()
}

// skipTo moves the end to seq without entries, because they were pruned.
func (t *tail) skipTo(seq storage.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq > t.seq {
		t.seq, t.recent, t.bytes = seq, nil, 0
		t.wakeWaiters()
	}
}

// forgetEntries lets go of the entries in memory. Cursors read them from the store, if
// they are there still.
func (t *tail) forgetEntries() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent, t.bytes = nil, 0
}

func (t *tail) wakeWaiters() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// entriesFrom returns entries from seq on, at most maxBytes of them but at least one,
// or false when the first is no longer in memory.
func (t *tail) entriesFrom(seq storage.Seq, maxBytes int) ([]entry, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.recent) == 0 || seq < t.recent[0].seq {
		return nil, false
	}
	rest := t.recent[min(int(seq-t.recent[0].seq), len(t.recent)):]
	n, bytes := 0, 0
	for n < len(rest) && (n == 0 || bytes+len(rest[n].json) <= maxBytes) {
		bytes += len(rest[n].json)
		n++
	}
	return slices.Clone(rest[:n]), true
}

// holdsSeq reports whether the entry at seq is in memory, or seq is beyond the end.
func (t *tail) holdsSeq(seq storage.Seq) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.recent) > 0 && seq >= t.recent[0].seq
}

// Position is the end of the log at some moment.
type Position struct {
	Seq     storage.Seq
	Changed <-chan struct{} // closed when the log has grown beyond Seq
}

// End returns the end of the log. The results of all posts up to there have been
// delivered.
func (b *Board) End() Position {
	b.tail.mu.RLock()
	defer b.tail.mu.RUnlock()
	return Position{Seq: b.tail.seq, Changed: b.tail.changed}
}

// FloorRose tells the board that the store has pruned what was born before its floor.
func (b *Board) FloorRose() {
	b.tail.forgetEntries()
	b.pruneHours()
}

// Cursor is a reader's place in the log. It belongs to one goroutine.
type Cursor struct {
	board *Board
	next  storage.Seq
	page  []storage.Entry // from the store and not yielded yet
	buf   []byte          // for the JSON of the entries yielded last
}

// CursorAt returns a cursor whose first entry is the one at seq.
func (b *Board) CursorAt(seq storage.Seq) *Cursor { return &Cursor{board: b, next: max(seq, 1)} }

// Passed reports whether the cursor is behind the position seq, and so will not
// yield the entry there.
func (c *Cursor) Passed(seq storage.Seq) bool { return c.next > seq }

// Count returns how many envelopes lie between the cursor and end. The number is exact
// when Count returns; entries may be pruned before they are read. Count asks the store
// for pages of at most maxBytes, as Next does.
func (c *Cursor) Count(ctx context.Context, end storage.Seq, maxBytes int) (uint64, error) {
	if c.Passed(end) {
		return 0, nil
	}
	if c.board.tail.holdsSeq(c.next) {
		return seqDistance(c.next, end), nil
	}
	if err := c.fillPage(ctx, end, maxBytes); err != nil {
		return 0, err
	}
	here := entriesUpTo(end, c.page)
	if len(here) == 0 || len(here) < len(c.page) {
		return uint64(len(here)), nil
	}
	rest, err := c.board.countEntries(ctx, here[len(here)-1].Seq+1, end)
	return uint64(len(here)) + rest, err
}

// fillPage reads the next page, unless the cursor has one.
func (c *Cursor) fillPage(ctx context.Context, end storage.Seq, maxBytes int) error {
	if err := c.board.Err(); err != nil || len(c.page) > 0 {
		return err
	}
	page, err := c.board.readPage(ctx, c.next, end, maxBytes)
	c.page = page
	return err
}

// Next returns the JSON of the next envelopes up to the position end, in order, and
// moves the cursor behind them. It returns at least one, unless there are none; then
// the cursor is past end. The slices are shared, must not be changed, and are good
// until the next call. Cursor and slices together hold about maxBytes.
func (c *Cursor) Next(ctx context.Context, end storage.Seq, maxBytes int) ([][]byte, error) {
	if c.Passed(end) {
		return nil, nil
	}
	if err := c.board.Err(); err != nil {
		return nil, err
	}
	if len(c.page) == 0 {
		if es, ok := c.board.tail.entriesFrom(c.next, maxBytes); ok {
			return c.takeEntries(es, end), nil
		}
	}
	if err := c.fillPage(ctx, end, maxBytes); err != nil {
		return nil, err
	}
	return c.takeEntries(c.encodeNextPart(end), end), nil
}

// takeEntries moves the cursor behind the entries up to end, and returns their JSON.
func (c *Cursor) takeEntries(es []entry, end storage.Seq) [][]byte {
	out := make([][]byte, 0, len(es))
	for _, e := range es {
		if e.seq > end {
			break
		}
		out = append(out, e.json)
		c.next = e.seq + 1
	}
	if len(out) == 0 {
		c.next = end + 1 // what was left has been pruned
	}
	return out
}

// encodeAtOnce is how many envelopes a cursor encodes at a time: about as many as a
// connection writes at a time, since no more than that has to stay in memory.
const encodeAtOnce = 8

// encodeNextPart encodes the next part of the page up to end into the buffer of the
// cursor. New memory for every envelope would cost a replay a tenth of its time.
func (c *Cursor) encodeNextPart(end storage.Seq) []entry {
	part := entriesUpTo(end, c.page[:min(encodeAtOnce, len(c.page))])
	size := 0
	for _, e := range part {
		size += wire.EnvelopeSize(len(e.Ciphertext), len(e.Signature))
	}
	buf := slices.Grow(c.buf[:0], size) // grown once, because entries point into it
	out := make([]entry, len(part))
	for i, e := range part {
		start := len(buf)
		buf = wire.Envelope{Ciphertext: e.Ciphertext, Signature: e.Signature}.AppendJSON(buf)
		out[i] = entry{seq: e.Seq, json: buf[start:len(buf):len(buf)]}
	}
	clear(part) // lets go of the envelopes
	if c.page, c.buf = c.page[len(part):], buf; len(c.page) == 0 {
		c.page, c.buf = nil, nil // a reader that has caught up holds nothing
	}
	return out
}

// encodeEntries gives each entry memory of its own, because they are let go of one
// by one.
func encodeEntries(in []storage.Entry) []entry {
	out := make([]entry, len(in))
	for i, e := range in {
		env := wire.Envelope{Ciphertext: e.Ciphertext, Signature: e.Signature}
		json := make([]byte, 0, wire.EnvelopeSize(len(e.Ciphertext), len(e.Signature)))
		out[i] = entry{seq: e.Seq, json: env.AppendJSON(json)}
	}
	return out
}
