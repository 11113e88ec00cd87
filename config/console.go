package config

import (
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

const listenHint = `Write an address such as "127.0.0.1:7480", or "unix:" and the path of a socket. To see the pages from another machine, keep them here and use: ssh -L 7480:127.0.0.1:7480 HOST.`

// loadConsole reads the console block; nil if there is none.
func (l *loader) loadConsole(blocks hcl.Blocks) *Console {
	if len(blocks) == 0 {
		return nil
	}
	sec := l.singleBlock(blocks, consoleOptions)
	c := &Console{Onion: sec.flagOf("onion"), Range: rangeOf(sec.header), header: sec.header}
	c.Listen = l.consoleAddress(sec)
	for i, written := range sec.listOf("onion_clients") {
		key, ok := parseClientKey(written)
		switch {
		case !ok:
			l.addFault(sec.rangeOf("onion_clients"), fmt.Sprintf("element %d of onion_clients is not the public key of a client", i+1),
				"Write the 52 characters behind x25519: in its .auth file.")
		case slices.Contains(c.OnionClients, key):
			l.addFault(sec.rangeOf("onion_clients"), fmt.Sprintf("element %d of onion_clients is there twice", i+1), "Leave one out.")
		}
		c.OnionClients = append(c.OnionClients, key)
	}
	if c.Onion && len(c.OnionClients) == 0 && !sec.hasError("onion_clients") {
		l.addFault(sec.rangeOf("onion"), "the onion service of the console has no clients: whoever learned its address could try keys there",
			`Write onion_clients = ["KEY"], with the public key of the client in your Tor Browser, or leave onion out.`)
	}
	return c
}

// consoleAddress returns where the console listens, with an absolute path if that is a socket.
func (l *loader) consoleAddress(sec section) string {
	listen := sec.textOf("listen")
	if path, ok := strings.CutPrefix(listen, "unix:"); ok {
		if path = l.absolutePath(sec, "listen", path); path == "" {
			return ""
		}
		if len(path) > maxSocketPath {
			l.addFault(sec.rangeOf("listen"), fmt.Sprintf("the path of the socket is longer than %d bytes", maxSocketPath), "Choose a shorter one.")
		}
		return "unix:" + path
	}
	at, err := netip.ParseAddrPort(listen)
	switch {
	case sec.hasError("listen"):
	case err != nil || at.Addr().Zone() != "":
		l.addFault(sec.rangeOf("listen"), "listen is not an address of the console", listenHint)
	case !at.Addr().Unmap().IsLoopback():
		l.addFault(sec.rangeOf("listen"), fmt.Sprintf("other machines could reach the console at %s", at), listenHint)
	default:
		return netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).String()
	}
	return listen
}

// maxSocketPath is what fits into a sockaddr_un of Linux, with a zero byte.
const maxSocketPath = 107

var clientKeyEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// parseClientKey returns the public key of a client as tor wants it. It accepts a line of an
// .auth file, too.
func parseClientKey(text string) (string, bool) {
	key := strings.ToUpper(strings.TrimPrefix(strings.TrimSpace(text), "descriptor:x25519:"))
	raw, err := clientKeyEncoding.DecodeString(key)
	return key, err == nil && len(raw) == 32 && len(key) == clientKeyEncoding.EncodedLen(32) // the decoder passes over line breaks
}
