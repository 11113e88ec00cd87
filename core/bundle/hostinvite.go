package bundle

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

const (
	// hostInvitePrefix begins an invite to a server-less group. No other program knows
	// it: one that understood half of such an invite would post where no other member
	// reads. The digit is the format.
	hostInvitePrefix = "serverless1:"
	hostInviteFamily = "serverless"
	// maxHostInvite bounds the text. The name has 1536 bytes at most once it is
	// escaped, the list 1600 in base64, and the whole is in base64 again.
	maxHostInvite = 6 << 10
)

// HostInvite lets its holder into a server-less group. Like an [Invite] it is a secret,
// and prints as "[secret]" anywhere but in String.
//
// Its Invite has the onion of the group's manager in place of a server, under which
// nobody listens. So the group keeps its id and its signatures when its hosts change.
type HostInvite struct {
	Invite
	Hosts HostList
}

type hostInviteJSON struct {
	Name    string         `json:"name"`
	Key     []byte         `json:"key"`
	Manager identity.Onion `json:"manager"`
	Hosts   []byte         `json:"hosts"`
}

// String returns the text form "serverless1:…", which is the secret itself.
func (i HostInvite) String() string {
	text, err := json.Marshal(hostInviteJSON{i.GroupName, i.SharedKey[:], i.Server, i.Hosts.Encode()})
	if err != nil {
		panic("bundle: host invite: " + err.Error()) // strings and bytes always marshal
	}
	return hostInvitePrefix + base64.StdEncoding.EncodeToString(text)
}

// IsHostInvite reports whether a text is an invite to a server-less group, in this
// format or another one.
func IsHostInvite(text string) bool { return strings.HasPrefix(text, hostInviteFamily) }

// ParseHostInvite reads the text form. The list of hosts is signed by the manager that
// the invite names, and the id of the group follows from its key and that manager.
func ParseHostInvite(text string) (HostInvite, error) {
	if IsHostInvite(text) && !strings.HasPrefix(text, hostInvitePrefix) {
		return HostInvite{}, fmt.Errorf("invite: parse: %w", ErrNewerFormat)
	}
	raw, err := decodeText(text, hostInvitePrefix, maxHostInvite)
	if err != nil {
		return HostInvite{}, fmt.Errorf("invite: parse: %w", err)
	}
	var in hostInviteJSON
	if err := json.Unmarshal(raw, &in); err != nil || len(in.Key) != 32 {
		return HostInvite{}, fmt.Errorf("invite: parse: %w", ErrText)
	}
	invite, err := NewInvite(in.Name, [32]byte(in.Key), in.Manager)
	if err != nil {
		return HostInvite{}, err
	}
	hosts, err := DecodeHostList(in.Hosts, in.Manager, invite.GroupID)
	if err != nil {
		return HostInvite{}, fmt.Errorf("invite: %w", err)
	}
	i := HostInvite{invite, hosts}
	if i.String() != text {
		return HostInvite{}, fmt.Errorf("invite: parse: %w", ErrText)
	}
	return i, nil
}

// Format keeps the invite out of logs and error texts.
func (HostInvite) Format(f fmt.State, _ rune) { io.WriteString(f, "[secret]") }

// LogValue keeps the invite out of structured logs.
func (HostInvite) LogValue() slog.Value { return slog.StringValue("[secret]") }
