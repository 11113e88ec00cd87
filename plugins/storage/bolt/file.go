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
	// Format 2 added keys of tokens with values, see index, and format 3 keys of firsts.
	// Open adds them to a file of an earlier format, which has no secret and keeps its
	// tags. Format 4 added keys of ids and of born, hours and the floor, see upgrade.go. Two formats had the number 1, see whole.go. A change of what is in the file
	// needs another number, on which format_test.go insists.
	formatVersion = 4
)

// Buckets, and the keys of the bucket meta.
var (
	metaBucket  = []byte("meta")
	logBucket   = []byte("log")
	indexBucket = []byte("index")
	hoursBucket = []byte("hours")

	applicationKey = []byte("application") // the text above
	versionKey     = []byte("version")     // uint32
	epochKey       = []byte("epoch")       // 16 bytes
	stateKey       = []byte("state")       // counters, see state
	marksKey       = []byte("marks")       // see index
	secretKey      = []byte("secret")      // of the index, 32 bytes; missing in files that began with an earlier format
)

// boltOptions returns the options of every file: bbolt flushes at each commit, which is
// its default, keeps the free pages in the file, so that opening does not read all of it,
// and finds them by hash in memory.
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
		for _, name := range [][]byte{metaBucket, logBucket, indexBucket, hoursBucket} {
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
			meta.Put(versionKey, binary.BigEndian.AppendUint32(nil, formatVersion)),
			meta.Put(epochKey, epoch[:]),
			meta.Put(stateKey, st.marshal()),
			meta.Put(marksKey, st.merged.marshal()),
			meta.Put(secretKey, secret),
		)
	})
	return errors.Join(err, db.Close())
}

// formatOf returns the format of a file that has one.
func formatOf(tx *bbolt.Tx) uint32 {
	return binary.BigEndian.Uint32(tx.Bucket(metaBucket).Get(versionKey))
}

// openLocked opens and locks the file of a store for bbolt, which will lock it again to no
// effect. The lock is needed earlier, to make durable what bbolt is about to read; see
// [storefile.SyncBeforeRead].
func openLocked(path string, flag int, mode os.FileMode) (*os.File, error) {
	file, err := os.OpenFile(path, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	if err = storefile.Lock(file); err == nil {
		err = checkSameFile(path, file)
	}
	if err == nil {
		err = storefile.SyncBeforeRead(path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// checkSameFile returns an error if the file that is open at path was replaced while it was
// waited for: another process has compacted the store.
func checkSameFile(path string, file *os.File) error {
	opened, err := file.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, opened) {
		return storefile.ErrLocked
	}
	return nil
}

// inspectFile returns an error for a file that cannot be opened as a store. It opens the
// file for reading only, because bbolt may write to a file that it opens for writing.
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

// checkFormat returns an error for a bbolt database that is not a store, has a newer
// format or contradicts itself.
func checkFormat(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil || string(meta.Get(applicationKey)) != application {
		return storefile.ErrNotStore
	}
	v := meta.Get(versionKey)
	if len(v) != 4 {
		return storefile.CorruptError("no version")
	}
	if v := formatOf(tx); v > formatVersion {
		return fmt.Errorf("the file has format %d and this release knows formats up to %d; run the release that wrote it, or a later one", v, formatVersion)
	}
	if tx.Bucket(logBucket) == nil || tx.Bucket(indexBucket) == nil || formatOf(tx) >= 4 && tx.Bucket(hoursBucket) == nil {
		return storefile.CorruptError("a bucket is missing")
	}
	st, err := readState(tx)
	if err != nil {
		return err
	}
	log := tx.Bucket(logBucket)
	if st.last > 0 && st.floor == 0 && !hasRecord(log, st.last) && !hasWholeRecord(tx, st.last) || hasRecord(log, st.last+1) || hasWholeRecord(tx, st.last+1) {
		return storefile.CorruptError("the log does not end where the counters say")
	}
	return nil
}
