package sqlite

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"errors"
	"math/bits"
	"os"
	"slices"
)

// SQLite overwrites what it removes, but leaves copies of rows behind in the unused bytes of
// pages where it moves rows to balance a tree. So a compaction goes over all pages and writes
// zeros to the unused bytes of each, in small transactions. Appends between them may move the
// content of a page that is not wiped yet into one that is. So the pages that commits write
// meanwhile are read from the log of SQLite, and wiped again.

// wipePages is the greatest number of pages that one transaction of a wipe reads. Appends wait
// for a transaction.
const wipePages = 1024

// wipe is a wipe that is under way. Each page without a bit has only zeros in its unused bytes.
type wipe struct {
	unwiped []uint64 // a bit for each page, the first one for page 1
	from    int      // words before this are 0
	salts   [8]byte  // of the log of SQLite that was read last
	frames  int64    // of it that were read
}

func newWipe(pages int64) *wipe {
	x := &wipe{}
	for n := range pages {
		x.markPage(n + 1)
	}
	return x
}

// errWipeEnded is the error of a compaction whose wipe has ended before its end.
var errWipeEnded = errors.New("the log of SQLite cannot be read, so it is not known which pages must be wiped again; the next compaction begins anew")

// markPage notes that a page may have something in its unused bytes.
func (x *wipe) markPage(n int64) {
	i := int((n - 1) / 64)
	for i >= len(x.unwiped) {
		x.unwiped = append(x.unwiped, 0)
	}
	x.unwiped[i] |= 1 << ((n - 1) % 64)
	x.from = min(x.from, i)
}

// takeRun returns the first page that is to be wiped, and how many follow one another from it
// on, at most limit. It takes their marks away. It returns 0 pages if there are none.
func (x *wipe) takeRun(limit int64) (first, n int64) {
	for x.from < len(x.unwiped) && x.unwiped[x.from] == 0 {
		x.from++
	}
	if x.from == len(x.unwiped) {
		return 0, 0
	}
	first = int64(x.from*64+bits.TrailingZeros64(x.unwiped[x.from])) + 1
	for ; n < limit; n++ {
		i, bit := int((first+n-1)/64), uint64(1)<<((first+n-1)%64)
		if i == len(x.unwiped) || x.unwiped[i]&bit == 0 {
			break
		}
		x.unwiped[i] &^= bit
	}
	return first, n
}

// markCommits marks the pages in the log at path that commits have written since the last call.
// The log has so many frames.
func (x *wipe) markCommits(path string, frames int64) error {
	if frames == 0 {
		return nil // it was cut off, and will begin anew
	}
	log, err := os.Open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	var header [walHeaderSize]byte
	if _, err := log.ReadAt(header[:], 0); err != nil {
		return err
	}
	if salts := [8]byte(header[16:24]); salts != x.salts { // the log has begun anew
		x.salts, x.frames = salts, 0
	}
	for ; x.frames < frames; x.frames++ {
		var page [4]byte
		if _, err := log.ReadAt(page[:], walHeaderSize+x.frames*walFrameSize); err != nil {
			return err
		}
		x.markPage(int64(binary.BigEndian.Uint32(page[:])))
	}
	return nil
}

// markCommits marks the pages that the last commit has written, for a wipe that is under way.
// Where they cannot be told, it ends the wipe.
func (s *Store) markCommits() {
	if s.wipe == nil {
		return
	}
	frames, err := s.writer.logPages()
	if err == nil {
		err = s.wipe.markCommits(s.path+walSuffix, frames)
	}
	if err != nil {
		s.wipe = nil
	}
}

// wipeStep wipes pages in the open transaction and commits it, at most limit of pages. It
// returns how many bytes it has written. With the last page it sets s.wiped.
func (s *Store) wipeStep(pages, limit int64) (written uint64, err error) {
	if s.wipe == nil {
		s.wipe = newWipe(pages)
	}
	var kinds pageKinds
	changed := int64(0)
	for read := int64(0); read < wipePages && changed < limit; {
		first, n := s.wipe.takeRun(min(wipePages-read, limit-changed))
		if n == 0 || first > pages {
			s.wipe, s.wiped = nil, true
			break
		}
		k, err := s.writer.wipeRun(&kinds, first, n)
		if err != nil {
			return 0, err
		}
		read += n
		changed += k
	}
	if changed == 0 {
		s.writer.rollBack()
		return 0, nil
	}
	return uint64(changed) * pageSize, s.writer.commitAndRelease()
}

// wipeRun writes zeros to the unused bytes of pages of trees, from one on, and returns how many
// pages it has changed.
func (w *writer) wipeRun(kinds *pageKinds, first, n int64) (changed int64, err error) {
	var numbers []int64
	var pages [][]byte
	err = readRows(w.getPages, []any{first, first + n - 1}, func(rows *sql.Rows) error {
		var n int64
		var page sql.RawBytes
		if err := rows.Scan(&n, &page); err != nil {
			return err
		}
		isTree, err := kinds.isTree(w, n)
		if isTree && slices.ContainsFunc(unusedParts(page, n == 1), hasBytes) {
			numbers, pages = append(numbers, n), append(pages, bytes.Clone(page))
		}
		return err
	})
	for i, page := range pages {
		for _, part := range unusedParts(page, numbers[i] == 1) {
			clear(part)
		}
		if err == nil {
			_, err = w.putPage.ExecContext(uncanceled, page, numbers[i])
		}
	}
	return int64(len(pages)), err
}

// pageKinds tells which pages belong to trees. It keeps the map that was read last, see
// https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages.
type pageKinds struct {
	mapPage int64
	entries []byte
}

// isTree reports whether a page is one of a tree. The others have no unused bytes with rows in
// them: SQLite fills free pages with zeros, and the pages of long rows were free or new before.
func (k *pageKinds) isTree(w *writer, n int64) (_ bool, err error) {
	const lockPage, treeRoot, treePage = 1<<30/pageSize + 1, 1, 5
	mapPage := (n-2)/(pagesPerMap+1)*(pagesPerMap+1) + 2
	switch {
	case n == 1:
		return true, nil
	case n == mapPage || n == lockPage:
		return false, nil
	case k.mapPage != mapPage:
		if err = explainScanError(w.getPage.QueryRowContext(uncanceled, mapPage).Scan(&k.entries)); err != nil {
			return false, err
		}
		k.mapPage = mapPage
	}
	kind := k.entries[5*(n-mapPage-1)]
	return kind == treeRoot || kind == treePage, nil
}

// unusedParts returns the unused bytes of a page of a tree: those between its cell pointers and
// its cells, and those of its free blocks. It returns nothing for a damaged page. The fragments
// between cells are what is left of the heads of free blocks, without bytes of rows. See
// https://www.sqlite.org/fileformat2.html#b_tree_pages.
func unusedParts(page []byte, first bool) (parts [][]byte) {
	number := func(at int) int { return int(binary.BigEndian.Uint16(page[at:])) }
	head := 0
	if first {
		head = headerSize
	}
	pointers := head
	switch page[head] {
	case 2, 5:
		pointers += 12
	case 10, 13:
		pointers += 8
	default:
		return nil
	}
	end, cells := pointers+2*number(head+3), number(head+5)
	if end > cells || cells > len(page) {
		return nil
	}
	parts = append(parts, page[end:cells])
	least := cells
	for block := number(head + 1); block != 0; block = number(block) {
		if block < least || block > len(page)-4 || number(block+2) < 4 || block+number(block+2) > len(page) {
			return nil
		}
		least = block + number(block+2)
		parts = append(parts, page[block+4:least])
	}
	return parts
}

// hasBytes reports whether a part of a page has others than zeros.
func hasBytes(part []byte) bool {
	var zeros [pageSize]byte
	return !bytes.Equal(part, zeros[:len(part)])
}
