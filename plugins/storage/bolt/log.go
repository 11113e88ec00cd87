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

// readRecord returns the record at seq, which must be there. Its slices are parts of buf,
// if buf has a capacity of maxPieces * pieceSize.
//
// Nothing walks the log with a cursor. Get checks the kind of each page on its way down;
// Next and Last of a cursor trust a page that was overwritten with zeros, and go round for
// ever in growing memory.
func readRecord(log *bbolt.Bucket, seq storage.Seq, buf []byte) (record, error) {
	buf = buf[:0]
	for k, i := pieceKey(seq, 0), 0; i < maxPieces; i++ {
		k[len(k)-1] = byte(i)
		piece := log.Get(k)
		if piece == nil || len(piece) > pieceSize {
			return record{}, storefile.CorruptError("an entry of the log is missing")
		}
		buf = append(buf, piece...)
		if len(piece) < pieceSize {
			return decodeRecord(seq, buf)
		}
	}
	return record{}, storefile.CorruptError("an entry of the log does not end")
}
