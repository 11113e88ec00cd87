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

	"github.com/cwtch-relay/cwtch-relay/core/doctor"
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

// openServers loads the keys of all servers and starts the processes of their
// stores. It returns the fault of each server, or nil.
func (m *Manager) openServers() (faults []error, err error) {
	for _, c := range m.cfg.Servers {
		s := m.newServer(c)
		m.updateShared(func() { m.servers = append(m.servers, s) })
		faults = append(faults, m.prepareServer(s))
	}
	if !slices.Contains(faults, nil) {
		return faults, nil
	}
	// A relay that was killed leaves its sockets. The directory is ours, so nobody
	// uses them any more.
	if err := os.RemoveAll(filepath.Join(m.cfg.DataDir, "run")); err != nil {
		return nil, fmt.Errorf("remove stale sockets: %w", err)
	}
	for i, s := range m.servers {
		if faults[i] == nil {
			m.launchStore(s, s.cfg.Storage)
		}
	}
	return faults, nil
}

// prepareServer loads the keys of a server and checks that its store is not gone.
func (m *Manager) prepareServer(s *server) (err error) {
	if s.cfg.Storage.Fault != nil {
		return s.cfg.Storage.Fault
	}
	if s.keys, err = LoadOrCreateKeys(m.cfg.DataDir, s.dir); err != nil {
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
func (m *Manager) startServers(ctx context.Context, faults []error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	usable := make(chan bool, len(m.servers))
	lasting := make([]bool, len(m.servers))
	var wg sync.WaitGroup
	for i, s := range m.servers {
		wg.Go(func() {
			if faults[i] == nil {
				faults[i] = m.awaitAndCheckStore(ctx, s)
			}
			usable <- faults[i] == nil
			if faults[i] == nil {
				faults[i] = m.publishWhenOpen(ctx, s)
			}
			if faults[i] != nil && ctx.Err() == nil {
				lasting[i] = s.isLasting(faults[i])
				faults[i] = m.failServer(s, faults[i], m.cfg.Explain)
			}
		})
	}
	err := m.openNetwork(ctx, usable)
	if err != nil && !errors.Is(err, errNoneUsable) {
		cancel(err)
	} else if err == nil {
		close(m.opened)
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

// openNetwork opens the network once there is a server to publish.
func (m *Manager) openNetwork(ctx context.Context, usable <-chan bool) error {
	found := false
	for n := 0; n < len(m.servers) && !found; n++ {
		found = <-usable
	}
	if !found {
		return errNoneUsable
	}
	network, err := m.cfg.Network.Open(ctx)
	if err != nil {
		return fmt.Errorf("open the network: %w", err)
	}
	m.updateShared(func() { m.network = network })
	return nil
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

func (e noServerError) Unwrap() error        { return e.error }
func (e noServerError) Is(target error) bool { return target == ErrNoServer }
