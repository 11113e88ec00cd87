package pluginproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Listener is an open TCP listener that is passed on to a plugin, which may open
// none itself.
type Listener struct {
	plugin.ListenAddress
	File *os.File
}

// CheckListen reports whether the relay may listen at the address. When anywhere
// is false, that is only at a loopback address: a listener that strangers can
// reach tells them what runs here. The error is [plugin.Diagnostics].
func CheckListen(at plugin.ListenAddress, anywhere bool) error {
	if anywhere || at.Loopback() {
		return nil
	}
	return plugin.Invalid(fmt.Sprintf("%.80q can be reached from other machines, which would learn that a relay runs here", at.Address),
		"Write a loopback address, such as \"127.0.0.1:9464\". If others are to reach it, write sandbox { listen = true } into the block of the plugin.", at.Path...)
}

// ListenError is why the relay could not listen, which may pass: the address may be
// free later. It holds [plugin.Diagnostics] for the operator, and what the system said.
type ListenError struct {
	faults plugin.Diagnostics
	cause  error
}

func (e *ListenError) Error() string   { return e.faults.Error() }
func (e *ListenError) Unwrap() []error { return []error{e.faults, e.cause} }

// Listen opens a listener. Close it when no more process is to get it. An error
// is [plugin.Diagnostics], and a [ListenError] unless the address is not allowed to the relay.
func Listen(ctx context.Context, at plugin.ListenAddress, anywhere bool) (Listener, error) {
	if err := CheckListen(at, anywhere); err != nil {
		return Listener{}, err
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // which would pass by Landlock
	l, err := config.Listen(ctx, "tcp", at.Address)
	if err != nil {
		return Listener{}, notListening(at, err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return Listener{}, notListening(at, err)
	}
	return Listener{at, file}, nil
}

func notListening(at plugin.ListenAddress, err error) error {
	detail := "Choose another address."
	if errors.Is(err, unix.EADDRINUSE) {
		detail = "Another program listens there, or another plugin. Choose another port, or end the other: the relay tries again."
	}
	faults := plugin.Invalid(fmt.Sprintf("The relay cannot listen at %s: %v", at.Address, err), detail, at.Path...)
	if errors.Is(err, unix.EACCES) { // a port below 1024
		return faults
	}
	return &ListenError{faults, err}
}

// Open reports whether the socket still listens. A process that had it can have
// shut it down.
func (l Listener) Open() bool {
	raw, err := l.File.SyscallConn()
	if err != nil {
		return false
	}
	listens := 0
	err = raw.Control(func(fd uintptr) { listens, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN) })
	return err == nil && listens == 1
}

// Close closes the relay's descriptor.
func (l Listener) Close() { l.File.Close() }

// listenEnvironment tells the process which descriptors it gets, as systemd does
// (sd_listen_fds(3)). LISTEN_PID is for a launcher to set, which alone knows it
// before the plugin runs.
func listenEnvironment(listeners []Listener) []string {
	if len(listeners) == 0 {
		return nil
	}
	names := make([]string, len(listeners))
	for i, l := range listeners {
		names[i] = l.Name()
	}
	return []string{fmt.Sprintf("LISTEN_FDS=%d", len(listeners)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}

// forListening reports whether a variable is one of those.
func forListening(variable string) bool { return strings.HasPrefix(variable, "LISTEN_") }
