package bolt

import (
	"bytes"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Format 3 added keys of firsts. Format 4 added keys of ids and of born, the bucket hours and
// the floor, and divided the index into other shards. An upgrade is many transactions, and
// goes on where it was cut short.

// Keys of the bucket meta that format 4 does not have.
var (
	mergedKey   = []byte("merged")   // marks of earlier shards
	upgradedKey = []byte("upgraded") // up to which entry of the log the upgrade has come
)

// upgradeSizes bounds the steps of an upgrade.
type upgradeSizes struct {
	// chunk is how many entries of the log the upgrade reads before it puts their keys
	// into the tree, in order.
	chunk storage.Seq
	// keys is how many keys it puts there in one transaction.
	keys int
}

// defaultUpgrade takes 24 MiB of memory.
var defaultUpgrade = upgradeSizes{chunk: 256 << 10, keys: 16 << 10}

// decodeEarlierState reads the state of a file of format 1, 2 or 3. Its shards were the
// 1/128th of the envelopes and of the tokens.
func decodeEarlierState(get func(key []byte) []byte) (st state, err error) {
	epoch, counters := get(epochKey), get(stateKey)
	var merged marks
	if len(epoch) != len(st.epoch) || len(counters) != earlierStateSize || !merged.unmarshal(get(mergedKey)) {
		return state{}, errCounters
	}
	st.epoch = storage.Epoch(epoch)
	st.unmarshalCounters(counters)
	for s := range st.merged {
		if st.merged[s] = st.last; s < 2*shardsPerKind {
			st.merged[s] = min(merged[2*s], merged[2*s+1])
		}
	}
	st.counted = st.last
	return st, nil
}

// upgradeFile gives a file of an earlier format the present one.
func (s *Store) upgradeFile() error {
	var format uint32
	var upgraded storage.Seq
	var st state
	load := func(tx *bbolt.Tx) (err error) {
		if format = formatOf(tx); format < formatVersion {
			if b := tx.Bucket(metaBucket).Get(upgradedKey); len(b) == 8 {
				upgraded = storage.Seq(binary.BigEndian.Uint64(b))
			}
			st, err = readState(tx)
		}
		return err
	}
	if err := s.splitWholeRecords(); err != nil {
		return err
	}
	if err := s.db.View(load); err != nil {
		return err
	}
	if format < 3 {
		if err := s.addFirsts(&st); err != nil {
			return err
		}
	}
	if format == formatVersion {
		return nil
	}
	for {
		end := min(upgraded+s.upgrade.chunk, st.last)
		if s.log != nil && st.last > s.upgrade.chunk {
			s.log.Info("upgrading the store to a new format, which the next start goes on with if this one is ended", "entries done", upgraded, "of", st.last)
		}
		if err := s.upgradeEntries(&st, upgraded+1, end); err != nil {
			return err
		}
		if upgraded = end; end == st.last {
			return nil
		}
	}
}

// addFirsts adds keys of firsts, in one walk over the index. A file in which the walk was
// cut short keeps its old format, and the next start walks again.
func (s *Store) addFirsts(st *state) error {
	err := s.db.View(func(tx *bbolt.Tx) error { return s.index.loadRecent(tx, st, nil) })
	if err != nil {
		return err
	}
	for from, done := (key{envelopeKind}), false; !done; {
		err := s.updateFile(func(tx *bbolt.Tx) (_ bool, err error) {
			if from, done, err = s.index.markFirsts(tx, from); !done || err != nil {
				return false, err
			}
			return false, putFormat(tx, 3)
		}, func() {})
		if err != nil {
			return err
		}
	}
	return nil
}

func putFormat(tx *bbolt.Tx, format uint32) error {
	return tx.Bucket(metaBucket).Put(versionKey, binary.BigEndian.AppendUint32(nil, format))
}

// located is an envelope and its place in the log.
type located struct {
	storage.Key
	seq storage.Seq
}

// upgradeEntries adds what format 4 has of the entries from first to end. It ends the upgrade
// when that is the end of the log.
func (s *Store) upgradeEntries(st *state, first, end storage.Seq) error {
	var entries []located
	hours := make(hourChanges)
	err := s.db.View(func(tx *bbolt.Tx) error {
		log, buf := tx.Bucket(logBucket), make([]byte, 0, maxPieces*pieceSize)
		for seq := first; seq <= end; seq++ {
			r, gone, err := readRecord(log, seq, buf)
			if gone {
				err = storefile.CorruptError("an entry of the log is missing")
			}
			if err != nil {
				return err
			}
			entries = append(entries, located{storage.Key{Born: r.born, ID: r.id}, seq})
			hours.add(r.born, 1, int64(r.size()))
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b located) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	err = s.putUpgraded(entries, func(e located) (key, []byte) { return newKey(idKind, idTag(e.ID), e.seq), nil })
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b located) int { return a.Compare(b.Key) })
	err = s.putUpgraded(entries, func(e located) (key, []byte) { return newBornKey(e.Key, e.seq), e.ID[bornIDSize:] })
	if err != nil {
		return err
	}
	return s.updateFile(func(tx *bbolt.Tx) (bool, error) {
		bucket, err := tx.CreateBucketIfNotExists(hoursBucket)
		if err != nil {
			return false, err
		}
		var table hourTable
		if err := table.load(bucket); err != nil {
			return false, err
		}
		if err := table.write(bucket, hours); err != nil {
			return false, err
		}
		meta := tx.Bucket(metaBucket)
		if end < st.last {
			return false, meta.Put(upgradedKey, binary.BigEndian.AppendUint64(nil, uint64(end)))
		}
		for _, k := range [][]byte{mergedKey, upgradedKey} {
			if err := meta.Delete(k); err != nil {
				return false, err
			}
		}
		if err := meta.Put(stateKey, st.marshal()); err != nil {
			return false, err
		}
		if err := meta.Put(marksKey, st.merged.marshal()); err != nil {
			return false, err
		}
		return false, putFormat(tx, formatVersion)
	}, func() {})
}

// putUpgraded puts the keys of entries into the tree, in their order.
func (s *Store) putUpgraded(entries []located, keyOf func(located) (key, []byte)) error {
	for part := range slices.Chunk(entries, s.upgrade.keys) {
		err := s.updateFile(func(tx *bbolt.Tx) (bool, error) {
			tree := tx.Bucket(indexBucket)
			for _, e := range part {
				k, value := keyOf(e)
				if err := tree.Put(k[:], bytes.Clone(value)); err != nil {
					return false, err
				}
			}
			return false, nil
		}, func() {})
		if err != nil {
			return err
		}
	}
	return nil
}
