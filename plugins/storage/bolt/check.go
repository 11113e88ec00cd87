package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// checkFor is how long one Check works.
	checkFor = 2 * time.Second
	// maxListedFaults is how many faults all parts of a check list.
	maxListedFaults = 1024
	// maxGroups is how many signatures that share a hash a check looks after.
	maxGroups = 1 << 16
)

// faultList is the faults of a check.
type faultList struct {
	file  string // its name
	list  []storage.Fault
	known map[storage.Fault]bool // of list, and those that were returned before
	more  int                    // that are not listed
}

// add adds a fault of a place in the file, or of all of it.
func (l *faultList) add(place, text string) {
	f := storage.Fault{Place: l.file, Text: text}
	if place != "" {
		f.Place += ", " + place
	}
	switch {
	case l.known[f]:
		return
	case len(l.known) == maxListedFaults:
		l.more++
		return
	case l.known == nil:
		l.known = make(map[storage.Fault]bool)
	}
	l.known[f] = true
	l.list = append(l.list, f)
}

func (l *faultList) addPage(page uint64, text string) { l.add(fmt.Sprintf("page %d", page), text) }

func (l *faultList) addEntry(seq storage.Seq, text string) {
	l.add(fmt.Sprintf("entry %d", seq), text+"; the envelope is lost")
}

// take removes at most MaxFaults faults from the list.
func (l *faultList) take() []storage.Fault {
	n := min(len(l.list), storage.MaxFaults)
	taken := l.list[:n:n]
	l.list = l.list[n:]
	return taken
}

// checkProgress is how far a check has come.
type checkProgress struct {
	part   uint64 // number of the next part; 0: none is expected
	leaf   int    // of the index, the next one
	ended  bool   // apart from faults that are to be returned
	tokens uint64 // keys of them in the index
	absent int    // keys of envelopes that the log lacks, though it should have them
	// groups are the hashes of signatures that several envelopes in the index share, and
	// whether there is a first.
	groups map[[signatureTagSize]byte]bool
	before [signatureTagSize]byte // hash of the key before, if it is of an envelope in the log
	paired bool                   // whether before is set
}

// Check implements [storage.Checker]. It verifies the headers, the list of free pages and the
// pages above the leaves first, then the log and then the index, each against the other.
//
// It finds any change of one bit that changes what the store reads, with one exception: tokens
// that nothing else in the file mentions, which are those of removed envelopes, of second payments
// for one envelope, and of [storage.Ledger.Spend]. Of these it knows the number. It does not find
// a bit in a free page or in the unused part of a page, which the store does not read.
func (s *inspection) Check(ctx context.Context, req storage.CheckRequest) (done storage.Checked, err error) {
	if err := req.Bound(); err != nil {
		return storage.Checked{}, fmt.Errorf("check %s: %w", s.path, err)
	}
	err = s.call(ctx, "check", func() error {
		if err := s.beginPart(req.After); err != nil {
			return err
		}
		for begun := time.Now(); !s.checked.ended && len(s.faults.list) < storage.MaxFaults && time.Since(begun) < checkFor; {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.checkNext()
		}
		done.Faults = s.faults.take()
		done.Total = s.walker.count * s.walker.pageSize
		if s.checked.ended && len(s.faults.list) == 0 {
			done.Done = done.Total
			return nil
		}
		s.checked.part++
		done.Next = binary.BigEndian.AppendUint64(nil, s.checked.part)
		done.Done = min(done.Total, uint64(2+s.catalog.next+s.checked.leaf)*s.walker.pageSize)
		return nil
	})
	return done, err
}

// beginPart begins a check anew, or goes on with the part that is expected.
func (s *inspection) beginPart(after []byte) error {
	if len(after) > 0 {
		if len(after) != 8 || s.checked.part == 0 || binary.BigEndian.Uint64(after) != s.checked.part {
			return fmt.Errorf("a part of the check was lost, begin again")
		}
		return nil
	}
	s.checked = checkProgress{groups: make(map[[signatureTagSize]byte]bool)}
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	return s.readStructure(uint64(info.Size()))
}

// checkNext checks a leaf of the log or of the index, or at the end the rest.
func (s *inspection) checkNext() {
	switch {
	case s.catalog.next < len(s.log.leaves):
		s.readCatalogLeaf()
	case s.index != nil && s.checked.leaf < len(s.index.leaves):
		s.checkIndexLeaf(s.index.leaves[s.checked.leaf])
		s.checked.leaf++
	default:
		s.checkLog()
		s.checkMissingKeys()
		s.checkHours()
		s.checkPages()
		if s.faults.more > 0 {
			f := storage.Fault{Place: s.faults.file, Text: fmt.Sprintf("%d more faults are not listed", s.faults.more)}
			s.faults.list = append(s.faults.list, f)
		}
		s.checked.ended = true
	}
}

// checkIndexLeaf compares the keys of a leaf of the index with the log.
func (s *inspection) checkIndexLeaf(leaf leafRef) {
	elements, err := s.walker.readLeaf(s.index, leaf)
	if err != nil {
		s.faults.addPage(leaf.id, err.Error()+"; its keys of the index are lost")
		return
	}
	wrong := 0
	for _, e := range elements {
		if !s.checkKey(e) {
			wrong++
		}
	}
	if wrong > 0 {
		s.faults.addPage(leaf.id, fmt.Sprintf("%d of its %d keys of the index are wrong", wrong, len(elements)))
	}
}

// checkKey reports whether a key of the index may be there, and notes that it is.
func (s *inspection) checkKey(e element) bool {
	if len(e.key) != len(key{}) || e.flags != 0 {
		return false
	}
	k := key(e.key)
	seq := k.seqOf()
	if k[0] == tokenKind {
		s.checked.tokens++
		if seq == 0 {
			return len(e.value) == len(storage.ID{})
		}
	}
	if k[0] > bornKind || seq == 0 || s.stateOK && seq > s.state.last || len(e.value) > 0 && k[0] != bornKind {
		return false
	}
	entry := s.catalog.find(seq)
	s.noteGroup(k, entry)
	if entry == nil {
		if s.stateOK && (s.state.floor == 0 || k[0] == bornKind && k.bornOf() >= s.state.floor) {
			s.checked.absent++
		}
		return true
	}
	if k[0] == tokenKind { // that of the envelope, or one that came with a Duplicate
		if entry.paid && k == newKey(tokenKind, entry.token, seq) {
			entry.seen |= 1 << tokenKind
		}
		return true
	}
	entry.seen |= 1 << k[0]
	return k == entry.keyOfKind(k[0]) && (k[0] != bornKind || bytes.Equal(e.value, entry.id[bornIDSize:]))
}

// keyOfKind returns the key that the index has of an entry.
func (e *catalogEntry) keyOfKind(kind byte) key {
	var t tag
	copy(t[:], e.signTag[:])
	switch kind {
	case envelopeKind:
		copy(t[signatureTagSize:], e.id[:])
		return newKey(kind, t, e.seq)
	case tokenKind:
		return newKey(kind, e.token, e.seq)
	case idKind:
		return newKey(kind, idTag(e.id), e.seq)
	case bornKind:
		return newBornKey(e.keyOf(), e.seq)
	}
	return firstKey(t, e.seq)
}

// noteGroup notes envelopes whose signatures share a hash, and firsts.
func (s *inspection) noteGroup(k key, entry *catalogEntry) {
	c, t := &s.checked, [signatureTagSize]byte(k[1:])
	switch {
	case k[0] == firstKind:
		if _, ok := c.groups[t]; ok {
			c.groups[t] = true
		}
	case k[0] == envelopeKind && entry != nil:
		if c.paired && c.before == t && len(c.groups) < maxGroups {
			c.groups[t] = false
		}
		c.before, c.paired = t, true
	}
}

// checkLog compares the log with the counters.
func (s *inspection) checkLog() {
	if !s.stateOK {
		return
	}
	count := uint64(s.catalog.count)
	if count != s.state.count {
		s.faults.add("log", fmt.Sprintf("it has %d whole envelopes and counts %d", count, s.state.count))
	}
	if s.catalog.last() > s.state.last {
		s.faults.add("log", fmt.Sprintf("it has entries after entry %d, the last one", s.state.last))
	}
	if last := uint64(s.state.last); s.state.floor == 0 && last > count {
		s.faults.add("log", fmt.Sprintf("%d of %d entries are missing, and none was removed", last-count, last))
	}
}

var kindNames = map[byte]string{envelopeKind: "signature", tokenKind: "token", idKind: "id", bornKind: "hour"}

// checkMissingKeys looks for envelopes without their keys in the index, and counts tokens.
func (s *inspection) checkMissingKeys() {
	if s.index == nil {
		s.faults.add("", "the index is missing; the envelopes can be copied to a new store")
		return
	}
	if !s.stateOK {
		return
	}
	tokens := s.checked.tokens
	for kind := byte(0); kind <= bornKind; kind++ {
		if kind == firstKind || kind > firstKind && s.format < 4 {
			continue
		}
		missing, first := 0, storage.Seq(0)
		for i := range s.catalog.count {
			e := s.catalog.at(i)
			if e.seen&(1<<kind) != 0 || kind == tokenKind && !e.paid {
				continue
			}
			k := e.keyOfKind(kind)
			if e.seq > s.state.merged[shardOf(k[:])] { // it is in the log only, until its shard moves
				if kind == tokenKind {
					tokens++
				}
				continue
			}
			if missing++; first == 0 {
				first = e.seq
			}
		}
		if missing > 0 {
			s.faults.add("index", fmt.Sprintf("%d envelopes cannot be found by their %s, the first is entry %d; they can be copied to a new store", missing, kindNames[kind], first))
		}
	}
	if s.checked.absent > 0 {
		s.faults.add("index", fmt.Sprintf("%d keys name envelopes that the log lacks", s.checked.absent))
	}
	if tokens != s.state.tokens {
		s.faults.add("index", fmt.Sprintf("%d spent tokens are found, and %d are counted; a token that is missing can be spent again", tokens, s.state.tokens))
	}
	without := 0
	for _, hasFirst := range s.checked.groups {
		if !hasFirst && s.format >= 3 {
			without++
		}
	}
	if without > 0 {
		s.faults.add("index", fmt.Sprintf("of %d signatures that several envelopes have the first one is not known", without))
	}
}

// checkHours compares the bucket hours with the log.
func (s *inspection) checkHours() {
	if s.format < 4 || !s.stateOK {
		return
	}
	if s.hours == nil {
		s.faults.add("", "the sizes of the hours are missing")
		return
	}
	want := maps.Clone(s.catalog.counted)
	mistaken := 0
	wrong := s.eachHour(func(hour storage.Hour, size hourChange) {
		if want[hour] != size {
			mistaken++
		}
		delete(want, hour)
	})
	if wrong += mistaken + len(want); wrong > 0 {
		s.faults.add("hours", fmt.Sprintf("the sizes of %d hours are not those of the log", wrong))
	}
}

// checkPages checks that each page is used once or free.
func (s *inspection) checkPages() {
	if s.free == nil {
		return
	}
	var both, neither []uint64
	for id := uint64(2); id < s.walker.count; id++ {
		switch used, free := s.walker.used.has(id), s.free.has(id); {
		case used && free:
			both = append(both, id)
		case !used && !free:
			neither = append(neither, id)
		}
	}
	if len(both) > 0 {
		s.faults.addPage(slices.Min(both), fmt.Sprintf("it and %d others are used and listed as free: the relay would overwrite them", len(both)-1))
	}
	if len(neither) > 0 {
		s.faults.addPage(slices.Min(neither), fmt.Sprintf("it and %d others are neither used nor free", len(neither)-1))
	}
}
