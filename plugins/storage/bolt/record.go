package bolt

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A record is what the log keeps of an envelope:
//
//	4 bytes   CRC-32C of the sequence number and of all that follows
//	4         hour of birth, which a Duplicate may lower
//	32        id
//	1         1 when a token paid for the envelope, otherwise 0; plus twice the hours
//	          by which Duplicates have lowered the hour of birth
//	16        tag of that token, or nothing
//	2         length of the signature
//	          signature, ciphertext
type record struct {
	born       storage.Hour
	aged       storage.Hour // by how much Duplicates have lowered born
	id         storage.ID
	paid       bool
	token      tag
	signature  []byte
	ciphertext []byte
}

const (
	tagSize = 16
	// headerSize is the size of the record of a paid envelope, without signature and
	// ciphertext.
	headerSize = 4 + 4 + len(storage.ID{}) + 1 + tagSize + 2
)

// castagnoli has instructions of its own in the processors that matter.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeRecord appends to dst the record of r at seq.
func encodeRecord(dst []byte, seq storage.Seq, r *storage.Record) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Born))
	dst = append(dst, r.ID[:]...)
	if r.Nullifier != nil {
		t := tokenTag(*r.Nullifier)
		dst = append(append(dst, 1), t[:]...)
	} else {
		dst = append(dst, 0)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Signature)))
	dst = append(dst, r.Signature...)
	dst = append(dst, r.Ciphertext...)
	binary.BigEndian.PutUint32(dst[start:], checksumOf(seq, dst[start+4:]))
	return dst
}

// decodeRecord reads what encodeRecord wrote; slices of the record are parts of
// data. Anything else is an error that is [storage.ErrCorrupt].
func decodeRecord(seq storage.Seq, data []byte) (r record, err error) {
	if len(data) < headerSize-tagSize || checksumOf(seq, data[4:]) != binary.BigEndian.Uint32(data) {
		return record{}, storefile.CorruptError("the checksum of an entry of the log is wrong")
	}
	r.born = storage.Hour(binary.BigEndian.Uint32(data[4:]))
	data = data[8+copy(r.id[:], data[8:]):]
	r.paid, r.aged, data = data[0]&1 == 1, storage.Hour(data[0]>>1), data[1:]
	if r.paid {
		if len(data) < tagSize+2 {
			return record{}, storefile.CorruptError("an entry of the log is too short")
		}
		data = data[copy(r.token[:], data):]
	}
	n := int(binary.BigEndian.Uint16(data))
	if data = data[2:]; len(data) < n {
		return record{}, storefile.CorruptError("an entry of the log is too short")
	}
	r.signature, r.ciphertext = data[:n:n], data[n:]
	return r, nil
}

// setBorn changes the hour of birth in the record at seq, whose data is given.
func setBorn(seq storage.Seq, data []byte, born, aged storage.Hour) {
	binary.BigEndian.PutUint32(data[4:], uint32(born))
	flags := &data[8+len(storage.ID{})]
	*flags = *flags&1 | byte(aged)<<1
	binary.BigEndian.PutUint32(data, checksumOf(seq, data[4:]))
}

// size returns the bytes of signature and ciphertext.
func (r *record) size() int { return len(r.signature) + len(r.ciphertext) }

func checksumOf(seq storage.Seq, data []byte) uint32 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(seq))
	return crc32.Update(crc32.Update(0, castagnoli, b[:]), castagnoli, data)
}

// toEntry returns a copy that shares nothing with the record.
func (r *record) toEntry(seq storage.Seq) storage.Entry {
	n := len(r.signature)
	body := append(append(make([]byte, 0, n+len(r.ciphertext)), r.signature...), r.ciphertext...)
	return storage.Entry{
		Seq:        seq,
		ID:         r.id,
		Born:       r.born,
		Signature:  body[:n:n],
		Ciphertext: body[n:],
	}
}
