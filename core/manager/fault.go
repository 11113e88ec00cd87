package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/limits"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/core/transfer"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// ErrNoServer: none of the servers can run, and starting again changes nothing of
// that. The error of [Start] that is one has the reasons of all.
var ErrNoServer = errors.New("no server can run")

// errNoneUsable: there is no server to open the network for.
var errNoneUsable = errors.New("no server can be published")

// noServerError has the reasons why no server can run.
type noServerError struct{ error }

func (e noServerError) Unwrap() error        { return e.error }
func (e noServerError) Is(target error) bool { return target == ErrNoServer }

// refusedError is why a server must not run on a store that is open.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// retryEvery is between two tries to publish a server.
const retryEvery = time.Minute

// openServers loads the keys of all servers and starts the processes of their
// stores. It returns the fault of each, or nil.
func (m *Manager) openServers() (faults []error, err error) {
	for _, c := range m.cfg.Servers {
		s := m.newServer(c)
		m.updateShared(func() { m.servers = append(m.servers, s) })
		faults = append(faults, m.prepare(s))
	}
	if !slices.Contains(faults, nil) {
		return faults, nil
	}
	// Sockets of a relay that was killed: the directory is ours, and nobody is
	// there any more.
	if err := os.RemoveAll(filepath.Join(m.cfg.DataDir, "run")); err != nil {
		return nil, fmt.Errorf("remove stale sockets: %w", err)
	}
	for i, s := range m.servers {
		if faults[i] == nil {
			m.openStore(s, s.cfg.Storage)
		}
	}
	return faults, nil
}

// prepare loads the keys of a server.
func (m *Manager) prepare(s *server) (err error) {
	if s.cfg.Storage.Fault != nil {
		return s.cfg.Storage.Fault
	}
	if s.keys, err = Keys(m.cfg.DataDir, s.dir); err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	if err := checkFiles(s.dir); err != nil {
		return m.lostStoreError(s, err)
	}
	return nil
}

// awaitStore waits for the store of a server, and refuses one that is half a copy
// of another, or not the one that the server ran on last.
func (m *Manager) awaitStore(ctx context.Context, s *server) error {
	timeout := cmp.Or(m.cfg.storesTimeout, storesTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("gave up after %v", timeout))
	defer cancel()
	err := s.store.plugin.WaitReady(ctx)
	if err == nil {
		if err = transfer.CheckFinished(ctx, s.dir, s.store.plugin.Storage()); err != nil {
			err = refusedError{err}
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
// others. The network is opened as soon as there is one. What is wrong with one
// server stops no other, and is an error only when no server is left.
func (m *Manager) startServers(ctx context.Context, faults []error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	usable := make(chan bool, len(m.servers))
	opened := make(chan struct{}) // closed when the network is open
	lasting := make([]bool, len(m.servers))
	var wg sync.WaitGroup
	for i, s := range m.servers {
		wg.Go(func() {
			if faults[i] == nil {
				faults[i] = m.awaitStore(ctx, s)
			}
			usable <- faults[i] == nil
			if faults[i] == nil {
				faults[i] = m.runServer(ctx, s, opened)
			}
			if faults[i] != nil && ctx.Err() == nil {
				lasting[i] = s.hasLasting(faults[i])
				faults[i] = m.fail(s, faults[i], m.cfg.Explain)
			}
		})
	}
	err := m.openNetwork(ctx, usable)
	if err != nil && !errors.Is(err, errNoneUsable) {
		cancel(err)
	} else if err == nil {
		close(opened)
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

// hasLasting reports whether only somebody who mends the fault can make the server
// run, so that trying again is in vain.
func (s *server) hasLasting(fault error) bool {
	return s.store == nil || errors.As(fault, new(refusedError)) || s.store.plugin.Status().State == supervise.Failed
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

// runServer publishes a server once the network is open, and starts its other
// plugins.
func (m *Manager) runServer(ctx context.Context, s *server, opened <-chan struct{}) error {
	select {
	case <-opened:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := m.publishServer(ctx, s, m.cfg.Limits); err != nil {
		return err
	}
	m.addOthers(s)
	return nil
}

// addOthers starts the plugins that a server can do without.
func (m *Manager) addOthers(s *server) {
	for _, c := range s.cfg.Others {
		m.addPlugin(s, c)
	}
}

// fail shows why a server does not run, and returns that as explain makes it. A
// server whose store may still come, or that could not be published, is tried
// again; any other waits for a reload. Manager.changing is held.
func (m *Manager) fail(s *server, fault error, explain func(error) error) error {
	refused := errors.As(fault, new(refusedError))
	if explain != nil {
		fault = explain(fault)
	}
	m.updateShared(func() { s.problem = s.problemText(fault) })
	m.log.Error("server does not run", "server", s.name, "error", fault)
	switch {
	case s.store == nil:
	case refused: // whoever mends it may need the files
		ctx, cancel := context.WithTimeout(m.closing, closeTimeout)
		defer cancel()
		s.store.stopPlugin(ctx) //nolint:errcheck // nothing was posted
	default:
		m.wg.Go(func() { m.retry(s) })
	}
	return fault
}

// closeTimeout is how long the store of a server that does not run may take to
// close.
const closeTimeout = 10 * time.Second

// retry publishes a server as soon as its store is ready, and tries again until it
// runs. It gives up when the store has failed for good.
func (m *Manager) retry(s *server) {
	for {
		if s.store.plugin.WaitReady(m.closing) != nil || m.changing.Acquire(m.closing, 1) != nil {
			return
		}
		done := m.revive(s)
		m.changing.Release(1)
		if done || !sleepContext(m.closing, cmp.Or(m.cfg.retryEvery, retryEvery)) {
			return
		}
	}
}

// revive tries once to run a server that does not, and tells whether that is
// settled.
func (m *Manager) revive(s *server) (done bool) {
	if m.closing.Err() != nil || s.relay != nil || !slices.Contains(m.servers, s) {
		return true
	}
	ctx, cancel := context.WithTimeoutCause(m.closing, stepTimeout, fmt.Errorf("gave up after %v", stepTimeout))
	defer cancel()
	err := m.awaitStore(ctx, s)
	if err == nil {
		err = m.publishServer(ctx, s, m.cfg.Limits)
	}
	switch {
	case err == nil:
		if len(s.others) == 0 {
			m.addOthers(s)
		}
		m.log.Info("server runs now", "server", s.name)
		return true
	case errors.As(err, new(refusedError)):
		m.fail(s, err, m.cfg.Explain) //nolint:errcheck // is err
		return true
	}
	m.updateShared(func() { s.problem = s.problemText(err) })
	return false
}

// addServer starts a server that was not there, or that did not run. It stays in
// the status, with its fault if it has one.
func (m *Manager) addServer(ctx context.Context, c ServerConfig, limits limits.Limits, explain func(error) error) error {
	old := m.findServer(c.Name)
	if old != nil {
		m.closeServer(ctx, old) //nolint:errcheck // it did not run
	}
	s := m.newServer(c)
	m.updateShared(func() {
		m.servers = append(slices.DeleteFunc(slices.Clone(m.servers), func(other *server) bool { return other == old }), s)
	})
	err := m.prepare(s)
	if err == nil {
		m.openStore(s, c.Storage)
		err = m.awaitStore(ctx, s)
	}
	if err == nil {
		err = m.publishServer(ctx, s, limits)
	}
	if err != nil {
		return m.fail(s, err, explain)
	}
	m.addOthers(s)
	return nil
}

// gaveUp tells whether the server runs, and its board serves nothing any more.
func (s *server) gaveUp() bool {
	return s.relay != nil && s.relay.Board().Err() != nil
}

// newFault returns a fault of a plugin in next, unless that plugin, or its server,
// does not run as it is.
func (m *Manager) newFault(next Config) error {
	for _, c := range next.Servers {
		s := m.findServer(c.Name)
		if s != nil && (s.problem != "" || s.gaveUp()) {
			continue
		}
		if c.Storage.Fault != nil {
			return c.Storage.Fault
		}
		for _, o := range c.Others {
			known := func(i *instance) bool { return i.cfg.String() == o.String() && i.cfg.Fault != nil }
			if o.Fault != nil && (s == nil || !slices.ContainsFunc(s.others, known)) {
				return o.Fault
			}
		}
	}
	return nil
}

// storeStatus is what is known of the store of a server; Manager.mu is held.
func (s *server) storeStatus() supervise.Status {
	if s.store == nil {
		return supervise.Status{Kind: plugin.KindStorage, Name: s.cfg.Storage.Name, State: supervise.Stopped, Since: s.since}
	}
	return s.store.plugin.Status()
}

// problemText is a fault on one line, beside the name of the server.
func (s *server) problemText(fault error) string {
	return strings.TrimSuffix(strings.TrimPrefix(oneLine(fault), "server "+s.name+": "), ".")
}

// oneLine is an error without line breaks, for a table.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
