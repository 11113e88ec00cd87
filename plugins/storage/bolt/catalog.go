package bolt

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// catalog is what an inspection knows of the log, in the order of the log. It is in chunks,
// because a slice that grows is in memory twice, and has no pointers.
type catalog struct {
	chunks [][]catalogEntry // each but the last has entriesPerChunk
	count  int
	next   int // leaf of the log to be read
	record recordAssembler

	shown   int
	first   storage.Seq // that is shown, or 0
	hours   hourChanges // of entries that are shown
	counted hourChanges // of those that the bucket hours should have

	// Places of entries in other orders; nil until somebody asks for one.
	byID, byKey, bySign, byToken []uint32
}

const entriesPerChunk = 1 << 12

// catalogEntry is an entry of the log that is whole.
type catalogEntry struct {
	seq     storage.Seq
	id      storage.ID
	token   tag
	signTag [signatureTagSize]byte
	born    storage.Hour
	paid    bool
	seen    uint8 // kinds of its keys that are in the index
}

func newCatalog() catalog { return catalog{hours: make(hourChanges), counted: make(hourChanges)} }

func (c *catalog) at(i int) *catalogEntry { return &c.chunks[i/entriesPerChunk][i%entriesPerChunk] }

func (c *catalog) appendEntry(e catalogEntry) {
	if c.count%entriesPerChunk == 0 {
		c.chunks = append(c.chunks, make([]catalogEntry, 0, entriesPerChunk))
	}
	last := &c.chunks[len(c.chunks)-1]
	*last = append(*last, e)
	c.count++
}

// last returns the sequence number of the last entry, or 0.
func (c *catalog) last() storage.Seq {
	if c.count == 0 {
		return 0
	}
	return c.at(c.count - 1).seq
}

// search returns the place of the first entry from seq on.
func (c *catalog) search(seq storage.Seq) int {
	if c.count == 0 || seq > c.last() {
		return c.count
	}
	i, _ := slices.BinarySearchFunc(c.chunks, seq, func(chunk []catalogEntry, seq storage.Seq) int { return cmp.Compare(chunk[len(chunk)-1].seq, seq) })
	j, _ := slices.BinarySearchFunc(c.chunks[i], seq, func(e catalogEntry, seq storage.Seq) int { return cmp.Compare(e.seq, seq) })
	return i*entriesPerChunk + j
}

// find returns the entry at seq, or nil.
func (c *catalog) find(seq storage.Seq) *catalogEntry {
	i := c.search(seq)
	if i == c.count || c.at(i).seq != seq {
		return nil
	}
	return c.at(i)
}

func (e *catalogEntry) keyOf() storage.Key { return storage.Key{Born: e.born, ID: e.id} }

// sortEntries returns the places of the entries that keep reports true for, in an order.
func (c *catalog) sortEntries(keep func(*catalogEntry) bool, compare func(a, b *catalogEntry) int) []uint32 {
	n := 0
	for i := range c.count {
		if keep(c.at(i)) {
			n++
		}
	}
	order := make([]uint32, 0, n)
	for i := range c.count {
		if keep(c.at(i)) {
			order = append(order, uint32(i))
		}
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Or(compare(c.at(int(a)), c.at(int(b))), cmp.Compare(a, b)) })
	return order
}

func (c *catalog) sortByToken() []uint32 {
	if c.byToken == nil {
		c.byToken = c.sortEntries(func(e *catalogEntry) bool { return e.paid }, func(a, b *catalogEntry) int { return bytes.Compare(a.token[:], b.token[:]) })
	}
	return c.byToken
}

func (s *inspection) sortByID() []uint32 {
	if s.catalog.byID == nil {
		s.catalog.byID = s.catalog.sortEntries(s.isShown, func(a, b *catalogEntry) int { return bytes.Compare(a.id[:], b.id[:]) })
	}
	return s.catalog.byID
}

func (s *inspection) sortByKey() []uint32 {
	if s.catalog.byKey == nil {
		s.catalog.byKey = s.catalog.sortEntries(s.isShown, func(a, b *catalogEntry) int { return a.keyOf().Compare(b.keyOf()) })
	}
	return s.catalog.byKey
}

func (s *inspection) sortBySign() []uint32 {
	if s.catalog.bySign == nil {
		s.catalog.bySign = s.catalog.sortEntries(s.isShown, func(a, b *catalogEntry) int { return bytes.Compare(a.signTag[:], b.signTag[:]) })
	}
	return s.catalog.bySign
}

// isShown reports whether an entry is in the log, and not pruned.
func (s *inspection) isShown(e *catalogEntry) bool {
	return e.born >= s.state.floor && (!s.stateOK || e.seq <= s.state.last)
}

// fillCatalog reads the log, or goes on where an earlier call ended with its context.
func (s *inspection) fillCatalog(ctx context.Context) error {
	return s.readCatalogWhile(ctx, func() bool { return true })
}

// readFirst returns the first entry that is shown, or 0. It reads the log up to there.
func (s *inspection) readFirst(ctx context.Context) (storage.Seq, error) {
	err := s.readCatalogWhile(ctx, func() bool { return s.catalog.first == 0 })
	return s.catalog.first, err
}

func (s *inspection) readCatalogWhile(ctx context.Context, wanted func() bool) error {
	for s.catalog.next < len(s.log.leaves) && wanted() {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.readCatalogLeaf()
	}
	return nil
}

// readCatalogLeaf reads the next leaf of the log into the catalog.
func (s *inspection) readCatalogLeaf() {
	c := &s.catalog
	x := index{secret: s.secret, hash: sha256.Sum256}
	c.next = s.eachRecord(&c.record, c.next, func(r record, seq storage.Seq) bool {
		if c.count > 0 && c.last() >= seq {
			return true // of an older page
		}
		t := x.signatureTag(r.signature)
		e := catalogEntry{seq: seq, id: r.id, token: r.token, signTag: [signatureTagSize]byte(t[:]), born: r.born, paid: r.paid}
		c.appendEntry(e)
		if seq <= s.state.counted {
			c.counted.add(r.born, 1, int64(r.size()))
		}
		if !s.isShown(&e) {
			return true
		}
		if c.shown++; c.first == 0 {
			c.first = seq
		}
		c.hours.add(r.born, 1, int64(r.size()))
		return true
	}, func(seq storage.Seq, text string) { s.faults.addEntry(seq, text) })
}
