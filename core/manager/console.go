package manager

import (
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// ConsoleConfig is what the manager knows of the console, which others run.
type ConsoleConfig struct {
	// Settings is equal for equal settings; a reload cannot change them.
	Settings string
	Where    string // in the file; empty if there is no console
	// Onion, if set, returns the name of the onion service of the console, empty if that has
	// no key, and what is wrong with it.
	Onion func() (name identity.Onion, problem string)
}

// ConsoleOnion is the onion service of the console.
type ConsoleOnion struct {
	Onion     identity.Onion `json:"onion,omitempty"` // empty if its key cannot be used
	Published bool           `json:"published"`
	// Problem says why it is not published, on one line; empty while it is on its way.
	Problem string `json:"problem,omitempty"`
}

// consoleStatus describes the onion service of the console, nil if there is none. n is nil before
// the network is open.
func (m *Manager) consoleStatus(n *onion.Status) *ConsoleOnion {
	if m.cfg.Console.Onion == nil {
		return nil
	}
	c := &ConsoleOnion{}
	c.Onion, c.Problem = m.cfg.Console.Onion()
	c.Published = n != nil && isPublished(*n, c.Onion)
	return c
}

// checkConsole looks at the onion service of the console, if there is one and the network is
// ready.
func (m *Manager) checkConsole(n onion.Network) []doctor.Check {
	st := n.Status()
	c := m.consoleStatus(&st)
	if c == nil || st.State != onion.Ready {
		return nil
	}
	return []doctor.Check{doctor.CheckConsole(c.Onion, c.Problem, st)}
}
