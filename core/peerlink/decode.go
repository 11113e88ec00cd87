package peerlink

import (
	"encoding/binary"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// decoder takes a payload apart. After the first mistake ok is false, and what it returns has no
// meaning.
type decoder struct {
	rest []byte
	ok   bool
}

func (d *decoder) frame(kind byte) Frame {
	d.ok = true
	switch kind {
	case 0x01:
		return d.hello()
	case 0x02:
		return &State{d.state()}
	case 0x03:
		f := &Credit{Channel(d.uint8()), d.uint32()}
		d.require(f.Channel == Messages || f.Channel == Envelopes)
		d.require(f.Bytes > 0)
		return f
	case 0x04:
		return &Ping{[8]byte(d.bytes(8))}
	case 0x05:
		return &Pong{[8]byte(d.bytes(8))}
	case 0x10:
		return d.message()
	case 0x20:
		return d.offer()
	case 0x21:
		return &Want{d.flag(), d.ids()}
	case 0x22:
		return d.body()
	case 0x23:
		return &Gone{d.ids()}
	case 0x24:
		return d.taken()
	case 0x3F:
		return &Err{ErrCode(d.uint16()), d.uint32()}
	}
	d.ok = false
	return nil
}

func (d *decoder) message() *Message {
	f := &Message{More: d.flag(), Data: d.remaining()}
	d.require(!f.More || len(f.Data) == MaxFragment)
	return f
}

func (d *decoder) offer() *Offer {
	f := &Offer{Envelopes: make([]Offered, d.count(40))}
	for i := range f.Envelopes {
		f.Envelopes[i] = Offered{storage.Key{Born: storage.Hour(d.uint32()), ID: d.id()}, d.uint32()}
		d.require(f.Envelopes[i].Size <= storage.MaxEnvelope)
	}
	return f
}

func (d *decoder) body() *Body {
	f := &Body{Kind: BodyKind(d.uint8()), Born: storage.Hour(d.uint32())}
	d.require(f.Kind <= FromOffer)
	f.Signature = d.bytes(int(d.uint16()))
	f.Ciphertext = d.remaining()
	return f
}

func (d *decoder) taken() *Taken {
	f := &Taken{RetryAfter: d.uint32()}
	f.Outcomes = make([]peersync.Outcome, d.count(33))
	over := false
	for i := range f.Outcomes {
		f.Outcomes[i] = peersync.Outcome{ID: d.id(), Status: peersync.OutcomeStatus(d.uint8())}
		switch f.Outcomes[i].Status {
		case peersync.OverQuota:
			over = true
		case peersync.Stored, peersync.Known, peersync.TooOld, peersync.NotAllowed, peersync.Invalid, peersync.Lost:
		default:
			d.ok = false
		}
	}
	d.require(over || f.RetryAfter == 0)
	return f
}

func (d *decoder) state() (s peersync.State) {
	copy(s.Epoch[:], d.bytes(16))
	s.First, s.Last = storage.Seq(d.uint64()), storage.Seq(d.uint64())
	s.Count = d.uint64()
	s.Floor = storage.Hour(d.uint32())
	return s
}

func (d *decoder) ids() []storage.ID {
	ids := make([]storage.ID, d.count(32))
	for i := range ids {
		ids[i] = d.id()
	}
	return ids
}

// text takes a length and a text that operators may read.
func (d *decoder) text(least, most int) string {
	n := int(d.uint8())
	d.require(n >= least && n <= most)
	s := string(d.bytes(n))
	d.require(peersync.CheckText(s) == nil)
	return s
}

func (d *decoder) flag() bool {
	b := d.uint8()
	d.require(b <= 1)
	return b == 1
}

// count returns how many items of a size the rest consists of.
func (d *decoder) count(size int) int {
	d.require(len(d.rest)%size == 0)
	return len(d.rest) / size
}

func (d *decoder) id() storage.ID { return storage.ID(d.bytes(32)) }
func (d *decoder) uint8() uint8   { return d.bytes(1)[0] }
func (d *decoder) uint16() uint16 { return binary.BigEndian.Uint16(d.bytes(2)) }
func (d *decoder) uint32() uint32 { return binary.BigEndian.Uint32(d.bytes(4)) }
func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.bytes(8)) }

// bytes takes n bytes. If there are fewer, it returns zeros.
func (d *decoder) bytes(n int) []byte {
	if len(d.rest) < n {
		d.ok, d.rest = false, nil
		return missing[:min(n, len(missing))]
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// missing stands for bytes that are not there.
var missing [64]byte

func (d *decoder) remaining() []byte {
	b := d.rest
	d.rest = nil
	return b
}

func (d *decoder) require(ok bool) { d.ok = d.ok && ok }
