package console

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// socketTables list the TCP sockets of this machine with their users, see proc_net(5). A browser
// may reach an IPv4 address from a socket of either table.
var socketTables = []string{"/proc/net/tcp", "/proc/net/tcp6"}

// canTellUsers reports whether this system says whose a connection is.
func canTellUsers() bool {
	f, err := os.Open(socketTables[0])
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// comesFrom reports whether a request comes from a program of a user of this machine. The user is
// the one who has made the connection, so a browser in a sandbox counts, and a tunnel counts as
// whoever runs its end on this machine.
func comesFrom(r *http.Request, user int) bool {
	server, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	if server.Network() == "unix" {
		return true // its mode says who can connect
	}
	here, err := netip.ParseAddrPort(r.RemoteAddr)
	there, otherErr := netip.ParseAddrPort(server.String())
	if err != nil || otherErr != nil {
		return false
	}
	for _, table := range socketTables {
		if ownsSocket(table, here, there, user) {
			return true
		}
	}
	return false
}

// ownsSocket reports whether a table has a socket of a user that is connected from here to there.
func ownsSocket(table string, here, there netip.AddrPort, user int) bool {
	const (
		local, remote, state, owner, inode = 1, 2, 3, 7, 9
		established                        = "01"
	)
	f, err := os.Open(table)
	if err != nil {
		return false
	}
	defer f.Close()
	from, to := socketNames(here), socketNames(there)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		columns := strings.Fields(lines.Text())
		if len(columns) <= inode {
			continue
		}
		for i := range from {
			// A socket that its program has closed has no inode, and counts as root's.
			if columns[local] == from[i] && columns[remote] == to[i] && columns[state] == established &&
				columns[owner] == strconv.Itoa(user) && columns[inode] != "0" {
				return true
			}
		}
	}
	return false
}

// socketNames returns an address as the tables write it: as it is, and within IPv6.
func socketNames(at netip.AddrPort) []string {
	addr := at.Addr().Unmap().WithZone("")
	v6 := addr.As16()
	names := []string{formatSocket(v6[:], at.Port())}
	if addr.Is4() {
		v4 := addr.As4()
		names = append(names, formatSocket(v4[:], at.Port()))
	}
	return names
}

// formatSocket writes an address in words of the machine's byte order.
func formatSocket(addr []byte, port uint16) string {
	var b strings.Builder
	for ; len(addr) > 0; addr = addr[4:] {
		fmt.Fprintf(&b, "%08X", binary.NativeEndian.Uint32(addr))
	}
	fmt.Fprintf(&b, ":%04X", port)
	return b.String()
}
