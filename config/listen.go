package config

import (
	"fmt"
	"net/netip"

	"github.com/hashicorp/hcl/v2"
)

// listener is an address at which the relay listens for a plugin.
type listener struct {
	at        netip.AddrPort
	name      string // of who listens
	where     hcl.Range
	attribute string
}

// overlaps reports whether only one of two listeners can be open: they have the same
// port, and the same address or one that stands for all.
func (l listener) overlaps(o listener) bool {
	a, b := l.at.Addr(), o.at.Addr()
	return l.at.Port() == o.at.Port() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

// listeners are all of the file, in its order.
func listeners(cfg *Config) (all []listener) {
	if t := cfg.Network.Tor; t != nil {
		if at, err := netip.ParseAddrPort(t.Control); err == nil {
			line := hcl.Pos{Line: cfg.Network.Range.Line}
			all = append(all, listener{at: at, name: "the control port of tor", where: hcl.Range{Start: line}})
		}
	}
	for i := range cfg.Servers {
		for p := range cfg.Servers[i].Plugins() {
			for _, at := range p.Listen {
				addr, _ := netip.ParseAddrPort(at.Address) // the schema was checked
				all = append(all, listener{
					at:    netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()),
					name:  fmt.Sprintf("%s %q of server %q", p.Kind, p.Name, cfg.Servers[i].Name),
					where: p.locatePath(at.Path), attribute: at.Path[len(at.Path)-1],
				})
			}
		}
	}
	return all
}

// apartListeners complains of listeners that cannot be open at the same time, and
// names a port for each of them that nothing in the file has.
func (l *loader) apartListeners(cfg *Config) {
	all, used := listeners(cfg), make(map[uint16]bool)
	for _, this := range all {
		used[this.at.Port()] = true
	}
	for i, this := range all {
		for _, other := range all[:i] {
			if !this.overlaps(other) {
				continue
			}
			port := this.at.Port()
			for used[port] {
				port = max(port+1, 1024)
			}
			used[port] = true
			l.addFault(this.where, fmt.Sprintf("%s cannot listen at %s, where %s does already", this.name, this.at, other.name),
				fmt.Sprintf("That is on line %d. Each listener needs a port of its own. For example: %s = %q.",
					other.where.Start.Line, this.attribute, netip.AddrPortFrom(this.at.Addr(), port)))
			break
		}
	}
}
