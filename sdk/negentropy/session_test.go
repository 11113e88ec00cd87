package negentropy_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var update = flag.Bool("update", false, "write the transcripts in testdata")

// drawSets draws keys that both sets have, and that only one has. They are anywhere, in a few
// hours, or have ids of which up to 31 bytes agree, so that bounds need long prefixes. Then the
// sums are keyed, because plain sums of such ids agree by chance.
func drawSets(t *rapid.T) (both, onlyA, onlyB []storage.Key, secret []byte) {
	r := newRand(rapid.Uint64().Draw(t, "seed"))
	hours := rapid.SampledFrom([]storage.Hour{1, 3, 720}).Draw(t, "hours")
	alike := rapid.SampledFrom([]int{0, 0, 17, 31}).Draw(t, "bytes alike")
	if alike == 31 || rapid.Bool().Draw(t, "keyed") {
		secret = []byte("secret")
	}
	sizes := []int{0, 1, 31, 32, 33, 100, 1000, 3000}
	draw := func(of string) []storage.Key {
		n := rapid.SampledFrom(sizes).Draw(t, of)
		if alike == 31 {
			n = min(n, 50)
		}
		keys := drawKeys(r, n, 1000, hours)
		for i := range keys {
			copy(keys[i].ID[:alike], make([]byte, alike))
		}
		slices.SortFunc(keys, storage.Key.Compare)
		return slices.Compact(keys)
	}
	both, onlyA, onlyB = draw("both"), draw("only a"), draw("only b")
	taken := make(map[storage.ID]bool)
	for _, keys := range []*[]storage.Key{&both, &onlyA, &onlyB} {
		*keys = slices.DeleteFunc(*keys, func(k storage.Key) bool {
			defer func() { taken[k.ID] = true }()
			return taken[k.ID]
		})
	}
	return both, onlyA, onlyB, secret
}

// TestReconcileFindsDifferences: have and need are exact, whoever initiates, with plain sums and
// keyed ones, with and without windows. Afterwards the sets are equal, which takes one round.
func TestReconcileFindsDifferences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		both, onlyA, onlyB, secret := drawSets(t)
		a, b := newKeySet(slices.Concat(both, onlyA), secret), newKeySet(slices.Concat(both, onlyB), secret)
		check := func(r result, err error, have, need []storage.Key) {
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(have, storage.Key.Compare)
			slices.SortFunc(r.have, storage.Key.Compare)
			if !slices.Equal(r.have, have) {
				t.Fatalf("have %d keys, want %d", len(r.have), len(have))
			}
			if !slices.Equal(idsOf(r.need), idsOf(need)) {
				t.Fatalf("need %d keys, want %d", len(r.need), len(need))
			}
			latest := make(map[storage.ID]storage.Hour)
			for _, k := range r.need {
				latest[k.ID] = k.Born
			}
			for _, k := range need {
				if latest[k.ID] < k.Born {
					t.Fatalf("hour %d of a needed key is given as at most %d", k.Born, latest[k.ID])
				}
			}
		}
		r, err := reconcile(a, b, storage.Range{}, nil)
		check(r, err, onlyA, onlyB)
		r, err = reconcile(b, a, storage.Range{}, nil)
		check(r, err, onlyB, onlyA)
		r, _, _, err = reconcileWindows(a, b, storage.Range{}, rapid.IntRange(1, 64).Draw(t, "windows"))
		check(r, err, onlyA, onlyB)

		a, b = newKeySet(slices.Concat(both, onlyA, onlyB), secret), newKeySet(slices.Concat(both, onlyB, onlyA), secret)
		r, err = reconcile(a, b, storage.Range{}, nil)
		check(r, err, nil, nil)
		if r.rounds != 1 {
			t.Fatalf("%d rounds for equal sets", r.rounds)
		}
	})
}

// TestWindowIsIndependent: a session over a window has the bytes of one over everything with sets
// that have only the keys of the window.
func TestWindowIsIndependent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		both, onlyA, onlyB, secret := drawSets(t)
		all := slices.Concat(both, onlyA, onlyB)
		if len(all) == 0 {
			return
		}
		window := storage.Range{Lo: rapid.SampledFrom(all).Draw(t, "lo"), Hi: rapid.SampledFrom(all).Draw(t, "hi")}
		if window.Lo.Compare(window.Hi) >= 0 {
			window.Hi = storage.Key{}
		}
		cut := func(keys []storage.Key) []storage.Key {
			return slices.DeleteFunc(slices.Clone(keys), func(k storage.Key) bool { return !window.Has(k) })
		}
		a, b := slices.Concat(both, onlyA), slices.Concat(both, onlyB)
		in, err := reconcile(newKeySet(a, secret), newKeySet(b, secret), window, nil)
		if err != nil {
			t.Fatal(err)
		}
		alone := mustReconcileRapid(t, newKeySet(cut(a), secret), newKeySet(cut(b), secret))
		if !slices.EqualFunc(in.transcript, alone.transcript, bytes.Equal) {
			t.Fatal("the messages differ")
		}
		if !slices.Equal(in.have, alone.have) || !slices.Equal(idsOf(in.need), idsOf(alone.need)) {
			t.Fatal("the differences differ")
		}
	})
}

func mustReconcileRapid(t *rapid.T, a, b negentropy.Storage) result {
	r, err := reconcile(a, b, storage.Range{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestInitiateAnswersFingerprint: the first message over a window is the answer to a fingerprint
// over it, so the end that has compared windows may send it.
func TestInitiateAnswersFingerprint(t *testing.T) {
	ctx := context.Background()
	for _, n := range []int{0, 1, 31, 32, 1000} {
		s := newKeySet(drawKeys(newRand(1), n, 1, 50), nil)
		other, _, err := negentropy.Compare(ctx, newKeySet(drawKeys(newRand(2), 10, 1, 50), nil), storage.Range{}, 1)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := negentropy.Respond(ctx, s, storage.Range{}, other)
		if err != nil {
			t.Fatal(err)
		}
		first, err := negentropy.Initiate(ctx, s, storage.Range{})
		if err != nil || !bytes.Equal(first, answer) {
			t.Errorf("with %d keys: first message %x, answer %x, %v", n, first, answer, err)
		}
	}
}

// TestCallsPerMessage: a message of an ordinary session costs one call of each kind at most.
func TestCallsPerMessage(t *testing.T) {
	keys := drawKeys(newRand(1), 16384, 1000, 100)
	a, b := newKeySet(keys[:16374], nil), newKeySet(keys[10:], nil)
	r := mustReconcile(t, a, b)
	if len(r.have) != 10 || len(r.need) != 10 {
		t.Fatalf("have %d, need %d", len(r.have), len(r.need))
	}
	messages := r.rounds + 1 // the initiator also calls for the first one
	for _, s := range []*keySet{a, b} {
		if s.sumCalls > messages || s.splitCalls > messages || s.keyCalls > messages {
			t.Errorf("%d rounds took %d, %d and %d calls for sums, parts and keys", r.rounds, s.sumCalls, s.splitCalls, s.keyCalls)
		}
	}
	t.Logf("%d rounds, calls at the initiator %d, %d, %d, at the responder %d, %d, %d", r.rounds,
		a.sumCalls, a.splitCalls, a.keyCalls, b.sumCalls, b.splitCalls, b.keyCalls)
}

// TestFewCallsForLargeMessages: beyond the limits of one call, messages take several calls.
func TestFewCallsForLargeMessages(t *testing.T) {
	keys := drawKeys(newRand(1), 60_000, 1000, 100)
	a, b := newKeySet(keys[:59_000], nil), newKeySet(keys[1000:], nil)
	r := mustReconcile(t, a, b)
	if len(r.have) != 1000 || len(r.need) != 1000 {
		t.Fatalf("have %d, need %d", len(r.have), len(r.need))
	}
	if b.keyCalls < 2 || b.keyCalls > 2+r.bytes/32/peersync.MaxKeys {
		t.Errorf("%d calls for the keys of %d bytes", b.keyCalls, r.bytes)
	}
}

// TestTooLarge: what does not fit into a message is an error, not a part of the truth.
func TestTooLarge(t *testing.T) {
	ctx := context.Background()
	full, empty := newKeySet(drawKeys(newRand(1), 40_000, 1, 10), nil), newKeySet(nil, nil)
	first, err := negentropy.Initiate(ctx, empty, storage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := negentropy.Respond(ctx, full, storage.Range{}, first); !errors.Is(err, negentropy.ErrTooLarge) {
		t.Errorf("responder with 40 000 keys that the initiator lacks: %v", err)
	}
	if _, _, _, err := negentropy.Reconcile(ctx, full, storage.Range{}, first); !errors.Is(err, negentropy.ErrTooLarge) {
		t.Errorf("initiator with 40 000 keys that the responder lacks: %v", err)
	}
	if full.keyCalls > 2*10 {
		t.Errorf("%d calls for keys", full.keyCalls)
	}
	r, _, _, err := reconcileWindows(full, empty, storage.Range{}, 3)
	if err != nil || len(r.have) != 40_000 {
		t.Errorf("in windows: have %d, %v", len(r.have), err)
	}
}

// TestStorageFails: errors of the storage arrive, and answers that do not fit the question are
// errors.
func TestStorageFails(t *testing.T) {
	ctx := context.Background()
	keys := drawKeys(newRand(1), 100, 1, 10)
	message, err := negentropy.Initiate(ctx, newKeySet(keys[1:], nil), storage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	lists, err := negentropy.Initiate(ctx, newKeySet(keys[:3], nil), storage.Range{})
	if err != nil {
		t.Fatal(err)
	}
	// The parts of a message with 16 fingerprints have few keys; one fingerprint must be split.
	one, _, err := negentropy.Compare(ctx, newKeySet(keys[1:], nil), storage.Range{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, message := range map[string][]byte{"sums": message, "split": one, "keys": lists} {
		for _, broken := range []error{peersync.ErrUnavailable, nil} {
			s := &brokenStorage{keySet: newKeySet(keys, nil), broken: name, err: broken}
			if _, err := negentropy.Respond(ctx, s, storage.Range{}, message); err == nil || !errors.Is(err, broken) && broken != nil {
				t.Errorf("%s break with %v: %v", name, broken, err)
			} else if errors.Is(err, negentropy.ErrInvalid) || errors.Is(err, negentropy.ErrTooLarge) {
				t.Errorf("%s break with %v, and the peer is blamed: %v", name, broken, err)
			}
		}
	}
}

// brokenStorage answers one kind of call with an error, or with nothing.
type brokenStorage struct {
	*keySet
	broken string
	err    error
}

func (s *brokenStorage) Sums(ctx context.Context, ranges []storage.Range) ([]peersync.Sum, error) {
	if s.broken == "sums" {
		return nil, s.err
	}
	return s.keySet.Sums(ctx, ranges)
}

func (s *brokenStorage) Split(ctx context.Context, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	if s.broken == "split" {
		return nil, s.err
	}
	return s.keySet.Split(ctx, ranges, parts)
}

func (s *brokenStorage) Keys(ctx context.Context, ranges []storage.Range, max int) ([][]storage.Key, error) {
	if s.broken == "keys" {
		return nil, s.err
	}
	return s.keySet.Keys(ctx, ranges, max)
}

// tornStorage has changed after the sums were read.
type tornStorage struct{ before, after *keySet }

func (s tornStorage) Sums(ctx context.Context, ranges []storage.Range) ([]peersync.Sum, error) {
	return s.before.Sums(ctx, ranges)
}

func (s tornStorage) Split(ctx context.Context, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	return s.after.Split(ctx, ranges, parts)
}

func (s tornStorage) Keys(ctx context.Context, ranges []storage.Range, max int) ([][]storage.Key, error) {
	return s.after.Keys(ctx, ranges, max)
}

// TestTornStorage: a set that changes between two calls for one message leads to valid messages,
// and no key of both ends is taken for one that only this end has.
func TestTornStorage(t *testing.T) {
	keys := drawKeys(newRand(1), 2000, 1, 10)
	sets := []*keySet{newKeySet(nil, nil), newKeySet(keys[:10], nil), newKeySet(keys[:100], nil), newKeySet(keys, nil)}
	other := newKeySet(keys[5:600], nil)
	for _, before := range sets {
		for _, after := range sets {
			r := mustReconcile(t, tornStorage{before, after}, other)
			for _, message := range r.transcript {
				if err := negentropy.CheckMessage(storage.Range{}, message); err != nil {
					t.Error(err)
				}
			}
			for _, k := range r.have {
				if _, there := slices.BinarySearchFunc(other.keys, k, storage.Key.Compare); there {
					t.Errorf("%d keys, then %d: a key of both is listed", len(before.keys), len(after.keys))
				}
			}
		}
	}
}

// peerReplica notes for which peer it was asked.
type peerReplica struct {
	peersync.Replica
	*keySet
	peer peersync.Peer
}

func (r *peerReplica) Keys(ctx context.Context, ranges []storage.Range, max int) ([][]storage.Key, error) {
	return r.keySet.Keys(ctx, ranges, max)
}

func (r *peerReplica) RangeSum(ctx context.Context, peer peersync.Peer, ranges []storage.Range) ([]peersync.Sum, error) {
	r.peer = peer
	return r.keySet.Sums(ctx, ranges)
}

func (r *peerReplica) Split(ctx context.Context, peer peersync.Peer, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	if peer != r.peer {
		return nil, errors.New("sums were for another peer")
	}
	return r.keySet.Split(ctx, ranges, parts)
}

// TestForPeer: a replica is asked for the sums of the peer.
func TestForPeer(t *testing.T) {
	keys := drawKeys(newRand(1), 500, 1, 10)
	replica := &peerReplica{keySet: newKeySet(keys[1:], nil)}
	r := mustReconcile(t, negentropy.ForPeer(replica, 7), newKeySet(keys, nil))
	if replica.peer != 7 || len(r.need) != 1 {
		t.Errorf("peer %d, need %d", replica.peer, len(r.need))
	}
}

// TestSumsThatAgree shows an attack on plain sums: crafted ids hide an envelope that one end
// lacks. With keyed sums it fails.
//
// A real attacker would have to search for ids whose sums agree. Here they are simply written
// down, by moving one unit of the most significant byte from one id to another.
func TestSumsThatAgree(t *testing.T) {
	common := drawKeys(newRand(1), 1000, 7, 1)
	slices.SortFunc(common, storage.Key.Compare)
	honest, bait := common[10], common[11] // at one end only
	one, two := honest, bait               // at the other end only
	for one.ID[31] == 0xff || two.ID[31] == 0 {
		t.Fatal("choose another seed")
	}
	one.ID[31]++
	two.ID[31]--
	rest := slices.Concat(common[:10], common[12:])
	for _, secret := range [][]byte{nil, []byte("only both ends know it")} {
		a, b := newKeySet(append(slices.Clone(rest), honest, bait), secret), newKeySet(append(slices.Clone(rest), one, two), secret)
		r := mustReconcile(t, a, b)
		found := slices.Equal(r.have, []storage.Key{honest, bait}) && slices.Equal(idsOf(r.need), idsOf([]storage.Key{one, two}))
		switch {
		case secret == nil && (len(r.have)+len(r.need) != 0 || r.rounds != 1):
			t.Error("plain sums: the attack fails, so this test shows nothing")
		case secret != nil && !found:
			t.Errorf("keyed sums: have %d, need %d", len(r.have), len(r.need))
		}
	}
}

// TestTranscripts compares the messages of some sessions with those in testdata, one in each line.
func TestTranscripts(t *testing.T) {
	sessions := []struct {
		name   string
		secret []byte
		n      int
		hours  storage.Hour
		in     storage.Range
	}{
		{"empty", nil, 0, 1, storage.Range{}},
		{"list", nil, 20, 4, storage.Range{}},
		{"one-hour", nil, 200, 1, storage.Range{}},
		{"hours", nil, 600, 300, storage.Range{}},
		{"keyed", []byte("secret"), 600, 300, storage.Range{}},
		{"window", nil, 600, 300, storage.Range{Lo: storage.Key{Born: 480100}, Hi: storage.Key{Born: 480200, ID: storage.ID{0x80}}}},
	}
	for _, session := range sessions {
		t.Run(session.name, func(t *testing.T) {
			keys := drawKeys(newRand(12), session.n, 480000, session.hours)
			a, b := newKeySet(keys[session.n/40:], session.secret), newKeySet(keys[:session.n-session.n/40], session.secret)
			r, err := reconcile(a, b, session.in, nil)
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			for _, message := range r.transcript {
				fmt.Fprintln(&text, hex.EncodeToString(message))
			}
			file := "testdata/" + session.name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if text.String() != string(want) {
				t.Errorf("the messages are not those of %s", file)
			}
		})
	}
}
