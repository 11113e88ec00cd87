package manager

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// State is what a server does.
type State string

const (
	StateStopped    State = "stopped"    // by the operator, or because it does not start with the relay
	StateLocked     State = "locked"     // its keys need a passphrase
	StateStarting   State = "starting"   // its store is being opened
	StatePublishing State = "publishing" // it waits for the network, or the network publishes it
	StateRunning    State = "running"    // clients can reach it
	StateFailed     State = "failed"     // the problem of the server or of its board says why; or it is being deleted
)

// state is what the server does; the caller holds Manager.mu.
func (s *server) state() State {
	switch {
	case s.deleting:
		return StateFailed
	case s.halted != "":
		return s.halted
	case s.problem != "" || s.boardHasFailed():
		return StateFailed
	case s.relay != nil:
		return StateRunning
	case s.storeChecked.Load():
		return StatePublishing
	}
	return StateStarting
}

// haltedServer returns a server that is listed and does not run.
func (m *Manager) haltedServer(c ServerConfig, state State) *server {
	s := m.newServer(c)
	s.halted = state
	return s
}

// readKeyFacts finds out what can be known of the keys of the server in dir without a
// passphrase. There may be none yet.
func readKeyFacts(dataDir, dir string) (address identity.Onion, protected bool) {
	if text, err := os.ReadFile(recordPath(dataDir, dir)); err == nil {
		address = identity.Onion(strings.TrimSpace(string(text)))
	}
	protected, _ = identity.Protected(keysPath(dir))
	return address, protected
}

// keysPath is the key file of the server in dir.
func keysPath(dir string) string { return filepath.Join(dir, "keys") }
