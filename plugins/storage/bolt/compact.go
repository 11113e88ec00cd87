package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A compaction copies the buckets into a new file beside the old one, in the order of their
// keys, so that their pages are full. It takes many transactions of the new file and many
// short views of the old one: a view that stays open would pin all pages that are freed
// meanwhile. What changes behind the copy is noted, and copied again. The last transaction
// happens while nothing is appended, and then the new file takes the place of the old one.
//
// The new file is durable before it gets the name, and both have the same content at that
// moment, so it does not matter which of them a power cut leaves. A new file without the
// name is worthless, and the next start removes it.

const (
	// compactSuffix ends the name of the new file.
	compactSuffix = ".compact"
	// compactPart bounds the bytes of one transaction of the new file.
	compactPart = 4 << 20
	// compactFor bounds how long one call works on a slow disk.
	compactFor = 10 * time.Second
	// compactSlack is room for what every file has, and for what one transaction adds to the
	// bytes that it copies.
	compactSlack = 512 << 10
	// probedEntries is how many entries of the log, there or removed, one view looks for.
	probedEntries = 64 << 10
	// treeFill leaves room in the pages of the index, since keys are put between others.
	treeFill = 0.95
	// maxChanges is how many changes may be noted. They take 33 bytes of memory each.
	maxChanges = 1 << 20
	// lastChanges is how many changes the last transaction may have to copy.
	lastChanges = 4096
)

// compaction is the new file, and how far it is filled. The holder of compactMu has it.
type compaction struct {
	path string
	db   *bbolt.DB
	file *os.File // that db has open
	size uint64   // of the file

	seq     storage.Seq // next piece of the log
	piece   int
	kept    seqSet // entries of the log that the new file has
	entries uint64 // in kept
	logDone bool   // whether all of the log was copied once
	// indexing means that changes of keys are noted, so that keys can be copied.
	indexing bool
	key      []byte // of the index, the last one that was copied
	indexed  bool   // whether all of the index was copied once

	changed changes // taken from the index, to be copied again
}

// changes is what changes behind a compaction. The holder of appendMu changes it.
type changes struct {
	seqs     []storage.Seq // entries of the log that were removed or made older
	keys     []key         // of the index
	indexing bool          // whether keys are noted
	lost     bool          // there were too many
}

func (c *changes) noteEntry(seq storage.Seq) {
	if c != nil && c.reserve() {
		c.seqs = append(c.seqs, seq)
	}
}

func (c *changes) noteKey(k []byte) {
	if c != nil && c.indexing && c.reserve() {
		c.keys = append(c.keys, key(k))
	}
}

func (c *changes) reserve() bool {
	if c.count() >= maxChanges {
		c.lost, c.seqs, c.keys = true, nil, nil
	}
	return !c.lost
}

func (c *changes) count() int { return len(c.seqs) + len(c.keys) }

// indexTree is the tree of the index in a transaction. It notes the keys that change.
type indexTree struct {
	*bbolt.Bucket
	changes *changes
}

func (x *index) treeOf(tx *bbolt.Tx) indexTree { return indexTree{tx.Bucket(indexBucket), x.changes} }

// Put puts a key and its value.
func (t indexTree) Put(k, v []byte) error {
	t.changes.noteKey(k)
	return t.Bucket.Put(k, v)
}

// Delete deletes a key.
func (t indexTree) Delete(k []byte) error {
	t.changes.noteKey(k)
	return t.Bucket.Delete(k)
}

// Compact implements [storage.Compactor]. The bytes that it counts are those of keys and
// values. Whatever the limit is, a call moves one piece of the log at least, and the last one
// also moves the counters, the hours, and what was appended and changed since the call before.
func (s *Store) Compact(ctx context.Context, req storage.CompactRequest) (done storage.Compacted, err error) {
	limit, err := req.Bound()
	if err != nil {
		return storage.Compacted{}, fmt.Errorf("compact %s: %w", s.path, err)
	}
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	err = s.runMethod(ctx, "compact", func() (err error) {
		if s.compaction == nil {
			if err := s.beginCompaction(req.Room); err != nil {
				return err
			}
		}
		done, err = s.copyParts(ctx, uint64(limit), req.Room)
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			s.dropCompaction()
		}
		return storage.Compacted{}, err
	}
	return done, nil
}

// copyParts copies parts until limit bytes are moved, or nothing is left to move.
func (s *Store) copyParts(ctx context.Context, limit, room uint64) (done storage.Compacted, err error) {
	begun := time.Now()
	for done.More = true; done.More && done.Moved < limit && time.Since(begun) < compactFor; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		size := min(limit-done.Moved, compactPart)
		if needed := s.newBytes.Load() + size + compactSlack; needed > room {
			return done, roomError(needed, room)
		}
		moved, more, err := s.copyPart(part{limit: int(size), atLeastOne: done.Moved == 0})
		if err == nil && !more {
			var rest uint64
			rest, err = s.finishCompaction()
			moved, done.More = moved+rest, false
		}
		if err != nil {
			return done, err
		}
		if done.Moved = min(done.Moved+moved, limit); moved == 0 {
			break // the next element is too large for what is left of the limit
		}
	}
	return done, nil
}

func roomError(needed, room uint64) error {
	return fmt.Errorf("%w: a compaction needs %d bytes of room beside the file, and may take %d", storage.ErrFull, needed, room)
}

// beginCompaction makes the new file, and has changes noted from then on.
func (s *Store) beginCompaction(room uint64) error {
	if err := s.ensureWritable(); err != nil {
		return err
	}
	var lowest storage.Seq // in the log, shown or not
	err := s.viewNow(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(logBucket).Cursor().First(); len(k) >= 8 {
			lowest = storage.Seq(binary.BigEndian.Uint64(k))
		}
		needed := usedBytes(tx, s.file)
		if needed == 0 {
			needed = uint64(tx.Size())
		}
		if needed += compactSlack; needed > room {
			return roomError(needed, room)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.compaction = &compaction{path: s.path + compactSuffix, kept: make(seqSet)}
	if err := s.compaction.createFile(); err != nil {
		return explainNewFileError(err)
	}
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	s.index.changes = new(changes)
	s.compaction.seq = max(lowest, 1)
	return nil
}

// ensureWritable opens the file for writing if it is not open so.
func (s *Store) ensureWritable() error {
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	return s.openForWriting()
}

// viewNow calls f with a view of the file as of now.
func (s *Store) viewNow(f func(*bbolt.Tx) error) error {
	s.dbMu.RLock()
	defer s.dbMu.RUnlock()
	return s.db.View(f)
}

// createFile makes the new file, locks it, and gives it empty buckets.
func (c *compaction) createFile() error {
	if err := removeNewFile(c.path); err != nil {
		return err
	}
	options := boltOptions()
	options.OpenFile = func(name string, _ int, mode os.FileMode) (_ *os.File, err error) {
		if c.file, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode); err != nil {
			return nil, err
		}
		return c.file, storefile.Lock(c.file)
	}
	db, err := bbolt.Open(c.path, fileMode, options)
	if err != nil {
		return err
	}
	c.db = db
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, logBucket, indexBucket, hoursBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// removeNewFile removes the new file of a compaction that was not finished.
func removeNewFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// explainNewFileError says that an error is of the new file. The store is as it was.
func explainNewFileError(err error) error {
	return fmt.Errorf("write the new file of the compaction: %w", fullError(err))
}

// dropCompaction ends a compaction and removes its file. The caller holds compactMu.
func (s *Store) dropCompaction() {
	c := s.compaction
	if c == nil {
		return
	}
	s.compaction = nil
	s.newBytes.Store(0)
	s.appendMu.Lock()
	s.index.changes = nil
	s.appendMu.Unlock()
	if c.db != nil {
		_ = c.db.Close() // of a file that nobody needs
	} else if c.file != nil {
		_ = c.file.Close() // bbolt may have closed it
	}
	_ = removeNewFile(c.path) // a start or the next compaction tries again
}

// copyPart copies a part in one transaction. more means that a lot is left.
func (s *Store) copyPart(p part) (moved uint64, more bool, err error) {
	c := s.compaction
	s.appendMu.Lock()
	err = c.takeChanges(s.index.changes)
	s.appendMu.Unlock()
	if err != nil {
		return 0, false, err
	}
	err = s.viewNow(func(tx *bbolt.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		p.readChanges(c, tx)
		p.readLog(c, tx.Bucket(logBucket), st.last)
		if c.logDone = c.logDone || c.seq > st.last; c.indexing {
			p.readIndex(c, tx.Bucket(indexBucket).Cursor())
		}
		more = !c.indexed || c.seq <= st.last || c.changed.count() > lastChanges
		return nil
	})
	if err == nil {
		err = p.writeTo(c)
	}
	s.newBytes.Store(c.size)
	return uint64(p.bytes), more, err
}

// takeChanges takes the changes that are committed by now. The caller holds appendMu.
func (c *compaction) takeChanges(noted *changes) error {
	if noted.lost {
		return fmt.Errorf("the compaction is given up: there were more than %d changes between two steps", maxChanges)
	}
	c.changed.seqs = append(c.changed.seqs, noted.seqs...)
	c.changed.keys = append(c.changed.keys, noted.keys...)
	c.indexing = c.logDone
	*noted = changes{indexing: c.indexing}
	return nil
}

// finishCompaction copies what is left while nothing is appended, and exchanges the files.
func (s *Store) finishCompaction() (moved uint64, err error) {
	s.appendMu.Lock()
	defer s.appendMu.Unlock()
	c, p := s.compaction, part{limit: math.MaxInt}
	if err := c.takeChanges(s.index.changes); err != nil {
		return 0, err
	}
	err = s.viewNow(func(tx *bbolt.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		p.readChanges(c, tx)
		for c.seq <= st.last {
			p.readLog(c, tx.Bucket(logBucket), st.last)
		}
		if c.entries != st.count || c.changed.count() > 0 || !c.indexed {
			return storefile.CorruptError(fmt.Sprintf("a compaction found %d entries in the log, which counts %d", c.entries, st.count))
		}
		return errors.Join(p.readBucket(tx, hoursBucket), p.readBucket(tx, metaBucket))
	})
	if err != nil {
		return 0, err
	}
	if err := p.writeTo(c); err != nil {
		return 0, err
	}
	old, err := s.exchangeFiles()
	if old != nil {
		_ = old.Close() // of a file that is gone
	}
	return uint64(p.bytes), err
}

// exchangeFiles gives the new file the path of the old one, and returns what has the old one
// open if that was done. The caller holds appendMu, so nothing is acknowledged before the new
// name is durable, and both files have the same content until then.
func (s *Store) exchangeFiles() (old *bbolt.DB, err error) {
	c := s.compaction
	s.dbMu.Lock()
	err = s.files.Check() // a file that somebody put there is not replaced
	if err == nil {
		err = os.Rename(c.path, s.path)
	}
	if err == nil {
		old, s.db, s.file = s.db, c.db, c.file
		var files storefile.Identity
		if files, err = storefile.Identify(s.path); err == nil {
			s.files = files // if not, each call finds that the file was replaced
		}
	}
	s.dbMu.Unlock()
	if old == nil {
		return nil, err
	}
	s.compaction, s.index.changes = nil, nil
	s.newBytes.Store(0)
	if err == nil {
		if err = durable.SyncDir(filepath.Dir(s.path)); err != nil {
			err = storefile.MarkSyncFailed(s.path, err)
		}
	}
	return old, err
}

// part is what one transaction of the new file gets.
type part struct {
	limit      int  // in bytes
	atLeastOne bool // element, however large
	bytes      int

	pairs   []pair
	removed []storage.Seq // entries of the log that the new file loses
	deleted []key         // of the index, that the new file loses
}

type pair struct{ bucket, key, value []byte }

// reserve reports whether n more bytes belong to the part.
func (p *part) reserve(n int) bool {
	if p.bytes+n > p.limit && (p.bytes > 0 || !p.atLeastOne) {
		return false
	}
	p.bytes += n
	return true
}

// put adds a copy of a key and its value.
func (p *part) put(bucket, k, v []byte) bool {
	if !p.reserve(len(k) + len(v)) {
		return false
	}
	room := append(append(make([]byte, 0, len(k)+len(v)), k...), v...)
	p.pairs = append(p.pairs, pair{bucket, room[:len(k):len(k)], room[len(k):]})
	return true
}

// readChanges reads what has changed behind the copy.
func (p *part) readChanges(c *compaction, tx *bbolt.Tx) {
	log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket)
	for ; len(c.changed.seqs) > 0; c.changed.seqs = c.changed.seqs[1:] {
		seq := c.changed.seqs[0]
		if !c.kept.has(seq) { // not copied yet, or removed before
			continue
		}
		k := pieceKey(seq, 0)
		if piece := log.Get(k); piece != nil { // all that an entry may change is in its first piece
			if !p.put(logBucket, k, piece) {
				return
			}
			continue
		}
		if !p.reserve(len(k)) {
			return
		}
		p.removed = append(p.removed, seq)
		c.kept.remove(seq)
		c.entries--
	}
	for ; len(c.changed.keys) > 0; c.changed.keys = c.changed.keys[1:] {
		k := c.changed.keys[0]
		if !c.indexed && bytes.Compare(k[:], c.key) > 0 { // not copied yet
			continue
		}
		if v := tree.Get(k[:]); v != nil {
			if !p.put(indexBucket, k[:], v) {
				return
			}
			continue
		}
		if !p.reserve(len(k)) {
			return
		}
		p.deleted = append(p.deleted, k)
	}
}

// readLog reads the log, which ends at last, from where the copy is. An entry that is removed
// while it is half copied is removed from the copy with the next changes.
func (p *part) readLog(c *compaction, log *bbolt.Bucket, last storage.Seq) {
	for probed := 0; c.seq <= last && probed < probedEntries; {
		k := pieceKey(c.seq, c.piece)
		v := log.Get(k)
		if v != nil && !p.put(logBucket, k, v) {
			return
		}
		if v != nil && c.piece == 0 {
			c.kept.add(c.seq)
			c.entries++
		}
		if c.piece++; len(v) < pieceSize || c.piece == maxPieces {
			c.seq, c.piece = c.seq+1, 0
			probed++
		}
	}
}

// readIndex reads the index from where the copy is. It leaves out keys of entries that were
// removed from the log: the keys that wait to be deleted when a process ends.
func (p *part) readIndex(c *compaction, tree *bbolt.Cursor) {
	if c.indexed {
		return
	}
	k, v := tree.Seek(append(bytes.Clone(c.key), 0))
	for n := 0; k != nil; k, v = tree.Next() {
		if n++; n > probedEntries || !c.isDead(k) && !p.put(indexBucket, k, v) {
			return
		}
		c.key = append(c.key[:0], k...)
	}
	c.indexed = true
}

// isDead reports whether a key is of no use, because its entry was removed from the log. The
// key of a token is, and so is that of a first: without it, its signature is not forgotten.
func (c *compaction) isDead(k []byte) bool {
	if len(k) != len(key{}) || k[0] != envelopeKind && k[0] != idKind && k[0] != bornKind {
		return false
	}
	key := key(k)
	return key.seqOf() < c.seq && !c.kept.has(key.seqOf())
}

// readBucket reads a bucket that is small.
func (p *part) readBucket(tx *bbolt.Tx, name []byte) error {
	return tx.Bucket(name).ForEach(func(k, v []byte) error {
		p.put(name, k, v)
		return nil
	})
}

// writeTo writes the part to the new file.
func (p *part) writeTo(c *compaction) error {
	err := c.db.Update(func(tx *bbolt.Tx) error {
		log, tree := tx.Bucket(logBucket), tx.Bucket(indexBucket)
		log.FillPercent, tree.FillPercent = 1, treeFill
		for _, x := range p.pairs {
			if err := tx.Bucket(x.bucket).Put(x.key, x.value); err != nil {
				return err
			}
		}
		for _, seq := range p.removed {
			if err := removeRecord(log, seq); err != nil {
				return err
			}
		}
		for i := range p.deleted {
			if err := tree.Delete(p.deleted[i][:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.db.View(func(tx *bbolt.Tx) error {
			c.size = uint64(tx.Size())
			return nil
		})
	}
	if err != nil {
		return explainNewFileError(err)
	}
	return nil
}

// seqSet is a set of sequence numbers, most of which are neighbours.
type seqSet map[storage.Seq]uint64

func (s seqSet) add(seq storage.Seq)      { s[seq/64] |= 1 << (seq % 64) }
func (s seqSet) remove(seq storage.Seq)   { s[seq/64] &^= 1 << (seq % 64) }
func (s seqSet) has(seq storage.Seq) bool { return s[seq/64]&(1<<(seq%64)) != 0 }
