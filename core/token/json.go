package token

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// MaxBatch is the largest number of tokens in one purchase: more do not fit a reply
// in its short spelling.
const MaxBatch = 150

// base64Size is the length of the standard base64 of 32 bytes.
const base64Size = 44

var (
	errEncoding = errors.New("not the base64 of 32 bytes")
	errBatch    = errors.New("more tokens than a batch may have")
)

// wire32 is 32 bytes as a base64 string. If it is absent or null it stays zero,
// which is the encoding of no point and of no honest scalar.
type wire32 [32]byte

func (w *wire32) UnmarshalText(text []byte) error {
	if len(text) != base64Size {
		return errEncoding
	}
	var buf [33]byte // 44 characters could be 33 bytes
	n, err := base64.StdEncoding.Decode(buf[:], text)
	if err != nil || n != len(w) {
		return errEncoding
	}
	copy(w[:], buf[:])
	return nil
}

// boundedList is a JSON array of at most MaxBatch elements. encoding/json alone
// would take memory for as many as the peer sends.
type boundedList[T any] []T

func (l *boundedList[T]) UnmarshalJSON(text []byte) error {
	*l = nil
	d := json.NewDecoder(bytes.NewReader(text))
	open, err := d.Token()
	if err != nil || open == nil {
		return err
	}
	if open != json.Delim('[') {
		return errors.New("not an array")
	}
	for d.More() {
		if len(*l) == MaxBatch {
			return errBatch
		}
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		*l = append(*l, v)
	}
	return nil
}

// The names P, Q, C and S are unconfirmed (R 92 %), as are st and dp (R 78 %).
// SignedTokens and Proof are the other spelling of those two that Cwtch may
// use. Its decoder ignores unknown names, so a reply has both where they fit.
type (
	blindedJSON struct{ P wire32 }
	signedJSON  struct{ Q wire32 }
	proofJSON   struct{ C, S wire32 }
	replyJSON   struct {
		Short      boundedList[signedJSON] `json:"st"`
		ShortProof *proofJSON              `json:"dp"`
		Long       boundedList[signedJSON] `json:"SignedTokens"`
		LongProof  *proofJSON              `json:"Proof"`
	}
)

func decodeRequest(payload []byte) ([]element, error) {
	var request boundedList[blindedJSON]
	if err := json.Unmarshal(payload, &request); err != nil {
		return nil, err
	}
	if len(request) == 0 {
		return nil, errors.New("no tokens")
	}
	blinded := make([]element, len(request))
	for i, r := range request {
		blinded[i] = element(r.P)
	}
	return blinded, nil
}

func appendRequest(dst []byte, blinded []element) []byte {
	return appendElements(dst, 'P', blinded)
}

// decodeReply decodes a reply in either spelling.
func decodeReply(payload []byte) (reply, error) {
	var in replyJSON
	if err := json.Unmarshal(payload, &in); err != nil {
		return reply{}, err
	}
	tokens, proof := in.Short, in.ShortProof
	if tokens == nil {
		tokens = in.Long
	}
	if proof == nil {
		proof = in.LongProof
	}
	if len(tokens) == 0 || proof == nil {
		return reply{}, errors.New("no tokens or no proof")
	}
	signed := make([]element, len(tokens))
	for i, t := range tokens {
		signed[i] = element(t.Q)
	}
	return reply{signed: signed, c: proof.C, s: proof.S}, nil
}

// encodeJSON encodes the reply in both spellings or, from 75 tokens on, only in the
// short one, to fit the packet.
func (r reply) encodeJSON() []byte {
	dst := append(make([]byte, 0, tapir.MaxPayload), '{')
	dst = r.appendSpelling(dst, "st", "dp")
	short := len(dst)
	dst = append(dst, ',')
	dst = r.appendSpelling(dst, "SignedTokens", "Proof")
	if len(dst)+1 > tapir.MaxPayload {
		dst = dst[:short]
	}
	return append(dst, '}')
}

func (r reply) appendSpelling(dst []byte, tokens, proof string) []byte {
	dst = append(dst, '"')
	dst = append(dst, tokens...)
	dst = append(dst, `":`...)
	dst = appendElements(dst, 'Q', r.signed)
	dst = append(dst, `,"`...)
	dst = append(dst, proof...)
	dst = append(dst, `":{"C":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, r.c[:])
	dst = append(dst, `","S":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, r.s[:])
	return append(dst, `"}`...)
}

func appendElements(dst []byte, name byte, elements []element) []byte {
	dst = append(dst, '[')
	for i, e := range elements {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '{', '"', name, '"', ':', '"')
		dst = base64.StdEncoding.AppendEncode(dst, e[:])
		dst = append(dst, '"', '}')
	}
	return append(dst, ']')
}
