// Package tapir speaks the transport protocol of Cwtch: packets of 8192 bytes
// over a stream, and the authentication of two onion services to each other at
// the start of a connection. It is for the parts of the relay and of its clients
// that serve or use a board (authenticated and encrypted) or a token service
// (neither; inside Tor the onion service itself is the proof).
//
// # Packets
//
// Every message is one packet and every packet has [PacketSize] bytes, whatever
// it carries, so its length tells nothing. [Conn.Send] and [Conn.Receive] move
// whole messages of at most [MaxPayload] bytes. After authentication packets are
// NaCl secretboxes under one session key with random nonces.
//
// # Authentication
//
// [Client] and [Server] run a triple Diffie-Hellman exchange between the
// long-term ed25519 keys behind the two onion names and a fresh ephemeral key of
// each side, and exchange a proof over a transcript of it. Afterwards both sides
// know the name of the other, and messages are confidential and authentic. Whoever
// steals the long-term keys later cannot read them.
//
// # Caveats
//
// The protocol has no counters: somebody who controls the stream can repeat,
// reorder or drop encrypted packets of the same connection, and send one back to
// its sender. The effect of a message must be safe to happen twice.
//
// # Hostile peers
//
// Every step of an authentication has a deadline that dripping bytes do not
// extend. A packet that breaks the protocol closes the connection without an
// answer. Memory is taken when bytes arrive, not when a connection is made.
//
// # Compatibility
//
// The protocol follows the cwtch and tapir modules of Open Privacy, tapir 0.6.0.
// Its authentication is checked against their author's Rust library, see the
// directory interop. Three things are not confirmed against a peer yet: the
// functions putSealedLength and readSealedLength, and the constant [MaxPayload].
package tapir

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Errors of a connection, beside those of the network. After any of them but
// ErrPayloadSize the connection is closed.
var (
	// ErrPayloadSize means that a payload to send is empty or longer than MaxPayload.
	ErrPayloadSize = errors.New("payload is empty or too long for a packet")
	// ErrPacket means that a received packet does not open, or states an impossible
	// length.
	ErrPacket = errors.New("packet is malformed")
	// ErrAuthentication means that the peer did not prove who it is, or is another
	// than expected.
	ErrAuthentication = errors.New("peer did not authenticate")
)

// A Conn carries messages. One goroutine at a time may call Receive; the other
// methods are safe for concurrent use.
type Conn struct {
	nc   net.Conn
	peer identity.Onion
	key  *sessionKey // nil for clear packets

	firstByte [1]byte    // of the packet that Receive waits for
	sendMu    sync.Mutex // held while packets are written, so that they stay whole
}

// Plain returns a connection of clear packets, as token services use. It takes
// over nc.
func Plain(nc net.Conn) *Conn { return &Conn{nc: nc} }

// Peer returns the authenticated name of the other side, "" if there is none.
func (c *Conn) Peer() identity.Onion { return c.peer }

// Export derives a key for another protocol from the session key of an authenticated
// connection, by HKDF-SHA256. Both sides get the same key for the same purpose, and nobody
// else knows it. It says nothing about which side is which, so a purpose should.
func (c *Conn) Export(purpose string) [32]byte {
	key, err := hkdf.Key(sha256.New, c.key[:], nil, purpose, 32)
	if err != nil {
		panic("tapir: " + err.Error()) // 32 bytes are never too many
	}
	return [32]byte(key)
}

// NetConn returns the stream under the packets, for two sides that both go on with another
// protocol. Send and Receive must not be called any more.
func (c *Conn) NetConn() net.Conn { return c.nc }

// SetReadDeadline sets the time at which Receive gives up, as
// [net.Conn.SetReadDeadline]. It holds for a packet as a whole.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// SetWriteDeadline sets the time at which Send gives up, as
// [net.Conn.SetWriteDeadline].
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.nc.SetWriteDeadline(t) }

// Close closes the underlying connection, which ends Send and Receive.
func (c *Conn) Close() error { return c.nc.Close() }
