package storagetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// How many random walks a check makes, and how many calls each has. A store in a
// process gets fewer, because each walk starts several processes.
const (
	walks        = 60
	processWalks = 3
	walkCalls    = 40
)

// checkModel makes random calls of the store and of a Memory and compares what they
// return. There are few envelopes and fewer tokens, so that most calls depend on
// earlier ones. The walks are the same every time. A failure is reported with the calls
// that led to it.
func checkModel(f *fixture) {
	n := walks
	if f.opened.Kill != nil {
		n = processWalks
	}
	f.closeStore()
	for seed := range n {
		w := &walk{fixture: newFixture(f.TB, f.opener), rng: rand.New(rand.NewPCG(uint64(seed), 0))}
		w.model = newModel(w.store)
		w.runWalk()
		w.closeStore()
	}
}

// walk is a store, the model that it should agree with, and the calls so far.
type walk struct {
	*fixture
	model *Memory
	rng   *rand.Rand
	calls []string // made so far
}

func (w *walk) runWalk() {
	steps := []func(){w.appendBatch, w.appendBatch, w.comparePages, w.compareFind, w.compareInfo, w.maybeReopen}
	if _, ok := storage.As[storage.Ledger](w.store); ok {
		steps = append(steps, w.spendTokens, w.compareLedger)
	}
	if _, ok := storage.As[storage.Pruner](w.store); ok {
		steps = append(steps, w.prune, w.compareHours)
	}
	if _, ok := storage.As[storage.Index](w.store); ok {
		steps = append(steps, w.compareKeys, w.compareEntries)
	}
	if _, ok := storage.As[storage.Compactor](w.store); ok {
		steps = append(steps, w.compact)
	}
	for range walkCalls {
		steps[w.rng.IntN(len(steps))]()
	}
	w.comparePages()
}

// noteCall remembers a call.
func (w *walk) noteCall(format string, args ...any) {
	w.calls = append(w.calls, fmt.Sprintf(format, args...))
}

// failWalk ends the check and reports the calls that led there.
func (w *walk) failWalk(format string, args ...any) {
	w.Helper()
	w.Fatalf("%s\nafter %s", fmt.Sprintf(format, args...), w.calls)
}

// mustSucceed fails if the store or the model returned an error.
func (w *walk) mustSucceed(err, model error) {
	w.Helper()
	if err != nil || model != nil {
		w.failWalk("%s: %v", w.calls[len(w.calls)-1], errors.Join(err, model))
	}
}

// upTo returns a random number from 0 to n.
func (w *walk) upTo(n int) int { return w.rng.IntN(n + 1) }

func (w *walk) pickSignature() []byte { return []byte("signature")[:w.upTo(7)] }

func (w *walk) pickToken() storage.Nullifier { return storage.Nullifier{31: byte(w.upTo(15))} }

// pickHour returns one of 60 hours, or any one time in 16.
func (w *walk) pickHour() storage.Hour {
	if w.rng.IntN(16) == 0 {
		return storage.Hour(w.rng.Uint32())
	}
	return storage.Hour(w.upTo(59))
}

func (w *walk) makeRecord() storage.Record {
	signature := w.pickSignature()
	n := w.upTo(3)
	ciphertext := make([]byte, n*n*1800) // 0 to 16200 bytes
	r := storage.Record{
		ID:         storage.NewID(signature, ciphertext),
		Born:       w.pickHour(),
		Signature:  signature,
		Ciphertext: ciphertext,
	}
	if w.rng.IntN(4) > 0 {
		r.Nullifier = new(w.pickToken())
	}
	return r
}

func (w *walk) appendBatch() {
	batch := make([]storage.Record, w.upTo(12))
	var text []string
	for i := range batch {
		batch[i] = w.makeRecord()
		paid := "unpaid"
		if t := batch[i].Nullifier; t != nil {
			paid = fmt.Sprintf("token %d", t[31])
		}
		text = append(text, fmt.Sprintf("%x (%s, hour %d)", batch[i].ID[:2], paid, batch[i].Born))
	}
	w.noteCall("append %s", text)
	got, err := w.store.Append(w.Context(), batch)
	want, wantErr := w.model.Append(w.Context(), batch)
	w.mustSucceed(err, wantErr)
	if !w.model.sameOutcomes(got, want, batch) {
		w.failWalk("append: %v, want %v", got, want)
	}
}

func (w *walk) comparePages() {
	req := storage.LogRequest{From: storage.Seq(w.upTo(40)), Max: w.upTo(40)}
	w.noteCall("log from %d, at most %d", req.From, req.Max)
	got, err := w.store.Log(w.Context(), req)
	want, wantErr := w.model.Log(w.Context(), req)
	w.mustSucceed(err, wantErr)
	if len(got.Entries) != len(want.Entries) || got.Last != want.Last {
		w.failWalk("log: %d entries, last of the log %d; want %d and %d", len(got.Entries), got.Last, len(want.Entries), want.Last)
	}
	w.compareEach("log", got.Entries, want.Entries)
}

func (w *walk) compareEach(what string, got, want []storage.Entry) {
	for i, e := range want {
		if r := (storage.Record{ID: e.ID, Born: e.Born, Signature: e.Signature, Ciphertext: e.Ciphertext}); got[i].Seq != e.Seq || !sameRecord(got[i], r) {
			w.failWalk("%s: entry %d is not what was appended", what, e.Seq)
		}
	}
}

func (w *walk) compareFind() {
	signature := w.pickSignature()
	w.noteCall("find a signature of %d bytes", len(signature))
	got, err := w.store.Find(w.Context(), signature)
	want, wantErr := w.model.Find(w.Context(), signature)
	if got != want || errors.Is(err, storage.ErrNotFound) != (wantErr != nil) || (err == nil) != (wantErr == nil) {
		w.failWalk("find: %d, %v; want %d, %v", got, err, want, wantErr)
	}
}

func (w *walk) compareInfo() {
	w.noteCall("info")
	got, err := w.store.Info(w.Context())
	want, wantErr := w.model.Info(w.Context())
	w.mustSucceed(err, wantErr)
	want.Epoch, want.Bytes, want.InUse = got.Epoch, got.Bytes, got.InUse
	if got != want {
		w.failWalk("info: %+v, want %+v", got, want)
	}
}

// maybeReopen closes the store and opens it, one time in four.
func (w *walk) maybeReopen() {
	if w.rng.IntN(4) == 0 {
		w.noteCall("close and open")
		w.reopenStore()
	}
	w.compareInfo()
}

func (w *walk) spendTokens() {
	batch := make([]storage.SpentToken, w.upTo(4))
	for i := range batch {
		batch[i] = storage.SpentToken{Token: storage.NewTokenID(w.pickToken()), ID: w.makeRecord().ID}
	}
	w.noteCall("spend %x", batch)
	w.mustSucceed(w.mustLedger().Spend(w.Context(), batch), w.model.Spend(w.Context(), batch))
}

func (w *walk) compareLedger() {
	req := storage.SpentTokensRequest{Max: w.upTo(20)}
	if w.rng.IntN(2) == 0 {
		req.After = &storage.TokenID{byte(w.upTo(255))}
	}
	w.noteCall("spendings, at most %d", req.Max)
	got, err := w.mustLedger().SpentTokens(w.Context(), req)
	want, wantErr := w.model.SpentTokens(w.Context(), req)
	w.mustSucceed(err, wantErr)
	if !w.model.sameTokens(got, want) {
		w.failWalk("spendings: %x, want %x", got, want)
	}
}

func (w *walk) prune() {
	req := storage.PruneRequest{Floor: w.model.floor + storage.Hour(w.upTo(8)), Max: 1 + w.upTo(6)}
	if w.rng.IntN(3) == 0 {
		req.Floor = 0
	}
	w.noteCall("prune below %d, at most %d", req.Floor, req.Max)
	got, err := w.mustPruner().Prune(w.Context(), req)
	want, wantErr := w.model.Prune(w.Context(), req)
	w.mustSucceed(err, wantErr)
	got.Bytes, want.Bytes = 0, 0 // which envelopes are removed first is for the store to say
	if got != want {
		w.failWalk("prune: %+v, want %+v", got, want)
	}
}

func (w *walk) compact() {
	req := storage.CompactRequest{Room: ampleRoom, Max: 1 + w.upTo(2*storage.MinCompact)}
	w.noteCall("compact at most %d bytes", req.Max)
	got, err := w.mustCompactor().Compact(w.Context(), req)
	w.mustSucceed(err, nil)
	if limit, _ := req.Bound(); got.Moved > uint64(limit) {
		w.failWalk("compact: %d bytes were moved", got.Moved)
	}
}

func (w *walk) compareHours() {
	req := storage.HoursRequest{From: storage.Hour(w.upTo(60)), Max: w.upTo(30)}
	w.noteCall("hours from %d, at most %d", req.From, req.Max)
	got, err := w.mustPruner().Hours(w.Context(), req)
	want, wantErr := w.model.Hours(w.Context(), req)
	w.mustSucceed(err, wantErr)
	if !slices.Equal(got, want) {
		w.failWalk("hours: %v, want %v", got, want)
	}
}

func (w *walk) compareKeys() {
	req := storage.KeysRequest{Max: w.upTo(30)}
	req.Range.Lo = storage.Key{Born: storage.Hour(w.upTo(60)), ID: storage.ID{byte(w.upTo(255))}}
	if w.rng.IntN(2) == 0 {
		req.Range.Hi = storage.Key{Born: req.Range.Lo.Born + storage.Hour(w.upTo(20)), ID: storage.ID{byte(w.upTo(255))}}
	}
	w.noteCall("keys from %v to %v, at most %d", req.Range.Lo, req.Range.Hi, req.Max)
	got, err := w.mustIndex().Keys(w.Context(), req)
	want, wantErr := w.model.Keys(w.Context(), req)
	w.mustSucceed(err, wantErr)
	if !slices.Equal(got, want) {
		w.failWalk("keys: %v, want %v", got, want)
	}
}

func (w *walk) compareEntries() {
	ids := make([]storage.ID, w.upTo(10))
	for i := range ids {
		ids[i] = w.makeRecord().ID
	}
	w.noteCall("get %d ids", len(ids))
	got, err := w.mustIndex().Get(w.Context(), ids)
	want, wantErr := w.model.Get(w.Context(), ids)
	w.mustSucceed(err, wantErr)
	if len(got) != len(want) {
		w.failWalk("get: %d entries, want %d", len(got), len(want))
	}
	w.compareEach("get", got, want)
}
