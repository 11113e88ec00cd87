package negentropy_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	infinity = "0000"
	print16  = "01" + "00112233445566778899aabbccddeeff"
)

// hostile are messages that break the protocol. The first nine make other decoders panic,
// allocate without bound, or accept what nobody encodes.
var hostile = []struct{ what, hex string }{
	{"a prefix whose length overflows", "6101ffffffffffffffffff7f"},
	{"a list that claims 2^24 ids and has none", "6100000288808000"},
	{"a list with a negative count", "61" + infinity + "02" + "81ffffffffffffffff7f"},
	{"a number of 25 bytes", "61" + strings.Repeat("ff", 24) + "7f"},
	{"a prefix of 33 bytes", "610221" + strings.Repeat("11", 33) + "00"},
	{"a range after infinity", "61" + infinity + print16 + infinity + print16},
	{"a bound that goes backwards", "61" + "050120" + print16 + "010110" + print16},
	{"a bound whose hour overflows", "61" + "05" + "00" + print16 + "81ffffffffffffffff7f" + "00" + print16},
	{"a mode that does not exist", "61" + infinity + "03"},

	{"nothing", ""},
	{"no version", "00"},
	{"a bound that does not advance", "61" + "050120" + print16 + "0100" + print16},
	{"a bound at the beginning", "61" + "0100" + print16},
	{"an hour beyond 32 bits", "61" + "9080808009" + "00" + print16},
	{"a number that begins with zeros", "61" + "8005" + "00" + print16},
	{"a number beyond 64 bits", "61" + "8380808080808080808000" + "00" + print16},
	{"infinity with a prefix", "61" + "000101" + print16},
	{"a prefix that ends with zero", "61" + "0501" + "00" + print16},
	{"a prefix that is cut off", "61" + "050211"},
	{"a fingerprint that is cut off", "61" + infinity + "0100112233"},
	{"a number that is cut off", "61" + infinity + "0281"},
	{"a bound that is cut off", "6105"},
	{"a list that is cut off", "61" + infinity + "0202" + strings.Repeat("22", 32)},
	{"two ranges that say nothing", "61" + "0500" + "00" + "0200" + "00" + infinity + print16},
	{"a last range that says nothing", "61" + "0500" + print16 + infinity + "00"},
}

// TestHostileMessages: each is ErrInvalid for both roles, without a look at the storage, and
// without memory for what it claims.
func TestHostileMessages(t *testing.T) {
	ctx := context.Background()
	s := newKeySet(drawKeys(newRand(1), 200, 1, 10), nil)
	for _, h := range hostile {
		message, err := hex.DecodeString(h.hex)
		if err != nil {
			t.Fatalf("%s: %v", h.what, err)
		}
		if _, err := negentropy.Respond(ctx, s, storage.Range{}, message); !errors.Is(err, negentropy.ErrInvalid) {
			t.Errorf("respond to %s: %v", h.what, err)
		}
		if _, _, _, err := negentropy.Reconcile(ctx, s, storage.Range{}, message); !errors.Is(err, negentropy.ErrInvalid) {
			t.Errorf("reconcile %s: %v", h.what, err)
		}
		if _, err := negentropy.Differing(ctx, s, storage.Range{}, message); !errors.Is(err, negentropy.ErrInvalid) {
			t.Errorf("windows of %s: %v", h.what, err)
		}
		if n := allocated(func() { _ = negentropy.CheckMessage(storage.Range{}, message) }); n > 1<<10 {
			t.Errorf("%s: %d bytes allocated", h.what, n)
		}
	}
	if s.sumCalls+s.splitCalls+s.keyCalls != 0 {
		t.Error("a message was not checked before the storage was read")
	}
}

// TestHostileWindow: bounds outside of the window and empty windows are ErrInvalid.
func TestHostileWindow(t *testing.T) {
	ctx := context.Background()
	s := newKeySet(drawKeys(newRand(1), 200, 1, 10), nil)
	in := storage.Range{Lo: storage.Key{Born: 4}, Hi: storage.Key{Born: 6, ID: storage.ID{1}}}
	for _, bound := range []string{"0400", "0500", "070101", "0800"} {
		message, _ := hex.DecodeString("61" + bound + print16)
		if _, err := negentropy.Respond(ctx, s, in, message); !errors.Is(err, negentropy.ErrInvalid) {
			t.Errorf("bound %s: %v", bound, err)
		}
	}
	message, _ := hex.DecodeString("61" + infinity + print16)
	for _, in := range []storage.Range{{Lo: in.Hi, Hi: in.Lo}, {Lo: in.Lo, Hi: in.Lo}} {
		_, initiate := negentropy.Initiate(ctx, s, in)
		_, respond := negentropy.Respond(ctx, s, in, message)
		_, _, compare := negentropy.Compare(ctx, s, in, 3)
		for _, err := range []error{initiate, respond, compare} {
			if !errors.Is(err, negentropy.ErrInvalid) {
				t.Errorf("empty window: %v", err)
			}
		}
	}
}

// TestRepeatedID: an id that a list has twice is needed once.
func TestRepeatedID(t *testing.T) {
	list, _ := hex.DecodeString("61" + infinity + "0203" + strings.Repeat("22", 32) + strings.Repeat("11", 32) + strings.Repeat("22", 32))
	_, _, need, err := negentropy.Reconcile(context.Background(), newKeySet(nil, nil), storage.Range{}, list)
	if err != nil || len(need) != 2 {
		t.Errorf("need %d, %v", len(need), err)
	}
}

// TestLastKey: a list that ends with the last key there is, and fills a call, ends there.
func TestLastKey(t *testing.T) {
	last := storage.Key{Born: math.MaxUint32, ID: storage.ID(bytes.Repeat([]byte{0xff}, 32))}
	s := newKeySet(append(drawKeys(newRand(1), peersync.MaxKeys-1, 1, 10), last), nil)
	ask, _ := hex.DecodeString("61" + infinity + "0200")
	answer, err := negentropy.Respond(context.Background(), s, storage.Range{}, ask)
	if err != nil || len(answer) != 1+2+1+2+32*peersync.MaxKeys || s.keyCalls != 1 {
		t.Errorf("%d bytes after %d calls, %v", len(answer), s.keyCalls, err)
	}
}

// TestOtherVersion: a responder says which version it knows, an initiator gives up.
func TestOtherVersion(t *testing.T) {
	s := newKeySet(nil, nil)
	for _, message := range []string{"\x60", "\x62 whatever", "\x6f"} {
		answer, err := negentropy.Respond(context.Background(), s, storage.Range{}, []byte(message))
		if err != nil || string(answer) != "\x61" {
			t.Errorf("respond to version %x: %x, %v", message[0], answer, err)
		}
		if _, _, _, err := negentropy.Reconcile(context.Background(), s, storage.Range{}, []byte(message)); !errors.Is(err, negentropy.ErrInvalid) {
			t.Errorf("reconcile version %x: %v", message[0], err)
		}
	}
}

// TestWindowsAreFingerprints: a comparison of windows with a list of ids is ErrInvalid, and one
// that ends early says nothing of the rest.
func TestWindowsAreFingerprints(t *testing.T) {
	s := newKeySet(drawKeys(newRand(1), 200, 1, 10), nil)
	list, _ := hex.DecodeString("61" + infinity + "0200")
	if _, err := negentropy.Differing(context.Background(), s, storage.Range{}, list); !errors.Is(err, negentropy.ErrInvalid) {
		t.Errorf("list: %v", err)
	}
	early, _ := hex.DecodeString("61" + "0500" + print16)
	differing, err := negentropy.Differing(context.Background(), s, storage.Range{}, early)
	if err != nil || len(differing) != 1 || differing[0] != (storage.Range{Hi: storage.Key{Born: 4}}) {
		t.Errorf("differing %d windows, %v", len(differing), err)
	}
}

// TestCostOfHostileMessages measures the largest messages that are made of the smallest ranges,
// in both roles: memory is bounded by their length, and calls by the ranges that they may have.
func TestCostOfHostileMessages(t *testing.T) {
	ctx := context.Background()
	lists := []byte{0x61}
	for range negentropy.MaxRanges {
		lists = append(lists, 2, 0, 2, 0) // one hour more, no prefix, a list without ids
	}
	ids := append([]byte{0x61, 0, 0, 2, 0x81, 0xff, 0x5f}, bytes.Repeat([]byte("0123456789abcdef"), 2*(2<<14-33))...)
	prints := []byte{0x61}
	for len(prints) < negentropy.MaxMessage-19 {
		prints = append(append(prints, 2, 0, 1), "0123456789abcdef"...)
	}
	for name, message := range map[string][]byte{"lists": lists, "ids": ids, "fingerprints": prints} {
		if err := negentropy.CheckMessage(storage.Range{}, message); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := testing.AllocsPerRun(3, func() { _ = negentropy.CheckMessage(storage.Range{}, message) }); n != 0 {
			t.Errorf("%s: the check allocates %v times", name, n)
		}
		s := &cheapStorage{sums: make([]peersync.Sum, peersync.MaxRanges), lists: make([][]storage.Key, peersync.MaxRanges)}
		roles := map[string]func(){
			"respond":   func() { _, _ = negentropy.Respond(ctx, s, storage.Range{}, message) },
			"reconcile": func() { _, _, _, _ = negentropy.Reconcile(ctx, s, storage.Range{}, message) },
		}
		for role, run := range roles {
			size := allocated(run)
			s.calls = 0
			run()
			if size > 4*len(message)+1<<20 {
				t.Errorf("%s %s: %d bytes allocated for %d", role, name, size, len(message))
			}
			if limit := 2 * negentropy.MaxRanges / peersync.MaxRanges; s.calls > limit {
				t.Errorf("%s %s: %d calls, limit %d", role, name, s.calls, limit)
			}
			t.Logf("%s %s: %d bytes allocated for %d, %d calls", role, name, size, len(message), s.calls)
		}
	}
	if err := negentropy.CheckMessage(storage.Range{}, append(lists, 2, 0, 2, 0)); !errors.Is(err, negentropy.ErrInvalid) {
		t.Errorf("one range too many: %v", err)
	}
	if err := negentropy.CheckMessage(storage.Range{}, append(prints, prints[1:39]...)); !errors.Is(err, negentropy.ErrInvalid) {
		t.Errorf("a message that is too long: %v", err)
	}
}

// cheapStorage is an empty set that allocates nothing.
type cheapStorage struct {
	calls int
	sums  []peersync.Sum
	lists [][]storage.Key
}

func (s *cheapStorage) Sums(_ context.Context, ranges []storage.Range) ([]peersync.Sum, error) {
	s.calls++
	return s.sums[:len(ranges)], nil
}

func (s *cheapStorage) Split(context.Context, []storage.Range, int) ([][]peersync.Part, error) {
	return nil, errors.New("an empty set is not split")
}

func (s *cheapStorage) Keys(_ context.Context, ranges []storage.Range, _ int) ([][]storage.Key, error) {
	s.calls++
	return s.lists[:len(ranges)], nil
}

// allocated returns how many bytes a function allocates: the least of some runs, because the
// runtime allocates too.
func allocated(run func()) int {
	least := math.MaxInt
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run()
		runtime.ReadMemStats(&after)
		least = min(least, int(after.TotalAlloc-before.TotalAlloc))
	}
	return least
}

// TestRepliesOfLiar: whatever valid ranges a responder answers with, each round of the initiator
// ends, with an error or with lists of bounded length. Callers stop after MaxRounds.
func TestRepliesOfLiar(t *testing.T) {
	keys := drawKeys(newRand(1), 2000, 100, 20)
	rapid.Check(t, func(t *rapid.T) {
		s := newKeySet(keys, nil)
		for range negentropy.MaxRounds {
			answer := drawMessage(t)
			next, have, need, err := negentropy.Reconcile(context.Background(), s, storage.Range{}, answer)
			if err != nil {
				t.Fatal(err) // drawMessage draws valid ones only
			}
			if len(have) > len(keys) || len(need) > len(answer)/32 {
				t.Fatalf("have %d, need %d", len(have), len(need))
			}
			if next == nil {
				return
			}
			if err := negentropy.CheckMessage(storage.Range{}, next); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// drawMessage draws a valid message with a few ranges in the hours around 100.
func drawMessage(t *rapid.T) []byte {
	message := []byte{0x61}
	first, skipped := byte(100), false
	for range rapid.IntRange(1, 8).Draw(t, "ranges") {
		message = append(message, rapid.ByteRange(2, 5).Draw(t, "hours")+first, 0)
		first = 0
		mode := rapid.ByteRange(0, 2).Draw(t, "mode")
		if skipped && mode == 0 {
			mode = 1
		}
		message = append(message, mode)
		switch skipped = mode == 0; mode {
		case 1:
			message = append(message, rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "fingerprint")...)
		case 2:
			n := rapid.IntRange(0, 3).Draw(t, "ids")
			message = append(append(message, byte(n)), rapid.SliceOfN(rapid.Byte(), 32*n, 32*n).Draw(t, "id")...)
		}
	}
	if skipped {
		message = append(message, 0, 0, 2, 0)
	}
	return message
}

// TestResponderThatNeverAgrees: a responder that answers each fingerprint with others keeps the
// initiator busy, so callers must count rounds.
func TestResponderThatNeverAgrees(t *testing.T) {
	s := newKeySet(drawKeys(newRand(1), 2000, 100, 20), nil)
	lie, _ := hex.DecodeString("61" + infinity + print16)
	for range negentropy.MaxRounds {
		next, have, need, err := negentropy.Reconcile(context.Background(), s, storage.Range{}, lie)
		if err != nil || len(have)+len(need) != 0 || len(next) == 0 || len(next) > 400 {
			t.Fatalf("next has %d bytes, have %d, need %d, %v", len(next), len(have), len(need), err)
		}
	}
}

func addSeeds(f *testing.F) {
	for _, h := range hostile {
		message, _ := hex.DecodeString(h.hex)
		f.Add(message)
	}
	a, b := newKeySet(drawKeys(newRand(1), 300, 1, 10), nil), newKeySet(drawKeys(newRand(1), 400, 1, 10), nil)
	r, err := reconcile(a, b, storage.Range{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, message := range r.transcript {
		f.Add(message)
	}
}

// FuzzDecode: what is accepted has one encoding. What is refused is ErrInvalid.
func FuzzDecode(f *testing.F) {
	addSeeds(f)
	windows := []storage.Range{{}, {Lo: storage.Key{Born: 2, ID: storage.ID{9}}, Hi: storage.Key{Born: 8}}}
	f.Fuzz(func(t *testing.T, message []byte) {
		for _, in := range windows {
			if err := negentropy.CheckMessage(in, message); err != nil {
				if !errors.Is(err, negentropy.ErrInvalid) {
					t.Fatal(err)
				}
				continue
			}
			again, err := negentropy.Reencode(in, message)
			if err != nil || !bytes.Equal(again, message) {
				t.Fatalf("encoded again it is %x, %v", again, err)
			}
		}
	})
}

// FuzzAnswer: in both roles the answer to any message is an error or a valid message, with
// few calls.
func FuzzAnswer(f *testing.F) {
	addSeeds(f)
	s := newKeySet(drawKeys(newRand(1), 500, 1, 10), nil)
	in := storage.Range{Lo: storage.Key{Born: 1}}
	f.Fuzz(func(t *testing.T, message []byte) {
		s.sumCalls, s.splitCalls, s.keyCalls = 0, 0, 0
		answer, err := negentropy.Respond(context.Background(), s, in, message)
		next, have, need, err2 := negentropy.Reconcile(context.Background(), s, in, message)
		if err == nil && negentropy.CheckMessage(in, answer) != nil || next != nil && negentropy.CheckMessage(in, next) != nil {
			t.Fatalf("answers %x and %x", answer, next)
		}
		for _, err := range []error{err, err2} {
			if err != nil && !errors.Is(err, negentropy.ErrInvalid) && !errors.Is(err, negentropy.ErrTooLarge) {
				t.Fatal(err)
			}
		}
		if len(have) > len(s.keys) || len(need) > len(message)/32 {
			t.Fatalf("have %d, need %d", len(have), len(need))
		}
		if limit := 2 + 2*len(message)/4/256; s.sumCalls > limit || s.splitCalls > limit || s.keyCalls > limit {
			t.Fatalf("%d, %d and %d calls", s.sumCalls, s.splitCalls, s.keyCalls)
		}
	})
}
