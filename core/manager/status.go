package manager

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/retention"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Status is a relay as its operator sees it. Its JSON form is what the status command
// prints. Each part has a Status in its own package, which is shown as it is.
type Status struct {
	Version string        `json:"version"`
	PID     int           `json:"pid"`
	Since   time.Time     `json:"since"`
	Network *onion.Status `json:"network,omitempty"` // absent before the network is opened
	// NetworkProblem says why the network could not be opened yet; it is tried again.
	NetworkProblem string `json:"network_problem,omitempty"`
	// Console is the onion service of the console; absent if it has none.
	Console *ConsoleOnion  `json:"console,omitempty"`
	Servers []ServerStatus `json:"servers"`
	Disks   []DiskStatus   `json:"disks,omitempty"` // that are nearly full and hold no store
	// Log and Stdout say what is wrong with the outputs of the relay; absent while
	// everything is written.
	Log    *logwriter.Trouble `json:"log,omitempty"`
	Stdout *logwriter.Trouble `json:"stdout,omitempty"`
}

// ServerStatus is one server of a relay.
type ServerStatus struct {
	Name        string `json:"name"`
	State       State  `json:"state"`
	Description string `json:"description,omitempty"`
	Autostart   bool   `json:"autostart"`            // it starts with the relay
	Unreadable  bool   `json:"unreadable,omitempty"` // its file cannot be used: Autostart and Storage are not known
	Protected   bool   `json:"protected,omitempty"`  // its keys need a passphrase
	Deleting    bool   `json:"deleting,omitempty"`   // it was deleted, and not everything could be removed yet
	// Address is that of its board; empty until it has keys, and while the keys of a protected
	// server have never been unlocked.
	Address identity.Onion `json:"address,omitempty"`
	File    string         `json:"file,omitempty"`  // in which it is configured
	Relay   *relay.Status  `json:"relay,omitempty"` // absent until the server is published
	// Retention says what is kept of the store; absent until the server is published.
	Retention *retention.Status `json:"retention,omitempty"`
	// Reachability says whether others can reach the server; absent until that was tried.
	Reachability *doctor.Reachability `json:"reachability,omitempty"`
	// Problem says why the server does not run, on one line.
	Problem string           `json:"problem,omitempty"`
	Storage supervise.Status `json:"storage"`
	Others  []PluginStatus   `json:"plugins,omitempty"` // stats and peersync
}

// PluginStatus is a plugin of a server that is not its store.
type PluginStatus struct {
	Instance string `json:"instance"`
	supervise.Status
	Snapshots   *metrics.Status `json:"snapshots,omitempty"`   // of a stats plugin
	Replication *replica.Status `json:"replication,omitempty"` // of a peersync plugin
}

// Status describes the relay as it is now. The counts of a store that does not answer
// before ctx ends are absent.
func (m *Manager) Status(ctx context.Context) Status {
	st := Status{PID: os.Getpid(), Since: m.since}
	m.mu.Lock()
	st.Version = m.cfg.Version
	st.Disks = m.lowDisks
	st.NetworkProblem = m.networkProblem
	st.Log, st.Stdout = m.cfg.Log.Trouble(), m.cfg.Stdout.Trouble()
	if m.network != nil {
		st.Network = new(m.network.Status())
	}
	servers := m.sortedServers()
	relays := make([]*relay.Server, len(servers))
	st.Servers = make([]ServerStatus, len(servers))
	for i, s := range servers {
		relays[i] = s.relay
		st.Servers[i] = s.knownStatus()
	}
	m.mu.Unlock()
	st.Console = m.consoleStatus(st.Network)
	var wg sync.WaitGroup
	for i, r := range relays {
		if r != nil {
			wg.Go(func() { st.Servers[i].Relay = new(r.Status(ctx)) })
		}
	}
	wg.Wait()
	return st
}

// sortedServers returns the servers by name, which is the order in which everybody is told of them;
// the caller holds Manager.mu.
func (m *Manager) sortedServers() []*server {
	return slices.SortedFunc(slices.Values(m.servers), func(a, b *server) int { return strings.Compare(a.name, b.name) })
}

// knownStatus is what is known of a server without asking its store; the caller holds
// Manager.mu.
func (s *server) knownStatus() ServerStatus {
	st := ServerStatus{
		Name: s.name, State: s.state(), Description: s.cfg.Description, Autostart: !s.cfg.NoAutostart && s.cfg.Fault == nil, Unreadable: s.cfg.Fault != nil, Protected: s.protected,
		Address: s.address, File: s.cfg.File, Deleting: s.deleting, Problem: s.problem, Storage: s.storeStatus(), Reachability: s.reachability(),
	}
	if s.keeper != nil {
		st.Retention = new(s.keeper.Status())
	}
	for _, i := range s.others {
		p := PluginStatus{Instance: i.cfg.Instance, Status: i.plugin.Status()}
		if i.outlet != nil {
			p.Snapshots = new(i.outlet.Status())
		}
		if i.replica != nil {
			p.Replication = new(i.replica.Status())
		}
		st.Others = append(st.Others, p)
	}
	return st
}

// storeStatus is what is known of the store of a server; the caller holds Manager.mu.
func (s *server) storeStatus() supervise.Status {
	if s.cfg.Fault != nil && s.store == nil {
		return supervise.Status{Kind: plugin.KindStorage, State: supervise.Stopped, Since: s.since} // nobody knows which
	}
	if s.store == nil {
		return supervise.Status{Kind: plugin.KindStorage, Name: s.cfg.Storage.Name, State: supervise.Stopped, Since: s.since}
	}
	return s.store.plugin.Status()
}
