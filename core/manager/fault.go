package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// refusedStoreError says why a server must not run on the store that it has opened.
type refusedStoreError struct{ error }

func (e refusedStoreError) Unwrap() error { return e.error }

// retryEvery is the time between two attempts to run a server.
const retryEvery = time.Minute

// closeTimeout is how long the store of a server that does not run may take to close.
const closeTimeout = 10 * time.Second

// failServer records why a server does not run, and returns the fault as explain
// improves it. If the store may still come, or the publication failed, the server is
// tried again; otherwise it waits for a reload. The caller holds changing.
func (m *Manager) failServer(s *server, fault error, explain func(error) error) error {
	refused := errors.As(fault, new(refusedStoreError))
	if explain != nil {
		fault = explain(fault)
	}
	m.updateShared(func() { s.problem = s.problemText(fault) })
	m.log.Error("server does not run", "server", s.name, "error", fault)
	switch {
	case s.store == nil:
	case refused: // an operator may need the files
		ctx, cancel := context.WithTimeout(m.closing, closeTimeout)
		defer cancel()
		s.store.stopPlugin(ctx) //nolint:errcheck // nothing was posted
	default:
		m.wg.Go(func() { m.retryServer(s) })
	}
	return fault
}

// retryServer publishes a server as soon as its store is ready, and tries again until
// the server runs. It gives up when the store has failed for good.
func (m *Manager) retryServer(s *server) {
	for {
		if s.store.plugin.WaitReady(m.closing) != nil || m.changing.Acquire(m.closing, 1) != nil {
			return
		}
		done := m.reviveServer(s)
		m.changing.Release(1)
		if done || !sleepContext(m.closing, cmp.Or(m.cfg.retryEvery, retryEvery)) {
			return
		}
	}
}

// reviveServer tries once to run a server that does not run. It reports whether
// no further attempt is needed.
func (m *Manager) reviveServer(s *server) (done bool) {
	if m.closing.Err() != nil || s.relay != nil || !slices.Contains(m.servers, s) {
		return true
	}
	ctx, cancel := context.WithTimeoutCause(m.closing, stepTimeout, fmt.Errorf("gave up after %v", stepTimeout))
	defer cancel()
	err := m.awaitAndCheckStore(ctx, s)
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
	case errors.As(err, new(refusedStoreError)):
		m.failServer(s, err, m.cfg.Explain) //nolint:errcheck // is err
		return true
	}
	m.updateShared(func() { s.problem = s.problemText(err) })
	return false
}

// isLasting reports whether the server can run only after somebody has mended the fault,
// so another attempt would fail too.
func (s *server) isLasting(fault error) bool {
	return s.store == nil || errors.As(fault, new(refusedStoreError)) || s.store.plugin.Status().State == supervise.Failed
}

// boardHasFailed reports whether the server is published but its board no longer serves.
func (s *server) boardHasFailed() bool {
	return s.relay != nil && s.relay.Board().Err() != nil
}

// problemText is a fault on one line, to stand beside the name of the server.
func (s *server) problemText(fault error) string {
	return strings.TrimSuffix(strings.TrimPrefix(oneLine(fault), "server "+s.name+": "), ".")
}

// oneLine is an error without line breaks.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
