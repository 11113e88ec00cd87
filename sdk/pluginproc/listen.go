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

// Listener is an open TCP listener to pass on to a plugin, which may not open one itself.
type Listener struct {
	plugin.ListenAddress
	File *os.File
}

// CheckListen reports whether the relay may listen at the address: at a loopback address,
// or anywhere if the operator allowed it. A listener that strangers can reach tells them
// what runs here. The error is [plugin.Diagnostics].
func CheckListen(at plugin.ListenAddress, anywhere bool) error {
	if anywhere || at.Loopback() {
		return nil
	}
	return plugin.Invalid(fmt.Sprintf("%.80q can be reached from other machines, which would learn that a relay runs here", at.Address),
		"Write a loopback address, such as \"127.0.0.1:9464\". If others are to reach it, write sandbox { listen = true } into the block of the plugin.", at.Path...)
}

// ListenError is an error of [Listen] that may pass: the address may become free. It wraps
// [plugin.Diagnostics] for the operator and the error of the system.
type ListenError struct {
	diagnostics plugin.Diagnostics
	cause       error
}

func (e *ListenError) Error() string   { return e.diagnostics.Error() }
func (e *ListenError) Unwrap() []error { return []error{e.diagnostics, e.cause} }

// Listen opens a listener. The caller closes it when no further process is to get it. The
// error is [plugin.Diagnostics] if the relay may not listen there, or else a [ListenError].
func Listen(ctx context.Context, at plugin.ListenAddress, anywhere bool) (Listener, error) {
	if err := CheckListen(at, anywhere); err != nil {
		return Listener{}, err
	}
	var config net.ListenConfig
	config.SetMultipathTCP(false) // Landlock does not see it
	l, err := config.Listen(ctx, "tcp", at.Address)
	if err != nil {
		return Listener{}, newListenError(at, err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return Listener{}, newListenError(at, err)
	}
	return Listener{at, file}, nil
}

func newListenError(at plugin.ListenAddress, err error) error {
	detail := "Choose another address."
	if errors.Is(err, unix.EADDRINUSE) {
		detail = "Another program listens there, or another plugin. Choose another port, or end the other: the relay tries again."
	}
	diagnostics := plugin.Invalid(fmt.Sprintf("The relay cannot listen at %s: %v", at.Address, err), detail, at.Path...)
	if errors.Is(err, unix.EACCES) { // a port below 1024
		return diagnostics
	}
	return &ListenError{diagnostics, err}
}

// IsOpen reports whether the socket still listens. A process that got it may have shut it
// down.
func (l Listener) IsOpen() bool {
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

// listenEnv names the descriptors of the listeners to the process, as systemd does
// (sd_listen_fds(3)). The launcher adds LISTEN_PID, because nobody else knows it before the
// plugin runs.
func listenEnv(listeners []Listener) []string {
	if len(listeners) == 0 {
		return nil
	}
	names := make([]string, len(listeners))
	for i, l := range listeners {
		names[i] = l.Name()
	}
	return []string{fmt.Sprintf("LISTEN_FDS=%d", len(listeners)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}

// isListenVariable reports whether a variable is about listeners.
func isListenVariable(variable string) bool { return strings.HasPrefix(variable, "LISTEN_") }
