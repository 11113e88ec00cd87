package group

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// MaxText is the greatest length of a text in bytes, an overlay included.
const MaxText = 1800

const nonceSize = 24

// Reasons for which [Group.Seal] refuses.
var (
	// ErrTooLong means that the text exceeds [MaxText], or that the post would not
	// fit a packet because JSON escapes too many of its characters.
	ErrTooLong = errors.New("text is too long")
	// ErrNotText means that the text is not UTF-8. It could be sent, but its
	// signature would not verify: JSON turns every wrong byte into U+FFFD.
	ErrNotText = errors.New("text is not valid UTF-8")
)

// Reasons for which [Group.Open] refuses.
var (
	// ErrForeign means that the envelope was not sealed with the key of this group.
	// That is the usual case, since groups share a board.
	ErrForeign = errors.New("envelope is not of this group")
	// ErrMalformed means that somebody who holds the key sealed something that
	// is not a message.
	ErrMalformed = errors.New("envelope of this group holds no message")
)

// Draft is a message to be sealed.
type Draft struct {
	Text     string    // at most MaxText bytes of UTF-8; see WrapText
	Time     time.Time // sent with a precision of a second
	Previous []byte    // signature of the last message the sender knows; nil for the first
}

// Message is an opened message.
type Message struct {
	Text string // what the sender wrote; see UnwrapText
	// From claims to be the sender; it is "" if the claim is not an onion address. It
	// means something only if Verified.
	From     identity.Onion
	Verified bool // From signed the message, for this group on this server
	// Time is the sender's claim, to the second, and may lie anywhere between
	// 1970 and the end of the year 9999.
	Time      time.Time
	Signature []byte // names the message; aliases the envelope
	Previous  []byte // Signature of the last message that the sender knew
}

// plainMessage is the JSON inside a ciphertext. The order of the fields and Go's
// escaping are part of the protocol: the verifier marshals what it decoded.
type plainMessage struct {
	Text               string
	Onion              string
	Timestamp          uint64 // Unix seconds
	SignedGroupID      []byte
	PreviousMessageSig []byte // empty for the first message, not null
	Padding            []byte
}

// Seal encrypts and signs a message. The envelope fits into a post.
func (g Group) Seal(from identity.Key, d Draft) (wire.Envelope, error) {
	if len(d.Text) > MaxText {
		return wire.Envelope{}, fmt.Errorf("seal message: %w: %d bytes, and %d are allowed", ErrTooLong, len(d.Text), MaxText)
	}
	if !utf8.ValidString(d.Text) {
		return wire.Envelope{}, fmt.Errorf("seal message: %w", ErrNotText)
	}
	padding := make([]byte, MaxText-len(d.Text))
	var nonce [nonceSize]byte
	rand.Read(padding)
	rand.Read(nonce[:])
	e := g.sealPlain(from, nonce, plainMessage{
		Text:               d.Text,
		Onion:              string(from.Onion()),
		Timestamp:          uint64(max(0, d.Time.Unix())),
		SignedGroupID:      g.ID[:],
		PreviousMessageSig: append([]byte{}, d.Previous...),
		Padding:            padding,
	})
	if n := postSize(e); n > tapir.MaxPayload {
		return wire.Envelope{}, fmt.Errorf("seal message: %w: it has %d bytes when encoded, and %d fit a packet; quotes, < > & and control characters need the most",
			ErrTooLong, n, tapir.MaxPayload)
	}
	return e, nil
}

func (g Group) sealPlain(from identity.Key, nonce [nonceSize]byte, p plainMessage) wire.Envelope {
	text := p.marshalJSON()
	return wire.Envelope{
		Ciphertext: secretbox.Seal(nonce[:], text, &nonce, &g.key),
		Signature:  from.Sign(g.signedBytes(text)),
	}
}

// Open decrypts and verifies an envelope. The error is [ErrForeign] or
// [ErrMalformed]; a message whose signature fails is not an error.
func (g Group) Open(e wire.Envelope) (Message, error) {
	if len(e.Ciphertext) < nonceSize+secretbox.Overhead {
		return Message{}, ErrForeign
	}
	nonce := [nonceSize]byte(e.Ciphertext)
	text, ok := secretbox.Open(nil, e.Ciphertext[nonceSize:], &nonce, &g.key)
	if !ok {
		return Message{}, ErrForeign
	}
	var p plainMessage
	if err := json.Unmarshal(text, &p); err != nil {
		return Message{}, ErrMalformed
	}
	m := Message{
		Text:      p.Text,
		Time:      time.Unix(int64(min(p.Timestamp, maxTimestamp)), 0),
		Signature: e.Signature,
		Previous:  p.PreviousMessageSig,
	}
	from, err := identity.ParseOnion(p.Onion)
	if err != nil {
		return m, nil
	}
	m.From = from
	m.Verified = string(p.SignedGroupID) == string(g.ID[:]) &&
		ed25519.Verify(from.PublicKey(), g.signedBytes(p.marshalJSON()), e.Signature)
	return m, nil
}

// maxTimestamp is the last second of the year 9999, UTC: later times can
// neither be formatted nor marshalled.
const maxTimestamp = 253402300799

func (p plainMessage) marshalJSON() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings, bytes and numbers always marshal
	}
	return b
}

// signedBytes returns what the sender of a message signs.
func (g Group) signedBytes(message []byte) []byte {
	b := hex.AppendEncode(nil, g.ID[:])
	b = append(b, g.Server...)
	return base64.StdEncoding.AppendEncode(b, message)
}

// postSize returns the length of the request that posts e.
func postSize(e wire.Envelope) int {
	spent := wire.Token{T: make([]byte, 32), MAC: make([]byte, 64)}
	return len(wire.AppendRequest(nil, wire.Request{Post: &wire.Post{Token: spent, EGM: e}}))
}
