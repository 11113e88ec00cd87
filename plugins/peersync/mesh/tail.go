package mesh

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// maxTail is how many entries of the log may be read and not settled, for each peer. What
	// is under way to a peer is at most this and maxOffered.
	maxTail = peersync.MaxUnderWay / 2
	// maxKnown is how many ids are remembered that a peer has sent although they were here.
	maxKnown = 4096
	// offerWait is how long entries wait to be offered, up to twice as long.
	offerWait = time.Second
	// pagesAtOnce is how many pages of the log one Handle reads for a peer.
	pagesAtOnce = 8
	// saveEvery is the time between two saves of cursors, and saveAfter the number of entries.
	saveEvery = time.Second
	saveAfter = 1000
)

// tail follows the log for one peer.
type tail struct {
	loaded bool        // the cursor has been loaded, or is void
	valid  bool        // the peer has, or does not want, all entries up to settled
	next   storage.Seq // first entry that was not read
	atEnd  bool        // there is nothing to read until LogAdvanced
	live   storage.Seq // entries above it are new since the link is up

	queue   []tailEntry // read, ascending; the first one is not settled
	seqs    map[storage.ID]storage.Seq
	pushAt  time.Duration // when the entries to push are due; never: there are none
	offerAt time.Duration // when the entries to offer are due; never: there are none
	retryAt time.Duration // when calls may succeed again

	settled storage.Seq // all entries up to it are settled
	saved   storage.Seq // as settled in the cursor
	stored  bool        // there is a cursor with saved
	known   idRing
}

type tailEntry struct {
	seq   storage.Seq
	id    storage.ID
	state entryState
}

type entryState uint8

const (
	entryToPush entryState = iota
	entryToOffer
	entryUnderWay
	entrySettled
)

// reset makes the tail begin after an entry.
func (t *tail) reset(last storage.Seq) {
	*t = tail{
		next: last + 1, live: last, settled: last,
		seqs: make(map[storage.ID]storage.Seq), pushAt: never, offerAt: never,
	}
}

// followLog reads the log for a peer and sends what is new.
func (r *replicator) followLog(ctx context.Context, p *peer) {
	if !p.isUsable() || !p.takes || !p.tail.loaded && !r.loadCursor(ctx, p) {
		return
	}
	r.sendTail(ctx, p)
	for pages := 0; !p.tail.atEnd && len(p.tail.queue) <= maxTail-peersync.MaxEntries; pages++ {
		if pages == pagesAtOnce {
			r.more = true
			return
		}
		if !r.readPage(ctx, p) {
			return
		}
		r.sendTail(ctx, p)
	}
}

// pageCache has the last page of the log, because most peers are at the same place.
type pageCache struct {
	valid bool
	from  storage.Seq
	page  peersync.LogPage
}

// readPage reads a page of the log for a peer, and reports whether it could.
func (r *replicator) readPage(ctx context.Context, p *peer) bool {
	c, t := &r.pages, &p.tail
	if !c.valid || c.from != t.next {
		page, err := r.host.Log(ctx, peersync.LogRequest{From: t.next})
		if err != nil {
			return false
		}
		*c = pageCache{valid: true, from: t.next, page: page}
	}
	if c.page.Epoch != r.state.Epoch { // its LogAdvanced is on its way
		t.atEnd = true
		return false
	}
	t.next = max(t.next, c.page.Last+1)
	t.atEnd = true
	if n := len(c.page.Entries); n > 0 {
		t.next = c.page.Entries[n-1].Seq + 1
		t.atEnd = t.next > c.page.Last
	}
	for _, e := range c.page.Entries {
		r.queueEntry(p, e)
	}
	t.popSettled()
	return true
}

// queueEntry decides what to do with an entry of the log.
func (r *replicator) queueEntry(p *peer, e peersync.Entry) {
	t := &p.tail
	entry := tailEntry{seq: e.Seq, id: e.ID, state: entryToOffer}
	switch {
	case e.Via == p.number || t.known.has[e.ID]:
		entry.state = entrySettled
	case e.Via == 0 && e.Seq > t.live:
		entry.state = entryToPush
		if t.pushAt == never {
			t.pushAt = r.now + r.jitter(r.delay)
		}
	case t.offerAt == never:
		t.offerAt = r.now + r.jitter(offerWait)
	}
	if entry.state != entrySettled {
		t.seqs[e.ID] = e.Seq
	}
	t.queue = append(t.queue, entry)
}

// jitter returns a time between d and twice d.
func (r *replicator) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return d + time.Duration(r.rng.Int64N(int64(d)))
}

// sendTail pushes and offers what is due.
func (r *replicator) sendTail(ctx context.Context, p *peer) {
	if r.now < max(p.sendAt, p.tail.retryAt) {
		return
	}
	if p.tail.pushAt <= r.now && r.sendEntries(ctx, p, entryToPush, r.host.Push) {
		p.tail.pushAt = never
	}
	full := p.tail.offerAt != never && len(p.tail.queue) >= peersync.MaxIDs // others wait for room
	if (p.tail.offerAt <= r.now || full) && r.sendEntries(ctx, p, entryToOffer, r.host.Offer) {
		p.tail.offerAt = never
	}
}

// sendEntries sends all entries of a state, and reports whether it could.
func (r *replicator) sendEntries(ctx context.Context, p *peer, state entryState, send func(context.Context, peersync.Peer, []storage.ID) error) bool {
	var ids []storage.ID
	for _, e := range p.tail.queue {
		if e.state == state {
			ids = append(ids, e.id)
		}
	}
	if state == entryToPush && r.delay > 0 {
		r.shuffleIDs(ids)
	}
	for batch := range slices.Chunk(ids, peersync.MaxIDs) {
		if send(ctx, p.number, batch) != nil {
			p.tail.retryAt = r.now + retryWait
			return false
		}
		for _, id := range batch {
			p.tail.setState(id, entryUnderWay)
		}
	}
	return true
}

// nextDue returns when there is something to send.
func (t *tail) nextDue(p *peer) time.Duration {
	due := min(t.pushAt, t.offerAt)
	if due == never {
		return never
	}
	return max(due, p.sendAt, t.retryAt)
}

// find returns the entry with an id that is not settled, or nil.
func (t *tail) find(id storage.ID) *tailEntry {
	seq, found := t.seqs[id]
	if !found {
		return nil
	}
	at, _ := slices.BinarySearchFunc(t.queue, seq, func(e tailEntry, seq storage.Seq) int { return cmp.Compare(e.seq, seq) })
	return &t.queue[at]
}

func (t *tail) setState(id storage.ID, state entryState) {
	if e := t.find(id); e != nil {
		e.state = state
	}
}

// settleSent notes the outcome of an id that the tail may have sent.
func (t *tail) settleSent(o peersync.Outcome) {
	e := t.find(o.ID)
	if e == nil || e.state != entryUnderWay {
		return
	}
	if o.Status == peersync.OverQuota || o.Status == peersync.Lost {
		e.state = entryToOffer
		t.offerAt = 0 // as soon as the peer takes something
		return
	}
	t.settleEntry(e)
}

func (t *tail) settleEntry(e *tailEntry) {
	e.state = entrySettled
	delete(t.seqs, e.id)
	t.popSettled()
}

// popSettled moves the cursor over what is settled.
func (t *tail) popSettled() {
	n := 0
	for n < len(t.queue) && t.queue[n].state == entrySettled {
		n++
	}
	if t.queue = t.queue[n:]; len(t.queue) > 0 {
		t.settled = t.queue[0].seq - 1
		return
	}
	t.queue, t.settled = nil, t.next-1
}

// noteKnown notes that the peer has an envelope which is here as well.
func (t *tail) noteKnown(id storage.ID) {
	e := t.find(id)
	switch {
	case e == nil:
		t.known.add(id, maxKnown)
	case e.state != entryUnderWay:
		t.settleEntry(e)
	}
}

// isIdle reports whether the peer has all of the log, as far as this end knows.
func (t *tail) isIdle() bool { return t.loaded && t.atEnd && len(t.queue) == 0 }

// isUnsaved reports whether the cursor is not the one that was saved.
func (t *tail) isUnsaved() bool { return t.valid && (!t.stored || t.settled != t.saved) }

// cursorPrefix begins the names of cursors, before the number of the peer.
const cursorPrefix = "tail/"

func cursorName(number peersync.Peer) string { return cursorPrefix + strconv.Itoa(int(number)) }

// encodeCursor returns the cursor of a peer: both epochs, and the last entry that is settled. In
// another epoch of either board it is void.
func (r *replicator) encodeCursor(p *peer) []byte {
	b := slices.Concat(r.state.Epoch[:], p.state.Epoch[:])
	return binary.BigEndian.AppendUint64(b, uint64(p.tail.settled))
}

// loadCursor continues where an earlier link to the peer ended, and reports whether it could ask.
// Without a cursor the tail begins at the end of the log, and a repair covers the rest.
func (r *replicator) loadCursor(ctx context.Context, p *peer) bool {
	name := cursorName(p.number)
	value := r.cursors.findUnsaved(name)
	if value == nil {
		var err error
		if value, err = r.host.Load(ctx, name); err != nil {
			return false
		}
	}
	p.tail.loaded = true
	prefix := string(r.state.Epoch[:]) + string(p.state.Epoch[:])
	rest, found := strings.CutPrefix(string(value), prefix)
	if !found || len(rest) != 8 || binary.BigEndian.Uint64([]byte(rest)) > uint64(r.state.Last) {
		r.compareAll(p)
		return true
	}
	settled := storage.Seq(binary.BigEndian.Uint64([]byte(rest)))
	p.tail.valid, p.tail.stored = true, true
	p.tail.next, p.tail.settled, p.tail.saved = settled+1, settled, settled
	return true
}

// cursorStore saves the cursors of all peers together.
type cursorStore struct {
	unsaved []peersync.Cursor // of peers that went down
	tidied  bool              // cursors of peers that are not configured are deleted
	nextAt  time.Duration
}

// note keeps the cursor of a peer that goes down until it is saved.
func (c *cursorStore) note(r *replicator, p *peer) {
	if !p.tail.isUnsaved() {
		return
	}
	c.unsaved = slices.DeleteFunc(c.unsaved, func(other peersync.Cursor) bool { return other.Name == cursorName(p.number) })
	c.unsaved = append(c.unsaved, peersync.Cursor{Name: cursorName(p.number), Value: r.encodeCursor(p)})
}

func (c *cursorStore) findUnsaved(name string) []byte {
	for _, u := range c.unsaved {
		if u.Name == name {
			return u.Value
		}
	}
	return nil
}

// save saves what has moved, all in one call.
func (c *cursorStore) save(ctx context.Context, r *replicator) {
	var moved []*peer
	due := r.now >= c.nextAt
	cursors := slices.Clone(c.unsaved)
	for _, p := range r.peers {
		if !p.tail.isUnsaved() {
			continue
		}
		due = due || p.tail.settled-p.tail.saved >= saveAfter
		moved = append(moved, p)
		name := cursorName(p.number)
		cursors = slices.DeleteFunc(cursors, func(other peersync.Cursor) bool { return other.Name == name })
		cursors = append(cursors, peersync.Cursor{Name: name, Value: r.encodeCursor(p)})
	}
	if !due {
		return
	}
	if !c.tidied {
		stale, err := r.findStaleCursors(ctx)
		if err != nil {
			return
		}
		cursors = slices.DeleteFunc(cursors, func(u peersync.Cursor) bool { return slices.Contains(stale, u.Name) })
		for _, name := range stale {
			cursors = append(cursors, peersync.Cursor{Name: name})
		}
	}
	if len(cursors) > 0 {
		if r.host.Save(ctx, cursors...) != nil {
			return
		}
		c.nextAt = r.now + saveEvery
	}
	c.tidied, c.unsaved = true, nil
	for _, p := range moved {
		p.tail.saved, p.tail.stored = p.tail.settled, true
	}
}

// findStaleCursors returns the names of cursors whose peers are not configured any more.
func (r *replicator) findStaleCursors(ctx context.Context) (stale []string, err error) {
	names, err := r.host.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list cursors: %w", err)
	}
	for _, name := range names {
		number, err := strconv.ParseUint(strings.TrimPrefix(name, cursorPrefix), 10, 32)
		if strings.HasPrefix(name, cursorPrefix) && err == nil && !slices.Contains(r.configured, peersync.Peer(number)) && r.findPeer(peersync.Peer(number)) == nil {
			stale = append(stale, name)
		}
	}
	return stale, nil
}
