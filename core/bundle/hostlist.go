package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// MaxHosts is how many hosts a group can have. Their list fits into one message.
const MaxHosts = 7

const (
	// hostListFormat is the first byte of an encoded list.
	hostListFormat = 1
	hostListHeader = 1 + 8 + 1 // format, serial, number of hosts
	hostLength     = 32 + 32 + 32 + ed25519.SignatureSize
	// hostListDomain is in front of what a manager signs, so that no other signature
	// is one of a list.
	hostListDomain = "cwtch-relay host list 1\x00"
)

// Reasons why a list of hosts is refused.
var (
	// ErrNewerFormat: a newer program wrote the text, in a format that this one does
	// not know.
	ErrNewerFormat = errors.New("written by a newer program")
	// ErrManager: the list is not signed by the manager of the group.
	ErrManager = errors.New("list of hosts is not signed by the manager of the group")
	// ErrHosts: a group has one host at least and MaxHosts at most, each once.
	ErrHosts = fmt.Errorf("a group has 1 to %d hosts, each of them once", MaxHosts)
)

// HostList names the servers that host a server-less group. Its manager signs it. Of two
// lists of a group, the one with the greater serial replaces the other.
type HostList struct {
	Serial uint64
	Hosts  []Bundle
	// Signature is the manager's over the group and the rest.
	Signature []byte
}

// SignHosts returns a signed list for a group.
func SignHosts(manager identity.Key, group [16]byte, serial uint64, hosts []Bundle) (HostList, error) {
	l := HostList{Serial: serial, Hosts: hosts}
	if err := l.check(); err != nil {
		return HostList{}, err
	}
	l.Signature = manager.Sign(l.signedBytes(group))
	return l, nil
}

// Verify checks that the manager of a group signed the list.
func (l HostList) Verify(manager identity.Onion, group [16]byte) error {
	if err := l.check(); err != nil {
		return err
	}
	if !ed25519.Verify(manager.PublicKey(), l.signedBytes(group), l.Signature) {
		return fmt.Errorf("host list: %w", ErrManager)
	}
	return nil
}

// Equal reports whether both lists say the same.
func (l HostList) Equal(other HostList) bool { return bytes.Equal(l.Encode(), other.Encode()) }

func (l HostList) check() error {
	if len(l.Hosts) == 0 || len(l.Hosts) > MaxHosts {
		return fmt.Errorf("host list: %w", ErrHosts)
	}
	seen := make(map[identity.Onion]bool)
	for _, b := range l.Hosts {
		if err := b.Verify(); err != nil {
			return fmt.Errorf("host list: %w", err)
		}
		if seen[b.Board] {
			return fmt.Errorf("host list: %w", ErrHosts)
		}
		seen[b.Board] = true
	}
	return nil
}

func (l HostList) signedBytes(group [16]byte) []byte {
	return l.appendUnsigned(append([]byte(hostListDomain), group[:]...))
}

// Encode returns the list as bytes, 160 for each host. The list is one that was signed
// or decoded.
func (l HostList) Encode() []byte { return append(l.appendUnsigned(nil), l.Signature...) }

func (l HostList) appendUnsigned(b []byte) []byte {
	b = append(b, hostListFormat)
	b = binary.BigEndian.AppendUint64(b, l.Serial)
	b = append(b, byte(len(l.Hosts)))
	for _, h := range l.Hosts {
		b = append(b, h.Board.PublicKey()...)
		b = append(b, h.TokenService.PublicKey()...)
		b = append(b, h.TokenKey[:]...)
		b = append(b, h.Signature...)
	}
	return b
}

// DecodeHostList decodes what Encode returns, and verifies that the manager of the group
// signed it.
func DecodeHostList(b []byte, manager identity.Onion, group [16]byte) (HostList, error) {
	if len(b) > 0 && b[0] > hostListFormat {
		return HostList{}, fmt.Errorf("host list: %w", ErrNewerFormat)
	}
	if len(b) < hostListHeader || b[0] != hostListFormat {
		return HostList{}, fmt.Errorf("host list: %w", ErrText)
	}
	l := HostList{Serial: binary.BigEndian.Uint64(b[1:])}
	n, rest := int(b[hostListHeader-1]), b[hostListHeader:]
	if n > MaxHosts || len(rest) != n*hostLength+ed25519.SignatureSize {
		return HostList{}, fmt.Errorf("host list: %w", ErrText)
	}
	for range n {
		l.Hosts = append(l.Hosts, Bundle{
			Board:        identity.OnionOf(ed25519.PublicKey(rest[:32])),
			TokenService: identity.OnionOf(ed25519.PublicKey(rest[32:64])),
			TokenKey:     [32]byte(rest[64:96]),
			Signature:    bytes.Clone(rest[96:hostLength]),
		})
		rest = rest[hostLength:]
	}
	l.Signature = bytes.Clone(rest)
	return l, l.Verify(manager, group)
}
