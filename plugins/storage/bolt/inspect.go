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
// trusts its pages, and changes nothing. What it knows of the log is in memory, about a
// hundred bytes for each envelope, from the first call on.
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
	tokens  tokenTable
	checked checkProgress
}

// catalog is what the log has, in the order of the log.
type catalog struct {
	next    int // leaf of the log to be read
	entries []catalogEntry
	record  recordAssembler
	byID    []int // of entries that are shown
	byKey   []int
	bySign  []int
}

// catalogEntry is an entry of the log that is whole.
type catalogEntry struct {
	seq     storage.Seq
	born    storage.Hour
	id      storage.ID
	paid    bool
	token   tag
	signTag [signatureTagSize]byte
	size    int   // of signature and ciphertext
	seen    uint8 // kinds of its keys that are in the index
	leaf    int32 // of the log, where it begins
}

// tokenTable is what the index says of tokens and firsts.
type tokenTable struct {
	next   int // leaf of the index to be read
	tokens []storage.SpentToken
	firsts map[[signatureTagSize]byte][]storage.Seq
	done   bool
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
	if err := s.open(); err != nil {
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
	s.catalog, s.tokens = catalog{}, tokenTable{}
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
			values[string(e.key)] = e.value
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
	s.secret = bytes.Clone(get(secretKey))
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
	leaf  int
}

// add adds a piece. The record is complete if done is true. broken is a record that was begun
// and does not go on.
func (a *recordAssembler) add(k, v []byte, leaf int) (broken storage.Seq, done bool, err error) {
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
		*a = recordAssembler{seq: seq, data: a.data[:0], leaf: leaf}
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
func (s *inspection) eachRecord(a *recordAssembler, leaf int, f func(record, storage.Seq, int) bool, lose func(storage.Seq, string)) int {
	elements, err := s.walker.readLeaf(s.log, s.log.leaves[leaf])
	if err != nil {
		s.faults.addPage(s.log.leaves[leaf].id, err.Error()+"; its entries of the log are lost")
		return leaf + 1
	}
	for _, e := range elements {
		broken, done, err := a.add(e.key, e.value, leaf)
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
		case !f(r, a.seq, a.leaf):
			return leaf + 1
		}
	}
	return leaf + 1
}

// fillCatalog reads the log, or goes on where an earlier call ended with its context.
func (s *inspection) fillCatalog(ctx context.Context) error {
	c := &s.catalog
	for c.next < len(s.log.leaves) {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.readCatalogLeaf()
	}
	if c.byID != nil {
		return nil
	}
	c.byID, c.byKey, c.bySign = []int{}, nil, nil
	for i := range c.entries {
		if s.isShown(&c.entries[i]) {
			c.byID = append(c.byID, i)
		}
	}
	c.byKey, c.bySign = slices.Clone(c.byID), slices.Clone(c.byID)
	e := c.entries
	slices.SortFunc(c.byID, func(a, b int) int { return cmp.Or(bytes.Compare(e[a].id[:], e[b].id[:]), a-b) })
	slices.SortFunc(c.byKey, func(a, b int) int { return e[a].keyOf().Compare(e[b].keyOf()) })
	slices.SortFunc(c.bySign, func(a, b int) int { return cmp.Or(bytes.Compare(e[a].signTag[:], e[b].signTag[:]), a-b) })
	return nil
}

func (e *catalogEntry) keyOf() storage.Key { return storage.Key{Born: e.born, ID: e.id} }

// isShown reports whether an entry is in the log, and not pruned.
func (s *inspection) isShown(e *catalogEntry) bool {
	return e.born >= s.state.floor && (!s.stateOK || e.seq <= s.state.last)
}

// readCatalogLeaf reads the next leaf of the log into the catalog.
func (s *inspection) readCatalogLeaf() {
	c := &s.catalog
	x := index{secret: s.secret, hash: sha256.Sum256}
	c.next = s.eachRecord(&c.record, c.next, func(r record, seq storage.Seq, leaf int) bool {
		if n := len(c.entries); n > 0 && c.entries[n-1].seq >= seq {
			return true // of an older page
		}
		t := x.signatureTag(r.signature)
		c.entries = append(c.entries, catalogEntry{
			seq: seq, born: r.born, id: r.id, paid: r.paid, token: r.token, size: r.size(), leaf: int32(leaf),
			signTag: [signatureTagSize]byte(t[:signatureTagSize]),
		})
		return true
	}, func(seq storage.Seq, text string) { s.faults.addEntry(seq, text) })
}

// find returns the entry at seq, or nil.
func (c *catalog) find(seq storage.Seq) *catalogEntry {
	i, ok := slices.BinarySearchFunc(c.entries, seq, func(e catalogEntry, seq storage.Seq) int { return cmp.Compare(e.seq, seq) })
	if !ok {
		return nil
	}
	return &c.entries[i]
}

// readEntries calls f with the entries of the catalog that are shown, from the given one on,
// until it returns false.
func (s *inspection) readEntries(from int, f func(storage.Entry) bool) {
	c, next, more := s.catalog.entries, from, true
	if from >= len(c) {
		return
	}
	var a recordAssembler
	for leaf := int(c[from].leaf); leaf < len(s.log.leaves) && next < len(c) && more; {
		leaf = s.eachRecord(&a, leaf, func(r record, seq storage.Seq, _ int) bool {
			for next < len(c) && c[next].seq < seq {
				next++
			}
			if next < len(c) && c[next].seq == seq {
				if more = !s.isShown(&c[next]) || f(r.toEntry(seq)); more {
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
		entry, ok = e, e.Seq == s.catalog.entries[i].seq
		return false
	})
	return entry, ok
}

// readTokens reads the tokens and firsts of the index, and adds the tokens that the log names.
func (s *inspection) readTokens(ctx context.Context) error {
	if err := s.fillCatalog(ctx); err != nil {
		return err
	}
	t := &s.tokens
	if t.firsts == nil {
		t.firsts = make(map[[signatureTagSize]byte][]storage.Seq)
	}
	for s.index != nil && t.next < len(s.index.leaves) {
		if err := ctx.Err(); err != nil {
			return err
		}
		leaf := s.index.leaves[t.next]
		t.next++
		elements, err := s.walker.readLeaf(s.index, leaf)
		if err != nil {
			s.faults.addPage(leaf.id, err.Error()+"; its keys of the index are lost")
			continue
		}
		for _, e := range elements {
			s.readTokenKey(e)
		}
	}
	if t.done {
		return nil
	}
	for i := range s.catalog.entries {
		if e := &s.catalog.entries[i]; e.paid {
			t.tokens = append(t.tokens, storage.SpentToken{Token: storage.TokenID(e.token), ID: e.id})
		}
	}
	slices.SortStableFunc(t.tokens, func(a, b storage.SpentToken) int {
		return cmp.Or(bytes.Compare(a.Token[:], b.Token[:]), -bytes.Compare(a.ID[:], b.ID[:])) // zero ids come last
	})
	t.tokens = slices.CompactFunc(t.tokens, func(a, b storage.SpentToken) bool { return a.Token == b.Token })
	t.done = true
	return nil
}

// readTokenKey reads the key of a token or of a first.
func (s *inspection) readTokenKey(e element) {
	if len(e.key) != len(key{}) {
		return
	}
	switch k := key(e.key); k[0] {
	case tokenKind:
		token := storage.SpentToken{Token: k.tokenOf()}
		if seq := k.seqOf(); seq == 0 && len(e.value) == len(token.ID) {
			token.ID = storage.ID(e.value)
		} else if found := s.catalog.find(seq); found != nil {
			token.ID = found.id
		}
		s.tokens.tokens = append(s.tokens.tokens, token)
	case firstKind:
		t := [signatureTagSize]byte(k[1:])
		s.tokens.firsts[t] = append(s.tokens.firsts[t], k.seqOf())
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

// Info implements [storage.Store].
func (s *inspection) Info(ctx context.Context) (info storage.Info, err error) {
	err = s.call(ctx, "describe", func() error {
		if err := s.readTokens(ctx); err != nil {
			return err
		}
		e, shown := s.catalog.entries, s.catalog.byID
		info = storage.Info{
			Epoch: s.state.epoch, Last: s.state.last, Count: uint64(len(shown)), Floor: s.state.floor,
			Tokens: uint64(len(s.tokens.tokens)), Bytes: s.walker.count * s.walker.pageSize,
		}
		if !s.stateOK && len(e) > 0 {
			info.Last = e[len(e)-1].seq
		}
		if s.stateOK { // what the store has counted, of which some may be lost
			pruned := uint64(len(e) - len(shown))
			info.Count = max(info.Count, s.state.count-min(pruned, s.state.count))
			info.Tokens = max(info.Tokens, s.state.tokens)
		}
		if s.free != nil {
			info.InUse = (s.walker.count - min(s.freeCount, s.walker.count)) * s.walker.pageSize
		}
		for _, i := range shown {
			if info.First == 0 || e[i].seq < info.First {
				info.First = e[i].seq
			}
		}
		return nil
	})
	return info, err
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
		c := s.catalog.entries
		if page.Last = s.state.last; !s.stateOK && len(c) > 0 {
			page.Last = c[len(c)-1].seq
		}
		i, _ := slices.BinarySearchFunc(c, from, func(e catalogEntry, seq storage.Seq) int { return cmp.Compare(e.seq, seq) })
		s.readEntries(i, func(e storage.Entry) bool {
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
		if err := s.readTokens(ctx); err != nil {
			return err
		}
		x := index{secret: s.secret, hash: sha256.Sum256}
		full := x.signatureTag(signature)
		t, c := [signatureTagSize]byte(full[:signatureTagSize]), &s.catalog
		firsts := s.tokens.firsts[t]
		i, _ := slices.BinarySearchFunc(c.bySign, t[:], func(i int, t []byte) int { return bytes.Compare(c.entries[i].signTag[:], t) })
		for ; i < len(c.bySign) && c.entries[c.bySign[i]].signTag == t; i++ {
			found := &c.entries[c.bySign[i]]
			if len(firsts) > 0 && !slices.Contains(firsts, found.seq) {
				continue
			}
			if e, ok := s.readEntry(c.bySign[i]); ok && bytes.Equal(e.Signature, signature) {
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
	err = s.call(ctx, "list the tokens of", func() error {
		if err := s.readTokens(ctx); err != nil {
			return err
		}
		i, all := 0, s.tokens.tokens
		if req.After != nil {
			var found bool
			i, found = slices.BinarySearchFunc(all, *req.After, func(t storage.SpentToken, after storage.TokenID) int { return bytes.Compare(t.Token[:], after[:]) })
			if found {
				i++
			}
		}
		page = slices.Clone(all[i:min(i+limit, len(all))])
		return nil
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
		c := &s.catalog
		i, _ := slices.BinarySearchFunc(c.byKey, req.From, func(i int, from storage.Hour) int { return cmp.Compare(c.entries[i].born, from) })
		for _, i := range c.byKey[i:] {
			e := &c.entries[i]
			if n := len(sizes); n == 0 || sizes[n-1].Hour != e.born {
				if n == limit {
					break
				}
				sizes = append(sizes, storage.HourSize{Hour: e.born})
			}
			sizes[len(sizes)-1].Count++
			sizes[len(sizes)-1].Bytes += uint64(e.size)
		}
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
		c := &s.catalog
		i, _ := slices.BinarySearchFunc(c.byKey, req.Range.Lo, func(i int, lo storage.Key) int { return c.entries[i].keyOf().Compare(lo) })
		for ; i < len(c.byKey) && len(page) < limit && req.Range.Has(c.entries[c.byKey[i]].keyOf()); i++ {
			page = append(page, c.entries[c.byKey[i]].keyOf())
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
		c, size := &s.catalog, 0
		for _, id := range ids {
			i, found := slices.BinarySearchFunc(c.byID, id, func(i int, id storage.ID) int { return bytes.Compare(c.entries[i].id[:], id[:]) })
			if !found {
				continue
			}
			e, ok := s.readEntry(c.byID[i])
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
