package bundle

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

const (
	// MaxGroupName is the largest length of a group's name in bytes.
	MaxGroupName = 256

	invitePrefix = "torv3"
	tofuPrefix   = "tofubundle:"
	tofuMiddle   = "||"
	// maxInviteText bounds the text of an invite: its JSON has some 250 bytes and
	// a name, in which encoding/json may write six for one.
	maxInviteText = 3072
	// groupIDRounds is the number of PBKDF2 iterations, some milliseconds.
	groupIDRounds = 4096
)

// Errors of invites.
var (
	// ErrGroupID: the group id of an invite is not that of its key and server.
	ErrGroupID = errors.New("group id does not belong to the key and the server")
	// ErrOtherServer: bundle and invite of one text are of different servers.
	ErrOtherServer = errors.New("invite is to a group on another server")
)

// Invite lets its holder into a group. Anything but String prints it as
// "[secret]".
type Invite struct {
	GroupID   [16]byte
	GroupName string
	// SharedKey encrypts the messages of the group.
	SharedKey [32]byte
	// Server is the board that the group is on.
	Server identity.Onion
}

// inviteJSON has the fields of Cwtch in their order. The two that it no longer
// uses are always the same.
type inviteJSON struct {
	GroupID       string
	GroupName     string
	SignedGroupID []byte
	Timestamp     int
	SharedKey     []byte
	ServerHost    string
}

// NewInvite returns the invite to the group with the given key on server. The
// name is for people: UTF-8 of at most [MaxGroupName] bytes.
func NewInvite(name string, key [32]byte, server identity.Onion) (Invite, error) {
	if len(name) > MaxGroupName || !utf8.ValidString(name) {
		return Invite{}, fmt.Errorf("invite: group name is not UTF-8 of at most %d bytes", MaxGroupName)
	}
	if _, err := identity.ParseOnion(string(server)); err != nil {
		return Invite{}, fmt.Errorf("invite: server: %w", err)
	}
	return Invite{GroupID: GroupID(key, server), GroupName: name, SharedKey: key, Server: server}, nil
}

// GroupID returns the id of the group with the given key on server, an
// [identity.Onion] that was parsed. It takes some milliseconds.
func GroupID(key [32]byte, server identity.Onion) [16]byte {
	id, err := pbkdf2.Key(sha512.New, string(key[:]), server.PublicKey(), groupIDRounds, 16)
	if err != nil {
		panic("bundle: group id: " + err.Error()) // only for lengths that FIPS mode forbids
	}
	return [16]byte(id)
}

// String returns the text form "torv3…", which is the secret itself.
func (i Invite) String() string {
	text, err := json.Marshal(inviteJSON{
		GroupID:    hex.EncodeToString(i.GroupID[:]),
		GroupName:  i.GroupName,
		SharedKey:  i.SharedKey[:],
		ServerHost: string(i.Server),
	})
	if err != nil {
		panic("bundle: invite: " + err.Error()) // strings and bytes always marshal
	}
	return invitePrefix + base64.StdEncoding.EncodeToString(text)
}

// ParseInvite reads the text form and checks the server's name, the group's name
// and that the group id follows from key and server.
func ParseInvite(text string) (Invite, error) {
	raw, err := decodeText(text, invitePrefix, maxInviteText)
	if err != nil {
		return Invite{}, fmt.Errorf("invite: parse: %w", err)
	}
	var in inviteJSON
	if err := json.Unmarshal(raw, &in); err != nil || len(in.SharedKey) != 32 {
		return Invite{}, fmt.Errorf("invite: parse: %w", ErrText)
	}
	id, err := hex.DecodeString(in.GroupID)
	if err != nil {
		return Invite{}, fmt.Errorf("invite: parse: %w", ErrText)
	}
	i, err := NewInvite(in.GroupName, [32]byte(in.SharedKey), identity.Onion(in.ServerHost))
	if err != nil {
		return Invite{}, err
	}
	if !bytes.Equal(id, i.GroupID[:]) {
		return Invite{}, fmt.Errorf("invite: %w", ErrGroupID)
	}
	return i, nil
}

// TOFU returns the text "tofubundle:…". With it, somebody who trusts it on first use
// imports the server and joins the group.
func TOFU(b Bundle, i Invite) string {
	return tofuPrefix + b.String() + tofuMiddle + i.String()
}

// ParseTOFU reads what [TOFU] writes, as [Parse] and [ParseInvite] do, and
// refuses an invite to another server than the bundle's.
func ParseTOFU(text string) (Bundle, Invite, error) {
	rest, ok := strings.CutPrefix(text, tofuPrefix)
	if !ok {
		return Bundle{}, Invite{}, fmt.Errorf("tofu bundle: text does not begin with %q", tofuPrefix)
	}
	bundleText, inviteText, ok := strings.Cut(rest, tofuMiddle)
	if !ok {
		return Bundle{}, Invite{}, fmt.Errorf("tofu bundle: there is no %q between server and invite", tofuMiddle)
	}
	b, err := Parse(bundleText)
	if err != nil {
		return Bundle{}, Invite{}, fmt.Errorf("tofu bundle: %w", err)
	}
	i, err := ParseInvite(inviteText)
	if err != nil {
		return Bundle{}, Invite{}, fmt.Errorf("tofu bundle: %w", err)
	}
	if i.Server != b.Board {
		return Bundle{}, Invite{}, fmt.Errorf("tofu bundle: %w", ErrOtherServer)
	}
	return b, i, nil
}

// Format keeps the invite out of logs and error texts.
func (Invite) Format(f fmt.State, _ rune) { io.WriteString(f, "[secret]") }

// LogValue keeps the invite out of structured logs.
func (Invite) LogValue() slog.Value { return slog.StringValue("[secret]") }
