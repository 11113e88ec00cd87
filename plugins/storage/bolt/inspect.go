package bolt

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// inspection is a store that is opened for inspection. It reads the file without bbolt, which
// trusts its pages, and changes nothing. What it knows of the log is in memory, less than a
// hundred bytes for each envelope.
type inspection struct {
	path string
	file *os.File

	mu     sync.Mutex
	walker treeWalker
	header fileHeader
	// trees are the buckets that can be found.
	log, index, hours, meta *bucketTree
	free                    pageSet // nil if the list cannot be read
	freeCount               uint64

	format  uint32
	state   state
	stateOK bool // whether the state can be read
	secret  []byte

	faults  faultList
	catalog catalog
	firsts  []first // ascending; nil until they are read
	checked checkProgress
}

// first is a key of that kind in the index.
type first struct {
	signTag [signatureTagSize]byte
	seq     storage.Seq
}

var (
	_ storage.Store   = (*inspection)(nil)
	_ storage.Ledger  = (*inspection)(nil)
	_ storage.Pruner  = (*inspection)(nil)
	_ storage.Index   = (*inspection)(nil)
	_ storage.Checker = (*inspection)(nil)
)

// Inspect opens the file of a store of any format to be looked at as it is, see
// [storage.Checker]. The store that it returns is a [storage.Ledger], a [storage.Pruner], a
// [storage.Index] and a [storage.Checker], and refuses every change. The file is locked
// meanwhile.
func Inspect(path string) (storage.Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("inspect the store: %w", err)
	}
	s := &inspection{path: path}
	err = s.open()
	if err == nil && !s.stateOK { // only the log says what there is, and an Info has less time
		err = s.fillCatalog(context.Background())
	}
	if err != nil {
		if s.file != nil {
			s.file.Close()
		}
		if p, ok := err.(*fs.PathError); ok && p.Path == path {
			err = p.Err
		}
		return nil, fmt.Errorf("inspect %s: %w", path, err)
	}
	return s, nil
}

// open opens and locks the file, and finds the buckets.
func (s *inspection) open() error {
	info, err := os.Lstat(s.path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("there is something else than a file; correct the path of the store")
	}
	if s.file, err = os.Open(s.path); err != nil {
		return err
	}
	if err := storefile.Lock(s.file); err != nil {
		return err
	}
	if info, err = s.file.Stat(); err != nil {
		return err
	}
	if info.Size() == 0 {
		return storefile.ErrEmptyFile
	}
	return s.readStructure(uint64(info.Size()))
}

// readStructure begins anew: it reads the headers, the list of free pages and the pages above
// the leaves.
func (s *inspection) readStructure(size uint64) error {
	s.faults = faultList{file: filepath.Base(s.path)}
	s.catalog, s.firsts = newCatalog(), nil
	s.log, s.index, s.hours, s.meta = nil, nil, nil, nil
	s.walker = treeWalker{pageFile: &pageFile{ReaderAt: s.file, size: size}, fault: s.faults.addPage}
	headers, err := s.readFileHeaders(size)
	if err != nil {
		return err
	}
	for _, h := range headers {
		if s.tryHeader(h) {
			break
		}
		s.faults.addPage(h.root, "it is the root and cannot be read; what an earlier header names is read, and envelopes that were removed may be there again")
	}
	if s.log == nil {
		if err := s.searchRoot(); err != nil {
			return err
		}
	}
	if s.walker.count*s.walker.pageSize > size {
		s.faults.add("", fmt.Sprintf("it was cut: %d of %d bytes are there", size, s.walker.count*s.walker.pageSize))
	}
	var freeErr error
	if s.free, s.freeCount, freeErr = s.walker.readFreelist(s.header.freelist); freeErr != nil {
		s.faults.add("list of free pages", freeErr.Error()+"; the relay cannot use the file, and nothing of it is lost")
	}
	for _, t := range []*bucketTree{s.meta, s.log, s.index, s.hours} {
		if t != nil && t.inline == nil {
			s.walker.walk(t, leafRef{id: t.root}, 0)
		} else if t != nil {
			t.leaves = []leafRef{{}}
		}
	}
	s.readMeta()
	keySize := 9
	if s.format == 1 {
		keySize = 8 // or 9, after an upgrade that was cut short
	}
	s.walker.findOrphans(s.log, keySize, s.free)
	if s.index != nil {
		s.walker.findOrphans(s.index, len(key{}), s.free)
	}
	return nil
}

// readFileHeaders returns the headers, those that are whole first, and of these the newest
// first.
func (s *inspection) readFileHeaders(size uint64) (headers []fileHeader, _ error) {
	s.walker.pageSize = pageSize
	read := func(at uint64) (fileHeader, []byte, error) {
		page := make([]byte, min(s.walker.pageSize, max(size, at)-at))
		if _, err := s.file.ReadAt(page, int64(at)); err != nil || len(page) < pageHeaderSize+metaSize {
			return fileHeader{}, nil, damage("it cannot be read")
		}
		h, err := parseFileHeader(page)
		return h, page, err
	}
	if h, _, err := read(0); err == nil {
		s.walker.pageSize = h.pageSize
	} else {
		for at := uint64(1 << 10); at <= maxPageSize && at < size; at *= 2 {
			if h, _, err := read(at); err == nil && h.pageSize == at {
				s.walker.pageSize = at
				break
			}
		}
	}
	var broken []fileHeader
	for id := range uint64(2) {
		h, page, err := read(id * s.walker.pageSize)
		if err == nil && h.pageSize != s.walker.pageSize {
			err = damage("its size of a page is another one")
		}
		if err == nil {
			headers = append(headers, h)
			p := parseHeader(page)
			if rest := page[pageHeaderSize+metaSize:]; p.id != id || p.kind != kindMeta || p.count != 0 || p.following != 0 || len(bytes.Trim(rest, "\x00")) > 0 {
				err = damage("something was written into it beside the header, which is whole")
			}
		} else {
			broken = append(broken, h)
		}
		if err != nil {
			s.faults.addPage(id, err.Error()+"; the other header is used, which may lack the last change; a power cut may leave that")
		}
	}
	slices.SortFunc(headers, func(a, b fileHeader) int { return cmp.Compare(b.transaction, a.transaction) })
	return append(headers, broken...), nil
}

// tryHeader finds the buckets below the root that a header names, and reports whether it has.
func (s *inspection) tryHeader(h fileHeader) bool {
	most := s.walker.size/s.walker.pageSize + 1<<20 // of a file that was cut
	s.header, s.walker.count = h, min(h.count, most)
	s.walker.used, s.walker.read = newPageSet(s.walker.count), newPageSet(s.walker.count)
	for id := range uint64(2) {
		s.walker.used.add(id)
	}
	return s.readRoot(h.root)
}

// readRoot finds the buckets in a root page.
func (s *inspection) readRoot(id uint64) bool {
	h, elements, err := s.walker.readPage(id)
	if err != nil || h.kind != kindLeaf || len(elements) > allBucketsMax {
		return false
	}
	trees := make(map[string]*bucketTree)
	for _, e := range elements {
		if e.flags&bucketEntry == 0 || len(e.value) < bucketHeaderSize {
			continue
		}
		t := &bucketTree{name: string(e.key), root: binary.NativeEndian.Uint64(e.value)}
		if t.root == 0 {
			if t.inline = e.value[bucketHeaderSize:]; len(t.inline) < pageHeaderSize {
				continue
			}
		}
		trees[t.name] = t
	}
	s.log, s.index = trees[string(logBucket)], trees[string(indexBucket)]
	s.hours, s.meta = trees[string(hoursBucket)], trees[string(metaBucket)]
	if s.log == nil || s.meta == nil {
		s.log = nil
		return false
	}
	for n := range 1 + h.following {
		s.walker.used.add(id + n)
	}
	return true
}

// searchRoot looks for a root page in all of the file, because no header leads to one. There
// may be older ones, so it takes the one whose store is the longest.
func (s *inspection) searchRoot() error {
	pages := s.walker.size / s.walker.pageSize
	best, root := state{}, uint64(0)
	for id := uint64(2); id < pages; id++ {
		s.header = fileHeader{pageSize: s.walker.pageSize, freelist: noFreelist, count: pages}
		s.walker.count, s.walker.used, s.walker.read = pages, newPageSet(pages), newPageSet(pages)
		if !s.readRoot(id) {
			continue
		}
		if s.meta.leaves = []leafRef{{}}; s.meta.inline == nil {
			s.meta.leaves = []leafRef{{id: s.meta.root}}
		}
		s.readMeta()
		if newer := cmp.Or(cmp.Compare(s.state.last, best.last), cmp.Compare(s.state.tokens, best.tokens), cmp.Compare(s.state.floor, best.floor)); root == 0 || s.stateOK && newer > 0 {
			best, root = s.state, id
		}
	}
	s.log = nil
	if root == 0 {
		return storefile.ErrNotStore
	}
	s.walker.used, s.walker.read = newPageSet(pages), newPageSet(pages)
	s.faults = faultList{file: s.faults.file}
	s.walker.fault = s.faults.addPage
	s.faults.add("headers", "both are damaged; the newest root page that was found is used, and envelopes that were removed may be there again")
	s.readRoot(root)
	return nil
}

// readMeta reads the bucket meta.
func (s *inspection) readMeta() {
	values := make(map[string][]byte)
	for _, leaf := range s.meta.leaves {
		elements, err := s.walker.readLeaf(s.meta, leaf)
		if err != nil {
			s.faults.addPage(leaf.id, err.Error()+"; the counters are lost")
		}
		for _, e := range elements {
			values[string(e.key)] = bytes.Clone(e.value)
		}
	}
	get := func(k []byte) []byte { return values[string(k)] }
	if string(get(applicationKey)) != application {
		s.faults.add("bucket meta", "it does not say that this is a store of this relay")
	}
	if v := get(versionKey); len(v) == 4 && binary.BigEndian.Uint32(v) >= 1 && binary.BigEndian.Uint32(v) <= formatVersion {
		s.format = binary.BigEndian.Uint32(v)
	} else {
		s.faults.add("bucket meta", fmt.Sprintf("its number of the format is not 1 to %d", formatVersion))
		s.format = formatVersion
	}
	s.secret = get(secretKey)
	var err error
	s.state, err = decodeState(s.format, get)
	if s.stateOK = err == nil; !s.stateOK {
		s.faults.add("bucket meta", "the counters make no sense; the floor and the epoch are lost")
	}
}

// recordAssembler puts the pieces of records together.
type recordAssembler struct {
	seq   storage.Seq
	piece int // the next one; 0: no record is begun
	data  []byte
}

// add adds a piece. The record is complete if done is true. broken is a record that was begun
// and does not go on.
func (a *recordAssembler) add(k, v []byte) (broken storage.Seq, done bool, err error) {
	seq, piece := storage.Seq(0), 0
	switch len(k) {
	case 9:
		seq, piece = storage.Seq(binary.BigEndian.Uint64(k)), int(k[8])
	case 8: // a whole record of format 1
		seq = storage.Seq(binary.BigEndian.Uint64(k))
	default:
		return 0, false, damage("the key of an entry makes no sense")
	}
	if a.piece > 0 && (seq != a.seq || piece != a.piece) {
		broken = a.seq
	}
	if piece == 0 {
		*a = recordAssembler{seq: seq, data: a.data[:0]}
	}
	if seq != a.seq || piece != a.piece || len(k) == 9 && len(v) > pieceSize {
		lost := a.seq
		a.piece = 0
		if broken == 0 && piece > 0 && lost != seq {
			broken = seq // its beginning is missing
		}
		return broken, false, nil
	}
	a.data = append(a.data, v...)
	if done = len(k) == 8 || len(v) < pieceSize; done {
		a.piece = 0
		return broken, true, nil
	}
	if a.piece++; a.piece == maxPieces {
		a.piece = 0
		return seq, false, nil
	}
	return broken, false, nil
}

// eachRecord calls f for the records on the leaves of the log from the given one on that are
// whole, until it returns false, and lose for those that are not. It returns the leaf after the
// last one that it has read.
func (s *inspection) eachRecord(a *recordAssembler, leaf int, f func(record, storage.Seq) bool, lose func(storage.Seq, string)) int {
	elements, err := s.walker.readLeaf(s.log, s.log.leaves[leaf])
	if err != nil {
		s.faults.addPage(s.log.leaves[leaf].id, err.Error()+"; its entries of the log are lost")
		return leaf + 1
	}
	for _, e := range elements {
		broken, done, err := a.add(e.key, e.value)
		if err != nil {
			lose(0, err.Error())
			continue
		}
		if broken != 0 {
			lose(broken, "a part of it is missing")
		}
		if !done {
			continue
		}
		r, err := decodeRecord(a.seq, a.data)
		switch {
		case err != nil:
			lose(a.seq, "its checksum is wrong")
		case r.size() > storage.MaxEnvelope || storage.NewID(r.signature, r.ciphertext) != r.id:
			lose(a.seq, "its id is not that of the envelope")
		case !f(r, a.seq):
			return leaf + 1
		}
	}
	return leaf + 1
}

// readEntries calls f with the entries of the catalog that are shown, from the given one on,
// until it returns false.
func (s *inspection) readEntries(from int, f func(storage.Entry) bool) {
	c, next, more := &s.catalog, from, true
	if from >= c.count {
		return
	}
	var a recordAssembler
	for leaf := s.log.findLeaf(pieceKey(c.at(from).seq, 0)); leaf < len(s.log.leaves) && next < c.count && more; {
		leaf = s.eachRecord(&a, leaf, func(r record, seq storage.Seq) bool {
			for next < c.count && c.at(next).seq < seq {
				next++
			}
			if next < c.count && c.at(next).seq == seq {
				if more = !s.isShown(c.at(next)) || f(r.toEntry(seq)); more {
					next++
				}
			}
			return more
		}, func(storage.Seq, string) {})
	}
}

// readEntry reads an entry of the catalog.
func (s *inspection) readEntry(i int) (entry storage.Entry, ok bool) {
	s.readEntries(i, func(e storage.Entry) bool {
		entry, ok = e, e.Seq == s.catalog.at(i).seq
		return false
	})
	return entry, ok
}

// eachIndexKey calls f with the elements of the index from a key on, until it returns false.
func (s *inspection) eachIndexKey(ctx context.Context, from []byte, f func(element) bool) error {
	if s.index == nil {
		return nil
	}
	for _, leaf := range s.index.leaves[s.index.findLeaf(from):] {
		if err := ctx.Err(); err != nil {
			return err
		}
		elements, err := s.walker.readLeaf(s.index, leaf)
		if err != nil {
			s.faults.addPage(leaf.id, err.Error()+"; its keys of the index are lost")
		}
		for _, e := range elements {
			if bytes.Compare(e.key, from) >= 0 && !f(e) {
				return nil
			}
		}
	}
	return nil
}

// readFirsts reads the firsts of the index.
func (s *inspection) readFirsts(ctx context.Context) error {
	if s.firsts != nil {
		return nil
	}
	firsts := []first{}
	err := s.eachIndexKey(ctx, []byte{firstKind}, func(e element) bool {
		if len(e.key) == len(key{}) && e.key[0] == firstKind {
			k := key(e.key)
			firsts = append(firsts, first{[signatureTagSize]byte(k[1:]), k.seqOf()})
		}
		return e.key[0] == firstKind
	})
	if err == nil {
		s.firsts = firsts
	}
	return err
}

// mayFind reports whether an envelope can be found by its signature: it is the first that has
// it, or there are no firsts.
func (s *inspection) mayFind(e *catalogEntry) bool {
	i, _ := slices.BinarySearchFunc(s.firsts, e.signTag, func(f first, t [signatureTagSize]byte) int { return bytes.Compare(f.signTag[:], t[:]) })
	known := false
	for ; i < len(s.firsts) && s.firsts[i].signTag == e.signTag; i++ {
		if known = true; s.firsts[i].seq == e.seq {
			return true
		}
	}
	return !known
}

// readTokens returns the first spent tokens after a given one, which is nil for the first of
// all: those that the index has and those that the log names.
func (s *inspection) readTokens(ctx context.Context, after *storage.TokenID, limit int) ([]storage.SpentToken, error) {
	if err := s.fillCatalog(ctx); err != nil {
		return nil, err
	}
	var start storage.TokenID
	if after != nil {
		start = *after
	}
	var page []storage.SpentToken
	n := 0 // tokens of one source
	collect := func(t storage.SpentToken) (more bool) {
		if after != nil && t.Token == start {
			return true
		}
		if n == 0 || page[len(page)-1].Token != t.Token {
			if n++; n > limit {
				return false
			}
		}
		page = append(page, t)
		return true
	}
	from := newKey(tokenKind, tag(start), 0)
	err := s.eachIndexKey(ctx, from[:], func(e element) bool {
		if e.key[0] != tokenKind || len(e.key) != len(key{}) {
			return e.key[0] == tokenKind
		}
		return collect(s.tokenOfKey(e))
	})
	if err != nil {
		return nil, err
	}
	n = 0
	c := &s.catalog
	order := c.sortByToken()
	i, _ := slices.BinarySearchFunc(order, start, func(i uint32, t storage.TokenID) int { return bytes.Compare(c.at(int(i)).token[:], t[:]) })
	for _, i := range order[i:] {
		if e := c.at(int(i)); !collect(storage.SpentToken{Token: storage.TokenID(e.token), ID: e.id}) {
			break
		}
	}
	slices.SortFunc(page, func(a, b storage.SpentToken) int {
		return cmp.Or(bytes.Compare(a.Token[:], b.Token[:]), -bytes.Compare(a.ID[:], b.ID[:])) // zero ids come last
	})
	page = slices.CompactFunc(page, func(a, b storage.SpentToken) bool { return a.Token == b.Token })
	return page[:min(len(page), limit)], nil
}

// tokenOfKey returns the token of a key of the index, with the id that it paid for if the
// key or the log has that.
func (s *inspection) tokenOfKey(e element) storage.SpentToken {
	k := key(e.key)
	token := storage.SpentToken{Token: k.tokenOf()}
	if seq := k.seqOf(); seq == 0 && len(e.value) == len(token.ID) {
		token.ID = storage.ID(e.value)
	} else if found := s.catalog.find(seq); found != nil {
		token.ID = found.id
	}
	return token
}

// countTokens counts the tokens that can be read.
func (s *inspection) countTokens(ctx context.Context) (n uint64, _ error) {
	for after := (*storage.TokenID)(nil); ; {
		page, err := s.readTokens(ctx, after, storage.MaxSpentTokens)
		if err != nil || len(page) == 0 {
			return n, err
		}
		n += uint64(len(page))
		after = &page[len(page)-1].Token
	}
}

var errInspected = errors.New("the store is open for inspection only")

// call runs the body of a method.
func (s *inspection) call(ctx context.Context, op string, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ctx.Err()
	if err == nil {
		err = f()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, s.path, err)
	}
	return nil
}

// Info implements [storage.Store]. It says what the store has counted, of which some may be
// lost, and reads the log only if the counters are.
func (s *inspection) Info(ctx context.Context) (info storage.Info, err error) {
	err = s.call(ctx, "describe", func() (err error) {
		info = storage.Info{Epoch: s.state.epoch, Last: s.state.last, Floor: s.state.floor, Bytes: s.walker.count * s.walker.pageSize}
		if s.free != nil {
			info.InUse = (s.walker.count - min(s.freeCount, s.walker.count)) * s.walker.pageSize
		}
		if s.stateOK {
			info.Count, info.Tokens = s.state.count-min(s.countPruned(), s.state.count), s.state.tokens
			if info.Count > 0 {
				info.First, err = s.readFirst(ctx)
			}
			return err
		}
		if err := s.fillCatalog(ctx); err != nil {
			return err
		}
		info.Last, info.Count, info.First = s.catalog.last(), uint64(s.catalog.shown), s.catalog.first
		info.Tokens, err = s.countTokens(ctx)
		return err
	})
	return info, err
}

// countPruned returns how many entries are in the file that are below the floor.
func (s *inspection) countPruned() (n uint64) {
	s.eachHour(func(hour storage.Hour, size hourChange) {
		if hour < s.state.floor {
			n += uint64(size.count)
		}
	})
	return n
}

// eachHour calls f with what the bucket hours has, and returns how many of its elements make no
// sense.
func (s *inspection) eachHour(f func(storage.Hour, hourChange)) (wrong int) {
	if s.hours == nil {
		return 0
	}
	for _, leaf := range s.hours.leaves {
		elements, err := s.walker.readLeaf(s.hours, leaf)
		if err != nil {
			s.faults.addPage(leaf.id, err.Error()+"; its sizes of hours are lost")
		}
		for _, e := range elements {
			if len(e.key) != 4 || len(e.value) != 16 {
				wrong++
				continue
			}
			size := hourChange{int64(binary.BigEndian.Uint64(e.value)), int64(binary.BigEndian.Uint64(e.value[8:]))}
			f(storage.Hour(binary.BigEndian.Uint32(e.key)), size)
		}
	}
	return wrong
}

// Log implements [storage.Store].
func (s *inspection) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, size, err := req.Bounds()
	if err != nil {
		return storage.Page{}, fmt.Errorf("read %s: %w", s.path, err)
	}
	err = s.call(ctx, "read", func() error {
		if err := s.fillCatalog(ctx); err != nil {
			return err
		}
		if page.Last = s.state.last; !s.stateOK {
			page.Last = s.catalog.last()
		}
		s.readEntries(s.catalog.search(from), func(e storage.Entry) bool {
			size -= len(e.Signature) + len(e.Ciphertext)
			if size < 0 && len(page.Entries) > 0 {
				return false
			}
			page.Entries = append(page.Entries, e)
			return len(page.Entries) < entries
		})
		return nil
	})
	return page, err
}

// Find implements [storage.Store].
func (s *inspection) Find(ctx context.Context, signature []byte) (seq storage.Seq, err error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, fmt.Errorf("search %s for a signature of %d bytes: %w", s.path, len(signature), storage.ErrTooLarge)
	}
	err = s.call(ctx, "search", func() error {
		if err := errors.Join(s.fillCatalog(ctx), s.readFirsts(ctx)); err != nil {
			return err
		}
		x, c := index{secret: s.secret, hash: sha256.Sum256}, &s.catalog
		t := x.signatureTag(signature)
		order := s.sortBySign()
		i, _ := slices.BinarySearchFunc(order, t[:signatureTagSize], func(i uint32, t []byte) int { return bytes.Compare(c.at(int(i)).signTag[:], t) })
		for _, i := range order[i:] {
			found := c.at(int(i))
			if !bytes.Equal(found.signTag[:], t[:signatureTagSize]) {
				break
			}
			if !s.mayFind(found) {
				continue
			}
			if e, ok := s.readEntry(int(i)); ok && bytes.Equal(e.Signature, signature) {
				seq = found.seq
				return nil
			}
		}
		return storage.ErrNotFound
	})
	return seq, err
}

// SpentTokens implements [storage.Ledger]. Its tokens are those of the index and of the log.
func (s *inspection) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) (page []storage.SpentToken, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the tokens of %s: %w", s.path, err)
	}
	err = s.call(ctx, "list the tokens of", func() (err error) {
		page, err = s.readTokens(ctx, req.After, limit)
		return err
	})
	return page, err
}

// Hours implements [storage.Pruner].
func (s *inspection) Hours(ctx context.Context, req storage.HoursRequest) (sizes []storage.HourSize, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the hours of %s: %w", s.path, err)
	}
	err = s.call(ctx, "list the hours of", func() error {
		if err := s.fillCatalog(ctx); err != nil {
			return err
		}
		for hour, size := range s.catalog.hours {
			if hour >= req.From {
				sizes = append(sizes, storage.HourSize{Hour: hour, Count: uint64(size.count), Bytes: uint64(size.bytes)})
			}
		}
		slices.SortFunc(sizes, func(a, b storage.HourSize) int { return cmp.Compare(a.Hour, b.Hour) })
		sizes = sizes[:min(len(sizes), limit)]
		return nil
	})
	return sizes, err
}

// Keys implements [storage.Index].
func (s *inspection) Keys(ctx context.Context, req storage.KeysRequest) (page []storage.Key, err error) {
	limit, err := req.Bound()
	if err != nil {
		return nil, fmt.Errorf("list the keys of %s: %w", s.path, err)
	}
	err = s.call(ctx, "list the keys of", func() error {
		if err := s.fillCatalog(ctx); err != nil {
			return err
		}
		c, order := &s.catalog, s.sortByKey()
		i, _ := slices.BinarySearchFunc(order, req.Range.Lo, func(i uint32, lo storage.Key) int { return c.at(int(i)).keyOf().Compare(lo) })
		for _, i := range order[i:] {
			k := c.at(int(i)).keyOf()
			if len(page) == limit || !req.Range.Has(k) {
				break
			}
			page = append(page, k)
		}
		return nil
	})
	return page, err
}

// Get implements [storage.Index].
func (s *inspection) Get(ctx context.Context, ids []storage.ID) (entries []storage.Entry, err error) {
	if err := storage.CheckGet(ids); err != nil {
		return nil, fmt.Errorf("get from %s: %w", s.path, err)
	}
	err = s.call(ctx, "get from", func() error {
		if err := s.fillCatalog(ctx); err != nil {
			return err
		}
		c, order, size := &s.catalog, s.sortByID(), 0
		for _, id := range ids {
			i, found := slices.BinarySearchFunc(order, id, func(i uint32, id storage.ID) int { return bytes.Compare(c.at(int(i)).id[:], id[:]) })
			if !found {
				continue
			}
			e, ok := s.readEntry(int(order[i]))
			if !ok {
				continue
			}
			if size += len(e.Signature) + len(e.Ciphertext); size > storage.PageBytes && len(entries) > 0 {
				return nil
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// Append implements [storage.Store].
func (s *inspection) Append(context.Context, []storage.Record) ([]storage.Outcome, error) {
	return nil, fmt.Errorf("append to %s: %w", s.path, errInspected)
}

// Spend implements [storage.Ledger].
func (s *inspection) Spend(context.Context, []storage.SpentToken) error {
	return fmt.Errorf("spend tokens in %s: %w", s.path, errInspected)
}

// Prune implements [storage.Pruner].
func (s *inspection) Prune(context.Context, storage.PruneRequest) (storage.Pruned, error) {
	return storage.Pruned{}, fmt.Errorf("prune %s: %w", s.path, errInspected)
}

// Close implements [storage.Store].
func (s *inspection) Close() error { return s.file.Close() }
