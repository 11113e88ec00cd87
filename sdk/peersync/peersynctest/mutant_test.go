package peersynctest_test

import (
	"context"
	"errors"
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
}

// fault says what is different; what is nil is not.
type fault struct {
	// before looks at the events first, and may fail.
	before func(m *mutant, events []peersync.Event) error
	handle func(ctx context.Context, m *mutant, events []peersync.Event) error
	close  func(m *mutant) error
	// host is what the flood is given in the place of its host.
	host func(host peersync.HostServices) peersync.HostServices
	bare bool // without what the sdk does around a replicator
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

func open(tb testing.TB, dir string, host peersync.HostServices, f fault) (*plugintest.Opened, error) {
	given := host
	if f.host != nil {
		given = f.host(host)
	}
	m := &mutant{host: host, fault: f}
	if f.bare {
		m.Replicator = &flood{host: given}
	} else {
		opened, err := plugintest.Transports(tb, floods)[0].OpenPeerSync(tb, dir, nil, given)
		if err != nil {
			return nil, err
		}
		m.Replicator = opened.Replicator
	}
	return &plugintest.Opened{Replicator: m, Close: m.Close}, nil
}

var errMutant = errors.New("fault")

// fails makes a fault of an event that the mutant cannot stand.
func fails(stumbles func(peersync.Event) bool) fault {
	return fault{before: func(_ *mutant, events []peersync.Event) error {
		for _, e := range events {
			if stumbles(e) {
				return errMutant
			}
		}
		return nil
	}}
}

// does makes a fault of what the mutant does besides.
func does(besides func(ctx context.Context, m *mutant, e peersync.Event)) fault {
	return fault{handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		err := m.Replicator.Handle(ctx, events)
		for _, e := range events {
			besides(ctx, m, e)
		}
		return err
	}}
}

// aHost is a host of which some methods are replaced.
type aHost struct {
	peersync.HostServices
	load func(ctx context.Context, name string) ([]byte, error)
	log  func(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error)
	send func(ctx context.Context, to peersync.Peer, ids []storage.ID) error
}

func (h *aHost) Load(ctx context.Context, name string) ([]byte, error) {
	if h.load == nil {
		return h.HostServices.Load(ctx, name)
	}
	return h.load(ctx, name)
}

func (h *aHost) Log(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	if h.log == nil {
		return h.HostServices.Log(ctx, req)
	}
	return h.log(ctx, req)
}

func (h *aHost) Transfer(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
	if h.send == nil {
		return h.HostServices.Transfer(ctx, to, ids)
	}
	return h.send(ctx, to, ids)
}

const stranger = ^peersync.Peer(0)

// mutants are faults, by the check that must find them.
var mutants = map[string]fault{
	"Start":      fails(func(e peersync.Event) bool { _, ok := e.(peersync.Start); return ok }),
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
			if m.starts++; m.starts > 1 { // and go on as before
				events = events[1:]
			}
		}
		return m.Replicator.Handle(ctx, events)
	}},
	"CloseUnderWay": {close: func(m *mutant) error { // say goodbye
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
	"Deterministic": does(func(ctx context.Context, m *mutant, e peersync.Event) {
		if up, ok := e.(peersync.PeerUp); ok {
			m.host.Send(ctx, up.Peer, []byte{byte(rand.Int())})
		}
	}),
	"UnknownPeers": fails(func(e peersync.Event) bool { m, ok := e.(peersync.PeerDown); return ok && m.Peer == stranger }),
	"UnknownEvents": fails(func(e peersync.Event) bool {
		switch e.(type) {
		case peersync.Start, peersync.LogAdvanced, peersync.Tick, peersync.PeerUp, peersync.PeerDown, peersync.PeerMessage, peersync.Sent, peersync.Received:
			return false
		}
		return true
	}),
	"UnknownIDs": fails(func(e peersync.Event) bool {
		m, ok := e.(peersync.Received)
		return ok && m.Outcomes[0].Status == peersync.Gone
	}),
	"Garbage":      fails(func(e peersync.Event) bool { m, ok := e.(peersync.PeerMessage); return ok && string(m.Data) != "hello" }),
	"Extremes":     fails(func(e peersync.Event) bool { tick, ok := e.(peersync.Tick); return ok && tick.Now+time.Hour < 0 }),
	"LongMessages": fails(func(e peersync.Event) bool { m, ok := e.(peersync.PeerMessage); return ok && len(m.Data) > 1<<16 }),
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
	"UpAndDown": does(func(ctx context.Context, m *mutant, e peersync.Event) {
		switch e := e.(type) {
		case peersync.PeerDown:
			m.down = e.Peer
		case peersync.Tick:
			if m.down != 0 {
				m.host.Send(ctx, m.down, []byte("goodbye"))
			}
		}
	}),
	"Backlog": fails(func(e peersync.Event) bool { start, ok := e.(peersync.Start); return ok && start.State.Last > 1000 }),
	"HostErrors": {handle: func(ctx context.Context, m *mutant, events []peersync.Event) error {
		return errors.Join(m.Replicator.Handle(ctx, events), m.host.Report(ctx, peersync.Report{}))
	}},
	"Live": does(func(_ context.Context, m *mutant, e peersync.Event) {
		if tick, ok := e.(peersync.Tick); ok && tick.Now > 20*time.Second { // after a while
			m.host.Report(context.Background(), peersync.Report{Summary: strings.Repeat("x", peersync.MaxText+1)})
		}
	}),
	"Converges": {host: func(host peersync.HostServices) peersync.HostServices {
		return &aHost{HostServices: host, send: func(ctx context.Context, to peersync.Peer, ids []storage.ID) error {
			return host.Transfer(ctx, to, append(ids[1:], ids[1%len(ids)])) // leaves one out
		}}
	}},
	"Resumes": {host: func(host peersync.HostServices) peersync.HostServices {
		return &aHost{HostServices: host, load: func(context.Context, string) ([]byte, error) { return nil, nil }}
	}},
	"OtherEpoch": {host: func(host peersync.HostServices) peersync.HostServices {
		return &aHost{HostServices: host, log: func(ctx context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
			page, err := host.Log(ctx, req)
			page.Epoch = storage.Epoch{}
			return page, err
		}}
	}},
}

// TestMutants proves that the checks find what they are there for.
func TestMutants(t *testing.T) {
	checks := peersynctest.Checks(peersynctest.Opener{})
	tried := make(map[string]bool)
	for name, fault := range mutants {
		t.Run(name, func(t *testing.T) {
			o := peersynctest.Opener{Converges: true, Resumes: true, Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
				return open(tb, dir, host, fault)
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
		if !tried[c.Name] && c.Name != "Killed" { // which needs a process
			t.Errorf("no mutant tries the check %q", c.Name)
		}
	}
}

// TestPlain proves that a mutant without a fault passes, so that it is the faults
// that the checks find.
func TestPlain(t *testing.T) {
	peersynctest.Run(t, peersynctest.Opener{Converges: true, Resumes: true,
		Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
			return open(tb, dir, host, fault{})
		}})
}
