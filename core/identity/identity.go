// Package identity has the names and the secrets of a Cwtch server: ed25519 keys, the
// Tor v3 onion names that follow from them, and the file with the keys of a server. It is
// for every part of the relay and of its clients that listens on, dials or signs for an
// onion service.
//
// # Names
//
// An [Onion] is the 56-character base32 name of a v3 onion service, lower case
// and without ".onion": the form Cwtch uses inside its protocol. It contains
// the public key, so the name is enough to verify what the service signs.
// [ParseOnion] and [CheckPublicKey] refuse keys with which a dishonest peer could
// confuse a key exchange or a signature check.
//
// # Secrets
//
// A [Key] or a [Server] prints as "[secret]" through fmt, log/slog, JSON and
// every other encoder that honours [encoding.TextMarshaler]. Only methods and fields
// whose documentation says so give out secret bytes; methods return copies.
//
// # The key file
//
// [LoadOrCreate] keeps the keys of one server in one file. The keys are durable before
// the caller sees them, and two processes that create the file at the same moment get the
// same keys. It never changes an existing file: without it the server would have a new
// address.
//
// # Protected keys
//
// [Create] and [ChangePassphrase] encrypt the keys with a passphrase, and then only [Unlock]
// opens the file. This is for a disk that is stolen while the machine is off. It does not help
// against somebody who has the running machine, or who guesses the passphrase; without the
// passphrase the keys are lost. The ADR "A passphrase protects the keys of a server, and
// nothing else on the disk" has the format and the reasons.
//
// Secrets are wiped from memory where this package has them. What the runtime, or a library,
// has copied may stay until the memory is used again.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
)

// redacted is what a secret looks like when it is printed.
const redacted = "[secret]"

// A Key is an ed25519 key pair that owns an onion name. The zero Key is not
// usable. A Key may be copied and used by several goroutines; compare keys by their
// onion names.
type Key struct {
	// A function, because fmt does not call the methods of a Key in an unexported field
	// of another struct. A function prints as its address.
	secret func() *keyPair
}

type keyPair struct {
	private ed25519.PrivateKey // the seed and the public key
}

// NewKey returns a fresh random key.
func NewKey() Key {
	var seed [ed25519.SeedSize]byte
	defer clear(seed[:])
	rand.Read(seed[:]) // never fails, see crypto/rand
	return keyFromSeed(seed[:])
}

// KeyFromSeed returns the key with the given seed, as RFC 8032 derives it.
func KeyFromSeed(seed [32]byte) Key {
	defer clear(seed[:])
	return keyFromSeed(seed[:])
}

func keyFromSeed(seed []byte) Key {
	pair := &keyPair{private: ed25519.NewKeyFromSeed(seed)}
	return Key{func() *keyPair { return pair }}
}

// Onion returns the onion name of the key.
func (k Key) Onion() Onion { return OnionOf(k.Public()) }

// Public returns a copy of the public key.
func (k Key) Public() ed25519.PublicKey {
	return ed25519.PublicKey(slices.Clone(k.secret().private[ed25519.SeedSize:]))
}

// Private returns a copy of the secret key in the form of crypto/ed25519. A caller that
// needs it only for a moment should wipe it with clear.
func (k Key) Private() ed25519.PrivateKey { return slices.Clone(k.secret().private) }

// Sign signs a message. It leaves no copy of the key with the caller.
func (k Key) Sign(message []byte) []byte { return ed25519.Sign(k.secret().private, message) }

// Seed returns the secret seed.
func (k Key) Seed() [32]byte { return [32]byte(k.secret().private[:ed25519.SeedSize]) }

// Format prints "[secret]" for every verb and flag.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "[secret]", which keeps keys out of log/slog and JSON.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
