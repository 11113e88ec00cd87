package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/transfer"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// checkClock refuses a clock that is certainly wrong, like that of a machine without
// a battery before it has asked for the time. Tor could not connect, and envelopes would
// be kept under a wrong hour.
func checkClock(now time.Time) error {
	if now.Before(doctor.ReleaseDate) {
		return fmt.Errorf("the clock of this machine says %s, which is before this version was made: set it (timedatectl set-ntp true) and start again",
			now.UTC().Format("2006-01-02 15:04 MST"))
	}
	return nil
}

// startingServer is a server that is to start with the relay.
type startingServer struct {
	*server
	fault error // why it cannot
}

// openServers loads the keys of the servers and starts the processes of their stores. It
// returns those that are to run; the others are listed as stopped or locked.
func (m *Manager) openServers() (starting []*startingServer, err error) {
	for _, c := range m.cfg.Servers {
		if c.NoAutostart && c.Fault == nil {
			s := m.haltedServer(c, StateStopped)
			m.updateShared(func() { m.servers = append(m.servers, s) })
			continue
		}
		s := m.newServer(c)
		m.updateShared(func() { m.servers = append(m.servers, s) })
		if fault := m.prepareServer(s); !m.lockServer(s, fault) {
			starting = append(starting, &startingServer{s, fault})
		}
	}
	if !m.runsOn(starting) && !slices.ContainsFunc(starting, func(s *startingServer) bool { return s.fault == nil }) {
		return starting, nil // a relay that ends changes nothing
	}
	// A relay that was killed leaves its sockets. The directory is ours, so nobody
	// uses them any more.
	if err := os.RemoveAll(filepath.Join(m.cfg.DataDir, "run")); err != nil {
		return nil, fmt.Errorf("remove stale sockets: %w", err)
	}
	for _, s := range starting {
		if s.fault == nil {
			m.launchStore(s.server, s.cfg.Storage)
		}
	}
	return starting, nil
}

// runsOn reports whether the relay runs even if no server can be started now: it has a console,
// or a server that can be started later.
func (m *Manager) runsOn(starting []*startingServer) bool {
	return m.cfg.KeepRunning || len(starting) < len(m.servers)
}

// lockServer lists a server as locked if its fault is that its passphrase is not known. It
// reports whether it is.
func (m *Manager) lockServer(s *server, fault error) bool {
	switch {
	case errors.Is(fault, identity.ErrLocked):
		m.updateShared(func() { s.halted = StateLocked })
		m.log.Info("server is locked until somebody gives its passphrase", "server", s.name)
	case errors.Is(fault, identity.ErrWrongPassphrase):
		m.updateShared(func() {
			s.halted, s.problem = StateLocked, "the passphrase of the configuration is wrong"
		})
		m.log.Error("server is locked, since the passphrase of the configuration is wrong", "server", s.name, "file", s.cfg.File)
	default:
		return false
	}
	return true
}

// prepareServer loads the keys of a server and checks that its store is not gone.
func (m *Manager) prepareServer(s *server) error {
	switch {
	case s.cfg.Fault != nil:
		return s.cfg.Fault
	case s.cfg.Storage.Fault != nil:
		return s.cfg.Storage.Fault
	}
	if err := m.loadKeys(s); err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	if err := s.checkPeers(s.peers); err != nil {
		return err
	}
	if err := checkStoreFiles(s.dir); err != nil {
		return m.lostStoreError(s, err)
	}
	return nil
}

// awaitAndCheckStore waits until the store of a server is ready. It refuses an unfinished
// copy, and a store that is not the one the server ran on last.
func (m *Manager) awaitAndCheckStore(ctx context.Context, s *server) error {
	timeout := cmp.Or(m.cfg.storesTimeout, storesTimeout)
	err := s.store.plugin.WaitOpened(ctx, timeout, m.opened)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("gave up after %v", timeout))
	defer cancel()
	if err == nil {
		if err = transfer.CheckFinished(ctx, s.dir, s.store.plugin.Storage()); err != nil {
			err = refusedStoreError{err}
		}
	}
	var info storage.Info
	if err == nil {
		info, err = s.store.plugin.Storage().Info(ctx)
	}
	if err != nil {
		return &PluginError{s.name, s.store.cfg.String(), err}
	}
	if err := checkMark(s.dir, info.Epoch, info.Last); err != nil {
		return m.lostStoreError(s, err)
	}
	return nil
}

// startServers publishes each server whose store opens, without waiting for the
// other stores. It opens the network as soon as the first server is usable. The fault
// of one server stops no other; it is an error only if no server is left.
func (m *Manager) startServers(ctx context.Context, starting []*startingServer) error {
	if len(starting) == 0 {
		return noServerError{errNotConfigured}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	usable := make(chan bool, len(starting))
	lasting := make([]bool, len(starting))
	faults := make([]error, len(starting))
	var wg sync.WaitGroup
	for i, s := range starting {
		wg.Go(func() {
			if s.fault == nil {
				s.fault = m.awaitAndCheckStore(ctx, s.server)
			}
			usable <- s.fault == nil
			if s.fault == nil {
				s.fault = m.publishWhenOpen(ctx, s.server)
			}
			if s.fault != nil && ctx.Err() == nil {
				lasting[i] = s.isLasting(s.fault)
				faults[i] = m.failServer(s.server, s.fault, m.cfg.Explain)
			}
		})
	}
	err := m.openNetworkFor(ctx, usable)
	if err != nil && !errors.Is(err, errNoneUsable) {
		cancel(err)
	}
	wg.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	case slices.Contains(lasting, false):
		return errors.Join(faults...) // another start may find a store that is ready
	}
	return noServerError{errors.Join(faults...)}
}

// startInBackground is startServers for a relay that goes on whatever becomes of its servers.
// It waits for nothing.
func (m *Manager) startInBackground(starting []*startingServer) {
	m.wg.Go(m.keepOpeningNetwork)
	for _, s := range starting {
		if s.fault != nil {
			m.failServer(s.server, s.fault, m.cfg.Explain) //nolint:errcheck // is in the log and the status
			continue
		}
		s.announced = true
		s.comingUp.Store(true)
		m.wg.Go(func() { m.bringUp(s.server, false) })
	}
}

// openNetworkFor opens the network once there is a server to publish.
func (m *Manager) openNetworkFor(ctx context.Context, usable <-chan bool) error {
	found := false
	for n := 0; n < cap(usable) && !found; n++ {
		found = <-usable
	}
	if !found {
		return errNoneUsable
	}
	return m.openNetwork(ctx)
}

// openNetwork opens the network, and lets those go on who wait for it; the caller holds
// changing.
func (m *Manager) openNetwork(ctx context.Context) error {
	network, err := m.cfg.Network.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the network: %w", err)
	}
	m.adoptNetwork(network)
	return nil
}

func (m *Manager) adoptNetwork(network onion.Network) {
	m.updateShared(func() { m.network, m.networkProblem = network, "" })
	close(m.opened)
}

// keepOpeningNetwork opens the network of a relay that runs already. It tries again until that
// works, after a while or at once when a reload asks for it.
func (m *Manager) keepOpeningNetwork() {
	delay := backoff.Backoff{Min: cmp.Or(m.cfg.retryEvery, time.Second), Max: cmp.Or(m.cfg.retryEvery, retryEvery)}
	for {
		network, err := m.cfg.Network.Open(m.closing)
		if err == nil && m.changing.Acquire(m.closing, 1) != nil {
			network.Close() // the relay ends, and nothing was published
			return
		}
		if err == nil {
			m.adoptNetwork(network)
			m.changing.Release(1)
			return
		}
		m.noteNetworkProblem(err)
		select {
		case <-time.After(delay.Next()):
		case <-m.openNow:
			delay.Reset()
		case <-m.closing.Done():
			return
		}
	}
}

// noteNetworkProblem records why the network is not open, and logs that once.
func (m *Manager) noteNetworkProblem(err error) {
	m.mu.Lock()
	was := m.networkProblem
	m.networkProblem = oneLine(err)
	is := m.networkProblem
	m.mu.Unlock()
	if was != is && m.closing.Err() == nil {
		m.log.Error("cannot open the network, will keep trying; the servers are published when it is open", "error", err)
	}
}

// errNoneUsable: there is no server to open the network for.
var errNoneUsable = errors.New("no server can be published")

// publishWhenOpen publishes a server once the network is open, and starts its other
// plugins.
func (m *Manager) publishWhenOpen(ctx context.Context, s *server) error {
	select {
	case <-m.opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := m.publishServer(ctx, s, m.cfg.Limits); err != nil {
		return err
	}
	m.addOthers(s)
	return nil
}

// addOthers starts the plugins of a server that are not its store.
func (m *Manager) addOthers(s *server) {
	for _, c := range s.cfg.Others {
		m.addPlugin(s, c)
	}
}

// ErrNoServer: no server can run, and another start would find the same faults. The
// error of [Start] that matches it has the fault of every server.
var ErrNoServer = errors.New("no server can run")

// noServerError holds the faults of all servers.
type noServerError struct{ error }

var errNotConfigured = errors.New("the configuration has no server")

func (e noServerError) Unwrap() error        { return e.error }
func (e noServerError) Is(target error) bool { return target == ErrNoServer }
