package peerlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Sizes, in bytes, and counts that bound every frame.
const (
	// HeaderSize is the length of the header of a frame.
	HeaderSize = 4
	// MaxPayload bounds the payload of a frame.
	MaxPayload = 128 << 10
	// MaxFragment bounds the part of a message in one frame.
	MaxFragment = 32 << 10
	// MaxIDs is the greatest number of ids in a frame.
	MaxIDs = 1024
	// MaxOffered is the greatest number of ids that are offered and not settled, and
	// MaxRequested that of ids that are requested and not answered.
	MaxOffered   = 2048
	MaxRequested = 4096
	// InitialMessages and InitialEnvelopes are the credits of a new link.
	InitialMessages  = 5 << 18
	InitialEnvelopes = 5 << 19
	// FrameCost is what a MESSAGE or a BODY costs besides its length.
	FrameCost = 256
)

// ErrFrame: bytes that are no frame. The link is closed.
var ErrFrame = errors.New("not a frame of a peer link")

// Frame is what a link carries: one of the pointer types below.
type Frame interface {
	frameType() byte
	appendPayload([]byte) []byte
}

// State is the STATE frame: the sender's replica has moved.
type State struct{ State peersync.State }

// Channel says what a credit is for.
type Channel uint8

const (
	// Messages is the channel of MESSAGE frames.
	Messages Channel = 1
	// Envelopes is the channel of BODY frames.
	Envelopes Channel = 2
)

// Credit is the CREDIT frame: the receiver may send so many bytes more.
type Credit struct {
	Channel Channel
	Bytes   uint32
}

// Ping is the PING frame. A Pong with the same bytes answers it.
type Ping struct{ Token [8]byte }

// Pong is the PONG frame.
type Pong struct{ Token [8]byte }

// Message is the MESSAGE frame: a part of a message of the plugin.
type Message struct {
	More bool // the message continues in the next MESSAGE
	Data []byte
}

// Offered is an envelope of an Offer.
type Offered struct {
	storage.Key
	Size uint32 // bytes of ciphertext and signature together; 0 if unknown
}

// Offer is the OFFER frame: envelopes that the sender has.
type Offer struct{ Envelopes []Offered }

// Want is the WANT frame: it asks for envelopes.
type Want struct {
	Offered bool // it answers an Offer
	IDs     []storage.ID
}

// BodyKind says why an envelope is sent. In this order they are sent.
type BodyKind uint8

const (
	// Pushed: the receiver has not been asked.
	Pushed BodyKind = 0
	// Requested: the plugin of the receiver wants it.
	Requested BodyKind = 1
	// FromOffer: the relay of the receiver wants it.
	FromOffer BodyKind = 2
)

// Body is the BODY frame: one envelope.
type Body struct {
	Kind       BodyKind
	Born       storage.Hour
	Signature  []byte
	Ciphertext []byte
}

// Gone is the GONE frame: the sender does not have what a Want asked for.
type Gone struct{ IDs []storage.ID }

// Taken is the TAKEN frame: what became of envelopes at the sender of this frame.
type Taken struct {
	RetryAfter uint32 // seconds in which it takes nothing more, if it was over quota
	Outcomes   []peersync.Outcome
}

// ErrCode says why a link is closed.
type ErrCode uint16

const (
	CodeBreach  ErrCode = 1 // the receiver broke the protocol
	CodeVersion ErrCode = 2 // the sender speaks another version of the protocol
	CodePlugin  ErrCode = 3 // the sender runs another plugin
	CodeDropped ErrCode = 4 // the sender's plugin has closed the link for what the receiver did
	CodeResting ErrCode = 5 // the sender's plugin or operator wants no link now
	CodeSilent  ErrCode = 6 // the receiver has not answered for too long
)

// Err is the ERR frame, the last one of a link.
type Err struct {
	Code       ErrCode
	RetryAfter uint32 // seconds in which another link is useless
}

func (*Hello) frameType() byte   { return 0x01 }
func (*State) frameType() byte   { return 0x02 }
func (*Credit) frameType() byte  { return 0x03 }
func (*Ping) frameType() byte    { return 0x04 }
func (*Pong) frameType() byte    { return 0x05 }
func (*Message) frameType() byte { return 0x10 }
func (*Offer) frameType() byte   { return 0x20 }
func (*Want) frameType() byte    { return 0x21 }
func (*Body) frameType() byte    { return 0x22 }
func (*Gone) frameType() byte    { return 0x23 }
func (*Taken) frameType() byte   { return 0x24 }
func (*Err) frameType() byte     { return 0x3F }

// CreditCost returns what a Message or a Body costs of the credit of its channel, and 0 for
// other frames.
func CreditCost(f Frame) int {
	switch f := f.(type) {
	case *Message:
		return HeaderSize + 1 + len(f.Data) + FrameCost
	case *Body:
		return HeaderSize + 7 + len(f.Signature) + len(f.Ciphertext) + FrameCost
	}
	return 0
}

// AppendFrame appends the encoding of a frame. The frame keeps to the limits of its type.
func AppendFrame(dst []byte, f Frame) []byte {
	at := len(dst)
	dst = append(dst, f.frameType(), 0, 0, 0)
	dst = f.appendPayload(dst)
	n := len(dst) - at - HeaderSize
	dst[at+1], dst[at+2], dst[at+3] = byte(n>>16), byte(n>>8), byte(n)
	return dst
}

// ParseHeader returns the type of a frame and the length of its payload. It fails if there is no
// such type, or the length is impossible.
func ParseHeader(header [HeaderSize]byte) (kind byte, size int, err error) {
	kind = header[0]
	size = int(header[1])<<16 | int(header[2])<<8 | int(header[3])
	least, most := payloadSizes(kind)
	if most == 0 {
		return 0, 0, fmt.Errorf("type %#02x: %w", kind, ErrFrame)
	}
	if size < least || size > most {
		return 0, 0, fmt.Errorf("type %#02x with a payload of %d bytes, allowed are %d to %d: %w", kind, size, least, most, ErrFrame)
	}
	return kind, size, nil
}

const stateSize = 16 + 3*8 + 4

// payloadSizes returns the least and the greatest length of a payload. An unknown type has 0.
func payloadSizes(kind byte) (least, most int) {
	switch kind {
	case 0x01:
		return helloSize + 1, helloSize + MaxPlugin + peersync.MaxVersion
	case 0x02:
		return stateSize, stateSize
	case 0x03:
		return 5, 5
	case 0x04, 0x05:
		return 8, 8
	case 0x10:
		return 2, 1 + MaxFragment
	case 0x20:
		return 40, MaxIDs * 40
	case 0x21:
		return 1 + 32, 1 + MaxIDs*32
	case 0x22:
		return 7, 7 + storage.MaxEnvelope
	case 0x23:
		return 32, MaxIDs * 32
	case 0x24:
		return 4 + 33, 4 + MaxIDs*33
	case 0x3F:
		return 6, 6
	}
	return 0, 0
}

// DecodePayload returns the frame of a type with a payload. The frame keeps the payload.
func DecodePayload(kind byte, payload []byte) (Frame, error) {
	header := [HeaderSize]byte{kind, byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}
	if _, _, err := ParseHeader(header); err != nil {
		return nil, err
	}
	d := &decoder{rest: payload}
	f := d.decodeFrame(kind)
	if !d.ok || len(d.rest) != 0 {
		return nil, fmt.Errorf("type %#02x with a payload of invalid form: %w", kind, ErrFrame)
	}
	return f, nil
}

// ReadFrame reads one frame. It allocates as the bytes come, and not as the header promises. At
// the end of r between two frames, the error is io.EOF.
func ReadFrame(r io.Reader) (Frame, error) {
	var header [HeaderSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	kind, size, err := ParseHeader(header)
	if err != nil {
		return nil, err
	}
	payload, err := readPayload(r, size)
	if err != nil {
		return nil, err
	}
	return DecodePayload(kind, payload)
}

// readPayload reads size bytes. The slice doubles as they come.
func readPayload(r io.Reader, size int) ([]byte, error) {
	const step = 7 + storage.MaxEnvelope // the longest BODY is read at once
	payload := make([]byte, min(size, step))
	for at := 0; ; {
		if _, err := io.ReadFull(r, payload[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if at = len(payload); at == size {
			return payload, nil
		}
		grown := make([]byte, min(size, 2*at))
		copy(grown, payload)
		payload = grown
	}
}

func (f *State) appendPayload(b []byte) []byte { return appendState(b, f.State) }

func (f *Credit) appendPayload(b []byte) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(f.Channel)), f.Bytes)
}

func (f *Ping) appendPayload(b []byte) []byte { return append(b, f.Token[:]...) }
func (f *Pong) appendPayload(b []byte) []byte { return append(b, f.Token[:]...) }

func (f *Message) appendPayload(b []byte) []byte {
	return append(append(b, flagByte(f.More)), f.Data...)
}

func (f *Offer) appendPayload(b []byte) []byte {
	for _, o := range f.Envelopes {
		b = binary.BigEndian.AppendUint32(b, uint32(o.Born))
		b = append(b, o.ID[:]...)
		b = binary.BigEndian.AppendUint32(b, o.Size)
	}
	return b
}

func (f *Want) appendPayload(b []byte) []byte {
	return appendIDs(append(b, flagByte(f.Offered)), f.IDs)
}

func (f *Body) appendPayload(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, byte(f.Kind)), uint32(f.Born))
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.Signature)))
	return append(append(b, f.Signature...), f.Ciphertext...)
}

func (f *Gone) appendPayload(b []byte) []byte { return appendIDs(b, f.IDs) }

func (f *Taken) appendPayload(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, f.RetryAfter)
	for _, o := range f.Outcomes {
		b = append(append(b, o.ID[:]...), byte(o.Status))
	}
	return b
}

func (f *Err) appendPayload(b []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(f.Code)), f.RetryAfter)
}

func appendState(b []byte, s peersync.State) []byte {
	b = append(b, s.Epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(s.First))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Last))
	b = binary.BigEndian.AppendUint64(b, s.Count)
	return binary.BigEndian.AppendUint32(b, uint32(s.Floor))
}

func appendIDs(b []byte, ids []storage.ID) []byte {
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}

func flagByte(set bool) byte {
	if set {
		return 1
	}
	return 0
}
