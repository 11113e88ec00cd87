package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// publication is a server on its way into the network. Publishing takes seconds, or as long
// as Tor is out of reach, so bringUp waits for it without holding Manager.changing.
type publication struct {
	relay    *relay.Server
	files    *watchedFiles
	stopMark func() // saves the mark for the last time
	store    storage.Store
	old      bool          // the store has had envelopes before
	limits   limits.Limits // of relay
	returned chan struct{} // closed when Publish has returned
	err      error         // of Publish
}

// publishServer opens the board of a server and makes it reachable; the caller holds changing.
func (m *Manager) publishServer(ctx context.Context, s *server, limits limits.Limits) error {
	if err := m.publishOn(ctx, s, limits, s.store.plugin.Storage()); err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	return nil
}

func (m *Manager) publishOn(ctx context.Context, s *server, limits limits.Limits, store storage.Store) error {
	p, err := m.openBoard(ctx, s, limits, store)
	if err != nil {
		return err
	}
	if err := p.relay.Publish(ctx); err != nil {
		m.discardPublication(ctx, s, p)
		return err
	}
	m.adoptPublication(s, p)
	return nil
}

// openBoard opens the board of a server. What it returns is published, and then adopted or
// discarded.
func (m *Manager) openBoard(ctx context.Context, s *server, limits limits.Limits, store storage.Store) (*publication, error) {
	log := m.log.With("server", s.name)
	files, err := m.filesOf(s)
	if err != nil {
		return nil, err
	}
	r, err := relay.Open(ctx, relay.Config{
		Network: onion.WithSockets(m.network, s.dir), Keys: s.keys, Store: store, Limits: withBudget(limits, s.retention),
		Check: files.checkFiles, Logger: log, Peer: s.findPeer, HoursFile: hoursFile(s.dir),
	})
	if err != nil {
		return nil, err
	}
	p := &publication{relay: r, files: files, store: store, limits: limits, stopMark: func() {}, returned: make(chan struct{})}
	b := r.Board()
	s.board.Store(b)
	// A store that was restarted before there was a board was compared with nothing.
	err = b.Reopened(ctx)
	if err == nil {
		if lost := checkMark(s.dir, b.Epoch(), b.End().Seq); lost != nil {
			err = m.lostStoreError(s, lost)
		}
	}
	if err != nil {
		m.discardPublication(ctx, s, p)
		return nil, err
	}
	p.old = b.End().Seq > 0
	p.stopMark = startMark(s.dir, s.cfg.Storage.Name, b, log) // before anything is posted
	b.SetRoaming(s.roaming)
	return p, nil
}

// adoptPublication makes a published server one that runs.
func (m *Manager) adoptPublication(s *server, p *publication) {
	log := m.log.With("server", s.name)
	keeper := m.startKeeper(s, p.store, p.relay.Board(), p.old, log)
	m.updateShared(func() {
		s.relay, s.limits, s.stopMark, s.files, s.keeper, s.problem, s.pending = p.relay, p.limits, p.stopMark, p.files, keeper, "", nil
	})
}

// discardPublication ends what openBoard has opened. What clients have posted since it was
// published is kept.
func (m *Manager) discardPublication(ctx context.Context, s *server, p *publication) {
	p.relay.Close(ctx) //nolint:errcheck // posts under way are refused
	p.stopMark()
	s.board.Store(nil)
	m.updateShared(func() { s.pending = nil })
}

// launchServer begins to run a server: bringUp publishes it. The caller holds changing.
func (m *Manager) launchServer(s *server) {
	m.launchStore(s, s.cfg.Storage)
	s.comingUp.Store(true)
	m.wg.Go(func() { m.bringUp(s, false) })
}

// bringUp publishes a server as soon as its store and the network are ready, and tries again
// until the server runs. It gives up when only an operator can mend what is wrong. With again
// the server has failed before, and its store may take as long as it likes.
func (m *Manager) bringUp(s *server, again bool) {
	defer m.settleServer(s)
	for {
		if again && s.store.plugin.WaitReady(s.life) != nil {
			return
		}
		fault := m.attemptToRun(s)
		if fault == nil {
			m.announceServer(s)
			return
		}
		if m.changing.Acquire(s.life, 1) != nil {
			return
		}
		done := s.life.Err() != nil || m.noteFault(s, fault, again)
		m.changing.Release(1)
		s.settleOnce()
		if done || !sleepContext(s.life, cmp.Or(m.cfg.retryEvery, retryEvery)) {
			return
		}
		again = true
	}
}

// settleServer notes that bringUp has ended.
func (m *Manager) settleServer(s *server) {
	s.comingUp.Store(false)
	s.settleOnce()
}

// isComingUp reports whether bringUp is going to publish the server; the caller holds changing.
func (s *server) isComingUp() bool { return s.comingUp.Load() && s.relay == nil }

// attemptToRun tries once to run a server.
func (m *Manager) attemptToRun(s *server) error {
	if err := m.awaitAndCheckStore(s.life, s); err != nil {
		return err
	}
	s.storeChecked.Store(true)
	select {
	case <-m.opened:
	case <-s.life.Done():
		return context.Cause(s.life)
	}
	ctx, cancel := context.WithTimeoutCause(s.life, stepTimeout, fmt.Errorf("gave up after %v", stepTimeout))
	defer cancel()
	p, err := m.beginPublication(ctx, s)
	if err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	p.err = p.relay.Publish(ctx)
	close(p.returned)
	if m.changing.Acquire(s.life, 1) != nil {
		return s.life.Err() // closeServer ends the publication
	}
	defer m.changing.Release(1)
	if s.life.Err() != nil {
		return s.life.Err()
	}
	if p.err != nil {
		m.discardPublication(ctx, s, p)
		return fmt.Errorf("server %s: %w", s.name, p.err)
	}
	p.relay.SetLimits(withBudget(m.cfg.Limits, s.retention)) // a reload may have changed them meanwhile
	p.limits = m.cfg.Limits
	m.adoptPublication(s, p)
	if len(s.others) == 0 {
		m.addOthers(s)
	}
	m.log.Info("server runs now", "server", s.name)
	return nil
}

// announceServer tells the program of a server that was to start with the relay.
func (m *Manager) announceServer(s *server) {
	if !s.announced || m.cfg.OnPublished == nil {
		return
	}
	if r := m.relayOf(s); r != nil {
		m.cfg.OnPublished(RunningServer{Name: s.name, Bundle: r.Bundle()})
	}
}

// beginPublication opens the board of a server that is still to run.
func (m *Manager) beginPublication(ctx context.Context, s *server) (*publication, error) {
	if err := m.changing.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer m.changing.Release(1)
	if s.life.Err() != nil {
		return nil, s.life.Err()
	}
	p, err := m.openBoard(ctx, s, m.cfg.Limits, s.store.plugin.Storage())
	if err == nil {
		m.updateShared(func() { s.pending = p })
	}
	return p, err
}

// noteFault records why an attempt of bringUp has failed. It reports whether another one is of
// no use. The log has the first fault, and one that lasts.
func (m *Manager) noteFault(s *server, fault error, again bool) (done bool) {
	refused := errors.As(fault, new(refusedStoreError))
	if !again || refused {
		m.recordFault(s, fault, m.cfg.Explain) //nolint:errcheck // is fault
		return refused
	}
	m.updateShared(func() { s.problem = s.problemText(fault) })
	return false
}

// endPublication ends the publication that bringUp waits for; the life of the server has
// ended, and the caller holds changing.
func (m *Manager) endPublication(ctx context.Context, s *server) {
	if p := s.pending; p != nil {
		<-p.returned // at once, since its context has ended
		m.discardPublication(ctx, s, p)
	}
}

// settleOnce lets those go on who wait for the first outcome of bringUp; bringUp alone calls it.
func (s *server) settleOnce() {
	select {
	case <-s.settled:
	default:
		close(s.settled)
	}
}

// awaitServer waits until bringUp has published a server, or has failed to.
func (m *Manager) awaitServer(ctx context.Context, name string) {
	m.mu.Lock()
	i := slices.IndexFunc(m.servers, func(s *server) bool { return s.name == name && s.comingUp.Load() })
	var settled chan struct{}
	if i >= 0 {
		settled = m.servers[i].settled
	}
	m.mu.Unlock()
	if settled == nil {
		return
	}
	select {
	case <-settled:
	case <-ctx.Done():
	}
}
