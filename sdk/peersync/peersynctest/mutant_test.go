package peersynctest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// mutant is a flood with a fault.
type mutant struct {
	peersync.Replicator
	host   peersync.HostServices
	fault  fault
	starts int
	down   peersync.Peer // the last one
	waited int           // ticks since something changed
	up     []peersync.Peer
}

// fault is what a mutant does differently. Fields that are nil change nothing.
type fault struct {
	// before sees the events before the flood, and may fail.
	before func(m *mutant, events []peersync.Event) error
	handle func(ctx context.Context, m *mutant, events []peersync.Event) error
	close  func(m *mutant) error
	// host changes the host of the flood.
	host func(host peersync.HostServices) peersync.HostServices
	bare bool // calls the flood without the checks of the sdk
}

func (m *mutant) Handle(ctx context.Context, events []peersync.Event) error {
	if m.fault.before != nil {
		if err := m.fault.before(m, events); err != nil {
			return err
		}
	}
	if m.fault.handle != nil {
		return m.fault.handle(ctx, m, events)
	}
	return m.Replicator.Handle(ctx, events)
}

func (m *mutant) Close() error {
	if m.fault.close != nil {
		return m.fault.close(m)
	}
	return m.Replicator.Close()
}

func openMutant(tb testing.TB, dir string, host peersync.HostServices, f fault) (*plugintest.Opened, error) {
	given := host
	if f.host != nil {
		given = f.host(host)
	}
	m := &mutant{host: host, fault: f}
	if f.bare {
		m.Replicator = &flood{host: given}
	} else {
		opened, err := plugintest.Transports(tb, floodPlugin)[0].OpenPeerSync(tb, dir, nil, given)
		if err != nil {
			return nil, err
		}
		m.Replicator = opened.Replicator
	}
	return &plugintest.Opened{Replicator: m, Close: m.Close}, nil
}

var errMutant = errors.New("fault")

// failsAt makes a mutant that fails at certain events.
func failsAt(stumbles func(peersync.Event) bool) fault {
	return fault{before: func(_ *mutant, events []peersync.Event) error {
		for _, e := range events {
			if stumbles(e) {
				return errMutant
			}
		}
		return nil
	}}
}

// alsoDoes makes a mutant that does something more after each event.
func alsoDoes(besides func(ctx context.Context, m *mutant, e peersync.Event)) fault {
	return fault{handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		err := m.Replicator.Handle(ctx, events)
		for _, e := range events {
			besides(ctx, m, e)
		}
		return err
	}}
}

// changedHost is a host with some methods replaced.
type changedHost struct {
	peersync.HostServices
	load  func(ctx context.Context, name string) ([]byte, error)
	log   func(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error)
	push  func(ctx context.Context, to peersync.Peer, ids []storage.ID) error
	offer func(ctx context.Context, to peersync.Peer, ids []storage.ID) error
}

func (h *changedHost) Load(ctx context.Context, name string) ([]byte, error) {
	if h.load == nil {
		return h.HostServices.Load(ctx, name)
	}
	return h.load(ctx, name)
}

func (h *changedHost) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	if h.log == nil {
		return h.HostServices.Log(ctx, req)
	}
	return h.log(ctx, req)
}

func (h *changedHost) Push(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	if h.push == nil {
		return h.HostServices.Push(ctx, to, ids)
	}
	return h.push(ctx, to, ids)
}

func (h *changedHost) Offer(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	if h.offer == nil {
		return h.HostServices.Offer(ctx, to, ids)
	}
	return h.offer(ctx, to, ids)
}

const unknownPeer = ^peersync.Peer(0)

// mutants has a fault for each check, which must find it.
var mutants = map[string]fault{
	"Start":      failsAt(func(e peersync.Event) bool { _, ok := e.(peersync.Start); return ok }),
	"NotStarted": {bare: true},
	"NoEvents": {before: func(_ *mutant, events []peersync.Event) error {
		if len(events) == 0 {
			return errMutant
		}
		return nil
	}},
	"EndedContext": {handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		return m.Replicator.Handle(context.WithoutCancel(ctx), events)
	}},
	"StartAgain": {handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		if _, ok := events[0].(peersync.Start); ok {
			if m.starts++; m.starts > 1 { // ignores the second Start
				events = events[1:]
			}
		}
		return m.Replicator.Handle(ctx, events)
	}},
	"CloseUnderWay": {close: func(m *mutant) error { // calls the host
		return m.host.Report(context.Background(), peersync.Report{Summary: "closed"})
	}},
	"CloseNew": {
		before: func(m *mutant, _ []peersync.Event) error { m.starts++; return nil },
		close: func(m *mutant) error {
			if m.starts == 0 {
				return errMutant
			}
			return m.Replicator.Close()
		},
	},
	"Deterministic": alsoDoes(func(ctx context.Context, m *mutant, e peersync.Event) {
		if up, ok := e.(peersync.PeerUp); ok {
			m.host.Send(ctx, up.Peer, []byte{byte(rand.Int())})
		}
	}),
	"UnknownPeers": failsAt(func(e peersync.Event) bool { m, ok := e.(peersync.PeerDown); return ok && m.Peer == unknownPeer }),
	"UnknownEvents": failsAt(func(e peersync.Event) bool {
		switch e.(type) {
		case peersync.Start, peersync.LogAdvanced, peersync.Tick, peersync.PeerUp, peersync.PeerDown, peersync.PeerMessage, peersync.Sent, peersync.Received,
			peersync.PeersChanged, peersync.PeerMoved, peersync.PeerReady:
			return false
		}
		return true
	}),
	"UnknownIDs": failsAt(func(e peersync.Event) bool {
		m, ok := e.(peersync.Received)
		return ok && m.Outcomes[0].Status == peersync.Gone
	}),
	"Garbage":      failsAt(func(e peersync.Event) bool { m, ok := e.(peersync.PeerMessage); return ok && string(m.Data) != "hello" }),
	"Extremes":     failsAt(func(e peersync.Event) bool { tick, ok := e.(peersync.Tick); return ok && tick.Now+time.Hour < 0 }),
	"LongMessages": failsAt(func(e peersync.Event) bool { m, ok := e.(peersync.PeerMessage); return ok && len(m.Data) > 1<<16 }),
	"FullBatch": {before: func(_ *mutant, events []peersync.Event) error {
		if len(events) > 100 {
			return errMutant
		}
		return nil
	}},
	"TooMuch": {handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		if peersync.CheckEvents(events) != nil {
			return nil
		}
		return m.Replicator.Handle(ctx, events)
	}},
	"Busy": failsAt(func(e peersync.Event) bool { _, ok := e.(peersync.PeerReady); return ok }),
	"UnderWay": {before: func(m *mutant, events []peersync.Event) error { // expects outcomes within seconds
		for _, e := range events {
			switch e.(type) {
			case peersync.PeerUp:
				m.waited = 1
			case peersync.LogAdvanced:
				if m.waited > 0 {
					m.waited = 2
				}
			case peersync.Sent, peersync.Received:
				m.waited = 1
			case peersync.Tick:
				if m.waited > 1 {
					m.waited++
				}
			}
		}
		if m.waited > 10 {
			return errMutant
		}
		return nil
	}},
	"Outcomes": failsAt(func(e peersync.Event) bool {
		sent, ok := e.(peersync.Sent)
		return ok && sent.Outcomes[0].Status == peersync.Invalid
	}),
	"Peers": failsAt(func(e peersync.Event) bool {
		changed, ok := e.(peersync.PeersChanged)
		return ok && len(changed.Peers) == peersync.MaxPeers
	}),
	"Epochs": failsAt(func(e peersync.Event) bool { moved, ok := e.(peersync.PeerMoved); return ok && moved.State.Count == 0 }),
	"Clocks": failsAt(func(e peersync.Event) bool { tick, ok := e.(peersync.Tick); return ok && tick.Hour < 479_000 }),
	"UpAndDown": alsoDoes(func(ctx context.Context, m *mutant, e peersync.Event) {
		switch e := e.(type) {
		case peersync.PeerDown:
			m.down = e.Peer
		case peersync.Tick:
			if m.down != 0 {
				m.host.Send(ctx, m.down, []byte("goodbye"))
			}
		}
	}),
	"Floor": failsAt(func(e peersync.Event) bool {
		m, ok := e.(peersync.LogAdvanced)
		return ok && m.State.First > 1 && m.State.Floor > 0 || ok && m.State.Count == 0 && m.State.Last > 0
	}),
	"Backlog": failsAt(func(e peersync.Event) bool { start, ok := e.(peersync.Start); return ok && start.State.Last > 1000 }),
	"HostErrors": {handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		return errors.Join(m.Replicator.Handle(ctx, events), m.host.Report(ctx, peersync.Report{}))
	}},
	"Live": alsoDoes(func(_ context.Context, m *mutant, e peersync.Event) {
		if tick, ok := e.(peersync.Tick); ok && tick.Now > 20*time.Second { // after a while
			m.host.Report(context.Background(), peersync.Report{Summary: strings.Repeat("x", peersync.MaxText+1)})
		}
	}),
	"Converges": {host: func(host peersync.HostServices) peersync.HostServices {
		leaveOut := func(call func(context.Context, peersync.Peer, []storage.ID) error) func(context.Context, peersync.Peer, []storage.ID) error {
			return func(ctx context.Context, to peersync.Peer, ids []storage.ID) error { // leaves the first id out
				return call(ctx, to, append(ids[1:], ids[1%len(ids)]))
			}
		}
		return &changedHost{HostServices: host, push: leaveOut(host.Push), offer: leaveOut(host.Offer)}
	}},
	"Hostile": {before: func(m *mutant, events []peersync.Event) error { // ends its work at a message that makes no sense
		for i, e := range events {
			if message, ok := e.(peersync.PeerMessage); m.starts > 0 || ok && len(message.Data) != messageSize {
				m.starts++
				events[i] = peersync.PeerDown{Peer: m.down}
			}
			if up, ok := e.(peersync.PeerUp); ok {
				m.down = up.Peer
			}
		}
		return nil
	}},
	"EqualIsQuiet": {host: func(host peersync.HostServices) peersync.HostServices { // sends what the peer may have
		return &changedHost{HostServices: host, offer: host.Push}
	}, before: func(m *mutant, events []peersync.Event) error { // and begins again and again
		for i, e := range events {
			if tick, ok := e.(peersync.Tick); ok && tick.Now%(10*time.Minute) == 0 && m.down > 0 {
				events[i] = peersync.Sent{Peer: m.down, Outcomes: []peersync.Outcome{{Status: peersync.Lost}}}
			}
			if up, ok := e.(peersync.PeerUp); ok {
				m.down = up.Peer
			}
		}
		return nil
	}},
	"OneAtATime": alsoDoes(func(ctx context.Context, m *mutant, e peersync.Event) {
		switch e := e.(type) {
		case peersync.PeerUp:
			m.up = append(m.up, e.Peer)
		case peersync.Tick:
			for _, p := range m.up { // asks everybody for an envelope that nobody has
				m.host.Request(ctx, p, []peersync.Key{{Born: 480_000, ID: storage.ID{1}}})
			}
		}
	}),
	"Resumes": {host: func(host peersync.HostServices) peersync.HostServices {
		return &changedHost{HostServices: host, load: func(context.Context, string) ([]byte, error) { return nil, nil }}
	}},
	"OtherEpoch": {host: func(host peersync.HostServices) peersync.HostServices {
		return &changedHost{HostServices: host, log: func(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
			page, err := host.Log(ctx, req)
			page.Epoch = storage.Epoch{}
			return page, err
		}}
	}},
	"CursorsOfGone": alsoDoes(func(ctx context.Context, m *mutant, e peersync.Event) {
		if up, ok := e.(peersync.PeerUp); ok {
			m.host.Save(ctx, peersync.Cursor{Name: fmt.Sprintf("peer/%d", up.Peer), Value: []byte("x")})
		}
	}),
}

// TestChecksFindMutants shows that each check finds its fault.
func TestChecksFindMutants(t *testing.T) {
	checks := peersynctest.Checks(peersynctest.Opener{})
	tried := make(map[string]bool)
	for name, fault := range mutants {
		t.Run(name, func(t *testing.T) {
			o := peersynctest.Opener{Converges: true, Resumes: true, Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
				return openMutant(tb, dir, host, fault)
			}}
			for _, c := range peersynctest.Checks(o) {
				if c.Name == name && plugintest.Evaluate(t.Context(), []plugintest.Check{c}, func(plugintest.Result) {}) != 1 {
					t.Errorf("the check %q passes", name)
				}
			}
		})
		tried[name] = true
	}
	for _, c := range checks {
		if !tried[c.Name] && c.Name != "Killed" { // Killed needs a process
			t.Errorf("no mutant tries the check %q", c.Name)
		}
	}
}

// TestMutantWithoutFaultPasses shows that a mutant without a fault passes every check.
func TestMutantWithoutFaultPasses(t *testing.T) {
	peersynctest.Run(t, peersynctest.Opener{Converges: true, Resumes: true,
		Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
			return openMutant(tb, dir, host, fault{})
		}})
}
