package console

import (
	"fmt"
	"net/url"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// serverView is what pages show of a server.
type serverView struct {
	Name, Description string
	Path              string // of its page, below the base
	State             manager.State
	Word              string // for the state
	Problem           string // why it does not work, or not well
	Waiting           string // for what it waits while it starts
	Address           string
	Autostart         bool
	Unreadable        bool // its file has a mistake: what it says is not known
	Protected         bool
	Deleting          bool
	Reachable         bool // clients can reach it
	Stored            bool // Messages and Size are known
	Messages, Size    uint64
	Connections       int64
	Up                string
	Chart             chart
}

// On reports whether the server is meant to run.
func (s serverView) On() bool {
	return s.State != manager.StateStopped && s.State != manager.StateLocked
}

// AsksPassphrase reports whether only the passphrase starts the server.
func (s serverView) AsksPassphrase() bool {
	return s.State == manager.StateLocked || s.Protected && s.State == manager.StateStopped
}

// serversView is the first page.
type serversView struct {
	Servers []serverView
	Tor     torView
	// Switched reports whether the relay can be made to start at log-in, and AtLogin whether
	// it does.
	Switched, AtLogin bool
	// NewToken returns a token for the form of that switch.
	NewToken func() string `json:"-"`
}

func (c *Console) viewServers(v *visit) (any, bool) {
	st := c.watch.status(v.r.Context())
	view := serversView{Tor: viewNetwork(st), NewToken: v.session.newToken}
	if c.cfg.AtLogin != nil {
		view.Switched, view.AtLogin = true, c.cfg.AtLogin.IsOn()
	}
	for _, s := range st.Servers {
		view.Servers = append(view.Servers, c.viewOne(s, view.Tor))
	}
	return view, true
}

// switchAtLogin decides whether the relay starts when its user logs in.
func (v *visit) switchAtLogin() {
	v.submit(func() string {
		do, done := v.c.cfg.AtLogin.TurnOff, "The relay does not start by itself any more."
		if v.value("on") == "yes" {
			do, done = v.c.cfg.AtLogin.TurnOn, "The relay starts by itself from now on, when you log in."
		}
		if err := do(); err != nil {
			v.session.setNotice(notice{"That could not be changed: " + err.Error(), true})
			return "/"
		}
		v.c.log.Info("change", "change", "start at log-in", "on", v.value("on") == "yes", "from", "console")
		v.session.setNotice(notice{Text: done})
		return "/"
	})
}

// viewOne returns what pages show of one server.
func (c *Console) viewOne(s manager.ServerStatus, tor torView) serverView {
	view := serverView{
		Name: s.Name, Description: s.Description, Path: "/servers/" + url.PathEscape(s.Name),
		State: s.State, Word: stateWords[s.State], Problem: capitalize(s.Problem), Autostart: s.Autostart, Unreadable: s.Unreadable, Protected: s.Protected,
		Deleting: s.Deleting, Reachable: s.State == manager.StateRunning, Chart: c.charts.chart(s.Name),
	}
	if s.Deleting {
		view.Word = "Being deleted"
	}
	if s.Address != "" {
		view.Address = string(s.Address) + ".onion"
	}
	if s.State == manager.StateStarting || s.State == manager.StatePublishing {
		view.Waiting = describeWait(tor, time.Since(c.watch.inStateSince(s.Name)))
	}
	if r := s.Relay; r != nil {
		view.Connections, view.Up = r.BoardConnections.Open, formatAge(time.Since(r.Since))
		if r.Store != nil {
			view.Stored, view.Messages, view.Size = true, r.Store.Envelopes, r.Store.Bytes
		}
		for _, problem := range []string{r.Problem, r.NoRoom, r.Refusing} {
			if view.Problem == "" && problem != "" {
				view.Problem = capitalize(problem)
			}
		}
	}
	return view
}

// describeWait says for what a server waits that is being started, and how long.
func describeWait(tor torView, waiting time.Duration) string {
	if !tor.Ready {
		return tor.Text
	}
	text := "Tor is making the address known. That takes 5 to 60 seconds"
	if waiting < 5*time.Second {
		return text + "."
	}
	return fmt.Sprintf("%s; %d seconds so far.", text, int(waiting.Seconds())/5*5)
}

// findServer returns the server that a page is about. If it returns false, the browser has
// its answer.
func (v *visit) findServer() (manager.ServerStatus, bool) {
	s, ok := v.lookUpServer()
	if !ok {
		v.renderMissing()
	}
	return s, ok
}

func (v *visit) lookUpServer() (manager.ServerStatus, bool) {
	name := v.r.PathValue("name")
	for _, s := range v.c.watch.status(v.r.Context()).Servers {
		if s.Name == name {
			return s, true
		}
	}
	return manager.ServerStatus{}, false
}

// serverPage is the page of one server.
type serverPage struct {
	serverView
	Bundle string // for friends; empty if the keys are not known
	// Unlock has the fault of the last try; it is no part of the view that events compare.
	Unlock *form `json:"-"`
	// NewToken returns a token for one of the small forms of the page.
	NewToken func() string `json:"-"`
}

func (c *Console) viewServer(v *visit) (any, bool) {
	s, ok := v.lookUpServer()
	if !ok {
		return nil, false
	}
	return v.pageOf(s, v.newForm(nil)), true
}

func (v *visit) pageOf(s manager.ServerStatus, unlock form) serverPage {
	tor := viewNetwork(v.c.watch.status(v.r.Context()))
	page := serverPage{serverView: v.c.viewOne(s, tor), Unlock: &unlock, NewToken: v.session.newToken}
	if bundle, err := v.c.cfg.Relay.Bundle(s.Name); err == nil && page.Waiting == "" {
		page.Bundle = bundle
	}
	return page
}
