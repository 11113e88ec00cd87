// Package bundle makes and reads the texts with which people pass servers and
// groups to each other: the signed key bundle of a server ("server:…"), the
// invite to a group ("torv3…"), both in one ("tofubundle:…"), and the invite to a
// server-less group, which has several hosts ("serverless1:…"). It is for the relay,
// which publishes its bundle, and for clients, which import them.
//
// # Guarantees
//
// A [Bundle] that [Parse] returns is signed by the board it names and has all
// three keys, each of them usable. There is one text for it: parsing takes
// exactly what [Bundle.String] writes, so a text with any character changed is
// refused. An [Invite] that [ParseInvite] returns has the group id that follows
// from its key and its server. Texts are bounded before they are decoded.
//
// # Caveats
//
// A bundle proves only that it is the board's own. Whether it is the board that
// one means to join, and has the keys that one knew before ([Bundle.SameKeys]),
// is for the client to decide.
//
// An invite is not signed and is a secret: whoever has it reads the group and
// writes to it. Errors of this package never quote one. The name of a group is
// text from a stranger; quote it before it goes to a terminal.
package bundle

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

const (
	bundlePrefix = "server:"
	// maxBundleText bounds the text of a bundle, which is 475 characters.
	maxBundleText = 1024
)

// What is wrong with a text. Other errors say it in words.
var (
	// ErrText: the text is not what its prefix promises, or was changed.
	ErrText = errors.New("text is damaged or incomplete")
	// ErrSignature: the bundle is not signed by the board it names.
	ErrSignature = errors.New("signature is not the board's")
)

// Bundle is what a server publishes of itself, signed by its board.
type Bundle struct {
	// Board is the onion of the message board, whose key signs the bundle.
	Board identity.Onion
	// TokenService is the onion that issues tokens.
	TokenService identity.Onion
	// TokenKey is the public key of the token service, an encoded ristretto255
	// element.
	TokenKey [32]byte
	// Signature is the board's over the rest.
	Signature []byte
}

// New returns the signed bundle of s, whose token service has the public key
// tokenKey. The same keys make the same bundle.
func New(s *identity.Server, tokenKey [32]byte) Bundle {
	b := Bundle{Board: s.Board.Onion(), TokenService: s.Token.Onion(), TokenKey: tokenKey}
	b.Signature = s.Board.Sign(b.signedBytes())
	return b
}

// Verify checks the three keys and the signature.
func (b Bundle) Verify() error {
	if _, err := identity.ParseOnion(string(b.Board)); err != nil {
		return fmt.Errorf("bundle: board: %w", err)
	}
	if _, err := identity.ParseOnion(string(b.TokenService)); err != nil {
		return fmt.Errorf("bundle: token service: %w", err)
	}
	if err := token.CheckPublic(b.TokenKey); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if !ed25519.Verify(b.Board.PublicKey(), b.signedBytes(), b.Signature) {
		return fmt.Errorf("bundle: %w", ErrSignature)
	}
	return nil
}

// SameKeys reports whether both bundles have the same three keys. A client
// refuses a bundle of a board that it knows with other keys.
func (b Bundle) SameKeys(other Bundle) bool {
	return b.Board == other.Board && b.TokenService == other.TokenService && b.TokenKey == other.TokenKey
}

// String returns the text form "server:…".
func (b Bundle) String() string {
	return bundlePrefix + base64.StdEncoding.EncodeToString(b.appendJSON(nil, b.Signature))
}

// Parse reads and verifies the text form. Spaces around it are the caller's to
// trim.
func Parse(text string) (Bundle, error) {
	raw, err := decodeText(text, bundlePrefix, maxBundleText)
	if err != nil {
		return Bundle{}, fmt.Errorf("bundle: parse: %w", err)
	}
	var in struct {
		Keys struct {
			Board        string `json:"bulletin_board_onion"`
			TokenKey     []byte `json:"privacy_pass_public_key"`
			TokenService string `json:"token_service_onion"`
		}
		Signature []byte
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return Bundle{}, fmt.Errorf("bundle: parse: %w", ErrText)
	}
	if in.Keys.Board == "" || in.Keys.TokenService == "" || len(in.Keys.TokenKey) != 32 {
		return Bundle{}, errors.New("bundle: parse: one of the three keys is missing")
	}
	b := Bundle{
		Board:        identity.Onion(in.Keys.Board),
		TokenService: identity.Onion(in.Keys.TokenService),
		TokenKey:     [32]byte(in.Keys.TokenKey),
		Signature:    in.Signature,
	}
	if err := b.Verify(); err != nil {
		return Bundle{}, err
	}
	// The signature does not cover the spelling.
	if b.String() != text {
		return Bundle{}, fmt.Errorf("bundle: parse: %w", ErrText)
	}
	return b, nil
}

// signedBytes returns the bytes that the board signs: the JSON of the whole bundle
// with null for the signature.
func (b Bundle) signedBytes() []byte { return b.appendJSON(nil, nil) }

// appendJSON writes what encoding/json makes of Cwtch's map of keys. The values
// need no escapes in a bundle that verifies.
func (b Bundle) appendJSON(dst, signature []byte) []byte {
	dst = append(dst, `{"Keys":{"bulletin_board_onion":"`...)
	dst = append(dst, b.Board...)
	dst = append(dst, `","privacy_pass_public_key":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b.TokenKey[:])
	dst = append(dst, `","token_service_onion":"`...)
	dst = append(dst, b.TokenService...)
	dst = append(dst, `"},"Signature":`...)
	if signature == nil {
		return append(dst, "null}"...)
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, signature)
	return append(dst, `"}`...)
}

// decodeText strips prefix from a text of at most limit bytes and decodes the
// base64 behind it.
func decodeText(text, prefix string, limit int) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, fmt.Errorf("text does not begin with %q", prefix)
	}
	if len(text) > limit {
		return nil, fmt.Errorf("text has %d characters, at most %d", len(text), limit)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, ErrText
	}
	return raw, nil
}
