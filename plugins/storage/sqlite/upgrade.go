package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A file of version 1 is copied into a new one beside it, which takes its place when it is
// complete and on disk. Until then the file stays as it was, for this release and for the one
// before. Upgrading in place would need as much room in the log of SQLite, and could not make
// a database that shrinks. The copy is made in small transactions: when the process ends,
// perhaps because the relay does not wait so long, the next one goes on where it was.

// upgradeSuffix ends the name of the new file.
const upgradeSuffix = ".upgrade"

// selectMeta1 is selectMeta of version 1.
const selectMeta1 = "SELECT epoch, last, tokens, 0, 0, min(1, last), last FROM meta WHERE one = 1"

// What one transaction of an upgrade copies.
const (
	upgradeEntries = 1024
	upgradeTokens  = 4096
)

// upgradeFile puts a file of this version in the place of one of version 1, and locks it.
func (s *Store) upgradeFile() error {
	if err := storefile.CheckWritable(s.path); err != nil {
		return err
	}
	if err := checkRoom(filepath.Dir(s.path), fileSize(s.path)-fileSize(s.path+upgradeSuffix)); err != nil {
		return err
	}
	err := s.explainStoreError(s.copyToUpgrade())
	if err != nil {
		if errors.Is(err, storage.ErrFull) {
			removeDatabase(s.path + upgradeSuffix)
		}
		return err
	}
	lock, err := os.Open(s.path + upgradeSuffix)
	if err != nil {
		return err
	}
	err = storefile.Lock(lock)
	if err == nil && !isSelfContained(s.path) {
		err = errBusy
	}
	if err != nil {
		lock.Close()
		return err
	}
	// Both are empty. A program that still reads the old file keeps its own.
	for _, suffix := range []string{walSuffix, "-shm"} {
		os.Remove(s.path + suffix) // mostly it is gone
	}
	if err := os.Rename(s.path+upgradeSuffix, s.path); err != nil {
		lock.Close()
		return err
	}
	s.lock.Close() // of a file that has no name now
	s.lock = lock
	if err := durable.SyncDir(filepath.Dir(s.path)); err != nil {
		return storefile.MarkSyncFailed(s.path, err)
	}
	return nil
}

// copyToUpgrade completes the new file, and leaves both closed and without a log of SQLite.
func (s *Store) copyToUpgrade() (err error) {
	db, err := sql.Open("sqlite", writerSource(s.path, s.maxWAL))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	// After the first statement the file is complete without its log. The second keeps
	// other programs from writing.
	for _, statement := range []string{"PRAGMA wal_checkpoint(TRUNCATE)", "BEGIN IMMEDIATE"} {
		if _, err := db.ExecContext(uncanceled, statement); err != nil {
			return err
		}
	}
	defer db.ExecContext(uncanceled, "ROLLBACK") //nolint:errcheck // nothing was changed
	old := &oldStore{db: db}
	if old.meta, err = scanMeta(db.QueryRowContext(uncanceled, selectMeta1)); err != nil {
		return err
	}
	for range 2 {
		if err = s.prepareUpgrade(old.meta.epoch); err != nil {
			return err
		}
		// The release before may have appended to the file after the copy was begun, and
		// have spent tokens that come before those that were copied.
		if err = old.copyTo(s.path+upgradeSuffix, s.maxWAL); !errors.Is(err, errOtherTokens) {
			return err
		}
		removeDatabase(s.path + upgradeSuffix)
	}
	return storefile.CorruptError(err.Error())
}

var errOtherTokens = errors.New("the table meta has another number of tokens than the table tokens")

// prepareUpgrade makes the new file, unless one is there that an earlier process has begun.
func (s *Store) prepareUpgrade(epoch storage.Epoch) error {
	path := s.path + upgradeSuffix
	if err := s.checkUpgrade(path, epoch); err != nil {
		removeDatabase(path)
	}
	if fileSize(path) > 0 {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return storefile.FullError(err)
	}
	if err := file.Close(); err != nil {
		return err
	}
	return initializeEpoch(path, epoch)
}

// checkUpgrade returns an error if there is no file to go on with.
func (s *Store) checkUpgrade(path string, epoch storage.Epoch) error {
	if err := storefile.SyncBeforeRead(path, walSuffix, journalSuffix); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	format, err := inspectFile(path, file)
	if err != nil || format != version {
		return errors.Join(err, storefile.ErrNotStore)
	}
	r, err := openReader(path)
	if err != nil {
		return err
	}
	defer r.closeReader() //nolint:errcheck // reads only
	if m, err := r.readMeta(); err != nil || m.epoch != epoch {
		return errors.Join(err, storefile.ErrNotStore)
	}
	return nil
}

// checkRoom returns an error that is [storage.ErrFull] if a directory has no room for so
// many bytes.
func checkRoom(dir string, bytes int64) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return nil //nolint:nilerr // writing will tell
	}
	if free := disk.Bavail * uint64(disk.Bsize); bytes > 0 && free < uint64(bytes) {
		const mebi = 1 << 20
		return fmt.Errorf("%w: it is copied into a new file beside it, which needs %d MiB more and there are %d; make room, or go on with the release before",
			storage.ErrFull, (bytes+mebi-1)/mebi, free/mebi)
	}
	return nil
}

// removeDatabase removes a database that nobody needs, and the files beside it.
func removeDatabase(path string) {
	for _, suffix := range []string{walSuffix, journalSuffix, "-shm", ""} {
		os.Remove(path + suffix) // may not be there
	}
}

// oldStore is an open database of version 1.
type oldStore struct {
	db   *sql.DB
	meta meta
}

// copyTo copies into the new file what it lacks, and closes it when it is on disk.
func (o *oldStore) copyTo(path string, maxWAL int64) error {
	w, err := openWriter(path, maxWAL)
	if err != nil {
		return err
	}
	err = w.truncateLog()
	var m meta
	if err == nil {
		m, err = scanMeta(w.meta.QueryRowContext(uncanceled))
	}
	for err == nil && m.last < o.meta.last {
		m, err = w.copyPart(m, o.copyEntries)
	}
	var after []byte
	if err == nil {
		err = explainScanError(w.conn.QueryRowContext(uncanceled, "SELECT coalesce(max(token), x'') FROM tokens").Scan(&after))
	}
	for more := true; more && err == nil; {
		m, err = w.copyPart(m, func(b *batch) (err error) {
			more, err = o.copyTokens(b, &after)
			return err
		})
	}
	if err == nil && m.tokens != o.meta.tokens {
		err = errOtherTokens
	}
	if err == nil {
		err = w.truncateLog()
	}
	return errors.Join(err, w.closeWriter())
}

// copyPart calls f with a transaction and commits it.
func (w *writer) copyPart(m meta, f func(*batch) error) (meta, error) {
	if err := w.takeWriteLock(); err != nil {
		return m, err
	}
	b := &batch{writer: w, meta: m}
	if err := f(b); err != nil {
		return m, err
	}
	if err := b.commitBatch(); err != nil {
		return m, err
	}
	return b.meta, w.checkpointLog()
}

// copyEntries copies entries of the log as they are. A damaged one stays damaged, which is
// found when it is read.
func (o *oldStore) copyEntries(b *batch) error {
	rows, err := o.db.QueryContext(uncanceled, "SELECT seq, id, born, 0, checksum, 0, signature, ciphertext FROM envelopes WHERE seq > ? ORDER BY seq LIMIT ?",
		int64(b.meta.last), upgradeEntries)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // reads only
	before := b.meta.last
	for rows.Next() {
		var r row
		if err := rows.Scan(r.columns()...); err != nil {
			return explainScanError(err)
		}
		if r.seq != int64(b.meta.last)+1 {
			return errMissingEntry
		}
		if len(r.id) != len(storage.ID{}) || r.born < 0 || r.born > math.MaxUint32 {
			return errSenselessEntry
		}
		e := storage.Entry{Seq: storage.Seq(r.seq), ID: storage.ID(r.id), Born: storage.Hour(r.born), Signature: r.signature, Ciphertext: r.ciphertext}
		signed, err := b.hasSignature(e.Signature)
		if err == nil {
			err = b.storeEntry(&e, r.checksum, signed)
		}
		if err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if b.meta.last == before {
		return errMissingEntry
	}
	return nil
}

// copyTokens copies tokens after the last one, and reports whether there may be more.
func (o *oldStore) copyTokens(b *batch, after *[]byte) (more bool, err error) {
	rows, err := o.db.QueryContext(uncanceled, "SELECT token, id FROM tokens WHERE token > ? ORDER BY token LIMIT ?", emptyIfNil(*after), upgradeTokens)
	if err != nil {
		return false, err
	}
	defer rows.Close() //nolint:errcheck // reads only
	for rows.Next() {
		var token, id sql.RawBytes
		if err := rows.Scan(&token, &id); err != nil {
			return false, explainScanError(err)
		}
		if len(token) != len(storage.TokenID{}) || len(id) != len(storage.ID{}) {
			return false, errBadToken
		}
		t := storage.SpentToken{Token: storage.TokenID(token), ID: storage.ID(id)}
		if err := b.recordSpending(t); err != nil {
			return false, err
		}
		*after, more = t.Token[:], true
	}
	return more, rows.Err()
}
