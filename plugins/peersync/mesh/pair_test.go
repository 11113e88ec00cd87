package mesh

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// board is the host of a replicator with one peer, and a board that never changes. It has sums
// ready, so it can be large.
type board struct {
	keys []storage.Key
	sums []peersync.Sum // sums[i] is that of keys[:i]
	down bool           // the board cannot be read
	busy bool           // the link takes nothing

	sent      [][]byte // messages that were not delivered
	offered   []storage.ID
	requested []storage.Key
	dropped   string
	calls     int
	hashed    int // keys
}

// blockKeys is how many keys have a sum at hand in the key index of a relay.
const blockKeys = 512

// thePeer is the number of the only peer.
const thePeer peersync.Peer = 7

func newBoard(keys []storage.Key) *board {
	slices.SortFunc(keys, storage.Key.Compare)
	b := &board{keys: keys, sums: make([]peersync.Sum, len(keys)+1)}
	for i, k := range keys {
		b.sums[i+1] = b.sums[i]
		b.sums[i+1].Add(sha256.Sum256(slices.Concat([]byte("secret of the link"), k.ID[:])))
	}
	return b
}

// within returns the indexes of the first key in a range and of the first one behind it.
func (b *board) within(in storage.Range) (lo, hi int) {
	lo, _ = slices.BinarySearchFunc(b.keys, in.Lo, storage.Key.Compare)
	hi = len(b.keys)
	if in.Hi != (storage.Key{}) {
		hi, _ = slices.BinarySearchFunc(b.keys, in.Hi, storage.Key.Compare)
	}
	return lo, max(lo, hi)
}

// sumOf returns the sum of keys, and counts those that lie in no whole block.
func (b *board) sumOf(lo, hi int) peersync.Sum {
	if first, last := (lo+blockKeys-1)/blockKeys, hi/blockKeys; first < last {
		b.hashed += hi - lo - blockKeys*(last-first)
	} else {
		b.hashed += hi - lo
	}
	sum := peersync.Sum{Count: uint64(hi - lo)}
	var borrow uint64
	for i := 0; i < 32; i += 8 {
		var limb uint64
		limb, borrow = bits.Sub64(binary.LittleEndian.Uint64(b.sums[hi].IDs[i:]), binary.LittleEndian.Uint64(b.sums[lo].IDs[i:]), borrow)
		binary.LittleEndian.PutUint64(sum.IDs[i:], limb)
	}
	return sum
}

func (b *board) begin(link bool) error {
	b.calls++
	switch {
	case link && b.busy:
		return peersync.ErrBusy
	case !link && b.down:
		return peersync.ErrUnavailable
	}
	return nil
}

func (b *board) Log(context.Context, peersync.LogRequest) (peersync.LogPage, error) {
	return peersync.LogPage{Last: storage.Seq(len(b.keys))}, b.begin(false)
}

func (b *board) Keys(_ context.Context, ranges []storage.Range, max int) ([][]storage.Key, error) {
	var lists [][]storage.Key
	for _, in := range ranges {
		if max == 0 {
			break
		}
		lo, hi := b.within(in)
		hi = min(hi, lo+max)
		lists, max = append(lists, slices.Clone(b.keys[lo:hi])), max-(hi-lo)
	}
	return lists, b.begin(false)
}

func (b *board) RangeSum(_ context.Context, _ peersync.Peer, ranges []storage.Range) ([]peersync.Sum, error) {
	sums := make([]peersync.Sum, len(ranges))
	for i, in := range ranges {
		sums[i] = b.sumOf(b.within(in))
	}
	return sums, b.begin(false)
}

func (b *board) Split(_ context.Context, _ peersync.Peer, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	out := make([][]peersync.Part, len(ranges))
	for i, in := range ranges {
		lo, hi := b.within(in)
		for left := parts; lo < hi; left-- {
			n := (hi - lo + left - 1) / left
			out[i] = append(out[i], peersync.Part{First: b.keys[lo], Last: b.keys[lo+n-1], Sum: b.sumOf(lo, lo+n)})
			lo += n
		}
	}
	return out, b.begin(false)
}

func (b *board) Send(_ context.Context, _ peersync.Peer, message []byte) error {
	err := b.begin(true)
	if err == nil {
		b.sent = append(b.sent, message)
	}
	return err
}

func (b *board) Push(context.Context, peersync.Peer, []storage.ID) error { return b.begin(true) }

func (b *board) Offer(_ context.Context, _ peersync.Peer, ids []storage.ID) error {
	err := b.begin(true)
	if err == nil {
		b.offered = append(b.offered, ids...)
	}
	return err
}

func (b *board) Request(_ context.Context, _ peersync.Peer, keys []storage.Key) error {
	err := b.begin(true)
	if err == nil {
		b.requested = append(b.requested, keys...)
	}
	return err
}

func (b *board) Drop(_ context.Context, _ peersync.Peer, reason string) error {
	b.dropped = reason
	return b.begin(false)
}

func (b *board) Rest(context.Context, peersync.Peer, time.Duration) error { return b.begin(true) }
func (b *board) Save(context.Context, ...peersync.Cursor) error           { return b.begin(false) }
func (b *board) Load(context.Context, string) ([]byte, error)             { return nil, b.begin(false) }
func (b *board) List(context.Context) ([]string, error)                   { return nil, b.begin(false) }
func (b *board) Wake(context.Context, time.Duration) error                { return b.begin(false) }
func (b *board) Report(context.Context, peersync.Report) error            { return b.begin(false) }

// end is a replicator with its board.
type end struct {
	*board
	*replicator
	t     testing.TB
	clock time.Duration
	lost  bool // outcomes do not come
}

// pairHour is the hour of a pair, long after all keys.
const pairHour storage.Hour = 490_000

// newEnd starts a replicator on a board whose only peer is up.
func newEnd(t testing.TB, b *board, initiator bool, peer peersync.State) *end {
	e := &end{board: b, replicator: newReplicator(b, 0), t: t}
	e.handle(peersync.Start{State: b.stateOf(1), Hour: pairHour, Peers: []peersync.Peer{thePeer}})
	e.handle(peersync.PeerUp{Peer: thePeer, Initiator: initiator, State: peer, Gives: true, Takes: true})
	return e
}

func (b *board) stateOf(epoch byte) peersync.State {
	return peersync.State{Epoch: storage.Epoch{epoch}, First: 1, Last: storage.Seq(len(b.keys)), Count: uint64(len(b.keys))}
}

func (e *end) handle(events ...peersync.Event) {
	e.t.Helper()
	if err := e.replicator.Handle(e.t.Context(), events); err != nil {
		e.t.Fatal(err)
	}
}

// tick lets a second pass, and settles all that was offered and requested.
func (e *end) tick() {
	e.clock += time.Second
	e.handle(peersync.Tick{Now: e.clock, Hour: pairHour})
	for _, p := range e.peers {
		if n := len(p.transfer.offered); n > maxOffered {
			e.t.Errorf("%d ids are offered at a time", n)
		}
		for len(p.transfer.offered)+len(p.transfer.requested) > 0 && !e.lost {
			var sent, received []peersync.Outcome
			for id := range p.transfer.offered {
				sent = append(sent, peersync.Outcome{ID: id, Status: peersync.Stored})
			}
			for id := range p.transfer.requested {
				received = append(received, peersync.Outcome{ID: id, Status: peersync.Stored})
			}
			for part := range slices.Chunk(sent, peersync.MaxIDs) {
				e.handle(peersync.Sent{Peer: thePeer, Outcomes: part})
			}
			for part := range slices.Chunk(received, peersync.MaxIDs) {
				e.handle(peersync.Received{Peer: thePeer, Outcomes: part})
			}
		}
	}
}

// pair is two ends of a link, of which the first one begins repairs.
type pair struct {
	a, b    *end
	rounds  int
	bytes   int
	largest int
}

func newPair(t testing.TB, a, b []storage.Key) *pair {
	left, right := newBoard(a), newBoard(b)
	return &pair{a: newEnd(t, left, true, right.stateOf(1)), b: newEnd(t, right, false, left.stateOf(1))}
}

// deliver brings the messages of one end to the other one, and reports whether there were any.
func (p *pair) deliver(from, to *end) bool {
	messages := from.sent
	from.sent = nil
	for _, m := range messages {
		p.bytes += len(m)
		p.largest = max(p.largest, len(m))
		to.handle(peersync.PeerMessage{Peer: thePeer, Data: m})
	}
	return len(messages) > 0
}

// run exchanges messages until there are none and the present repair has ended.
func (p *pair) run() {
	for quiet := 0; quiet < 3; {
		there := p.deliver(p.a, p.b)
		back := p.deliver(p.b, p.a)
		if there && back {
			p.rounds++
		}
		p.a.tick()
		p.b.tick()
		quiet++
		if there || back {
			quiet = 0
		}
	}
}

// idsAt returns n keys, spread over 30 days.
func idsAt(seed uint64, n int) []storage.Key {
	rng := rand.NewChaCha8([32]byte{byte(seed)})
	keys := make([]storage.Key, n)
	for i := range keys {
		rng.Read(keys[i].ID[:])
		keys[i].Born = 480_000 + storage.Hour(i*720/n)
	}
	slices.SortFunc(keys, storage.Key.Compare)
	return keys
}

// withoutEvery returns the keys without some: each step-th from an index on.
func withoutEvery(keys []storage.Key, from, step int) (rest []storage.Key) {
	for i, k := range keys {
		if i < from || (i-from)%step != 0 {
			rest = append(rest, k)
		}
	}
	return rest
}

// TestFigures holds repairs to what they may cost: the bytes of all messages, those that find out
// that boards are equal included.
func TestFigures(t *testing.T) {
	const n = 100_000
	all := idsAt(1, n)
	newest := slices.Concat(all[:n-200], withoutEvery(all[n-200:], 0, 2))
	tests := map[string]struct {
		a, b                   []storage.Key
		bytes, rounds, largest int
	}{
		"equal":                                 {all, all, 400, 1, 390},
		"initiator lacks the 100 newest":        {all[:n-100], all, 10_000, 3, 10_000},
		"twin lacks the 100 newest":             {all, all[:n-100], 10_000, 3, 10_000},
		"initiator lacks 100 of the 200 newest": {newest, all, 14_000, 3, 10_000},
		"twin lacks 100 of the 200 newest":      {all, newest, 10_000, 3, 10_000},
		"each lacks 50 of the 200 newest":       {slices.Concat(all[:n-200], withoutEvery(all[n-200:], 0, 4)), slices.Concat(all[:n-200], withoutEvery(all[n-200:], 2, 4)), 10_000, 3, 10_000},
		"each lacks 50 of the 100 newest":       {slices.Concat(all[:n-100], withoutEvery(all[n-100:], 0, 2)), slices.Concat(all[:n-100], withoutEvery(all[n-100:], 1, 2)), 10_000, 3, 10_000},
		"initiator lacks 1 of 100":              {withoutEvery(all, 0, 100), all, 950_000, 6, 60_000},
		"twin has nothing":                      {all, nil, 600, 1, 450},
		"initiator has nothing":                 {nil, all, 600, 1, 450},
		"twin lacks the latest month":           {all, all[:n/2], 1_000, 1, 500},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, test.a, test.b)
			p.run()
			t.Logf("%d bytes, %d rounds, largest message %d; offered %d and %d, requested %d",
				p.bytes, p.rounds, p.largest, len(p.a.offered), len(p.b.offered), len(p.a.requested))
			if p.bytes > test.bytes || p.rounds > test.rounds || p.largest > test.largest {
				t.Errorf("more than %d bytes, %d rounds or %d bytes in a message", test.bytes, test.rounds, test.largest)
			}
		})
	}
}

// TestThirtyThousandKeys: two boards that each have three quarters of 30 000 envelopes know all
// differences in well under a second of computing, by both ends together.
func TestThirtyThousandKeys(t *testing.T) {
	all := idsAt(3, 30_000)
	a, b := withoutEvery(all, 0, 4), withoutEvery(all, 2, 4)
	begin := time.Now()
	p := newPair(t, a, b)
	p.run()
	took := time.Since(begin)
	t.Logf("%v, %d bytes, %d rounds", took, p.bytes, p.rounds)
	if len(p.a.offered) != 7500 || len(p.a.requested) != 7500 {
		t.Errorf("offered %d, requested %d", len(p.a.offered), len(p.a.requested))
	}
	if took > 2*time.Second { // measured: see the log; a busy machine is no reason to fail
		t.Errorf("it took %v", took)
	}
}

// TestMillion: 10 000 differences scattered over 10^6 envelopes.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("a million keys take some seconds; -short is for the tests that take less")
	}
	const n = 1_000_000
	const differences = 10_000
	all := idsAt(4, n+differences/2)
	a, b := make([]storage.Key, 0, n), make([]storage.Key, 0, n)
	drawn := make(map[int]int)
	for _, at := range rand.New(rand.NewPCG(4, 4)).Perm(len(all))[:differences] {
		drawn[at] = len(drawn) + 1
	}
	for i, k := range all {
		if drawn[i]%2 == 0 {
			a = append(a, k)
		}
		if drawn[i] == 0 || drawn[i]%2 == 1 {
			b = append(b, k)
		}
	}
	p := newPair(t, a, b)
	begin := time.Now()
	p.run()
	t.Logf("%v, %d bytes, %d rounds, largest message %d; offered %d, requested %d",
		time.Since(begin), p.bytes, p.rounds, p.largest, len(p.a.offered), len(p.a.requested))
	if len(p.a.offered) != differences/2 || len(p.a.requested) != differences/2 {
		t.Errorf("offered %d, requested %d of %d and %d", len(p.a.offered), len(p.a.requested), len(a), len(b))
	}
	if p.bytes > 5_500_000 || p.largest > 500_000 {
		t.Error("more than 5.5 MB, or a message of more than 0.5 MB")
	}
}
