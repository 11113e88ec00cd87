package sqlite

import (
	"crypto/sha256"
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

// checksumOf is the CRC-32C of seq (8 bytes), id, born (4 bytes), lowered (1 byte), length
// of the signature (3 bytes), signature and ciphertext; numbers are big-endian. In version
// 1 the length had 4 bytes, of which the first was 0, as lowered is after an upgrade.
func checksumOf(e *storage.Entry, lowered storage.Hour) uint32 {
	b := make([]byte, 0, 8+len(e.ID)+4+4)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Seq))
	b = append(b, e.ID[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(e.Born))
	b = binary.BigEndian.AppendUint32(b, uint32(lowered)<<24|uint32(len(e.Signature)))
	sum := crc32.Update(0, castagnoli, b)
	sum = crc32.Update(sum, castagnoli, e.Signature)
	return crc32.Update(sum, castagnoli, e.Ciphertext)
}

// hashOf is the hash of a signature in the table signatures.
func hashOf(signature []byte) int64 {
	h := sha256.Sum256(signature)
	return int64(binary.BigEndian.Uint64(h[:]))
}

// entryColumns are the columns of a row, in the order of its fields.
const entryColumns = "seq, id, born, lowered, checksum, pieces, signature, ciphertext"

// row is a row of the table envelopes. Its slices are valid until the next row is read.
type row struct {
	seq, born, lowered, checksum, pieces int64
	id, signature, ciphertext            sql.RawBytes
}

// columns are where to scan the entryColumns.
func (r *row) columns() []any {
	return []any{&r.seq, &r.id, &r.born, &r.lowered, &r.checksum, &r.pieces, &r.signature, &r.ciphertext}
}

// scanPartial reads a row.
func scanPartial(rows *sql.Rows) (partial, error) {
	var r row
	if err := rows.Scan(r.columns()...); err != nil {
		return partial{}, err
	}
	return r.toPartial()
}

// size is the number of bytes in the signature and the ciphertext.
func (r *row) size() int {
	return len(r.signature) + len(r.ciphertext) + int(r.pieces)*pieceSize
}

// toPartial returns what the row has of an entry, with bytes of its own, or an error that is
// [storage.ErrCorrupt].
func (r *row) toPartial() (partial, error) {
	switch {
	case r.seq < 1 || r.seq > maxSeq,
		len(r.id) != len(storage.ID{}),
		r.born < 0 || r.born > math.MaxUint32,
		r.lowered < 0 || r.lowered > storage.MaxAging,
		r.pieces < 0 || r.pieces > maxPieces,
		r.size() > storage.MaxEnvelope:
		return partial{}, errSenselessEntry
	}
	n := len(r.signature)
	body := append(append(make([]byte, 0, r.size()), r.signature...), r.ciphertext...)
	return partial{
		entry: storage.Entry{
			Seq:        storage.Seq(r.seq),
			ID:         storage.ID(r.id),
			Born:       storage.Hour(r.born),
			Signature:  body[:n:n],
			Ciphertext: body[n:],
		},
		lowered:  storage.Hour(r.lowered),
		checksum: r.checksum,
		pieces:   int(r.pieces),
	}, nil
}

var (
	errMissingEntry   = storefile.CorruptError("an entry of the log is missing")
	errSenselessEntry = storefile.CorruptError("an entry of the log makes no sense")
	errWrongChecksum  = storefile.CorruptError("the checksum of an entry of the log is wrong")
)

// meta is the row of the table of that name.
type meta struct {
	epoch  storage.Epoch
	last   storage.Seq
	tokens uint64
	sum    int64
	floor  storage.Hour
	first  storage.Seq
	count  uint64
}

const selectMeta = "SELECT epoch, last, tokens, sum, floor, first, count FROM meta WHERE one = 1"

// scanMeta reads the row, which must be there.
func scanMeta(r *sql.Row) (meta, error) { return toMeta(r.Scan) }

// scanMetaRows reads the first of the rows, which must be there.
func scanMetaRows(rows *sql.Rows) (meta, error) {
	return toMeta(func(columns ...any) error {
		if rows.Next() {
			return rows.Scan(columns...)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	})
}

func toMeta(scan func(...any) error) (m meta, err error) {
	var epoch []byte
	var last, tokens, sum, floor, first, count int64
	switch err := explainScanError(scan(&epoch, &last, &tokens, &sum, &floor, &first, &count)); {
	case err == sql.ErrNoRows:
		return meta{}, storefile.CorruptError("the table meta is empty")
	case err != nil:
		return meta{}, err
	case len(epoch) != len(m.epoch) || tokens < 0 || floor < 0 || floor > math.MaxUint32 ||
		last < 0 || last > maxSeq || first < 0 || count < 0 || (count == 0) != (first == 0):
		return meta{}, storefile.CorruptError("the table meta makes no sense")
	}
	return meta{storage.Epoch(epoch), storage.Seq(last), uint64(tokens), sum, storage.Hour(floor), storage.Seq(first), uint64(count)}, nil
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
