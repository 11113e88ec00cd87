package storagetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var findChecks = []check{
	{"Find", "Find returns the lowest sequence number of an envelope with the given signature", checkFind},
	{"FindLowest", "signatures are opaque and not unique: strangers may post another ciphertext under a known signature", checkFindLowest},
	{"FindNothing", "ErrNotFound: no envelope has the signature asked for", checkFindNothing},
	{"CrowdedSignature", "the cost of a call does not depend on how many envelopes have its signature", checkCrowdedSignature},
	{"GroundKeys", "the cost of a call does not depend on what is stored: tokens and signatures whose hashes begin alike are like any others", checkGroundKeys},
	{"FindTooLarge", "a signature longer than MaxEnvelope is ErrTooLarge", checkFindTooLarge},
}

func checkFind(f *fixture) {
	all := newRecords(300, 100)
	f.mustAppend(all[:200]...)
	f.mustAppend(all[200:]...)
	for i, r := range all {
		f.expectFound(r.Signature, storage.Seq(i+1))
	}
	f.reopenStore()
	for i, r := range all {
		f.expectFound(r.Signature, storage.Seq(i+1))
	}
}

func checkFindLowest(f *fixture) {
	known := []byte("a signature that strangers know")
	f.mustAppend(newRecord(100), signedRecord(known, 50), newRecord(100))
	f.expectFound(known, 2)
	for range 10 {
		var batch []storage.Record
		for range 50 {
			batch = append(batch, signedRecord(known, 20))
		}
		f.mustAppend(batch...)
		f.expectFound(known, 2)
	}
	f.reopenStore()
	f.expectFound(known, 2)
}

func checkFindNothing(f *fixture) {
	signature := bytes.Repeat([]byte("signed"), 10)
	r := signedRecord(signature, 100)
	for range 2 {
		for _, other := range [][]byte{nil, {}, {0}, signature[:59], append(signature[:60:60], 0), bytes.ToUpper(signature), r.Ciphertext, r.ID[:], make([]byte, storage.MaxEnvelope)} {
			if seq, err := f.store.Find(f.Context(), other); !errors.Is(err, storage.ErrNotFound) {
				f.Errorf("find a signature of %d bytes that is not there: %d, %v", len(other), seq, err)
			}
		}
		f.mustAppend(r)
	}
	x := newToken()
	f.mustAppend(withToken(newRecord(100), x))
	refused := withToken(newRecord(100), x)
	f.mustAppend(refused)
	if seq, err := f.store.Find(f.Context(), refused.Signature); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("find an envelope that was refused: %d, %v", seq, err)
	}
}

// checkCrowdedSignature compares the cost of calls before and after many envelopes of
// one signature. The limits are far below what a walk over them takes, and far above
// what a busy disk adds.
func checkCrowdedSignature(f *fixture) {
	crowd := f.opener.crowdSize()
	known, single := []byte("a signature that strangers know"), newRecord(32)
	f.mustAppend(newRecord(32), signedRecord(known, 8), single)
	random := func() { f.mustAppend(newRecords(storage.MaxBatch, 32)...) }
	crowded := func() {
		batch := make([]storage.Record, storage.MaxBatch)
		for i := range batch {
			batch[i] = signedRecord(known, 8)
		}
		f.mustAppend(batch...)
	}
	find := func(signature []byte, want storage.Seq) func() {
		return func() {
			if seq, err := f.store.Find(f.Context(), signature); seq != want || (want == 0) != errors.Is(err, storage.ErrNotFound) {
				f.Fatalf("find: %d, %v, want %d", seq, err, want)
			}
		}
	}
	slowFind := 20*fastestOf(50, find(single.Signature, 3)) + time.Millisecond
	slowAppend := 10*fastestOf(20, random) + 200*time.Millisecond
	for range crowd / storage.MaxBatch {
		crowded()
	}
	for name, c := range map[string]struct {
		call  func()
		times int
		limit time.Duration
	}{
		"find the signature":          {find(known, 2), 50, slowFind},
		"find another":                {find(single.Signature, 3), 50, slowFind},
		"find one that is not there":  {find([]byte("a signature that nobody knows"), 0), 50, slowFind},
		"append to the signature":     {crowded, 10, slowAppend},
		"append behind the signature": {random, 10, slowAppend},
	} {
		if took := fastestOf(c.times, c.call); took > c.limit {
			f.Errorf("%s, which %d envelopes have: %v, want at most %v", name, crowd, took, c.limit)
		}
	}
}

// checkGroundKeys appends envelopes whose token and signature were tried until their
// hashes began with a zero byte, 2^9 hashes each, and compares their cost with that of
// others.
func checkGroundKeys(f *fixture) {
	var tries [32]byte // made into signatures and tokens one after the other
	next := func() [32]byte {
		binary.BigEndian.PutUint64(tries[:], binary.BigEndian.Uint64(tries[:])+1)
		return tries
	}
	random := func() []storage.Record {
		batch := newRecords(storage.MaxBatch, 32)
		for i := range batch {
			batch[i].Nullifier = newToken()
		}
		return batch
	}
	ground := func() []storage.Record {
		batch := make([]storage.Record, storage.MaxBatch)
		for i := range batch {
			signature := next()
			for sha256.Sum256(signature[:])[0] != 0 {
				signature = next()
			}
			token := next()
			for storage.NewTokenID(token)[0] != 0 {
				token = next()
			}
			batch[i] = withToken(signedRecord(signature[:], 32), (*storage.Nullifier)(&token))
		}
		return batch
	}
	var all []storage.Record
	append := func(make func() []storage.Record) func() time.Duration {
		return func() time.Duration {
			batch := make()
			all = slices.Concat(all, batch)
			start := time.Now()
			f.mustAppend(batch...)
			return time.Since(start)
		}
	}
	fast := leastOf(10, append(random))
	leastOf(f.opener.crowdSize()/2500, append(ground))
	for name, call := range map[string]func() time.Duration{"ground": append(ground), "other": append(random)} {
		if took, limit := leastOf(10, call), 4*fast+20*time.Millisecond; took > limit {
			f.Errorf("append %d %s envelopes: %v, want at most %v", storage.MaxBatch, name, took, limit)
		}
	}
	f.reopenStore()
	for i := 0; i < len(all); i += len(all) / 50 {
		f.expectFound(all[i].Signature, storage.Seq(i+1))
	}
}

// fastestOf calls f n times and returns the shortest time, which depends least on how
// busy the machine is.
func fastestOf(n int, f func()) time.Duration {
	return leastOf(n, func() time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	})
}

// leastOf calls f n times and returns the least of the results.
func leastOf(n int, f func() time.Duration) time.Duration {
	shortest := f()
	for range n - 1 {
		shortest = min(shortest, f())
	}
	return shortest
}

func checkFindTooLarge(f *fixture) {
	if seq, err := f.store.Find(f.Context(), make([]byte, storage.MaxEnvelope+1)); !errors.Is(err, storage.ErrTooLarge) {
		f.Errorf("got %d, %v", seq, err)
	}
}

func (f *fixture) expectFound(signature []byte, want storage.Seq) {
	f.Helper()
	if seq, err := f.store.Find(f.Context(), signature); seq != want || err != nil {
		f.Fatalf("find: %d, %v, want %d", seq, err, want)
	}
}
