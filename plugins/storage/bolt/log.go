package bolt

import (
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// The log keeps each record in pieces of one size, and a last piece that is shorter and may
// be empty. The key of a piece is the sequence number (8 bytes) and the number of the piece
// from 0 on (1 byte).
//
// bbolt splits a page that holds five elements or more, and leaves three in the right half.
// Whole envelopes of 4 KiB, appended one by one, would be two to a page of 16 KiB, in a file
// of twice their size. In pieces the file has 1.1 times their size, and less is written.

// pieceSize lets fifteen pieces fill a page.
const pieceSize = 1 << 10

// maxPieces is the number of pieces of the largest record.
const maxPieces = (headerSize+storage.MaxEnvelope)/pieceSize + 1

func pieceKey(seq storage.Seq, piece int) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 9), uint64(seq)), byte(piece))
}

// putRecord puts a record at seq. It must not change before the commit.
func putRecord(log *bbolt.Bucket, seq storage.Seq, data []byte) error {
	for i := 0; ; i++ {
		n := min(len(data), pieceSize)
		if err := log.Put(pieceKey(seq, i), data[:n]); err != nil {
			return err
		}
		if n < pieceSize {
			return nil
		}
		data = data[n:]
	}
}

// hasRecord reports whether there is a record at seq.
func hasRecord(log *bbolt.Bucket, seq storage.Seq) bool { return log.Get(pieceKey(seq, 0)) != nil }

// readRecord returns the record at seq. A record that is not there was removed by a Prune,
// and gone is true. Slices of the record are parts of buf, if buf has a capacity of
// maxPieces * pieceSize.
//
// Nothing walks the log with a cursor. Get checks the kind of each page on its way down;
// Next and Last of a cursor trust a page that was overwritten with zeros, and go round for
// ever in growing memory.
func readRecord(log *bbolt.Bucket, seq storage.Seq, buf []byte) (r record, gone bool, err error) {
	buf = buf[:0]
	for k, i := pieceKey(seq, 0), 0; i < maxPieces; i++ {
		k[len(k)-1] = byte(i)
		piece := log.Get(k)
		if piece == nil && i == 0 {
			return record{}, true, nil
		}
		if piece == nil || len(piece) > pieceSize {
			return record{}, false, storefile.CorruptError("a part of an entry of the log is missing")
		}
		buf = append(buf, piece...)
		if len(piece) < pieceSize {
			r, err = decodeRecord(seq, buf)
			return r, false, err
		}
	}
	return record{}, false, storefile.CorruptError("an entry of the log does not end")
}

// readKept returns the record at seq, and whether it is in the log: neither removed nor
// born before the floor.
func (st *state) readKept(log *bbolt.Bucket, seq storage.Seq, buf []byte) (r record, kept bool, err error) {
	first := log.Get(pieceKey(seq, 0))
	switch {
	case first == nil && st.floor == 0:
		return record{}, false, storefile.CorruptError("an entry of the log is missing")
	case first == nil, len(first) >= 8 && bornOf(first) < st.floor:
		return record{}, false, nil
	}
	r, _, err = readRecord(log, seq, buf)
	return r, err == nil, err
}

// removeRecord removes the record at seq.
func removeRecord(log *bbolt.Bucket, seq storage.Seq) error {
	for i := range maxPieces {
		k := pieceKey(seq, i)
		if log.Get(k) == nil {
			break
		}
		if err := log.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// bornOf returns the hour of birth of a record whose first piece is given.
func bornOf(piece []byte) storage.Hour { return storage.Hour(binary.BigEndian.Uint32(piece[4:])) }
