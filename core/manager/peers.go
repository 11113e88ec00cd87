package manager

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// peersFile is where a server keeps the numbers of its peers.
func peersFile(dir string) string { return filepath.Join(dir, "peers.json") }

// hoursFile is where the board of a server keeps its table of hours.
func hoursFile(dir string) string { return filepath.Join(dir, "hours.json") }

// CheckPeers finds what is wrong with the peers of a server that the configuration alone cannot
// tell. It needs no keys: the address of a server that was started before, or whose bundle was
// printed, is in its record. Without a record that this user can read, it checks less.
func CheckPeers(dataDir string, s ServerConfig) error {
	var own identity.Onion
	if record, err := loadRecord(dataDir, s.Dir); err == nil {
		own = record.board
	}
	return checkPeersOf(s.Name, own, s.Peers)
}

// checkPeers is CheckPeers for a server that has its keys, unless it has no peers.
func (s *server) checkPeers(peers []PeerConfig) error {
	if len(peers) == 0 {
		return nil
	}
	return checkPeersOf(s.name, s.keys.Board.Onion(), peers)
}

// checkPeersOf checks the peers of a server with the address own, which may be empty.
func checkPeersOf(server string, own identity.Onion, peers []PeerConfig) error {
	for _, p := range peers {
		if _, err := identity.ParseOnion(string(p.Onion)); err != nil {
			return fmt.Errorf("server %s: peer %q (%s): %w: ask its operator for the address of the board", server, p.Name, p.Where, err)
		}
		if p.Onion == own {
			return fmt.Errorf("server %s: peer %q (%s) has the address of this server itself: write that of the board at the other relay, which lists %s.onion in turn", server, p.Name, p.Where, p.Onion)
		}
	}
	return nil
}

// plainPeers returns the peers without their places in the file.
func plainPeers(peers []PeerConfig) []replica.Peer {
	list := make([]replica.Peer, len(peers))
	for i, p := range peers {
		list[i] = p.Peer
	}
	return list
}

// findPeer returns what serves the connections of a peer of the server, or nil if nobody is a
// peer by that name.
func (s *server) findPeer(name identity.Onion) func(context.Context, *tapir.Conn) {
	r := s.replica.Load()
	if r == nil || !r.HasPeer(name) {
		return nil
	}
	return r.Accept
}

// dialBoard connects to the board of a peer, as the board of the server.
func (m *Manager) dialBoard(ctx context.Context, s *server, peer identity.Onion) (*tapir.Conn, error) {
	m.mu.Lock()
	network := m.network
	m.mu.Unlock()
	nc, err := network.Dial(ctx, peer, relay.Port)
	if err != nil {
		return nil, err
	}
	return tapir.Client(ctx, nc, s.keys.Board, peer)
}

// Compare compares a server with a peer, see [replica.Replica.Compare].
func (m *Manager) Compare(ctx context.Context, name, peer string, scrub bool) (replica.Comparison, error) {
	var r *replica.Replica
	m.mu.Lock()
	i := slices.IndexFunc(m.servers, func(s *server) bool { return s.name == name })
	if i >= 0 {
		r = m.servers[i].replica.Load()
	}
	m.mu.Unlock()
	switch {
	case i < 0:
		return replica.Comparison{}, fmt.Errorf("the relay has no server %.80q", name)
	case r == nil:
		return replica.Comparison{}, fmt.Errorf("server %s has no peersync plugin that runs", name)
	}
	return r.Compare(ctx, peer, scrub)
}

// setPeers changes the peers of a server that runs. After an error the next reload tries again.
func (m *Manager) setPeers(s *server, peers []PeerConfig) error {
	if r := s.replica.Load(); r != nil {
		if err := r.SetPeers(plainPeers(peers)); err != nil {
			return err
		}
	}
	m.updateShared(func() { s.peers = peers })
	return nil
}

// setRoaming changes whether clients of a server that runs may have positions of replicas.
func (m *Manager) setRoaming(s *server, roaming bool) {
	m.updateShared(func() { s.roaming = roaming })
	if b := s.board.Load(); b != nil {
		b.SetRoaming(roaming)
	}
}

// planRoaming plans that of a server that stays.
func (p *planner) planRoaming(s *server, next bool) {
	if s.roaming == next {
		return
	}
	p.addStep(Step{Action: ActionSet, Server: s.name, Settings: []string{"roaming_clients"}, do: func(context.Context) error {
		p.m.setRoaming(s, next)
		return nil
	}})
}

// planPeers plans the peers of a server that stays. Its plugins run on, and so do the links of
// peers that are as before.
func (p *planner) planPeers(s *server, next []PeerConfig) {
	if err := s.checkPeers(next); err != nil {
		p.addRefusal("", err.Error(), "nothing was changed")
		return
	}
	if slices.Equal(plainPeers(s.peers), plainPeers(next)) {
		return
	}
	p.addStep(Step{Action: ActionSet, Server: s.name, Settings: changedPeers(s.peers, next), do: func(context.Context) error {
		return p.m.setPeers(s, next)
	}})
}

// changedPeers names the peers that differ, as the file does.
func changedPeers(was, is []PeerConfig) (names []string) {
	find := func(list []PeerConfig, name string) replica.Peer {
		for _, p := range list {
			if p.Name == name {
				return p.Peer
			}
		}
		return replica.Peer{}
	}
	for _, p := range is {
		if old := find(was, p.Name); old != p.Peer {
			names = append(names, "peer."+p.Name)
		}
	}
	for _, p := range was {
		if find(is, p.Name) == (replica.Peer{}) {
			names = append(names, "peer."+p.Name)
		}
	}
	if len(names) == 0 {
		names = []string{"peer"} // another order
	}
	return names
}
