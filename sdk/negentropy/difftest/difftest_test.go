package difftest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	their "github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// keySet is a Storage of sorted keys that adds up everything anew for each call.
type keySet []storage.Key

func (s keySet) cut(r storage.Range) []storage.Key {
	from := slices.IndexFunc(s, func(k storage.Key) bool { return k.Compare(r.Lo) >= 0 })
	if from < 0 {
		return nil
	}
	keys := s[from:]
	if to := slices.IndexFunc(keys, func(k storage.Key) bool { return !r.Has(k) }); to >= 0 {
		keys = keys[:to]
	}
	return keys
}

func addUp(keys []storage.Key) (sum peersync.Sum) {
	for _, k := range keys {
		sum.Add(k.ID)
	}
	return sum
}

func (s keySet) Sums(_ context.Context, ranges []storage.Range) (sums []peersync.Sum, err error) {
	for _, r := range ranges {
		sums = append(sums, addUp(s.cut(r)))
	}
	return sums, peersync.CheckRanges(ranges)
}

func (s keySet) Split(_ context.Context, ranges []storage.Range, parts int) ([][]peersync.Part, error) {
	splits := make([][]peersync.Part, len(ranges))
	for i, r := range ranges {
		keys := s.cut(r)
		for left := parts; left > 0 && len(keys) > 0; left-- {
			n := (len(keys) + left - 1) / left
			splits[i] = append(splits[i], peersync.Part{First: keys[0], Last: keys[n-1], Sum: addUp(keys[:n])})
			keys = keys[n:]
		}
	}
	return splits, peersync.CheckSplit(ranges, parts)
}

func (s keySet) Keys(_ context.Context, ranges []storage.Range, max int) (lists [][]storage.Key, err error) {
	for _, r := range ranges {
		list := s.cut(r)
		list = slices.Clone(list[:min(len(list), max)])
		if lists, max = append(lists, list), max-len(list); max == 0 {
			break
		}
	}
	return lists, peersync.CheckRanges(ranges)
}

// newTheirs returns a session of go-nostr without a limit of frames. What it finds is sent to
// channels, which are read until they are closed.
func newTheirs(keys keySet) *their.Negentropy {
	v := vector.New()
	for _, k := range keys {
		v.Insert(nostr.Timestamp(k.Born), hex.EncodeToString(k.ID[:]))
	}
	v.Seal()
	return their.New(v, 0)
}

// collect reads ids until the channel is closed.
func collect(ids <-chan string) <-chan []string {
	all := make(chan []string, 1)
	go func() {
		var list []string
		for id := range ids {
			list = append(list, id)
		}
		slices.Sort(list)
		all <- list
	}()
	return all
}

func encodeIDs(keys []storage.Key) (ids []string) {
	for _, k := range keys {
		ids = append(ids, hex.EncodeToString(k.ID[:]))
	}
	slices.Sort(ids)
	return ids
}

// outcome is the messages of a session and what the initiator has found.
type outcome struct {
	messages   []string
	have, need []string
}

func decodeHex(t *testing.T, message string) []byte {
	t.Helper()
	b, err := hex.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// runSession runs a session. Each end is ours or theirs.
func runSession(t *testing.T, initiator, responder keySet, ourInitiator, ourResponder bool) (o outcome) {
	t.Helper()
	ctx, all := context.Background(), storage.Range{}
	server := newTheirs(responder)
	answer := func(message string) string {
		if ourResponder {
			b, err := negentropy.Respond(ctx, responder, all, decodeHex(t, message))
			if err != nil {
				t.Fatalf("our responder: %v", err)
			}
			return hex.EncodeToString(b)
		}
		s, err := server.Reconcile(message)
		if err != nil {
			t.Fatalf("their responder: %v", err)
		}
		return s
	}
	if !ourInitiator {
		client := newTheirs(initiator)
		have, need := collect(client.Haves), collect(client.HaveNots)
		for message := client.Start(); message != ""; {
			reply := answer(message)
			o.messages = append(o.messages, message, reply)
			var err error
			if message, err = client.Reconcile(reply); err != nil {
				t.Fatalf("their initiator: %v", err)
			}
		}
		o.have, o.need = <-have, <-need
		return o
	}
	message, err := negentropy.Initiate(ctx, initiator, all)
	var have, need []storage.Key
	for message != nil && err == nil {
		reply := answer(hex.EncodeToString(message))
		o.messages = append(o.messages, hex.EncodeToString(message), reply)
		var h, n []storage.Key
		message, h, n, err = negentropy.Reconcile(ctx, initiator, all, decodeHex(t, reply))
		have, need = append(have, h...), append(need, n...)
	}
	if err != nil {
		t.Fatalf("our initiator: %v", err)
	}
	o.have, o.need = encodeIDs(have), encodeIDs(need)
	return o
}

// drawKeys returns n keys of the given hours. Clustered ones share hours and the first bytes of
// ids. Up to 15 bytes agree: go-nostr compares only 16 of them when it looks for a bound.
func drawKeys(r *rand.Rand, n int, hours uint32, clustered bool) []storage.Key {
	keys := make([]storage.Key, n)
	for i := range keys {
		k := &keys[i]
		k.Born = storage.Hour(480_000 + r.Uint32N(hours))
		for j := 0; j < len(k.ID); j += 8 {
			binary.LittleEndian.PutUint64(k.ID[j:], r.Uint64())
		}
		if clustered {
			k.Born = 480_000 + storage.Hour(r.Uint32N(3))*storage.Hour(hours)
			copy(k.ID[:15], bytes.Repeat([]byte{byte(r.Uint32N(4))}, int(r.Uint32N(16))))
		}
	}
	return keys
}

func sortKeys(lists ...[]storage.Key) keySet {
	keys := slices.Concat(lists...)
	slices.SortFunc(keys, storage.Key.Compare)
	return slices.Compact(keys)
}

// TestTranscriptsAgree: sessions between ours and theirs, in both roles, consist of the same bytes
// as between theirs and theirs, and find the same.
func TestTranscriptsAgree(t *testing.T) {
	sizes := []int{0, 1, 15, 16, 31, 32, 33, 100, 500, 3000}
	sessions, messages := 0, 0
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := func() int { return sizes[r.IntN(len(sizes))] }
		hours, clustered := []uint32{1, 5, 1000}[seed%3], seed%2 == 1
		both, onlyA, onlyB := drawKeys(r, size(), hours, clustered), drawKeys(r, size(), hours, clustered), drawKeys(r, size(), hours, clustered)
		a, b := sortKeys(both, onlyA), sortKeys(both, onlyB)
		want := runSession(t, a, b, false, false)
		for _, ours := range [][2]bool{{true, false}, {false, true}, {true, true}} {
			got := runSession(t, a, b, ours[0], ours[1])
			if !slices.Equal(got.messages, want.messages) {
				t.Fatalf("seed %d, our initiator %t, our responder %t: the messages differ", seed, ours[0], ours[1])
			}
			if !slices.Equal(got.have, want.have) || !slices.Equal(got.need, want.need) {
				t.Fatalf("seed %d, our initiator %t, our responder %t: have %d and need %d, want %d and %d", seed, ours[0], ours[1],
					len(got.have), len(got.need), len(want.have), len(want.need))
			}
			sessions++
			messages += len(got.messages)
		}
	}
	t.Logf("%d sessions, %d messages", sessions, messages)
}

// TestCompareIsAnswered: their responder answers a comparison of windows as ours does, with the
// first messages of the sessions of those that differ.
func TestCompareIsAnswered(t *testing.T) {
	ctx, all := context.Background(), storage.Range{}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 2))
		keys := drawKeys(r, 3000, 200, seed%2 == 1)
		a, b := sortKeys(keys[10:]), sortKeys(keys[:2990])
		message, windows, err := negentropy.Compare(ctx, a, all, 1+int(seed)*3)
		if err != nil {
			t.Fatal(err)
		}
		if len(windows) != 1+int(seed)*3 {
			t.Fatalf("%d windows", len(windows))
		}
		want, err := newTheirs(b).Reconcile(hex.EncodeToString(message))
		if err != nil {
			t.Fatal(err)
		}
		got, err := negentropy.Respond(ctx, b, all, message)
		if err != nil || hex.EncodeToString(got) != want {
			t.Fatalf("seed %d: the answers differ, %v", seed, err)
		}
	}
}
