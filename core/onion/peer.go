package onion

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/unixsocket"
)

// checkPeer makes sure that a trusted user has the other end of a connection within
// this machine.
func (t trust) checkPeer(nc net.Conn) error {
	switch c := nc.(type) {
	case *net.UnixConn:
		_, uid, err := unixsocket.Peer(c)
		if err != nil {
			return fmt.Errorf("ask for the user who listens on the socket: %w", err)
		}
		return t.checkOwner(uid, "the process that listens on "+c.RemoteAddr().String())
	case *net.TCPConn:
		return t.checkTCPPeer(c, "/proc/net")
	}
	return fmt.Errorf("a connection of type %T tells nothing about its other end", nc)
}

// checkTCPPeer looks up the other end in the kernel's tables below dir. If it has
// accepted, the accepted socket shows its user; before that, all sockets count that
// listen on the address. It accepts an end that the tables do not have: a process in
// another network namespace.
//
// The tables are not read at one moment. That is safe because listeners come first: a
// listener that was gone by then has either accepted, and its socket comes later in
// the table, or has reset the connection.
func (t trust) checkTCPPeer(c *net.TCPConn, dir string) error {
	self, peer := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	var listener error
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			continue // no IPv6, or no /proc
		}
		defer table.Close()
		for lines := bufio.NewScanner(table); lines.Scan(); {
			s, ok := parseSocket(lines.Text())
			switch {
			case !ok:
			case s.local == unmapAddr(peer) && s.remote == unmapAddr(self) && s.inode != "0":
				return t.checkOwner(s.uid, "the connection that was accepted on "+peer.String())
			case s.listens && s.local.Port() == peer.Port() && (s.local.Addr() == peer.Addr().Unmap() || s.local.Addr().IsUnspecified()):
				listener = errors.Join(listener, t.checkOwner(s.uid, "the socket that listens on "+s.local.String()))
			}
		}
	}
	return listener
}

// tcpSocket is a line of /proc/net/tcp or tcp6 (proc_net_tcp in the kernel's
// documentation).
type tcpSocket struct {
	local, remote netip.AddrPort
	listens       bool
	uid           int
	inode         string // "0" if no process has it
}

func parseSocket(line string) (s tcpSocket, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return s, false
	}
	var errs [3]error
	s.local, errs[0] = parseKernelAddr(f[1])
	s.remote, errs[1] = parseKernelAddr(f[2])
	s.uid, errs[2] = strconv.Atoi(f[7])
	s.listens, s.inode = f[3] == "0A", f[9]
	return s, errors.Join(errs[:]...) == nil
}

// parseKernelAddr parses an address in words of 32 bits, in the byte order of the
// processor, and a port: 0100007F:2359.
func parseKernelAddr(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, errors.New("not an address")
	}
	for at := 0; at < len(raw); at += 4 {
		binary.NativeEndian.PutUint32(raw[at:], binary.BigEndian.Uint32(raw[at:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil || !ok {
		return netip.AddrPort{}, errors.New("not an address")
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}

func unmapAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
