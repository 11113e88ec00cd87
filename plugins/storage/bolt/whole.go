package bolt

import (
	"bytes"
	"encoding/binary"
	"sort"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The first files kept each record whole, under its sequence number alone, and had the
// number 1 of their format in common with the next ones, which keep records in pieces.

// wholePerCommit is how many whole records one transaction splits.
const wholePerCommit = 256

func wholeKey(seq storage.Seq) []byte { return binary.BigEndian.AppendUint64(nil, uint64(seq)) }

// hasWholeRecord reports whether a file of format 1 has a whole record at seq.
func hasWholeRecord(tx *bbolt.Tx, seq storage.Seq) bool {
	return formatOf(tx) == 1 && tx.Bucket(logBucket).Get(wholeKey(seq)) != nil
}

// splitWholeRecords splits whole records into pieces, in their order and in several
// transactions. If it is cut short, the file has whole records at its end, with which the
// next start goes on.
func (s *Store) splitWholeRecords() error {
	var from, last storage.Seq
	err := s.db.View(func(tx *bbolt.Tx) error {
		st, err := readState(tx)
		if err == nil && st.last > 0 && hasWholeRecord(tx, st.last) {
			last = st.last
			from = 1 + storage.Seq(sort.Search(int(last)-1, func(i int) bool { return hasWholeRecord(tx, storage.Seq(i+1)) }))
		}
		return err
	})
	before := 0
	for err == nil && from <= last && last > 0 {
		to := min(from+wholePerCommit-1, last)
		err = s.db.Update(func(tx *bbolt.Tx) error {
			before = tx.ID() - 1
			return splitRecords(tx.Bucket(logBucket), from, to)
		})
		from = to + 1
		if err == nil && s.committed != nil {
			s.committed()
		}
	}
	if err != nil {
		return s.failTransaction(err, before)
	}
	return nil
}

func splitRecords(log *bbolt.Bucket, from, to storage.Seq) error {
	for seq := from; seq <= to; seq++ {
		data := bytes.Clone(log.Get(wholeKey(seq))) // putRecord keeps parts of it
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
