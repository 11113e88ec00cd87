package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// A message to the twin is the version, a type and the fields of the type. A number is a varint as
// of encoding/binary, in its shortest form. A key is its hour and its id, of which the zeros at the
// end are left out: a number with their count, then the bytes.
//
//	1 ask       please compare everything
//	2 compare   number of the repair; first hour; hour that ends it, 0: none; keys of a window;
//	            a message of negentropy.Compare
//	3 differ    number of the repair; sessions that follow; 1 if the sender copies windows, or 0;
//	            windows that the receiver is to copy: count, then two keys each
//	4 session   number of the repair; window: two keys; a message of Negentropy
//	5 answer    as session, to the initiator; without a message if the window is too large
//	6 copied    number of the repair: the sender has offered all that it said it would copy
//	7 done      number of the repair; 1 if all that differed was settled, or 0
//	8 offer     ids that the receiver is to offer, 32 bytes each
const version = 1

type messageType byte

const (
	typeAsk     messageType = 1
	typeCompare messageType = 2
	typeDiffer  messageType = 3
	typeSession messageType = 4
	typeAnswer  messageType = 5
	typeCopied  messageType = 6
	typeDone    messageType = 7
	typeOffer   messageType = 8
)

// maxCompare bounds the message of a comparison: maxWindows, at most 58 bytes each, and what
// stands before them.
const maxCompare = 58*maxWindows + 64

// message is a message to or from the twin. Which fields it has depends on its type.
type message struct {
	kind     messageType
	repair   uint64
	in       storage.Range   // compare: whole hours; session, answer: the window
	perPart  uint64          // compare: keys of a window
	sessions uint64          // differ
	flag     bool            // differ: the sender copies; done: all was settled
	copies   []storage.Range // differ
	ids      []storage.ID    // offer
	payload  []byte          // compare, session, answer: a message of Negentropy
}

// The ways in which a message is refused.
var (
	errMalformed = errors.New("malformed message")
	errVersion   = errors.New("other version")
	errUnknown   = errors.New("type of a later release")
)

// encode returns the message as it is sent.
func (m *message) encode() []byte {
	b := []byte{version, byte(m.kind)}
	if m.kind != typeAsk && m.kind != typeOffer {
		b = binary.AppendUvarint(b, m.repair)
	}
	switch m.kind {
	case typeCompare:
		b = binary.AppendUvarint(b, uint64(m.in.Lo.Born))
		b = binary.AppendUvarint(b, uint64(m.in.Hi.Born))
		b = binary.AppendUvarint(b, m.perPart)
		b = append(b, m.payload...)
	case typeDiffer:
		b = binary.AppendUvarint(b, m.sessions)
		b = appendFlag(b, m.flag)
		b = binary.AppendUvarint(b, uint64(len(m.copies)))
		for _, in := range m.copies {
			b = appendRange(b, in)
		}
	case typeSession, typeAnswer:
		b = append(appendRange(b, m.in), m.payload...)
	case typeDone:
		b = appendFlag(b, m.flag)
	case typeOffer:
		for _, id := range m.ids {
			b = append(b, id[:]...)
		}
	}
	return b
}

func appendFlag(b []byte, flag bool) []byte {
	if flag {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendRange(b []byte, in storage.Range) []byte { return appendKey(appendKey(b, in.Lo), in.Hi) }

func appendKey(b []byte, k storage.Key) []byte {
	prefix := bytes.TrimRight(k.ID[:], "\x00")
	b = binary.AppendUvarint(b, uint64(k.Born))
	b = binary.AppendUvarint(b, uint64(len(prefix)))
	return append(b, prefix...)
}

// decodeMessage reads a message. It accepts only what encode returns. The payload lies in data.
func decodeMessage(data []byte) (m message, err error) {
	if len(data) < 2 || data[0] != version {
		if len(data) > 0 && data[0] != version {
			return m, fmt.Errorf("%w: %d", errVersion, data[0])
		}
		return m, errMalformed
	}
	m.kind = messageType(data[1])
	if m.kind < typeAsk || m.kind > typeOffer {
		return m, errUnknown
	}
	d := decoder{rest: data[2:]}
	if m.kind != typeAsk && m.kind != typeOffer {
		m.repair = d.readNumber()
	}
	switch m.kind {
	case typeCompare:
		m.in.Lo.Born, m.in.Hi.Born = d.readHour(), d.readHour()
		m.perPart = d.readNumber()
		m.payload = d.readRest()
		d.require(len(m.payload) > 0 && len(m.payload) <= maxCompare)
	case typeDiffer:
		m.sessions, m.flag = d.readNumber(), d.readFlag()
		m.copies = d.readRanges()
		d.require(m.sessions <= maxWindows)
	case typeSession, typeAnswer:
		m.in = d.readRange()
		m.payload = d.readRest()
		d.require(m.kind == typeAnswer || len(m.payload) > 0)
		d.require(len(m.payload) <= negentropy.MaxMessage)
	case typeDone:
		m.flag = d.readFlag()
	case typeOffer:
		m.ids = d.readIDs()
	}
	if d.failed || len(d.rest) > 0 {
		return message{}, errMalformed
	}
	return m, nil
}

// decoder reads the fields of a message. After a failure it returns zeros.
type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) require(ok bool) { d.failed = d.failed || !ok }

func (d *decoder) readNumber() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n > 1 && d.rest[n-1] == 0 {
		d.failed = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) readHour() storage.Hour {
	v := d.readNumber()
	d.require(v == uint64(storage.Hour(v)))
	return storage.Hour(v)
}

func (d *decoder) readFlag() bool {
	v := d.readNumber()
	d.require(v <= 1)
	return v == 1
}

func (d *decoder) readRest() []byte {
	rest := d.rest
	d.rest = nil
	return rest
}

func (d *decoder) readKey() (k storage.Key) {
	k.Born = d.readHour()
	n := d.readNumber()
	if d.require(n <= uint64(len(k.ID)) && n <= uint64(len(d.rest))); d.failed {
		return storage.Key{}
	}
	d.require(n == 0 || d.rest[n-1] != 0)
	copy(k.ID[:], d.rest[:n])
	d.rest = d.rest[n:]
	return k
}

func (d *decoder) readRange() storage.Range {
	in := storage.Range{Lo: d.readKey(), Hi: d.readKey()}
	d.require(in.Hi == storage.Key{} || in.Lo.Compare(in.Hi) < 0)
	return in
}

func (d *decoder) readRanges() []storage.Range {
	n := d.readNumber()
	if d.require(n <= maxWindows && n <= uint64(len(d.rest)/4)); d.failed || n == 0 {
		return nil
	}
	ranges := make([]storage.Range, n)
	for i := range ranges {
		ranges[i] = d.readRange()
	}
	return ranges
}

func (d *decoder) readIDs() (ids []storage.ID) {
	const size = len(storage.ID{})
	if d.require(len(d.rest) > 0 && len(d.rest)%size == 0 && len(d.rest)/size <= peersync.MaxIDs); d.failed {
		return nil
	}
	for ; len(d.rest) > 0; d.rest = d.rest[size:] {
		ids = append(ids, storage.ID(d.rest))
	}
	return ids
}
