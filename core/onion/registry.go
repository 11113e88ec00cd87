package onion

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// maxEntry bounds what is read of a registry file; "127.0.0.1:65535" and a
// newline are 16 bytes.
const maxEntry = 64

// parseEntry reads the text of a registry file: 127.0.0.1:PORT and perhaps a newline.
// It refuses any other address, so that the loopback network cannot leave this
// machine.
func parseEntry(text string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(strings.TrimSuffix(text, "\n"))
	if err != nil || addr.Addr() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) || addr.Port() == 0 {
		return netip.AddrPort{}, errors.New("loopback registry: entry is not 127.0.0.1:PORT")
	}
	return addr, nil
}

// readEntry looks up a service. It parses the name again: that comes from outside, in
// a bundle or an invite, and becomes a file name.
func readEntry(registry string, service identity.Onion) (netip.AddrPort, error) {
	onion, err := identity.ParseOnion(string(service))
	if err != nil {
		return netip.AddrPort{}, err
	}
	f, err := os.Open(filepath.Join(registry, string(onion)))
	if errors.Is(err, fs.ErrNotExist) {
		return netip.AddrPort{}, ErrNotPublished
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("loopback registry: %w", dropPath(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxEntry))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("loopback registry: %w", dropPath(err))
	}
	return parseEntry(string(text))
}

// writeEntry publishes a service. Readers see the old entry, none, or the whole new
// one.
func writeEntry(registry string, onion identity.Onion, addr string) error {
	f, err := os.CreateTemp(registry, ".entry-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(addr)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(registry, string(onion)))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to report
	}
	return err
}

// removeEntry withdraws a service, unless another process has published it
// since, or the registry is gone.
func removeEntry(registry string, onion identity.Onion, addr string) error {
	now, err := readEntry(registry, onion)
	if err != nil || now.String() != addr {
		return nil
	}
	err = os.Remove(filepath.Join(registry, string(onion)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dropPath removes the file name from an error: it is the onion that was dialled.
func dropPath(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
