package storagetest

import (
	"errors"
	"math"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var logChecks = []check{
	{"LogFrom", "Log returns the entries from sequence number req.From on, ascending and without a gap; 0 is read as 1", checkLogFrom},
	{"LogEnd", "a Page with no entries means that the log ends before From", checkLogEnd},
	{"LogMax", "Max bounds the number of entries; 0 means MaxPage. Less than 0 or more than MaxPage is ErrTooLarge", checkLogMax},
	{"LogPageBytes", "a page ends at the end of the log, at Max entries, or where one more would exceed PageBytes", checkLogPageBytes},
	{"LogMaxBytes", "MaxBytes bounds the bodies of the page; one entry is always allowed. More than PageBytes is ErrTooLarge", checkLogMaxBytes},
	{"LogMaxPage", "MaxPage is the greatest number of entries in one Page", checkLogMaxPage},
	{"PagesBelongToCaller", "Page: its slices belong to the caller", checkPagesBelongToCaller},
}

func checkLogFrom(f *fixture) {
	all := newRecords(20, 100)
	f.mustAppend(all...)
	for from := range storage.Seq(22) {
		page := f.mustPage(storage.LogRequest{From: from})
		first := max(from, 1)
		if err := checkPage(page, first); err != nil {
			f.Fatalf("from %d: %v", from, err)
		}
		if want := max(0, 21-int(first)); len(page.Entries) != want {
			f.Fatalf("from %d: %d entries, want %d", from, len(page.Entries), want)
		}
		for _, e := range page.Entries {
			if !sameRecord(e, all[e.Seq-1]) {
				f.Fatalf("from %d: entry %d is not what was appended", from, e.Seq)
			}
		}
	}
}

func checkLogEnd(f *fixture) {
	for _, last := range []storage.Seq{0, 3} {
		for _, from := range []storage.Seq{last + 1, last + 2, last + 1000, math.MaxInt64, math.MaxUint64} {
			page := f.mustPage(storage.LogRequest{From: from})
			if len(page.Entries) != 0 || page.Last != last {
				f.Errorf("from %d in a log of %d: %d entries, the last of the log %d", from, last, len(page.Entries), page.Last)
			}
		}
		if last == 0 {
			f.expectLog()
			f.mustAppend(newRecords(3, 100)...)
		}
	}
}

func checkLogMax(f *fixture) {
	f.mustAppend(newRecords(20, 100)...)
	for _, limit := range []int{1, 2, 19, 20, 21, storage.MaxPage} {
		page := f.mustPage(storage.LogRequest{From: 2, Max: limit})
		if len(page.Entries) != min(limit, 19) || page.Last != 20 {
			f.Errorf("at most %d of 19: %d entries, the last of the log %d", limit, len(page.Entries), page.Last)
		}
	}
	for _, limit := range []int{-1, math.MinInt, storage.MaxPage + 1, math.MaxInt} {
		if _, err := f.store.Log(f.Context(), storage.LogRequest{From: 1, Max: limit}); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("at most %d: %v, want ErrTooLarge", limit, err)
		}
	}
}

func checkLogPageBytes(f *fixture) {
	sizes := []int{storage.MaxEnvelope, 4096, 16, storage.MaxEnvelope, 5000, 9999}
	var all []storage.Record
	for i := range 120 {
		all = append(all, newRecord(sizes[i%len(sizes)]))
		f.mustAppend(all[i])
	}
	for from := 0; from < len(all); from += 7 {
		page := f.mustPage(storage.LogRequest{From: storage.Seq(from + 1)})
		size, want := 0, 0
		for _, r := range all[from:] {
			if size += len(r.Signature) + len(r.Ciphertext); size > storage.PageBytes {
				break
			}
			want++
		}
		if len(page.Entries) != want {
			f.Errorf("from %d: %d entries, want %d", from+1, len(page.Entries), want)
		}
	}
	exact := newRecords(storage.PageBytes/storage.MaxEnvelope+1, storage.MaxEnvelope)
	f.mustAppend(exact...)
	page := f.mustPage(storage.LogRequest{From: storage.Seq(len(all) + 1)})
	if len(page.Entries) != len(exact)-1 {
		f.Errorf("%d entries of %d bytes, want %d to fill the page", len(page.Entries), storage.MaxEnvelope, len(exact)-1)
	}
	f.expectLog(append(all, exact...)...)
}

func checkLogMaxBytes(f *fixture) {
	f.mustAppend(newRecords(10, 1000)...)
	for bytes, want := range map[int]int{1: 1, 999: 1, 1000: 1, 1999: 1, 2000: 2, 9999: 9, storage.PageBytes: 10} {
		if page := f.mustPage(storage.LogRequest{MaxBytes: bytes}); len(page.Entries) != want {
			f.Errorf("at most %d bytes: %d entries of 1000, want %d", bytes, len(page.Entries), want)
		}
	}
	for _, bytes := range []int{-1, storage.PageBytes + 1, math.MaxInt} {
		if _, err := f.store.Log(f.Context(), storage.LogRequest{MaxBytes: bytes}); !errors.Is(err, storage.ErrTooLarge) {
			f.Errorf("at most %d bytes: %v, want ErrTooLarge", bytes, err)
		}
	}
}

func checkLogMaxPage(f *fixture) {
	for range storage.MaxPage/storage.MaxBatch + 1 {
		f.mustAppend(newRecords(storage.MaxBatch, 16)...)
	}
	for _, limit := range []int{0, storage.MaxPage} {
		if page := f.mustPage(storage.LogRequest{From: 5, Max: limit}); len(page.Entries) != storage.MaxPage {
			f.Errorf("at most %d: a page of %d entries, want %d", limit, len(page.Entries), storage.MaxPage)
		}
	}
}

func checkPagesBelongToCaller(f *fixture) {
	all := newRecords(3, 100)
	f.mustAppend(all...)
	page := f.mustPage(storage.LogRequest{})
	for i := range page.Entries {
		e := &page.Entries[i]
		clear(e.Signature)
		clear(e.Ciphertext)
		e.Signature = append(e.Signature, "not the ciphertext"...)
		for j, other := range page.Entries {
			if j > i && !sameRecord(other, all[j]) {
				f.Fatalf("entry %d changed with entry %d", j+1, i+1)
			}
		}
	}
	clear(page.Entries)
	f.expectLog(all...)
}
