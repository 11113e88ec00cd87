package tapir

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha3"
	"encoding/json"
	"fmt"

	voi "github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/x25519"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// The labels of the transcript of an authentication.
const (
	authProtocol           = "auth-app"
	outboundHostnameLabel  = "outbound-hostname"
	inboundHostnameLabel   = "inbound-hostname"
	outboundChallengeLabel = "outbound-challenge"
	inboundChallengeLabel  = "inbound-challenge"
	authChallengeLabel     = "3dh-auth-challenge"
)

// role tells which side of a connection this is.
type role int

const (
	outbound role = iota // dialled
	inbound              // was dialled
)

// authMessage is the first message of each side. The order of its fields and its
// encoding matter: both sides hash the message as encoding/json writes it.
type authMessage struct {
	LongTermPublicKey  ed25519.PublicKey
	EphemeralPublicKey ed25519.PublicKey
}

func (m authMessage) encodeJSON() []byte {
	text, err := json.Marshal(m)
	if err != nil {
		panic("tapir: " + err.Error()) // two byte strings always encode
	}
	return text
}

// decodeAuthMessage decodes the message of a peer and checks that its keys are safe
// to use in a key exchange. Like upstream it is lenient about the JSON around them:
// the transcript has the message in our own spelling.
func decodeAuthMessage(text []byte) (authMessage, error) {
	var m authMessage
	if err := json.Unmarshal(text, &m); err != nil {
		return authMessage{}, ErrAuthentication // err may quote the text
	}
	if identity.CheckPublicKey(m.LongTermPublicKey) != nil || identity.CheckPublicKey(m.EphemeralPublicKey) != nil {
		return authMessage{}, ErrAuthentication
	}
	return m, nil
}

// handshake is an authentication without its input and output.
type handshake struct {
	role                role
	longTerm, ephemeral identity.Key
	wantPeer            identity.Onion // name the peer must have, "" for any
	own, peer           authMessage
}

func newHandshake(r role, longTerm, ephemeral identity.Key) *handshake {
	own := authMessage{longTerm.Public(), ephemeral.Public()}
	return &handshake{role: r, longTerm: longTerm, ephemeral: ephemeral, own: own}
}

func (h *handshake) ownMessage() []byte { return h.own.encodeJSON() }

// readMessage reads the first message of the peer.
func (h *handshake) readMessage(text []byte) error {
	peer, err := decodeAuthMessage(text)
	if err != nil {
		return err
	}
	// No honest peer has a key of ours: this is our own message, reflected.
	for _, own := range []ed25519.PublicKey{h.own.LongTermPublicKey, h.own.EphemeralPublicKey} {
		if bytes.Equal(own, peer.LongTermPublicKey) || bytes.Equal(own, peer.EphemeralPublicKey) {
			return ErrAuthentication
		}
	}
	if h.wantPeer != "" && identity.OnionOf(peer.LongTermPublicKey) != h.wantPeer {
		return fmt.Errorf("another service answered: %w", ErrAuthentication)
	}
	h.peer = peer
	return nil
}

// agreement is what both sides know after the first messages.
type agreement struct {
	peer                identity.Onion
	session             sessionKey
	ownProof, peerProof []byte
}

// deriveAgreement derives the session key and the proofs, after readMessage.
func (h *handshake) deriveAgreement() (*agreement, error) {
	session, err := h.deriveSessionKey()
	if err != nil {
		return nil, err
	}
	peer := identity.OnionOf(h.peer.LongTermPublicKey)
	challenge := h.deriveChallenge()
	return &agreement{
		peer:      peer,
		session:   session,
		ownProof:  append(challenge[:], h.longTerm.Onion()...),
		peerProof: append(challenge[:], peer...),
	}, nil
}

// deriveSessionKey hashes the three shared secrets, that of the long-term key of the
// side that dialled first.
func (h *handshake) deriveSessionKey() (sessionKey, error) {
	pairs := [3]struct {
		own  identity.Key
		peer ed25519.PublicKey
	}{
		{h.longTerm, h.peer.EphemeralPublicKey},
		{h.ephemeral, h.peer.LongTermPublicKey},
		{h.ephemeral, h.peer.EphemeralPublicKey},
	}
	if h.role == inbound {
		pairs[0], pairs[1] = pairs[1], pairs[0]
	}
	hash := sha3.New256()
	for _, dh := range pairs {
		secret, err := diffieHellman(dh.own, dh.peer)
		if err != nil {
			return sessionKey{}, err
		}
		hash.Write(secret)
	}
	return sessionKey(hash.Sum(nil)), nil
}

// diffieHellman runs X25519 between ed25519 keys, mapped to the Montgomery curve
// in the usual way.
func diffieHellman(own identity.Key, peer ed25519.PublicKey) ([]byte, error) {
	point, ok := x25519.EdPublicKeyToX25519(voi.PublicKey(peer))
	if !ok {
		return nil, ErrAuthentication
	}
	private := own.Private()
	defer clear(private)
	scalar := x25519.EdPrivateKeyToX25519(voi.PrivateKey(private))
	defer clear(scalar)
	secret, err := x25519.X25519(scalar, point)
	if err != nil {
		return nil, ErrAuthentication
	}
	return secret, nil
}

// deriveChallenge derives what proves that both sides saw the same messages.
func (h *handshake) deriveChallenge() [64]byte {
	out, in := h.own, h.peer
	if h.role == inbound {
		out, in = in, out
	}
	t := NewTranscript()
	t.Protocol(authProtocol)
	t.Append(outboundHostnameLabel, []byte(identity.OnionOf(out.LongTermPublicKey)))
	t.Append(inboundHostnameLabel, []byte(identity.OnionOf(in.LongTermPublicKey)))
	t.Append(outboundChallengeLabel, out.encodeJSON())
	t.Append(inboundChallengeLabel, in.encodeJSON())
	return t.Commit(authChallengeLabel)
}
