package sqlite

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestUnusedPartsOfDamagedPage leaves a page as it is that makes no sense.
func TestUnusedPartsOfDamagedPage(t *testing.T) {
	leaf := func(change func([]byte)) []byte {
		page := bytes.Repeat([]byte{1}, pageSize)
		// A leaf of a table with 2 cells from 4000 on, and a free block of 20 bytes at 4010.
		copy(page, []byte{13, 4010 >> 8, 4010 & 255, 0, 2, 4000 >> 8, 4000 & 255, 0})
		copy(page[4010:], []byte{0, 0, 0, 20})
		change(page)
		return page
	}
	parts := unusedParts(leaf(func([]byte) {}), false)
	if len(parts) != 2 || len(parts[0]) != 4000-8-2*2 || len(parts[1]) != 20-4 {
		t.Fatalf("%d parts of a page in order", len(parts))
	}
	for name, change := range map[string]func(page []byte){
		"kind":                       func(p []byte) { p[0] = 7 },
		"cells over the pointers":    func(p []byte) { p[5], p[6] = 0, 10 },
		"cells behind the end":       func(p []byte) { p[5] = 0x20 },
		"too many cells":             func(p []byte) { p[3] = 0x20 },
		"block before the cells":     func(p []byte) { p[1], p[2] = 1, 0 },
		"block at the end":           func(p []byte) { p[1], p[2] = 0x0f, 0xfe },
		"block behind the end":       func(p []byte) { p[1] = 0x20 },
		"block longer than the page": func(p []byte) { p[4012] = 1 },
		"block without its head":     func(p []byte) { p[4013] = 3 },
		"blocks in a circle":         func(p []byte) { copy(p[4010:], []byte{4010 >> 8, 4010 & 255}) },
	} {
		if parts := unusedParts(leaf(change), false); parts != nil {
			t.Errorf("%s: %d parts of a damaged page", name, len(parts))
		}
	}
}

// TestWipeMarks takes marks in order, also those that were made again.
func TestWipeMarks(t *testing.T) {
	x := newWipe(200)
	expect := func(limit, first, n int64) {
		t.Helper()
		if gotFirst, got := x.takeRun(limit); gotFirst != first || got != n {
			t.Fatalf("%d pages from %d on, want %d from %d on", got, gotFirst, n, first)
		}
	}
	expect(100, 1, 100)
	x.markPage(1000)
	expect(1, 101, 1)
	expect(1000, 102, 99)
	x.markPage(63)
	x.markPage(64)
	x.markPage(65)
	x.markPage(67)
	expect(1000, 63, 3)
	expect(1000, 67, 1)
	expect(1000, 1000, 1)
	expect(1000, 0, 0)
	x.markPage(1024) // the last bit of a word
	expect(1000, 1024, 1)
	expect(1000, 0, 0)
}

// lateContext is a context whose deadline is near, and that has not ended.
type lateContext struct{ context.Context }

func (lateContext) Deadline() (time.Time, bool) { return time.Now(), true }

// TestCompactKeepsDeadline compacts in calls that have no time, each of which goes on where the
// one before has ended.
func TestCompactKeepsDeadline(t *testing.T) {
	s := openNewStore(t, Options{})
	for hour := range storage.Hour(80) {
		if _, err := s.Append(t.Context(), markedRecords(100, hour, "")); err != nil {
			t.Fatal(err)
		}
	}
	pruneAll(t, s, 8, 0)
	pages := fileSize(s.path) / pageSize
	calls := int64(0)
	for more := true; more; calls++ {
		c, err := s.Compact(lateContext{t.Context()}, storage.CompactRequest{Room: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		if more = c.More; calls > pages {
			t.Fatal("the compaction does not end")
		}
	}
	if calls < 3 { // one cuts off pages, the others wipe
		t.Errorf("%d calls for %d pages", calls, pages)
	}
	expectUnusedZero(t, s)
	// Another wipe finds nothing to do in its first pages, and has no log to look into.
	s.wiped = false
	for more := true; more; calls-- {
		c, err := s.Compact(lateContext{t.Context()}, storage.CompactRequest{Room: 1 << 30})
		if err != nil || calls == 0 {
			t.Fatal("the second compaction does not end", err)
		}
		more = c.More
	}
	if c, err := s.Compact(t.Context(), storage.CompactRequest{}); err != nil || c != (storage.Compacted{}) {
		t.Errorf("a compaction with nothing to do: %+v, %v", c, err)
	}
}
