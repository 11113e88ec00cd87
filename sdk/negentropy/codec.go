package negentropy

import (
	"bytes"
	"fmt"
	"math"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A message is a version and then ranges in ascending order without gaps, each with the bound at
// which it ends:
//
//	bound        varint 0 and varint 0 for infinity, or
//	             varint 1 + hour - hour of the bound before; varint length and so many bytes of
//	             an id, without the zeros at its end
//	varint mode  0: nothing to say
//	             1: fingerprint, 16 bytes
//	             2: varint count; ids of 32 bytes
//
// What follows the last range has nothing to say either. A varint has 7 bits in each byte, the
// most significant ones first, and a high bit in all bytes but the last.
const (
	version      = 0x61
	firstVersion = 0x60 // versions are 0x60 to 0x6f

	modeSkip        = 0
	modeFingerprint = 1
	modeIDs         = 2
)

type fingerprint [16]byte

// span is a range of a message. Its payload lies in the message.
type span struct {
	storage.Range
	mode    uint64
	payload []byte // the fingerprint, or the ids

	// What answers it.
	reply reply
	parts []peersync.Part
	keys  []storage.Key
}

// decoder reads a message in place. It accepts a set of ranges only in the shortest encoding.
type decoder struct {
	in      storage.Range
	rest    []byte
	lo      storage.Key // where the next range begins
	hour    uint64      // of the bound before
	ended   bool        // by infinity
	skipped bool        // the last range had nothing to say
	spans   []span      // reused by nextSpans
}

// newDecoder returns a decoder for a message that checkMessage has accepted, with so many ranges.
func newDecoder(in storage.Range, message []byte, ranges int) *decoder {
	spans := make([]span, 0, min(ranges, peersync.MaxRanges))
	return &decoder{in: in, rest: message[1:], lo: in.Lo, spans: spans}
}

// checkMessage returns an error that is ErrInvalid unless the whole message is one of a session
// over the range, and how many ranges and ids it has.
func checkMessage(in storage.Range, message []byte) (ranges, ids int, err error) {
	if err := checkWindow(in); err != nil {
		return 0, 0, err
	}
	if len(message) == 0 || message[0] != version {
		return 0, 0, fmt.Errorf("%w: it begins with another version", ErrInvalid)
	}
	if len(message) > MaxMessage {
		return 0, 0, fmt.Errorf("%w: it has %d bytes, allowed are %d", ErrInvalid, len(message), MaxMessage)
	}
	d := decoder{in: in, rest: message[1:], lo: in.Lo}
	for ; d.more(); ranges++ {
		if ranges == MaxRanges {
			return 0, 0, fmt.Errorf("%w: it has more than %d ranges", ErrInvalid, MaxRanges)
		}
		sp, err := d.nextSpan()
		if err != nil {
			return 0, 0, err
		}
		if sp.mode == modeIDs {
			ids += len(sp.payload) / len(storage.ID{})
		}
	}
	if d.skipped {
		return 0, 0, fmt.Errorf("%w: its last range says nothing", ErrInvalid)
	}
	return ranges, ids, nil
}

func (d *decoder) more() bool { return len(d.rest) > 0 }

// nextSpans returns as many ranges as one call of a Storage may have. They are valid until the
// next call.
func (d *decoder) nextSpans() ([]span, error) {
	clear(d.spans)
	d.spans = d.spans[:0]
	for d.more() && len(d.spans) < peersync.MaxRanges {
		sp, err := d.nextSpan()
		if err != nil {
			return nil, err
		}
		d.spans = append(d.spans, sp)
	}
	return d.spans, nil
}

func (d *decoder) nextSpan() (span, error) {
	hi, err := d.readBound()
	if err != nil {
		return span{}, err
	}
	sp := span{Range: storage.Range{Lo: d.lo, Hi: hi}}
	d.lo = hi
	if sp.mode, err = d.readVarint(); err != nil {
		return span{}, err
	}
	size := uint64(0)
	switch sp.mode {
	case modeSkip:
		if d.skipped {
			return span{}, fmt.Errorf("%w: two ranges that say nothing follow each other", ErrInvalid)
		}
	case modeFingerprint:
		size = uint64(len(fingerprint{}))
	case modeIDs:
		count, err := d.readVarint()
		if err != nil {
			return span{}, err
		}
		if count > uint64(len(d.rest)/len(storage.ID{})) {
			return span{}, fmt.Errorf("%w: a list claims %d ids in %d bytes", ErrInvalid, count, len(d.rest))
		}
		size = count * uint64(len(storage.ID{}))
	default:
		return span{}, fmt.Errorf("%w: a range has mode %d", ErrInvalid, sp.mode)
	}
	d.skipped = sp.mode == modeSkip
	sp.payload, err = d.readBytes(size)
	return sp, err
}

// readBound returns the end of the next range, which is in.Hi for infinity.
func (d *decoder) readBound() (storage.Key, error) {
	if d.ended {
		return storage.Key{}, fmt.Errorf("%w: a range follows infinity", ErrInvalid)
	}
	delta, err := d.readVarint()
	if err != nil {
		return storage.Key{}, err
	}
	size, err := d.readVarint()
	if err != nil {
		return storage.Key{}, err
	}
	if delta == 0 {
		if size != 0 {
			return storage.Key{}, fmt.Errorf("%w: infinity has a prefix of %d bytes", ErrInvalid, size)
		}
		d.ended = true
		return d.in.Hi, nil
	}
	if delta-1 > math.MaxUint32-d.hour {
		return storage.Key{}, fmt.Errorf("%w: a bound is %d hours after hour %d", ErrInvalid, delta-1, d.hour)
	}
	d.hour += delta - 1
	bound := storage.Key{Born: storage.Hour(d.hour)}
	if size > uint64(len(bound.ID)) {
		return storage.Key{}, fmt.Errorf("%w: a bound has a prefix of %d bytes", ErrInvalid, size)
	}
	prefix, err := d.readBytes(size)
	if err != nil {
		return storage.Key{}, err
	}
	if bytes.HasSuffix(prefix, []byte{0}) {
		return storage.Key{}, fmt.Errorf("%w: the prefix of a bound ends with zero", ErrInvalid)
	}
	copy(bound.ID[:], prefix)
	if bound.Compare(d.lo) <= 0 || !d.in.Has(bound) {
		return storage.Key{}, fmt.Errorf("%w: a bound is not between the one before and the end", ErrInvalid)
	}
	return bound, nil
}

func (d *decoder) readVarint() (uint64, error) {
	for i, v := 0, uint64(0); i < len(d.rest); i++ {
		b := d.rest[i]
		if i == 0 && b == 0x80 {
			return 0, fmt.Errorf("%w: a number begins with zeros", ErrInvalid)
		}
		if v > math.MaxUint64>>7 {
			return 0, fmt.Errorf("%w: a number exceeds 64 bits", ErrInvalid)
		}
		v = v<<7 | uint64(b&0x7f)
		if b < 0x80 {
			d.rest = d.rest[i+1:]
			return v, nil
		}
	}
	return 0, fmt.Errorf("%w: it ends within a number", ErrInvalid)
}

func (d *decoder) readBytes(n uint64) ([]byte, error) {
	if n > uint64(len(d.rest)) {
		return nil, fmt.Errorf("%w: it has %d bytes where %d are announced", ErrInvalid, len(d.rest), n)
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken, nil
}

// writer encodes a message.
type writer struct {
	in      storage.Range
	bytes   []byte
	hour    storage.Hour // of the bound before
	skipped bool         // there is nothing to say up to silent, which is not written yet
	silent  storage.Key
}

func newWriter(in storage.Range) writer { return writer{in: in, bytes: []byte{version}} }

// skip notes that there is nothing to say up to the bound.
func (w *writer) skip(hi storage.Key) { w.skipped, w.silent = true, hi }

func (w *writer) writeFingerprint(hi storage.Key, f fingerprint) {
	w.writeHead(hi, modeFingerprint)
	w.bytes = append(w.bytes, f[:]...)
}

// writeIDs begins a list; the caller appends the ids to bytes.
func (w *writer) writeIDs(hi storage.Key, count int) {
	w.writeHead(hi, modeIDs)
	w.bytes = appendVarint(w.bytes, uint64(count))
}

func (w *writer) writeHead(hi storage.Key, mode byte) {
	if w.skipped {
		w.writeBound(w.silent)
		w.bytes = append(w.bytes, modeSkip)
		w.skipped = false
	}
	w.writeBound(hi)
	w.bytes = append(w.bytes, mode)
}

func (w *writer) writeBound(hi storage.Key) {
	if hi == w.in.Hi {
		w.bytes = append(w.bytes, 0, 0) // infinity
		return
	}
	prefix := bytes.TrimRight(hi.ID[:], "\x00")
	w.bytes = appendVarint(w.bytes, 1+uint64(hi.Born-w.hour))
	w.bytes = append(appendVarint(w.bytes, uint64(len(prefix))), prefix...)
	w.hour = hi.Born
}

// separateKeys returns the shortest bound after a and not after b, which is greater.
func separateKeys(a, b storage.Key) storage.Key {
	bound := storage.Key{Born: b.Born}
	if a.Born == b.Born {
		for i := range b.ID {
			bound.ID[i] = b.ID[i]
			if a.ID[i] != b.ID[i] {
				break
			}
		}
	}
	return bound
}

// boundPart returns the range that a part of a split range covers, up to the next part.
func boundPart(in storage.Range, parts []peersync.Part, i int) storage.Range {
	if i > 0 {
		in.Lo = separateKeys(parts[i-1].Last, parts[i].First)
	}
	if i+1 < len(parts) {
		in.Hi = separateKeys(parts[i].Last, parts[i+1].First)
	}
	return in
}

func appendVarint(b []byte, v uint64) []byte {
	var digits [10]byte
	i := len(digits) - 1
	digits[i] = byte(v & 0x7f)
	for v >>= 7; v > 0; v >>= 7 {
		i--
		digits[i] = byte(v) | 0x80
	}
	return append(b, digits[i:]...)
}
