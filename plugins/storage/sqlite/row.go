package sqlite

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"modernc.org/sqlite"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// castagnoli has instructions of its own in the processors that matter.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumOf is the CRC-32C of seq (8 bytes), id, born (4 bytes), length of the
// signature (4 bytes), signature and ciphertext; numbers are big-endian.
func checksumOf(seq storage.Seq, id storage.ID, born storage.Hour, signature, ciphertext []byte) uint32 {
	b := make([]byte, 0, 8+len(id)+4+4)
	b = binary.BigEndian.AppendUint64(b, uint64(seq))
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(born))
	b = binary.BigEndian.AppendUint32(b, uint32(len(signature)))
	sum := crc32.Update(0, castagnoli, b)
	sum = crc32.Update(sum, castagnoli, signature)
	return crc32.Update(sum, castagnoli, ciphertext)
}

// row is a row of the table envelopes. Its slices are valid until the next row is read.
type row struct {
	seq, born, checksum       int64
	id, signature, ciphertext sql.RawBytes
}

// toEntry returns the entry at seq, with bytes of its own, or an error that is
// [storage.ErrCorrupt].
func (r *row) toEntry(seq storage.Seq) (storage.Entry, error) {
	switch {
	case r.seq != int64(seq):
		return storage.Entry{}, storefile.CorruptError("an entry of the log is missing")
	case len(r.id) != len(storage.ID{}),
		r.born < 0 || r.born > math.MaxUint32,
		len(r.signature)+len(r.ciphertext) > storage.MaxEnvelope:
		return storage.Entry{}, storefile.CorruptError("an entry of the log makes no sense")
	}
	n := len(r.signature)
	body := append(append(make([]byte, 0, n+len(r.ciphertext)), r.signature...), r.ciphertext...)
	e := storage.Entry{
		Seq:        seq,
		ID:         storage.ID(r.id),
		Born:       storage.Hour(r.born),
		Signature:  body[:n:n],
		Ciphertext: body[n:],
	}
	if int64(checksumOf(seq, e.ID, e.Born, e.Signature, e.Ciphertext)) != r.checksum {
		return storage.Entry{}, storefile.CorruptError("the checksum of an entry of the log is wrong")
	}
	return e, nil
}

// meta is the row of the table of that name.
type meta struct {
	epoch  storage.Epoch
	last   storage.Seq
	tokens uint64
}

// scanMeta reads the row, which must be there.
func scanMeta(r *sql.Row) (m meta, err error) {
	var epoch []byte
	var last, tokens int64
	switch err := explainScanError(r.Scan(&epoch, &last, &tokens)); {
	case err == sql.ErrNoRows:
		return meta{}, storefile.CorruptError("the table meta is empty")
	case err != nil:
		return meta{}, err
	case len(epoch) != len(m.epoch) || last < 0 || tokens < 0:
		return meta{}, storefile.CorruptError("the table meta makes no sense")
	}
	return meta{storage.Epoch(epoch), storage.Seq(last), uint64(tokens)}, nil
}

// explainScanError returns the error of a Scan. The tables are strict, so a value of another
// type than the schema's is damage.
func explainScanError(err error) error {
	var e *sqlite.Error
	if err == nil || err == sql.ErrNoRows || errors.As(err, &e) {
		return err
	}
	return storefile.CorruptError(err.Error())
}

const selectMeta = "SELECT epoch, last, tokens FROM meta WHERE one = 1"
