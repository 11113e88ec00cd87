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

func (d *decoder) decodeFrame(kind byte) Frame {
	d.ok = true
	switch kind {
	case 0x01:
		return d.decodeHello()
	case 0x02:
		return &State{d.decodeState()}
	case 0x03:
		f := &Credit{Channel(d.takeUint8()), d.takeUint32()}
		d.require(f.Channel == Messages || f.Channel == Envelopes)
		d.require(f.Bytes > 0)
		return f
	case 0x04:
		return &Ping{[8]byte(d.takeBytes(8))}
	case 0x05:
		return &Pong{[8]byte(d.takeBytes(8))}
	case 0x10:
		return d.decodeMessage()
	case 0x20:
		return d.decodeOffer()
	case 0x21:
		return &Want{d.takeFlag(), d.takeIDs()}
	case 0x22:
		return d.decodeBody()
	case 0x23:
		return &Gone{d.takeIDs()}
	case 0x24:
		return d.decodeTaken()
	case 0x3F:
		return &Err{ErrCode(d.takeUint16()), d.takeUint32()}
	}
	d.ok = false
	return nil
}

func (d *decoder) decodeMessage() *Message {
	f := &Message{More: d.takeFlag(), Data: d.takeRest()}
	d.require(!f.More || len(f.Data) == MaxFragment)
	return f
}

func (d *decoder) decodeOffer() *Offer {
	f := &Offer{Envelopes: make([]Offered, d.countItems(40))}
	for i := range f.Envelopes {
		f.Envelopes[i] = Offered{storage.Key{Born: storage.Hour(d.takeUint32()), ID: d.takeID()}, d.takeUint32()}
		d.require(f.Envelopes[i].Size <= storage.MaxEnvelope)
	}
	return f
}

func (d *decoder) decodeBody() *Body {
	f := &Body{Kind: BodyKind(d.takeUint8()), Born: storage.Hour(d.takeUint32())}
	d.require(f.Kind <= FromOffer)
	f.Signature = d.takeBytes(int(d.takeUint16()))
	f.Ciphertext = d.takeRest()
	return f
}

func (d *decoder) decodeTaken() *Taken {
	f := &Taken{RetryAfter: d.takeUint32()}
	f.Outcomes = make([]peersync.Outcome, d.countItems(33))
	over := false
	for i := range f.Outcomes {
		f.Outcomes[i] = peersync.Outcome{ID: d.takeID(), Status: peersync.OutcomeStatus(d.takeUint8())}
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

func (d *decoder) decodeState() (s peersync.State) {
	copy(s.Epoch[:], d.takeBytes(16))
	s.First, s.Last = storage.Seq(d.takeUint64()), storage.Seq(d.takeUint64())
	s.Count = d.takeUint64()
	s.Floor = storage.Hour(d.takeUint32())
	return s
}

func (d *decoder) takeIDs() []storage.ID {
	ids := make([]storage.ID, d.countItems(32))
	for i := range ids {
		ids[i] = d.takeID()
	}
	return ids
}

// takeText takes a length and a text that operators may read.
func (d *decoder) takeText(least, most int) string {
	n := int(d.takeUint8())
	d.require(n >= least && n <= most)
	s := string(d.takeBytes(n))
	d.require(peersync.CheckText(s) == nil)
	return s
}

func (d *decoder) takeFlag() bool {
	b := d.takeUint8()
	d.require(b <= 1)
	return b == 1
}

// countItems returns how many items of a size the rest consists of.
func (d *decoder) countItems(size int) int {
	d.require(len(d.rest)%size == 0)
	return len(d.rest) / size
}

func (d *decoder) takeID() storage.ID { return storage.ID(d.takeBytes(32)) }
func (d *decoder) takeUint8() uint8   { return d.takeBytes(1)[0] }
func (d *decoder) takeUint16() uint16 { return binary.BigEndian.Uint16(d.takeBytes(2)) }
func (d *decoder) takeUint32() uint32 { return binary.BigEndian.Uint32(d.takeBytes(4)) }
func (d *decoder) takeUint64() uint64 { return binary.BigEndian.Uint64(d.takeBytes(8)) }

// takeBytes takes n bytes. If there are fewer, it returns zeros.
func (d *decoder) takeBytes(n int) []byte {
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

func (d *decoder) takeRest() []byte {
	b := d.rest
	d.rest = nil
	return b
}

func (d *decoder) require(ok bool) { d.ok = d.ok && ok }
