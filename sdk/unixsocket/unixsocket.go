//go:build linux

// Package unixsocket has what package net does not tell of unix sockets: how long
// their paths may be, and which process is at the other end of a connection.
package unixsocket

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// MaxPath is the length of the longest path of a socket in bytes: sun_path of unix(7)
// holds 108, and the last one is zero.
const MaxPath = 107

// Peer returns the number and the user of the process at the other end: the one that
// called connect(2), or that called listen(2) if conn is a client (SO_PEERCRED in
// unix(7)). pid is 0 for a process in another PID namespace.
func Peer(conn *net.UnixConn) (pid, uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return 0, 0, err
	}
	return int(cred.Pid), int(cred.Uid), nil
}
