package bolt

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	fileMode = 0o600

	// pageSize is four times the usual, for fewer and larger writes: a third more
	// envelopes a second when many come at once.
	pageSize = 16 << 10

	application = "cwtch-relay/storage/bolt"
	// Format 2 has keys of tokens with values, see index, and format 3 keys of
	// firsts. A file of an earlier format gets these when it is opened; it has no
	// secret, and keeps its tags. Format 1 was two, see whole.go: whoever changes
	// what is in the file raises the number, and format_test.go holds him to that.
	version = 3
)

// Buckets, and the keys of the bucket meta.
var (
	metaBucket  = []byte("meta")
	logBucket   = []byte("log")
	indexBucket = []byte("index")

	applicationKey = []byte("application") // the text above
	versionKey     = []byte("version")     // uint32
	epochKey       = []byte("epoch")       // 16 bytes
	stateKey       = []byte("state")       // counters, see state
	mergedKey      = []byte("merged")      // marks, see index
	secretKey      = []byte("secret")      // of the index, 32 bytes; not in files that began with an earlier format
)

// boltOptions are those under which every file is opened: flushed at each
// commit, as is bbolt's own default, and the free pages kept in the file (or
// else opening would read all of it) but found by hash in memory.
func boltOptions() *bbolt.Options {
	return &bbolt.Options{
		Timeout:      storefile.LockWait,
		PageSize:     pageSize,
		FreelistType: bbolt.FreelistMapType,
		NoStatistics: true,
	}
}

// ensureFile makes an empty store at path unless there is one.
func ensureFile(path string) error {
	return storefile.Ensure(path, func(path string) error {
		err := initializeFile(path)
		if err != nil && !isSyncError(err) {
			return fullError(err)
		}
		return err
	})
}

// initializeFile makes an empty store of an empty file.
func initializeFile(path string) error {
	db, err := bbolt.Open(path, fileMode, boltOptions())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{metaBucket, logBucket, indexBucket} {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		epoch := storage.NewEpoch()
		st := state{epoch: epoch}
		secret := make([]byte, secretSize)
		rand.Read(secret) // never fails: crypto/rand ends the process instead
		meta := tx.Bucket(metaBucket)
		return errors.Join(
			meta.Put(applicationKey, []byte(application)),
			meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, version)),
			meta.Put(epochKey, epoch[:]),
			meta.Put(stateKey, st.marshal()),
			meta.Put(mergedKey, st.merged.marshal()),
			meta.Put(secretKey, secret),
		)
	})
	return errors.Join(err, db.Close())
}

// upgradeFile gives a file of an earlier format what this one has: one walk over its
// index, in several transactions. A file in which it was cut short still has its
// format, and the next start does it again.
func (s *Store) upgradeFile() error {
	from, done := key{envelopeKind}, false
	err := s.db.View(func(tx *bbolt.Tx) error {
		done = formatOf(tx) == version
		return nil
	})
	before := 0
	for !done && err == nil {
		err = s.db.Update(func(tx *bbolt.Tx) (err error) {
			before = tx.ID() - 1
			if from, done, err = s.index.markFirsts(tx, from); !done || err != nil {
				return err
			}
			return tx.Bucket(metaBucket).Put(versionKey, binary.BigEndian.AppendUint32(nil, version))
		})
	}
	if err != nil {
		return s.takeBackFailed(err, before)
	}
	return nil
}

// formatOf returns the format of a file that has one.
func formatOf(tx *bbolt.Tx) uint32 {
	return binary.BigEndian.Uint32(tx.Bucket(metaBucket).Get(versionKey))
}

// openLocked opens the file of a store for bbolt, which locks it anew, to no
// effect. It has the lock before bbolt does, because what is read then must be
// durable by then; see [storefile.SyncBeforeRead].
func openLocked(path string, flag int, mode os.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	if err = storefile.Lock(file); err == nil {
		err = storefile.SyncBeforeRead(path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// inspectFile returns why the file at path cannot be opened as a store, if so. It
// opens the file for reading only, since bbolt may write to what it opens.
func inspectFile(path string) error {
	options := boltOptions()
	options.ReadOnly = true
	var file *os.File
	var size int64
	options.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		if file, err = openLocked(name, flag, mode); err != nil {
			return nil, err
		}
		info, err := file.Stat()
		if err == nil && info.Size() == 0 {
			err = storefile.ErrEmptyFile
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		size = info.Size()
		return file, nil
	}
	return recoverFault(func() error {
		db, err := bbolt.Open(path, fileMode, options)
		if err != nil {
			return explainOpenError(err)
		}
		defer db.Close()
		return db.View(func(tx *bbolt.Tx) error {
			if tx.Size() > size {
				return storefile.CorruptError(fmt.Sprintf("%d of %d bytes are there", size, tx.Size()))
			}
			if err := checkFormat(tx); err != nil {
				return err
			}
			return checkFreelist(tx, file)
		})
	})
}

// checkFormat returns an error for a bbolt database that is no store, or one
// that this code cannot read, or one that contradicts itself.
func checkFormat(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil || string(meta.Get(applicationKey)) != application {
		return storefile.ErrNotStore
	}
	v := meta.Get(versionKey)
	if len(v) != 4 {
		return storefile.CorruptError("no version")
	}
	if v := formatOf(tx); v > version {
		return fmt.Errorf("the file has format %d and this release knows formats up to %d; run the release that wrote it, or a later one", v, version)
	}
	if tx.Bucket(logBucket) == nil || tx.Bucket(indexBucket) == nil {
		return storefile.CorruptError("a bucket is missing")
	}
	st, err := readState(tx)
	if err != nil {
		return err
	}
	log := tx.Bucket(logBucket)
	if st.last > 0 && !hasRecord(log, st.last) && !hasWhole(tx, st.last) || hasRecord(log, st.last+1) || hasWhole(tx, st.last+1) {
		return storefile.CorruptError("the log does not end where the counters say")
	}
	return nil
}
