package storagetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// serial tells apart the records and tokens that the suite makes.
var serial atomic.Uint64

// newRecord makes a record of size bytes, at least 16, that no other call
// makes. No token pays for it.
func newRecord(size int) storage.Record {
	n := serial.Add(1)
	signature := binary.BigEndian.AppendUint64([]byte("signed: "), n)
	return signedRecord(signature, size-len(signature))
}

// signedRecord makes a record with the signature and a ciphertext of size bytes that
// no other call makes, unless size is less than 8.
func signedRecord(signature []byte, size int) storage.Record {
	n := serial.Add(1)
	ciphertext := bytes.Repeat([]byte{byte(n)}, size)
	if size >= 8 {
		binary.BigEndian.PutUint64(ciphertext, n)
	}
	return storage.Record{
		ID:         storage.NewID(signature, ciphertext),
		Born:       storage.Hour(n),
		Signature:  signature,
		Ciphertext: ciphertext,
	}
}

func newRecords(n, size int) []storage.Record {
	records := make([]storage.Record, n)
	for i := range records {
		records[i] = newRecord(size)
	}
	return records
}

// newToken makes a nullifier that no other call makes. It differs from others in the
// last bytes only, to find stores that compare only a part.
func newToken() *storage.Nullifier {
	var t storage.Nullifier
	binary.BigEndian.PutUint64(t[24:], serial.Add(1))
	return &t
}

// withToken returns r with a token.
func withToken(r storage.Record, token *storage.Nullifier) storage.Record {
	r.Nullifier = token
	return r
}

func sameRecord(e storage.Entry, r storage.Record) bool {
	return e.ID == r.ID && e.Born == r.Born && bytes.Equal(e.Signature, r.Signature) && bytes.Equal(e.Ciphertext, r.Ciphertext)
}

// Outcomes, in short.
func storedAt(seq storage.Seq) storage.Outcome {
	return storage.Outcome{Status: storage.Stored, Seq: seq}
}
func duplicateOf(seq storage.Seq) storage.Outcome {
	return storage.Outcome{Status: storage.Duplicate, Seq: seq}
}
func replayOf(seq storage.Seq) storage.Outcome {
	return storage.Outcome{Status: storage.Replayed, Seq: seq}
}

var (
	spent    = storage.Outcome{Status: storage.Spent}
	conflict = storage.Outcome{Status: storage.Conflict}
	expired  = storage.Outcome{Status: storage.Expired}
)

// readLog reads the whole log. A gap in it is an error, because nothing was pruned. So
// is a page that exceeds its limits.
func readLog(ctx context.Context, store storage.Store) (entries []storage.Entry, err error) {
	for {
		from := storage.Seq(len(entries) + 1)
		page, err := store.Log(ctx, storage.LogRequest{From: from})
		if err != nil {
			return nil, fmt.Errorf("log from %d: %w", from, err)
		}
		if err := checkPage(page, from); err != nil {
			return nil, fmt.Errorf("log from %d: %w", from, err)
		}
		entries = append(entries, page.Entries...)
		if len(entries) == int(page.Last) {
			return entries, nil
		}
		if len(page.Entries) == 0 {
			return nil, fmt.Errorf("log from %d: no entries, and the log ends at %d", from, page.Last)
		}
	}
}

// readPrunedLog reads the whole log, which may have gaps.
func readPrunedLog(ctx context.Context, store storage.Store) (entries []storage.Entry, err error) {
	for from := storage.Seq(1); ; {
		page, err := store.Log(ctx, storage.LogRequest{From: from})
		if err != nil {
			return nil, fmt.Errorf("log from %d: %w", from, err)
		}
		if err := checkPrunedPage(page, from); err != nil {
			return nil, fmt.Errorf("log from %d: %w", from, err)
		}
		if len(page.Entries) == 0 {
			return entries, nil
		}
		entries = append(entries, page.Entries...)
		from = entries[len(entries)-1].Seq + 1
	}
}

// checkPage checks a page of a log that is not pruned.
func checkPage(page storage.Page, from storage.Seq) error {
	for i, e := range page.Entries {
		if want := from + storage.Seq(i); e.Seq != want {
			return fmt.Errorf("entry %d of the page has number %d, want %d", i, e.Seq, want)
		}
	}
	return checkPrunedPage(page, from)
}

// checkPrunedPage checks a page of a log that may have gaps.
func checkPrunedPage(page storage.Page, from storage.Seq) error {
	size := 0
	for _, e := range page.Entries {
		if e.Seq < from {
			return fmt.Errorf("entry %d is where the next one is %d", e.Seq, from)
		}
		from = e.Seq + 1
		if e.Seq > page.Last {
			return fmt.Errorf("entry %d in a log that ends at %d", e.Seq, page.Last)
		}
		size += len(e.Signature) + len(e.Ciphertext)
	}
	if size > storage.PageBytes && len(page.Entries) > 1 {
		return fmt.Errorf("a page of %d bytes, limit %d", size, storage.PageBytes)
	}
	if len(page.Entries) > storage.MaxPage {
		return fmt.Errorf("a page of %d entries, limit %d", len(page.Entries), storage.MaxPage)
	}
	return nil
}
