package plugin

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Kind is what a plugin is for.
type Kind string

const (
	KindStorage  Kind = "storage"  // implements [storage.Store]
	KindStats    Kind = "stats"    // implements [stats.Exporter]
	KindPeerSync Kind = "peersync" // implements [peersync.Replicator]
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{KindStorage, KindStats, KindPeerSync} }

// Capability is something that only some plugins of a kind can do. Its name begins with that
// of the kind.
type Capability string

const (
	Watch   Capability = "storage.watch"   // implements [storage.Watcher]
	Ledger  Capability = "storage.ledger"  // implements [storage.Ledger]
	Prune   Capability = "storage.prune"   // implements [storage.Pruner]
	Index   Capability = "storage.index"   // implements [storage.Index]
	Compact Capability = "storage.compact" // implements [storage.Compactor]
	// Check is for a plugin whose constructor heeds [Config.Inspect]. Only a store that is
	// opened for inspection has to implement [storage.Checker], and it need not implement
	// the other interfaces.
	Check Capability = "storage.check"
)

// Capabilities are all capabilities.
func Capabilities() []Capability { return []Capability{Watch, Ledger, Prune, Index, Compact, Check} }

// Kind is the kind that the capability belongs to.
func (c Capability) Kind() Kind {
	kind, _, _ := strings.Cut(string(c), ".")
	return Kind(kind)
}

// implementedBy reports whether an implementation has the capability.
func (c Capability) implementedBy(impl io.Closer) (ok bool) {
	store, _ := impl.(storage.Store)
	switch c {
	case Watch:
		_, ok = storage.As[storage.Watcher](store)
	case Ledger:
		_, ok = storage.As[storage.Ledger](store)
	case Prune:
		_, ok = storage.As[storage.Pruner](store)
	case Index:
		_, ok = storage.As[storage.Index](store)
	case Compact:
		_, ok = storage.As[storage.Compactor](store)
	case Check:
		_, ok = storage.As[storage.Checker](store)
	}
	return ok
}

// Description is what a plugin says about itself.
type Description struct {
	Kind         Kind         `json:"kind"`
	Name         string       `json:"name"`
	Version      string       `json:"version"`
	Contract     int          `json:"contract"` // version of the contract of the kind; 0 stands for one before 1
	Doc          string       `json:"doc,omitempty"`
	Protocols    []int        `json:"protocols"`         // versions of the framing, ascending; none stands for 1
	Network      string       `json:"network,omitempty"` // see Plugin.Network
	Capabilities []Capability `json:"capabilities,omitempty"`
	Schema       Schema       `json:"schema"`
}

// Bounds on the versions of the framing that a plugin speaks.
const (
	maxProtocols = 16      // how many
	maxProtocol  = 1 << 16 // the highest
)

// Describe returns the description of the plugin. Its kind is empty unless exactly one
// constructor is set.
func (p Plugin) Describe() Description {
	d := Description{
		Name: p.Name, Version: p.Version, Doc: p.Doc, Network: p.Network, Schema: p.Schema,
		Contract:  contract,
		Protocols: []int{int(rpc.Handshake.ProtocolVersion)}, Capabilities: slices.Clone(p.Capabilities),
	}
	switch storage, stats, peersync := p.Storage != nil, p.Stats != nil, p.PeerSync != nil; {
	case storage && !stats && !peersync:
		d.Kind = KindStorage
	case stats && !storage && !peersync:
		d.Kind = KindStats
	case peersync && !storage && !stats:
		d.Kind = KindPeerSync
	}
	return d
}

// contract is the version of the contract of every kind. Contracts differ in what came before:
// that of peersync had calls that are no more.
const contract = 1

// CheckContract returns an error if the plugin keeps another version of the contract of its
// kind than this release: the relay would misunderstand it. The error says what to do, and
// begins with a verb, since the caller knows the path of the plugin.
func (d Description) CheckContract() error {
	switch {
	case d.Contract < contract:
		return fmt.Errorf("was built for an earlier contract of %s than version %d: build it anew with the sdk of this release, or ask its author to", d.Kind, contract)
	case d.Contract > contract:
		return fmt.Errorf("was built for version %d of the contract of %s, and this release knows version %d: run a later release of the relay", d.Contract, d.Kind, contract)
	}
	return nil
}

// Validate reports whether the names and texts can be printed, the capabilities belong to the
// kind, and the schema is valid.
func (d Description) Validate() error {
	if d.Kind == "" {
		return errors.New("plugin: exactly one of Storage, Stats and PeerSync has to be set")
	}
	if !slices.Contains(Kinds(), d.Kind) {
		return fmt.Errorf("plugin: %.40q is not a kind of plugin", string(d.Kind))
	}
	if err := checkName(d.Name); err != nil {
		return fmt.Errorf("plugin: name: %w", err)
	}
	if d.Version == "" || len(d.Version) > maxVersionLength || strings.Contains(d.Version, "\n") {
		return fmt.Errorf("plugin %s: version is empty, longer than %d bytes or more than a line", d.Name, maxVersionLength)
	}
	if d.Kind != KindStats && d.Schema.hasListener() {
		return fmt.Errorf("plugin %s: only a stats plugin has a listener", d.Name)
	}
	for _, check := range []error{
		checkText(d.Version), checkText(d.Doc), checkText(d.Network), d.checkProtocols(), d.checkCapabilities(), d.Schema.Validate(),
	} {
		if check != nil {
			return fmt.Errorf("plugin %s: %w", d.Name, check)
		}
	}
	return nil
}

func (d Description) checkProtocols() error {
	if len(d.Protocols) > maxProtocols {
		return fmt.Errorf("speaks %d protocols, limit %d", len(d.Protocols), maxProtocols)
	}
	for i, v := range d.Protocols {
		if v < 1 || v > maxProtocol || i > 0 && v <= d.Protocols[i-1] {
			return fmt.Errorf("protocols are not ascending numbers from 1 to %d", maxProtocol)
		}
	}
	return nil
}

func (d Description) checkCapabilities() error {
	for i, c := range d.Capabilities {
		switch {
		case !slices.Contains(Capabilities(), c):
			return fmt.Errorf("%.80q is not a capability", string(c))
		case c.Kind() != d.Kind:
			return fmt.Errorf("%s is not a capability of a %s plugin", c, d.Kind)
		case slices.Contains(d.Capabilities[:i], c):
			return fmt.Errorf("the capability %s is there twice", c)
		}
	}
	return nil
}
