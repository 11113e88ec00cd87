package console

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// torView is how the connection to the Tor network is.
type torView struct {
	Word, Text string
	Ready, Bad bool
	Waiting    bool // Progress goes up
	Progress   int  // per cent
	Step       string
	Version    string
	Restarts   int
	Since      string
	Addresses  int // onion services
	Published  int
	Test       bool // it is a network for tests
}

func (c *Console) viewTor(v *visit) (any, bool) {
	return viewNetwork(c.watch.status(v.r.Context())), true
}

func viewNetwork(st manager.Status) torView {
	n := st.Network
	if n == nil && st.NetworkProblem != "" {
		return torView{Word: "Not running", Bad: true, Text: "Tor cannot be started. The relay tries again by itself.", Step: st.NetworkProblem}
	}
	if n == nil {
		return torView{Word: "Not started yet", Text: "Tor is started with the first server."}
	}
	view := torView{
		Progress: n.Progress, Step: n.Summary, Version: n.Version, Restarts: n.Restarts, Addresses: len(n.Services),
		Since: formatAge(time.Since(n.Since)), Test: n.Network != "tor",
	}
	for _, s := range n.Services {
		if s.Published {
			view.Published++
		}
	}
	switch n.State {
	case onion.Ready:
		view.Word, view.Ready, view.Step = "Connected", true, ""
		view.Text = "Your servers can be reached over Tor."
	case onion.Starting:
		view.Word, view.Waiting = "Starting…", true
		view.Text = "Tor is being started."
	case onion.Bootstrapping:
		view.Word, view.Waiting = "Connecting…", true
		view.Text = "Tor is connecting to its network. The first time, that takes a minute or two."
	case onion.Offline:
		view.Word, view.Bad = "No connection", true
		view.Text = "Tor has lost its connection and keeps trying. Is this computer online?"
	default:
		view.Word, view.Bad = "Not running", true
		view.Text = "Tor has ended. The relay starts it again by itself."
	}
	if view.Test {
		view.Word, view.Text = "Test network", "This relay uses a network of this computer alone. Nobody else can reach its servers."
	}
	return view
}
