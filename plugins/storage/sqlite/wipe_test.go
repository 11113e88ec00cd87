package sqlite

import (
	"bytes"
	"testing"
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
	x := newWipe(130)
	for want := int64(1); want <= 130; want++ {
		if got := x.takePage(); got != want {
			t.Fatalf("page %d, want %d", got, want)
		}
		if want == 100 {
			x.markPage(1000)
		}
	}
	x.markPage(3)
	for _, want := range []int64{3, 1000, 0, 0} {
		if got := x.takePage(); got != want {
			t.Fatalf("page %d, want %d", got, want)
		}
	}
}
