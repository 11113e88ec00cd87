package main

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestMain(m *testing.M) { plugintest.Main(m, flooding) }

// TestContract checks every sentence of the contract, that boards become equal, and that the cursor works.
func TestContract(t *testing.T) {
	for _, transport := range plugintest.Transports(t, flooding) {
		t.Run(transport.Name, func(t *testing.T) {
			peersynctest.Run(t, peersynctest.Opener{
				Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
					return transport.OpenPeerSync(tb, dir, nil, host)
				},
				Converges: true,
				Resumes:   true,
			})
		})
	}
}

// newWorld returns relays with a replicator each, without links.
func newWorld(t *testing.T, relays int) *peersynctest.World {
	w := peersynctest.NewWorld(1, relays)
	for i, r := range w.Replicas {
		w.Start(i, newFlood(r))
	}
	t.Cleanup(func() {
		for _, r := range w.Replicas {
			for _, fault := range r.Faults {
				t.Error(fault)
			}
		}
	})
	return w
}

func run(t *testing.T, w *peersynctest.World, d time.Duration) {
	t.Helper()
	if err := w.RunFor(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// countCalls returns how many calls of a method a relay has had.
func countCalls(r *peersynctest.Replica, method string) (n int) {
	for _, call := range r.Calls {
		if strings.HasPrefix(call, method+" ") {
			n++
		}
	}
	return n
}

// TestEmptyPeer gives everything to a peer that has nothing.
func TestEmptyPeer(t *testing.T) {
	w := newWorld(t, 2)
	for range 20 {
		w.Post(0, 1000)
	}
	run(t, w, time.Minute)
	w.Connect(0, 1)
	run(t, w, time.Minute)
	if err := w.Equal(); err != nil {
		t.Error(err)
	}
	if got := w.Replicas[1].Traffic(); got.Envelopes != 20_000 || got.Wasted != 0 {
		t.Errorf("to send 20 000 envelopes, %d went over the link, %d of them in vain", got.Envelopes, got.Wasted)
	}
}

// TestFewDifferences finds what two large boards do not share, with few messages.
func TestFewDifferences(t *testing.T) {
	w := newWorld(t, 2)
	w.Post(0, 5000)
	w.Connect(0, 1)
	run(t, w, time.Minute)
	w.Cut(0, 1)
	var before [2]peersynctest.Traffic
	for at, r := range w.Replicas {
		before[at], r.Calls = r.Traffic(), nil
		w.Post(at, 20)
	}
	w.Connect(0, 1)
	run(t, w, 10*time.Second)
	if err := w.Equal(); err != nil {
		t.Error(err)
	}
	for at, r := range w.Replicas {
		if got := r.Traffic().Envelopes - before[at].Envelopes; got != 20 {
			t.Errorf("relay %d lacked 20 envelopes, and got %d", at, got)
		}
	}
	if n := countCalls(w.Replicas[0], "send") + countCalls(w.Replicas[1], "send"); n < 4 || n > 12 {
		t.Errorf("the comparison took %d messages", n)
	}
}

// TestDifferencesThatStay brings everything to a mirror that has as much itself that nobody takes.
func TestDifferencesThatStay(t *testing.T) {
	w := newWorld(t, 2)
	w.Replicas[0].SetTerms(1, peersynctest.Terms{Mirror: true})
	for range 8 {
		w.Post(0, 1000)
		w.Post(1, 1000)
	}
	run(t, w, time.Minute)
	w.Connect(0, 1)
	run(t, w, 2*time.Minute)
	if got := w.Replicas[1].Traffic().Envelopes; got != 8000 {
		t.Errorf("of 8000 envelopes that the mirror lacks, it got %d", got)
	}
}

// TestLivePush shows that a post reaches the whole row of relays without a comparison, and the last
// link of it once.
func TestLivePush(t *testing.T) {
	w := newWorld(t, 3)
	w.Connect(0, 1)
	w.Connect(1, 2)
	run(t, w, time.Second)
	before := countCalls(w.Replicas[1], "send") // of the first comparison
	w.Post(0, 10)
	run(t, w, time.Second)
	if err := w.Equal(); err != nil {
		t.Error(err)
	}
	if n := countCalls(w.Replicas[1], "send") - before; n > 0 {
		t.Errorf("%d messages were sent", n)
	}
	if got := w.Replicas[2].Traffic(); got.Envelopes != 10 {
		t.Errorf("%d envelopes came to the end of the row, want 10", got.Envelopes)
	}
}

// TestTalkativePeer shows that the link to a twin that sends too much is closed.
func TestTalkativePeer(t *testing.T) {
	w := newWorld(t, 2)
	w.Replicas[1].Twist = func(message []byte) (out [][]byte) {
		for range 2 * maxMessages {
			out = append(out, message)
		}
		return out
	}
	w.Connect(0, 1)
	w.Post(0, 1)
	w.Replicas[1].Renew() // compares again
	run(t, w, 10*time.Second)
	if n := countCalls(w.Replicas[0], "drop"); n != 1 {
		t.Errorf("%d links closed, want 1", n)
	}
}

// hostile sends one message to each peer, and keeps the answers.
type hostile struct {
	host    peersync.HostServices
	message []byte
	answers [][]byte
}

func (h *hostile) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e := e.(type) {
		case peersync.PeerUp:
			h.host.Send(ctx, e.Peer, h.message)
		case peersync.PeerMessage:
			h.answers = append(h.answers, e.Data)
		}
	}
	return ctx.Err()
}

func (h *hostile) Close() error { return nil }

// TestAnswersAreBounded asks for as much as one message can.
func TestAnswersAreBounded(t *testing.T) {
	for _, count := range []uint64{0, 1 << 40} {
		w := peersynctest.NewWorld(1, 2)
		var sums []rangeSum
		for range peersync.MaxRanges {
			sums = append(sums, rangeSum{sum: peersync.Sum{Count: count}})
		}
		h := &hostile{host: w.Replicas[1], message: encodeSums(sums)}
		w.Start(0, newFlood(w.Replicas[0]))
		w.Start(1, h)
		w.Post(0, 3000)
		w.Connect(0, 1)
		run(t, w, time.Second)
		size := 0
		for _, answer := range h.answers {
			size += len(answer)
		}
		if size == 0 || size > 2*len(h.message) {
			t.Errorf("%d bytes answer %d", size, len(h.message))
		}
		for _, fault := range w.Replicas[0].Faults {
			t.Error(fault)
		}
	}
}

func TestMessages(t *testing.T) {
	key := func(born storage.Hour, id byte) peersync.Key { return peersync.Key{Born: born, ID: storage.ID{id}} }
	whole, some := peersync.Range{}, peersync.Range{Lo: key(1, 2), Hi: key(3, 4)}
	sums := []rangeSum{{whole, peersync.Sum{Count: 1 << 60, IDs: [32]byte{1}}}, {some, peersync.Sum{}}}
	if got, ok := decodeSums(encodeSums(sums)); !ok || !reflect.DeepEqual(got, sums) {
		t.Errorf("%v, want %v", got, sums)
	}
	lists := []rangeList{{whole, nil}, {some, []peersync.Key{key(1, 2), key(3, 3)}}}
	if got, ok := decodeLists(encodeLists(lists)); !ok || !reflect.DeepEqual(got, lists) {
		t.Errorf("%v, want %v", got, lists)
	}
	good := [][]byte{encodeSums(sums), encodeLists(lists)}
	for name, bad := range map[string][]byte{
		"a byte more":           append(encodeSums(sums), 0),
		"a byte more of a list": append(encodeLists(lists), 0),
		"a byte less":           good[0][:len(good[0])-1],
		"a byte less of a list": good[1][:len(good[1])-1],
		"no sums":               encodeSums(nil),
		"no lists":              encodeLists(nil),
		"another kind":          append([]byte{3}, good[0][1:]...),
		"too many sums":         encodeSums(make([]rangeSum, peersync.MaxRanges+1)),
		"too many lists":        encodeLists(make([]rangeList, maxDiffer+1)),
		"too many keys":         encodeLists([]rangeList{{whole, manyKeys(peersync.MaxKeys + 1)}}),
		"an empty range":        encodeSums([]rangeSum{{in: peersync.Range{Lo: key(1, 2), Hi: key(1, 2)}}}),
		"a range backwards":     encodeLists([]rangeList{{in: peersync.Range{Lo: key(3, 2), Hi: key(1, 2)}}}),
		"a key outside":         encodeLists([]rangeList{{some, []peersync.Key{key(3, 4)}}}),
		"a key twice":           encodeLists([]rangeList{{some, []peersync.Key{key(2, 4), key(2, 4)}}}),
		"keys backwards":        encodeLists([]rangeList{{some, []peersync.Key{key(2, 4), key(2, 3)}}}),
	} {
		if got, ok := decodeSums(bad); ok {
			t.Errorf("%s: %v", name, got)
		}
		if got, ok := decodeLists(bad); ok {
			t.Errorf("%s: %v", name, got)
		}
	}
	if _, ok := decodeLists(encodeLists([]rangeList{{whole, manyKeys(peersync.MaxKeys)}})); !ok {
		t.Error("the longest list is refused")
	}
}

func manyKeys(n int) (keys []peersync.Key) {
	k := peersync.Key{Born: 1}
	for range n {
		keys, k = append(keys, k), k.Next()
	}
	return keys
}
