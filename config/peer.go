package config

import (
	"bytes"
	"crypto/sha3"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Peer is another relay that has a replica of a server.
type Peer struct {
	Name  string // 1 to 64 of a-z, 0-9 and -
	Onion string // of the board there, 56 characters without ".onion"
	// Mirror: it reads here, and nothing is taken from it.
	Mirror           bool
	EnvelopesPerHour uint64 // taken from it
	BytesPerDay      uint64
	Paused           bool
	Range            Range // header of the block
}

var peerOptions = plugin.Schema{Attributes: []plugin.Attribute{{
	Name: "onion", Type: plugin.String, Required: true,
	Doc: "Address of the board there, such as \"….onion\": the other relay shows it in its status, and has to list the address of this board in turn. Until it does, it treats this relay as a client that it does not know.",
}, {
	Name: "role", Type: plugin.String, Default: "replica", OneOf: []string{"replica", "mirror"},
	Doc: "A replica gives messages and takes them. From a mirror nothing is taken, for example because it belongs to somebody whom not all members trust.",
}, {
	Name: "envelopes_per_hour", Type: plugin.Int, Default: "10000", Min: new(int64(1)), Max: new(int64(1_000_000_000)),
	Doc: "How many new messages are taken from it. This relay cannot tell messages of members from others, so a peer that is hostile can fill this server up to here. What exceeds it comes later, nothing is lost. Raise it while a new server is filled from an old one.",
}, {
	Name: "bytes_per_day", Type: plugin.Bytes, Default: "256MiB", Min: new(int64(1 << 20)), Max: new(int64(1 << 50)),
	Doc: "The same in bytes.",
}, {
	Name: "paused", Type: plugin.Bool, Default: "false",
	Doc: "Keep the peer, but have no connection to it for now.",
}}}

const peerDoc = "Another relay that has a replica of this server, which the peersync plugin keeps in step. Both list each other; nobody else can tell that this server has replicas. NAME is for the operator only."

// loadPeers reads the peer blocks of a server, for the peersync plugins that it uses.
func (l *loader) loadPeers(blocks hcl.Blocks, plugins hcl.Blocks) (peers []Peer) {
	if len(blocks) > peersync.MaxPeers {
		l.addFault(blocks[peersync.MaxPeers].DefRange, fmt.Sprintf("more than %d peers of one server", peersync.MaxPeers), "Leave some out.")
		blocks = blocks[:peersync.MaxPeers]
	}
	switch {
	case len(blocks) > 0 && len(plugins) == 0:
		l.addFault(blocks[0].DefRange, "peer of a server without a peersync plugin", `Add the plugin that keeps the replicas in step, for example peersync "mesh" {}.`)
	case len(blocks) > 0 && len(plugins) > 1:
		l.addFault(plugins[1].DefRange, "second peersync plugin of a server with peers", "Peers run one plugin, the same at both ends. Leave one out.")
	}
	lines, onions := make(map[string]int), make(map[string]int)
	for _, b := range blocks {
		name, line := b.Labels[0], b.DefRange.Start.Line
		switch {
		case !serverName.MatchString(name):
			l.addFault(b.LabelRanges[0], "the name of a peer is 1 to 64 of a-z, 0-9 and -", `For example: peer "alice".`)
		case lines[name] > 0:
			l.addFault(b.LabelRanges[0], fmt.Sprintf("second peer %q", name), fmt.Sprintf("There is one already, on line %d.", lines[name]))
		default:
			lines[name] = line
		}
		sec, _ := l.openSection(b.Body, b.DefRange, peerOptions)
		p := Peer{
			Name: name, Mirror: sec.textOf("role") == "mirror", Paused: sec.flagOf("paused"),
			EnvelopesPerHour: uint64(sec.numberOf("envelopes_per_hour")), BytesPerDay: uint64(sec.numberOf("bytes_per_day")),
			Range: rangeOf(b.DefRange),
		}
		onion, err := ParseOnion(sec.textOf("onion"))
		p.Onion = onion
		switch {
		case !sec.isSet("onion"):
		case err != nil:
			l.addFault(sec.rangeOf("onion"), "onion is not the address of an onion service", "It "+err.Error()+". Write the 56 characters and .onion as the other relay shows them.")
		case onions[p.Onion] > 0:
			l.addFault(sec.rangeOf("onion"), "second peer with this onion", fmt.Sprintf("There is one already, on line %d.", onions[p.Onion]))
		default:
			onions[p.Onion] = line
		}
		peers = append(peers, p)
	}
	return peers
}

var onionEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseOnion returns the name of the onion service that a person means: capitals, spaces around it
// and ".onion" behind it are no mistakes. The error says in a few words what is wrong.
func ParseOnion(text string) (onion string, err error) {
	onion = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), ".onion")
	switch {
	case strings.Contains(onion, "/"):
		return "", errors.New("is written as a link: leave out what is before and behind the address")
	case strings.Contains(onion, ":"):
		return "", errors.New("has a port: leave it out, all boards have the same one")
	case len(onion) != 56:
		return "", fmt.Errorf("has %d characters before .onion instead of 56", len(onion))
	case !isOnion(onion):
		return "", errors.New("has a wrong character somewhere")
	}
	return onion, nil
}

// isOnion reports whether text is the name of a Tor v3 onion service, by its checksum. Whether
// its key is usable is left to the relay.
func isOnion(text string) bool {
	raw, err := onionEncoding.DecodeString(text)
	if err != nil || len(raw) != 35 || raw[34] != 3 {
		return false
	}
	sum := sha3.Sum256([]byte(".onion checksum" + string(raw[:32]) + "\x03"))
	return bytes.Equal(raw[32:34], sum[:2])
}
