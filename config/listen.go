package config

import (
	"fmt"
	"net/netip"

	"github.com/hashicorp/hcl/v2"
)

// listener is an address at which something listens.
type listener struct {
	address   netip.AddrPort
	name      string // of who listens
	at        hcl.Range
	attribute string
}

// overlaps reports whether only one of two listeners can be open: they have the same port,
// and the same address or one that stands for all addresses.
func (l listener) overlaps(o listener) bool {
	a, b := l.address.Addr(), o.address.Addr()
	return l.address.Port() == o.address.Port() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

// collectListeners returns all listeners of a file, in its order.
func collectListeners(cfg *Config) (all []listener) {
	if t := cfg.Network.Tor; t != nil {
		if at, err := netip.ParseAddrPort(t.Control); err == nil {
			block := hcl.Range{Filename: cfg.Network.Range.File, Start: hcl.Pos{Line: cfg.Network.Range.Line}}
			all = append(all, listener{address: at, name: "the control port of tor", at: block})
		}
	}
	if c := cfg.Console; c != nil {
		if at, err := netip.ParseAddrPort(c.Listen); err == nil && at.Port() != 0 {
			all = append(all, listener{address: at, name: "the console", at: c.header, attribute: "listen"})
		}
	}
	for i := range cfg.Servers {
		for p := range cfg.Servers[i].Plugins() {
			for _, at := range p.Listen {
				addr, _ := netip.ParseAddrPort(at.Address) // the schema was checked
				all = append(all, listener{
					address: netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()),
					name:    fmt.Sprintf("%s %q of server %q", p.Kind, p.Name, cfg.Servers[i].Name),
					at:      p.locatePath(at.Path), attribute: at.Path[len(at.Path)-1],
				})
			}
		}
	}
	return all
}

// refuseSharedListeners reports listeners that cannot be open at the same time. For each it
// suggests a port that is free in the file.
func (l *loader) refuseSharedListeners(cfg *Config) {
	all, used := collectListeners(cfg), make(map[uint16]bool)
	for _, this := range all {
		used[this.address.Port()] = true
	}
	for i, this := range all {
		for _, other := range all[:i] {
			if !this.overlaps(other) {
				continue
			}
			port := this.address.Port()
			for used[port] {
				port = max(port+1, 1024)
			}
			used[port] = true
			l.addFault(this.at, fmt.Sprintf("%s cannot listen at %s, where %s does already", this.name, this.address, other.name),
				fmt.Sprintf("That is on %s. Each listener needs a port of its own. For example: %s = %q.",
					l.describePlace(other.at, this.at), this.attribute, netip.AddrPortFrom(this.address.Addr(), port)))
			break
		}
	}
}
