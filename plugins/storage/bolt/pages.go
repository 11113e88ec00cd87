package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// This file reads pages of bbolt without trusting them. bbolt itself panics, loops, or asks for
// any amount of memory when a page is damaged in just the wrong way.

// More places in a file of bbolt, see freelist.go.
const (
	kindBranch = 0x01
	kindLeaf   = 0x02
	kindMeta   = 0x04

	elementSize      = 16
	bucketEntry      = 0x01 // flag of an element that is a bucket
	bucketHeaderSize = 16   // of the value of such an element: root page, sequence

	metaMagic     = 0xED0CDAED
	metaVersion   = 2
	metaSize      = 64 // of which the last 8 are a checksum
	maxPageSize   = 16 << 20
	maxFollowing  = 255 // pages that may belong to a leaf or branch
	maxTreeDepth  = 16
	allBucketsMax = 64 // keys in the root page of a store
)

// damage says how a page is damaged. It is a text for the operator.
type damage string

func (d damage) Error() string { return string(d) }

// pageFile is a file with pages.
type pageFile struct {
	io.ReaderAt
	size     uint64 // of the file
	pageSize uint64
	count    uint64 // pages that the header counts
}

// pageHeader is the beginning of a page.
type pageHeader struct {
	id        uint64
	kind      uint16
	count     int
	following uint64 // pages that belong to it
}

// element is a key on a page with its value, or with the page below.
type element struct {
	flags uint32
	key   []byte
	value []byte
	child uint64
}

func parseHeader(data []byte) pageHeader {
	return pageHeader{
		id:        binary.NativeEndian.Uint64(data),
		kind:      binary.NativeEndian.Uint16(data[8:]),
		count:     int(binary.NativeEndian.Uint16(data[10:])),
		following: uint64(binary.NativeEndian.Uint32(data[12:])),
	}
}

// readHeader reads the header of a branch or leaf.
func (f *pageFile) readHeader(id uint64) (pageHeader, error) {
	if id < 2 || id >= f.count || (id+1)*f.pageSize > f.size {
		return pageHeader{}, damage("it is outside of the file")
	}
	var data [pageHeaderSize]byte
	if _, err := f.ReadAt(data[:], int64(id*f.pageSize)); err != nil {
		return pageHeader{}, damage("it cannot be read: " + err.Error())
	}
	h := parseHeader(data[:])
	switch {
	case h.id != id:
		return h, damage("it is not the page that belongs there")
	case h.kind != kindBranch && h.kind != kindLeaf:
		return h, damage("it is no page of a tree")
	case h.following > maxFollowing || (id+1+h.following)*f.pageSize > f.size:
		return h, damage("its size makes no sense")
	}
	return h, nil
}

// pageBuffer is room for a page and its elements, which is used again and again.
type pageBuffer struct {
	data     []byte
	elements []element
}

// readPage reads a branch or leaf.
func (f *pageFile) readPage(id uint64) (pageHeader, []element, error) {
	return f.readPageInto(new(pageBuffer), id)
}

// readPageInto reads a branch or leaf. The elements are in the buffer.
func (f *pageFile) readPageInto(b *pageBuffer, id uint64) (pageHeader, []element, error) {
	h, err := f.readHeader(id)
	if err != nil {
		return h, nil, err
	}
	size := int((1 + h.following) * f.pageSize)
	b.data = slices.Grow(b.data[:0], size)[:size]
	if _, err := f.ReadAt(b.data, int64(id*f.pageSize)); err != nil {
		return h, nil, damage("it cannot be read: " + err.Error())
	}
	elements, err := b.parseElements(h, b.data)
	return h, elements, err
}

// parseElements reads the elements of a page. They are parts of data, and in the buffer.
func (b *pageBuffer) parseElements(h pageHeader, data []byte) ([]element, error) {
	if pageHeaderSize+h.count*elementSize > len(data) {
		return nil, damage("its number of elements makes no sense")
	}
	b.elements = slices.Grow(b.elements[:0], h.count)[:h.count]
	elements := b.elements
	for i := range elements {
		start := pageHeaderSize + i*elementSize
		b, e := data[start:start+elementSize], &elements[i]
		*e = element{}
		var at, keySize, valueSize uint64
		if h.kind == kindLeaf {
			e.flags = binary.NativeEndian.Uint32(b)
			at, keySize, valueSize = uint64(binary.NativeEndian.Uint32(b[4:])), uint64(binary.NativeEndian.Uint32(b[8:])), uint64(binary.NativeEndian.Uint32(b[12:]))
		} else {
			at, keySize = uint64(binary.NativeEndian.Uint32(b)), uint64(binary.NativeEndian.Uint32(b[4:]))
			e.child = binary.NativeEndian.Uint64(b[8:])
		}
		if at += uint64(start); keySize == 0 || at+keySize+valueSize > uint64(len(data)) {
			return nil, damage("an element lies outside of it")
		}
		e.key, e.value = data[at:at+keySize:at+keySize], data[at+keySize:at+keySize+valueSize:at+keySize+valueSize]
		if e.flags&^bucketEntry != 0 {
			return nil, damage("an element has an unknown kind")
		}
		if i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 {
			return nil, damage("its keys are not in order")
		}
	}
	return elements, nil
}

// fileHeader is what one of the first two pages says of the file.
type fileHeader struct {
	pageSize, root, freelist, count, transaction uint64
}

// parseFileHeader reads a header from the beginning of a page, or says what is wrong with it.
func parseFileHeader(page []byte) (h fileHeader, err error) {
	b := page[pageHeaderSize:]
	h = fileHeader{
		pageSize:    uint64(binary.NativeEndian.Uint32(b[8:])),
		root:        binary.NativeEndian.Uint64(b[16:]),
		freelist:    binary.NativeEndian.Uint64(b[32:]),
		count:       binary.NativeEndian.Uint64(b[40:]),
		transaction: binary.NativeEndian.Uint64(b[48:]),
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	switch {
	case binary.NativeEndian.Uint32(b) != metaMagic || binary.NativeEndian.Uint32(b[4:]) != metaVersion:
		return h, damage("it is no header of a bbolt database")
	case binary.NativeEndian.Uint64(b[metaSize-8:]) != sum.Sum64():
		return h, damage("its checksum is wrong")
	case h.pageSize < 1<<10 || h.pageSize > maxPageSize || h.pageSize&(h.pageSize-1) != 0:
		return h, damage("its size of a page makes no sense")
	}
	return h, nil
}

// pageSet is a set of pages.
type pageSet []uint64

func newPageSet(pages uint64) pageSet { return make(pageSet, pages/64+1) }

func (s pageSet) has(id uint64) bool { return id/64 < uint64(len(s)) && s[id/64]&(1<<(id%64)) != 0 }

// add adds a page and reports whether it is new. A page outside of the file is not.
func (s pageSet) add(id uint64) bool {
	if id/64 >= uint64(len(s)) || s.has(id) {
		return false
	}
	s[id/64] |= 1 << (id % 64)
	return true
}

// leafRef is a leaf of a tree. Its keys are lo or come after it, and come before hi, which is
// nil for the last one.
type leafRef struct {
	id     uint64
	lo, hi []byte
}

// bucketTree is the leaves of a bucket.
type bucketTree struct {
	name   string
	root   uint64
	inline []byte // the page of a small bucket, instead of a root
	leaves []leafRef
	lost   []leafRef // ranges whose leaves are not known, because a page above is damaged
}

// findLeaf returns the number of the leaf on which a key is, if it is there.
func (t *bucketTree) findLeaf(key []byte) int {
	i, _ := slices.BinarySearchFunc(t.leaves, key, func(leaf leafRef, key []byte) int {
		if bytes.Compare(leaf.lo, key) <= 0 {
			return -1
		}
		return 1
	})
	return max(i-1, 0)
}

// treeWalker finds the leaves of buckets. It reads the pages above them, and not the leaves.
type treeWalker struct {
	*pageFile
	leaf  pageBuffer
	used  pageSet // also by a damaged page
	read  pageSet // leaves that were read once
	fault func(page uint64, text string)
}

// walk finds the leaves below a page.
func (w *treeWalker) walk(t *bucketTree, at leafRef, depth int) {
	lose := func(text string) {
		w.fault(at.id, fmt.Sprintf("%s; the bucket %s lacks what is below it", text, t.name))
		t.lost = append(t.lost, at)
	}
	if !w.used.add(at.id) {
		lose("it is used twice, or is outside of the file")
		return
	}
	h, err := w.readHeader(at.id)
	if err == nil && h.kind == kindLeaf {
		t.leaves = append(t.leaves, at)
		return
	}
	var children []element
	if err == nil {
		_, children, err = w.readPage(at.id)
	}
	if err == nil && (len(children) == 0 || depth == maxTreeDepth) {
		err = damage("it leads nowhere")
	}
	if err != nil {
		lose(err.Error())
		return
	}
	for n := range h.following {
		w.used.add(at.id + 1 + n)
	}
	aboveLeaves := w.isAboveLeaves(children)
	for i, c := range children {
		below := leafRef{id: c.child, lo: c.key, hi: at.hi}
		if i == 0 {
			below.lo = at.lo
		}
		if i+1 < len(children) {
			below.hi = children[i+1].key
		}
		if aboveLeaves && c.child >= 2 && c.child < w.count && w.used.add(c.child) {
			t.leaves = append(t.leaves, below)
			continue
		}
		w.walk(t, below, depth+1)
	}
}

// isAboveLeaves reports whether the first of some pages that can be read is a leaf. All leaves
// have the same depth.
func (w *treeWalker) isAboveLeaves(children []element) bool {
	for _, c := range children {
		if h, err := w.readHeader(c.child); err == nil {
			return h.kind == kindLeaf
		}
	}
	return true // if so, each of them is found damaged
}

// findOrphans looks for the leaves of ranges that are lost: pages that are neither used nor
// free, whose keys have the given size. A leaf that is older than another one of the same range
// is left out, if the two can be told apart.
func (w *treeWalker) findOrphans(t *bucketTree, keySize int, free pageSet) {
	var last []byte
	var found []leafRef
	for id := uint64(2); len(t.lost) > 0 && id < w.count; id++ {
		if w.used.has(id) || free.has(id) {
			continue
		}
		h, elements, err := w.readPage(id)
		if err != nil || h.kind != kindLeaf || len(elements) == 0 || len(elements[0].key) != keySize {
			continue
		}
		first, end := elements[0].key, elements[len(elements)-1].key
		in := func(r leafRef) bool {
			return bytes.Compare(first, r.lo) >= 0 && (r.hi == nil || bytes.Compare(end, r.hi) < 0)
		}
		if slices.ContainsFunc(t.lost, in) {
			found = append(found, leafRef{id, first, append(bytes.Clone(end), 0)})
		}
	}
	slices.SortStableFunc(found, func(a, b leafRef) int { return bytes.Compare(a.lo, b.lo) })
	for _, leaf := range found {
		if last == nil || bytes.Compare(leaf.lo, last) >= 0 {
			t.leaves = append(t.leaves, leaf)
			last = leaf.hi
			w.used.add(leaf.id)
		}
	}
	slices.SortStableFunc(t.leaves, func(a, b leafRef) int { return bytes.Compare(a.lo, b.lo) })
}

// readLeaf reads the elements of a leaf, which last until the next one is read.
func (w *treeWalker) readLeaf(t *bucketTree, leaf leafRef) ([]element, error) {
	if t.inline != nil {
		h := parseHeader(t.inline)
		if h.kind != kindLeaf {
			return nil, damage("it is no page of a tree")
		}
		return w.leaf.parseElements(h, t.inline)
	}
	h, elements, err := w.readPageInto(&w.leaf, leaf.id)
	switch {
	case err != nil:
		return nil, err
	case h.kind != kindLeaf:
		return nil, damage("it is no leaf")
	case len(elements) > 0 && bytes.Compare(elements[0].key, leaf.lo) < 0,
		len(elements) > 0 && leaf.hi != nil && bytes.Compare(elements[len(elements)-1].key, leaf.hi) >= 0:
		return nil, damage("its keys do not belong there")
	}
	for n := range h.following {
		if w.read.has(leaf.id) {
			break
		}
		if !w.used.add(leaf.id + 1 + n) {
			w.fault(leaf.id+1+n, "it is used twice")
		}
	}
	w.read.add(leaf.id)
	return elements, nil
}

// readFreelist reads which pages are free, and adds those of the list to the used ones.
func (w *treeWalker) readFreelist(id uint64) (free pageSet, count uint64, err error) {
	if id == noFreelist {
		return nil, 0, damage("it is missing")
	}
	if id < 2 || id >= w.count || (id+1)*w.pageSize > w.size {
		return nil, 0, damage("it is outside of the file")
	}
	list := io.NewSectionReader(w, int64(id*w.pageSize), int64(w.size-id*w.pageSize))
	head := make([]byte, pageHeaderSize)
	if _, err := io.ReadFull(list, head); err != nil {
		return nil, 0, damage("it cannot be read: " + err.Error())
	}
	h := parseHeader(head)
	if count = uint64(h.count); count == manyPages {
		if _, err := io.ReadFull(list, head[:8]); err != nil {
			return nil, 0, damage("it cannot be read: " + err.Error())
		}
		count = binary.NativeEndian.Uint64(head)
	}
	if h.id != id || h.kind != kindFreelist || count > w.count || id+h.following >= w.count {
		return nil, 0, damage("it makes no sense")
	}
	ids := make([]byte, 8*count)
	if _, err := io.ReadFull(list, ids); err != nil {
		return nil, 0, damage("it is cut short")
	}
	free = newPageSet(w.count)
	for before := uint64(1); len(ids) > 0; ids = ids[8:] {
		page := binary.NativeEndian.Uint64(ids)
		if page <= before || page >= w.count {
			return nil, 0, damage("it makes no sense")
		}
		free.add(page)
		before = page
	}
	for n := range 1 + h.following {
		if !w.used.add(id + n) {
			return nil, 0, damage("it is used twice")
		}
	}
	return free, count, nil
}
