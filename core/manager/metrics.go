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

// collectMetrics returns what a server has counted and how the relay does, for stats
// plugins. It is not ok while the server is not published.
func (m *Manager) collectMetrics(ctx context.Context, s *server) (relay.Status, metrics.RelayStatus, bool) {
	r := m.relayOf(s)
	if r == nil {
		return relay.Status{}, metrics.RelayStatus{}, false
	}
	st := r.Status(ctx)
	return st, m.relayStatus(s, st), true
}

// relayStatus is how the relay does, as far as it concerns one server.
func (m *Manager) relayStatus(s *server, st relay.Status) metrics.RelayStatus {
	var r metrics.RelayStatus
	m.mu.Lock()
	for _, i := range s.instances() {
		r.Plugins = append(r.Plugins, i.plugin.Status())
	}
	r.PastRestarts = maps.Clone(s.pastRestarts)
	if last := s.reachability(); last != nil {
		r.Reachability = *last
	}
	r.Network = m.network.Status() // not nil once a server is published
	output := m.cfg.Log
	m.mu.Unlock()
	if output != nil {
		r.LogLines = output.Lost()
	}
	r.Memory, _ = sandbox.Memory(os.Getpid()) // 0 if it cannot be read
	r.BoardPublished, r.TokenPublished = isPublished(r.Network, st.Board), isPublished(r.Network, st.TokenService)
	return r
}

// addRestarts counts the restarts of a plugin that is removed; the caller holds
// Manager.mu.
func (s *server) addRestarts(i *instance) {
	if s.pastRestarts == nil {
		s.pastRestarts = make(map[plugin.Kind]int)
	}
	s.pastRestarts[i.cfg.Kind] += i.plugin.Status().Restarts
}

// isPublished reports whether a network has published one of our services.
func isPublished(n onion.Status, service identity.Onion) bool {
	return slices.ContainsFunc(n.Services, func(s onion.Service) bool { return s.Onion == service && s.Published })
}
