package lab

import (
	"encoding/binary"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/keyindex"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// envelope is something that was posted anywhere. All stores share its bytes.
type envelope struct {
	id         storage.ID
	signature  []byte
	ciphertext []byte
	author     int  // member; -1: a hostile peer made it up
	sought     bool // whether its way is measured

	written   time.Duration
	committed time.Duration // at the first peer; 0: nowhere yet
	origin    *node         // this peer
	lost      bool          // the only copies were lost with a store that was restored
	peers     spread
	readers   spread
}

// spread is how many have an envelope, and when so many had it.
type spread struct {
	have           int
	half, most, to time.Duration // 50, 95 and 100 %; 0: not yet
}

// arrive counts one more of n at a time.
func (s *spread) arrive(now time.Duration, n int) {
	s.have++
	if s.half == 0 && 2*s.have >= n {
		s.half = now
	}
	if s.most == 0 && 100*s.have >= 95*n {
		s.most = now
	}
	if s.to == 0 && s.have >= n {
		s.to = now
	}
}

// bitSet is a set of numbers of envelopes.
type bitSet []uint64

func (s bitSet) has(number int32) bool {
	i := int(number) / 64
	return i < len(s) && s[i]&(1<<(number%64)) != 0
}

func (s *bitSet) add(number int32) {
	for int(number)/64 >= len(*s) {
		*s = append(*s, make([]uint64, 64)...)
	}
	(*s)[number/64] |= 1 << (number % 64)
}

// newEnvelope makes up an envelope of a size. Its signature has its number, so that it is found
// without a hash.
func (w *world) newEnvelope(size int64, author int) int32 {
	n := int32(len(w.envelopes))
	e := envelope{author: author, written: w.now}
	e.signature = binary.BigEndian.AppendUint64(make([]byte, 0, 16), w.seed)
	e.signature = binary.BigEndian.AppendUint64(e.signature, uint64(n))
	e.ciphertext = w.filler[:max(size-16, 1)]
	e.id = storage.NewID(e.signature, e.ciphertext)
	w.envelopes = append(w.envelopes, e)
	w.numbers[e.id] = n
	return n
}

// numberOf returns the number of an envelope by its bytes, or -1.
func (w *world) numberOf(signature, ciphertext []byte) int32 {
	if len(signature) != 16 {
		return -1
	}
	n := binary.BigEndian.Uint64(signature[8:])
	if n >= uint64(len(w.envelopes)) || len(w.envelopes[n].ciphertext) != len(ciphertext) {
		return -1
	}
	return int32(n)
}

// store is a virtual store with the rules of [storage.Store], [storage.Pruner] and [storage.Index].
// It survives the runs of its relay.
type store struct {
	w      *world
	epoch  storage.Epoch
	log    []logEntry // by sequence number, the first one is 1
	first  int        // index of the first one kept
	count  int
	pruned int // since the epoch began
	floor  storage.Hour
	places []place // by number of the envelope
	index  *keyindex.Index
	mark   uint64 // changes with each change
}

type logEntry struct {
	number int32 // of the envelope; -1: pruned
	via    peersync.Peer
	at     time.Duration
}

// place is where an envelope is in the log.
type place struct {
	seq         uint32 // 0: not in it; then first is not 0 if it was pruned
	first, born storage.Hour
}

func newStore(w *world) *store {
	return &store{w: w, epoch: w.newEpoch(), index: new(keyindex.Index)}
}

func (w *world) newEpoch() (e storage.Epoch) {
	binary.BigEndian.PutUint64(e[:], w.chance.Uint64())
	binary.BigEndian.PutUint64(e[8:], w.chance.Uint64())
	return e
}

func (s *store) placeOf(number int32) *place {
	if int(number) >= len(s.places) {
		return &place{}
	}
	return &s.places[number]
}

func (s *store) holds(number int32) bool { return s.placeOf(number).seq > 0 }

// hasPruned reports whether an envelope was in the log and fell below the floor.
func (s *store) hasPruned(number int32) bool {
	p := s.placeOf(number)
	return p.seq == 0 && p.first > 0
}

// append stores one envelope.
func (s *store) append(number int32, born storage.Hour, via peersync.Peer) storage.OutcomeStatus {
	if born < s.floor {
		return storage.Expired
	}
	for int(number) >= len(s.places) {
		s.places = append(s.places, make([]place, max(1024, int(number)+1-len(s.places)))...)
	}
	p := &s.places[number]
	if p.seq == 0 {
		s.log = append(s.log, logEntry{number, via, s.w.now})
		*p = place{uint32(len(s.log)), born, born}
		s.count++
		s.mark++
		s.index.Insert(storage.Key{Born: born, ID: s.w.envelopes[number].id})
		return storage.Stored
	}
	if lower := storage.LowerBorn(p.first, p.born, born); lower < p.born {
		p.born = lower
		s.mark++
		s.index.Lower(storage.Key{Born: lower, ID: s.w.envelopes[number].id})
		if lower < s.floor {
			s.remove(number)
		}
	}
	return storage.Duplicate
}

// remove prunes one envelope.
func (s *store) remove(number int32) {
	p := &s.places[number]
	s.log[p.seq-1].number = -1
	p.seq = 0
	s.count--
	s.pruned++
	for s.first < len(s.log) && s.log[s.first].number < 0 {
		s.first++
	}
}

// prune raises the floor.
func (s *store) prune(floor storage.Hour) {
	if floor <= s.floor {
		return
	}
	s.floor = floor
	s.mark++
	for _, k := range s.index.Keys(storage.Range{Hi: storage.Key{Born: floor}}, s.count) {
		s.remove(s.w.numbers[k.ID])
	}
	s.index.DropBelow(floor)
}

func (s *store) state() peersync.State {
	state := peersync.State{Epoch: s.epoch, Last: storage.Seq(len(s.log)), Count: uint64(s.count), Floor: s.floor}
	if s.count > 0 {
		state.First = storage.Seq(s.first + 1)
	}
	return state
}

// key returns the key of an envelope that is in the log.
func (s *store) key(number int32) storage.Key {
	return storage.Key{Born: s.places[number].born, ID: s.w.envelopes[number].id}
}

func (s *store) record(number int32) storage.Record {
	e := &s.w.envelopes[number]
	return storage.Record{ID: e.id, Born: s.places[number].born, Signature: e.signature, Ciphertext: e.ciphertext}
}

// truncate removes what was stored after a time. It returns what it removed.
func (s *store) truncate(after time.Duration) (removed []int32) {
	cut := len(s.log)
	for cut > 0 && s.log[cut-1].at > after {
		cut--
	}
	for _, e := range s.log[cut:] {
		if e.number < 0 {
			continue
		}
		removed = append(removed, e.number)
		s.places[e.number] = place{}
		s.count--
	}
	s.log = s.log[:cut]
	s.first = min(s.first, cut)
	s.rebuildIndex()
	s.mark++
	return removed
}

// rebuildIndex reads all keys again.
func (s *store) rebuildIndex() {
	s.index = new(keyindex.Index)
	for _, e := range s.log[s.first:] {
		if e.number >= 0 {
			s.index.Insert(s.key(e.number))
		}
	}
	s.index.DropBelow(s.floor)
}
