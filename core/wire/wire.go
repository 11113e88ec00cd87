// Package wire is the JSON that a client and the board of a Cwtch server
// exchange inside encrypted packets. It is for the relay, which decodes
// requests and writes replies, and for clients, which do the reverse.
//
// Every message is one packet. A client sends a [Request]: a replay request or
// a post. The server answers a replay with a count and that many bare
// envelopes, a post with a result, and sends each new envelope wrapped in a
// NewMessage.
//
// # Numbers
//
// Cwtch documents that a replay request has message type 0. The other four numbers are
// not documented, and are constants of this file. Where a number is in doubt, decoding
// looks at which object is present, so a wrong guess would not break a conversation.
// docs/compatibility.md has the state of each.
//
// # Bounds
//
// A decoder allocates no more than a small multiple of its input, and its input
// is at most one packet.
package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// The message types of the board protocol. All but the first are unconfirmed
// (90 %).
const (
	typeReplayRequest = 0
	typeReplayResult  = 1
	typePostRequest   = 2
	typePostResult    = 3
	typeNewMessage    = 4
)

// Envelope is an encrypted group message with the signature of its author,
// both opaque to the server. Cwtch calls it EncryptedGroupMessage.
type Envelope struct {
	Ciphertext []byte
	Signature  []byte
}

// AppendJSON appends the canonical JSON of e, which is also what a token is
// bound to: compact, Ciphertext first, nil as null.
func (e Envelope) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"Ciphertext":`...)
	dst = appendBase64(dst, e.Ciphertext)
	dst = append(dst, `,"Signature":`...)
	dst = appendBase64(dst, e.Signature)
	return append(dst, '}')
}

func appendBase64(dst, b []byte) []byte {
	if b == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// Token is a spent token as a client sends it. The lengths of its fields are
// the sender's and have to be checked.
type Token struct {
	T   []byte
	MAC []byte
}

// Post asks the server to append an envelope.
type Post struct {
	Token Token
	EGM   Envelope
}

// Request is what a client sends. One of the fields is set, or none when the message
// is one that a server ignores.
type Request struct {
	Post   *Post
	Replay *Replay
}

// Replay asks for all envelopes from LastCommit on.
type Replay struct {
	// LastCommit is the signature of the last envelope the client knows; empty
	// asks for everything.
	LastCommit []byte
}

// message has the fields of all board messages, in their order on the wire.
type message struct {
	MessageType   int
	PostRequest   *Post         `json:",omitempty"`
	PostResult    *postResult   `json:",omitempty"`
	NewMessage    *newMessage   `json:",omitempty"`
	ReplayRequest *Replay       `json:",omitempty"`
	ReplayResult  *replayResult `json:",omitempty"`
}

type postResult struct{ Success bool }
type newMessage struct{ EGM Envelope }
type replayResult struct{ NumMessages int }

var errNoObject = errors.New("message lacks the object of its type")

// DecodeRequest decodes what a client sent. After an error the connection must be
// closed.
func DecodeRequest(payload []byte) (Request, error) {
	var m struct {
		MessageType   int
		PostRequest   *Post
		ReplayRequest *Replay
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return Request{}, fmt.Errorf("decode request: %w", err)
	}
	switch {
	case m.MessageType == typeReplayRequest:
		if m.ReplayRequest == nil {
			return Request{}, fmt.Errorf("decode request: %w", errNoObject)
		}
		return Request{Replay: m.ReplayRequest}, nil
	case m.PostRequest != nil:
		return Request{Post: m.PostRequest}, nil
	case m.MessageType == typePostRequest:
		return Request{}, fmt.Errorf("decode request: %w", errNoObject)
	}
	return Request{}, nil
}

// AppendRequest appends the JSON of a request.
func AppendRequest(dst []byte, r Request) []byte {
	m := message{MessageType: typeReplayRequest, ReplayRequest: r.Replay}
	if r.Post != nil {
		m = message{MessageType: typePostRequest, PostRequest: r.Post}
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // bytes and numbers always marshal
	}
	return append(dst, b...)
}

// Reply is what a server sends. One of the fields is set, or none when the message is
// of an unknown type.
type Reply struct {
	Count  *int      // envelopes that follow, answering a replay request
	Replay *Envelope // one of them
	Posted *bool     // result of a post: true means that it is durable
	New    *Envelope // an envelope that has just been posted
}

// DecodeReply decodes what a server sent.
func DecodeReply(payload []byte) (Reply, error) {
	var m struct {
		MessageType  *int
		PostResult   *postResult
		NewMessage   *newMessage
		ReplayResult *replayResult
		Ciphertext   []byte
		Signature    []byte
	}
	if err := json.Unmarshal(payload, &m); err != nil {
		return Reply{}, fmt.Errorf("decode reply: %w", err)
	}
	switch {
	case m.PostResult != nil:
		return Reply{Posted: &m.PostResult.Success}, nil
	case m.NewMessage != nil:
		return Reply{New: &m.NewMessage.EGM}, nil
	case m.ReplayResult != nil:
		return Reply{Count: &m.ReplayResult.NumMessages}, nil
	case m.MessageType == nil:
		return Reply{Replay: &Envelope{m.Ciphertext, m.Signature}}, nil
	}
	return Reply{}, nil
}

// AppendCount appends the answer to a replay request: n envelopes follow.
func AppendCount(dst []byte, n uint64) []byte {
	dst = fmt.Appendf(dst, `{"MessageType":%d,"ReplayResult":{"NumMessages":`, typeReplayResult)
	return append(strconv.AppendUint(dst, n, 10), "}}"...)
}

// AppendPosted appends the answer to a post.
func AppendPosted(dst []byte, success bool) []byte {
	return fmt.Appendf(dst, `{"MessageType":%d,"PostResult":{"Success":%t}}`, typePostResult, success)
}

// AppendNew appends the announcement of an envelope. The envelope is given as its
// JSON, which is encoded once for all connections.
func AppendNew(dst, envelope []byte) []byte {
	dst = fmt.Appendf(dst, `{"MessageType":%d,"NewMessage":{"EGM":`, typeNewMessage)
	return append(append(dst, envelope...), "}}"...)
}

// NewOverhead is how many bytes an announcement is longer than the JSON of its
// envelope.
const NewOverhead = len(`{"MessageType":4,"NewMessage":{"EGM":}}`)

// EnvelopeSize is the length of the JSON of an envelope with the given lengths
// of ciphertext and signature.
func EnvelopeSize(ciphertext, signature int) int {
	return len(`{"Ciphertext":"","Signature":""}`) +
		base64.StdEncoding.EncodedLen(ciphertext) + base64.StdEncoding.EncodedLen(signature)
}
