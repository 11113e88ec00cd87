package plugin

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/zclconf/go-cty/cty"
)

// ListenAddress is an address at which the relay listens for a plugin.
type ListenAddress struct {
	Path    []string // of the attribute
	Address string   // IP:PORT
}

// Name is the name under which the listener is passed on to the plugin.
func (l ListenAddress) Name() string { return strings.Join(l.Path, ".") }

// Loopback reports whether only this machine can connect to the address.
func (l ListenAddress) Loopback() bool {
	addr, err := netip.ParseAddrPort(l.Address)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// ListenAddresses returns the addresses in v, a value of s.CtyType() that [Schema.Complete] has
// checked.
func (s Schema) ListenAddresses(v cty.Value) []ListenAddress { return s.listenAddresses(v, nil) }

func (s Schema) listenAddresses(v cty.Value, path []string) (out []ListenAddress) {
	for _, a := range s.Attributes {
		text := v.GetAttr(a.Name)
		if a.Listener && !text.IsNull() && text.AsString() != "" {
			out = append(out, ListenAddress{Path: append(path[:len(path):len(path)], a.Name), Address: text.AsString()})
		}
	}
	for _, b := range s.Blocks {
		if body := v.GetAttr(b.Name); !b.Repeated && !b.Labelled && !body.IsNull() {
			out = append(out, b.Schema.listenAddresses(body, append(path[:len(path):len(path)], b.Name))...)
		}
	}
	return out
}

// hasListener reports whether there is a listener anywhere in the schema.
func (s Schema) hasListener() bool {
	for _, a := range s.Attributes {
		if a.Listener {
			return true
		}
	}
	for _, b := range s.Blocks {
		if b.Schema.hasListener() {
			return true
		}
	}
	return false
}

// checkListenAddress requires an IP address and a port. A name might lead to any address.
// Port 0 is another port at each start, and a socket without a port of its own could
// also be bound again, to all addresses.
func checkListenAddress(text string) error {
	if text == "" {
		return nil // no listener
	}
	addr, err := netip.ParseAddrPort(text)
	switch {
	case err != nil || addr.Addr().Zone() != "":
		return errors.New(`must be an IP address and a port, such as "127.0.0.1:9464" or "[::1]:9464"`)
	case addr.Port() == 0:
		return errors.New("must name a port other than 0")
	}
	return nil
}

// Listener returns the listener of the attribute at path, which the schema declares with
// [Attribute].Listener. The caller closes it and may ask for it again, for example after a
// change of the configuration. The relay has opened it and keeps it open while the plugin is
// restarted: connections wait.
//
// Without a relay, as in a test or under a debugger, the plugin listens itself.
func (c Config) Listener(path ...string) (net.Listener, error) {
	name := strings.Join(path, ".")
	address, err := c.stringAt(path)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", name, err)
	}
	if file := passedListeners()[name]; file != nil {
		l, err := net.FileListener(file)
		if err != nil {
			return nil, fmt.Errorf("listener %s: take it over from the relay: %w", name, err)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		return nil, fmt.Errorf("listener %s: the relay passed none on, and a plugin may not open one itself: does the schema declare the attribute as a Listener? %w", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", name, err)
	}
	return l, nil
}

// stringAt returns the value of the string attribute at path.
func (c Config) stringAt(path []string) (string, error) {
	v := c.value
	for _, name := range path {
		if v == cty.NilVal || v.IsNull() || !v.Type().IsObjectType() || !v.Type().HasAttribute(name) {
			return "", errors.New("there is no such attribute")
		}
		v = v.GetAttr(name)
	}
	if v == cty.NilVal || v.IsNull() || v.Type() != cty.String || v.AsString() == "" {
		return "", errors.New("it has no address")
	}
	return v.AsString(), nil
}

// firstListenFD is the descriptor of the first listener (sd_listen_fds(3)).
const firstListenFD = 3

// passedListeners are the listeners that the relay passed on, by name. They stay open.
var passedListeners = sync.OnceValue(func() map[string]*os.File {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	if err != nil || n != len(names) {
		return nil
	}
	if pid := os.Getenv("LISTEN_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return nil // they are for the parent process
	}
	files := make(map[string]*os.File, n)
	for i, name := range names {
		syscall.CloseOnExec(firstListenFD + i)
		files[name] = os.NewFile(uintptr(firstListenFD+i), name)
	}
	return files
})
