package manager

import (
	"context"
	"maps"
	"os"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// countServer is what a server has counted and how the relay does, for its stats plugins.
func (m *Manager) countServer(ctx context.Context, s *server) (relay.Status, metrics.Relay, bool) {
	r := m.relayOf(s)
	if r == nil {
		return relay.Status{}, metrics.Relay{}, false
	}
	st := r.Status(ctx)
	return st, m.relayFigures(s, st), true
}

// relayFigures is how the relay does, as far as a server is concerned.
func (m *Manager) relayFigures(s *server, st relay.Status) metrics.Relay {
	var r metrics.Relay
	m.mu.Lock()
	for _, i := range s.instances() {
		r.Plugins = append(r.Plugins, i.plugin.Status())
	}
	r.Ended = maps.Clone(s.ended)
	r.Network = m.network.Status() // there is one, or no server would be published
	output := m.cfg.Log
	m.mu.Unlock()
	if output != nil {
		r.LogLines = output.Lost()
	}
	r.Memory, _ = sandbox.Memory(os.Getpid()) // 0 when it cannot be read
	r.Board, r.Token = published(r.Network, st.Board), published(r.Network, st.TokenService)
	return r
}

// endedWith counts the restarts of a plugin that is removed; Manager.mu is held.
func (s *server) endedWith(i *instance) {
	if s.ended == nil {
		s.ended = make(map[plugin.Kind]int)
	}
	s.ended[i.cfg.Kind] += i.plugin.Status().Restarts
}

// published reports whether a network has published one of our services.
func published(n onion.Status, service identity.Onion) bool {
	return slices.ContainsFunc(n.Services, func(s onion.Service) bool { return s.Onion == service && s.Published })
}
