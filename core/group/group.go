// Package group seals, signs, opens and verifies the messages of a traditional
// Cwtch group. It is for clients and bots; a server never sees inside an envelope.
//
// A group is a random key that all members hold, and the board where they meet.
// Everybody who has the key is a member: there is no list of members, nobody can be
// removed, and every member can read everything that was ever posted.
//
// # What a signature says
//
// Each message carries the onion address of its sender and a signature that
// binds it to the group and to the server. [Group.Open] checks it and reports the
// result in [Message.Verified]. It returns a message that fails as well, because
// somebody who holds the key wrote it and the reader should know. Only the signature
// authenticates a sender.
//
// # What a message reveals
//
// The text is padded, but the padding is base64 and the text is not, so a longer
// text makes a shorter message: the ciphertext has 2621 bytes for an empty text and
// 2021 for 1800 characters. Its length tells a short text from a long one. On the
// network all packets have the same length.
//
// # Server-less groups
//
// A group can have several hosts, which replicate one board or are bridged by a bot. Its
// id and its signatures are then bound to a manager's key in place of a server, so that
// one envelope is valid at every host. The manager signs the list of hosts, which comes
// with the invite and in messages of the group ([UnwrapHosts]). [ChainOrder] orders
// what came from several hosts.
//
// # Compatibility
//
// The JSON that is signed, its escaping and the padding are documented by Cwtch or
// follow from how Go marshals. Unconfirmed are that the nonce stands in front of the
// box (95 %), and that the signed string has exactly these three parts (90 %).
// docs/compatibility.md has the state of each.
package group

import (
	"crypto/rand"
	"fmt"
	"log/slog"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Group is what the members of a group share. It holds the secret key; it prints as
// its name.
type Group struct {
	ID   [16]byte // follows from the key and the server
	Name string   // chosen by the member who made it; may hold anything
	// Server is the board, or of a server-less group the onion of its manager's key,
	// under which nobody listens. Signatures are bound to it.
	Server identity.Onion

	key [32]byte
}

// New makes a group with a fresh key that meets on a server's board. The name
// is UTF-8 of at most [bundle.MaxGroupName] bytes.
func New(name string, server identity.Onion) (Group, error) {
	var key [32]byte
	rand.Read(key[:]) // never fails
	i, err := bundle.NewInvite(name, key, server)
	if err != nil {
		return Group{}, fmt.Errorf("make group: %w", err)
	}
	return FromInvite(i), nil
}

// FromInvite returns the group to which an invite admits.
func FromInvite(i bundle.Invite) Group {
	return Group{ID: i.GroupID, Name: i.GroupName, Server: i.Server, key: i.SharedKey}
}

// Invite returns the invite to the group, which admits everybody who holds it, for
// ever.
func (g Group) Invite() bundle.Invite {
	return bundle.Invite{GroupID: g.ID, GroupName: g.Name, SharedKey: g.key, Server: g.Server}
}

// String returns the quoted name.
func (g Group) String() string { return fmt.Sprintf("%q", g.Name) }

// GoString returns the quoted name, so that %#v does not print the key.
func (g Group) GoString() string { return g.String() }

// LogValue keeps name, ID and key out of logs.
func (g Group) LogValue() slog.Value { return slog.StringValue("[group]") }
