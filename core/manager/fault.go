package manager

import (
	"context"
	"errors"
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
	fault = m.recordFault(s, fault, explain)
	if s.store != nil && !refused {
		s.comingUp.Store(true)
		m.wg.Go(func() { m.bringUp(s, true) })
	}
	return fault
}

// recordFault is failServer without another try.
func (m *Manager) recordFault(s *server, fault error, explain func(error) error) error {
	refused := errors.As(fault, new(refusedStoreError))
	if explain != nil {
		fault = explain(fault)
	}
	m.updateShared(func() { s.problem = s.problemText(fault) })
	m.log.Error("server does not run", "server", s.name, "error", fault)
	if s.store != nil && refused { // an operator may need the files
		ctx, cancel := context.WithTimeout(m.closing, closeTimeout)
		defer cancel()
		s.store.stopPlugin(ctx) //nolint:errcheck // nothing was posted
	}
	return fault
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

// oneLine is an error without line breaks. Of several mistakes it has the first, and counts the others.
func oneLine(err error) string {
	text := err.Error()
	if brief, ok := errors.AsType[interface {
		error
		Brief() string
	}](err); ok {
		text = strings.Replace(text, brief.Error(), brief.Brief(), 1)
	}
	return strings.Join(strings.Fields(text), " ")
}
