package storagetest

import (
	"bytes"
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var findChecks = []check{
	{"Find", "Find returns the lowest sequence number of an envelope with the given signature", checkFind},
	{"FindLowest", "signatures are opaque and not unique: strangers may post another ciphertext under a known signature", checkFindLowest},
	{"FindNothing", "ErrNotFound: no envelope has the signature asked for", checkFindNothing},
	{"FindTooLarge", "a signature longer than MaxEnvelope is ErrTooLarge", checkFindTooLarge},
}

func checkFind(f *fixture) {
	all := newRecords(300, 100)
	f.append(all[:200]...)
	f.append(all[200:]...)
	for i, r := range all {
		f.found(r.Signature, storage.Seq(i+1))
	}
	f.reopen()
	for i, r := range all {
		f.found(r.Signature, storage.Seq(i+1))
	}
}

func checkFindLowest(f *fixture) {
	known := []byte("a signature that strangers know")
	f.append(newRecord(100), signed(known, 50), newRecord(100))
	f.found(known, 2)
	for range 10 {
		var batch []storage.Record
		for range 50 {
			batch = append(batch, signed(known, 20))
		}
		f.append(batch...)
		f.found(known, 2)
	}
	f.reopen()
	f.found(known, 2)
}

func checkFindNothing(f *fixture) {
	signature := bytes.Repeat([]byte("signed"), 10)
	r := signed(signature, 100)
	for range 2 {
		for _, other := range [][]byte{nil, {}, {0}, signature[:59], append(signature[:60:60], 0), bytes.ToUpper(signature), r.Ciphertext, r.ID[:], make([]byte, storage.MaxEnvelope)} {
			if seq, err := f.store.Find(f.Context(), other); !errors.Is(err, storage.ErrNotFound) {
				f.Errorf("find a signature of %d bytes that is not there: %d, %v", len(other), seq, err)
			}
		}
		f.append(r)
	}
	x := newToken()
	f.append(paid(newRecord(100), x))
	refused := paid(newRecord(100), x)
	f.append(refused)
	if seq, err := f.store.Find(f.Context(), refused.Signature); !errors.Is(err, storage.ErrNotFound) {
		f.Errorf("find an envelope that was refused: %d, %v", seq, err)
	}
}

func checkFindTooLarge(f *fixture) {
	if seq, err := f.store.Find(f.Context(), make([]byte, storage.MaxEnvelope+1)); !errors.Is(err, storage.ErrTooLarge) {
		f.Errorf("got %d, %v", seq, err)
	}
}

func (f *fixture) found(signature []byte, want storage.Seq) {
	f.Helper()
	if seq, err := f.store.Find(f.Context(), signature); seq != want || err != nil {
		f.Fatalf("find: %d, %v, want %d", seq, err, want)
	}
}
