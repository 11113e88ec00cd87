package bolt

import (
	"bytes"
	"encoding/binary"
	"sort"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The first releases kept each record whole, under its sequence number alone, and
// called that format 1 as well. No other format has such records.

// wholePerCommit is how many of them are cut into pieces in one transaction.
const wholePerCommit = 256

func wholeKey(seq storage.Seq) []byte { return binary.BigEndian.AppendUint64(nil, uint64(seq)) }

// hasWhole reports whether a file of format 1 has a whole record at seq.
func hasWhole(tx *bbolt.Tx, seq storage.Seq) bool {
	return formatOf(tx) == 1 && tx.Bucket(logBucket).Get(wholeKey(seq)) != nil
}

// cutWhole cuts whole records into pieces, in their order and in several
// transactions. A file in which that was cut short has whole records at its end,
// and the next start goes on with them.
func (s *Store) cutWhole() error {
	var from, last storage.Seq
	err := s.db.View(func(tx *bbolt.Tx) error {
		st, err := readState(tx)
		if err == nil && st.last > 0 && hasWhole(tx, st.last) {
			last = st.last
			from = 1 + storage.Seq(sort.Search(int(last)-1, func(i int) bool { return hasWhole(tx, storage.Seq(i+1)) }))
		}
		return err
	})
	before := 0
	for err == nil && from <= last && last > 0 {
		to := min(from+wholePerCommit-1, last)
		err = s.db.Update(func(tx *bbolt.Tx) error {
			before = tx.ID() - 1
			return cutRecords(tx.Bucket(logBucket), from, to)
		})
		from = to + 1
	}
	if err != nil {
		return s.takeBackFailed(err, before)
	}
	return nil
}

func cutRecords(log *bbolt.Bucket, from, to storage.Seq) error {
	for seq := from; seq <= to; seq++ {
		data := bytes.Clone(log.Get(wholeKey(seq))) // of which putRecord keeps parts
		if _, err := decodeRecord(seq, data); err != nil {
			return err
		}
		if err := putRecord(log, seq, data); err != nil {
			return err
		}
		if err := log.Delete(wholeKey(seq)); err != nil {
			return err
		}
	}
	return nil
}
