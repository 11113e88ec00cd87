package onion

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cretz/bine/control"
)

// session is an authenticated control connection to one run of tor. Services live as
// long as it does: tor drops them when the connection ends.
type session struct {
	tor  torInfo
	nc   *controlConn
	conn *control.Conn
	wait time.Duration // for an answer; tor answers from memory, one that takes longer hangs
	end  func() string // ends the tor or connection behind it, once, and tells how that ended

	events   chan control.Event
	reading  chan struct{} // closed when tor or the connection has ended
	draining chan struct{} // closed to end the consumer of events
	consumed chan struct{} // closed when that has ended

	// mu is held around every request. control.Conn of bine v0.2.0 takes the
	// number of a request before its lock, so of two requests at once each can
	// wait for the other without end.
	mu     sync.Mutex
	closed bool
}

// torInfo is what a session knows of its tor.
type torInfo struct {
	pid          int // 0 if it is not ours
	version      string
	socksNetwork string // "unix" or "tcp"
	socksAddress string
	trust        trust // who may listen there
}

// watchedEvents are the events a session subscribes to.
var watchedEvents = []control.EventCode{control.EventCodeStatusClient, control.EventCodeHSDesc}

// newSession takes over an authenticated connection and calls handle with its events.
// handle must not make requests: they would wait for handle to return. closeSession
// calls end; if newSession fails, nobody does.
func newSession(nc *controlConn, conn *control.Conn, info torInfo, wait time.Duration, handle func(*session, control.Event), end func() string) (*session, error) {
	s := &session{
		tor: info, nc: nc, conn: conn, wait: wait, end: end,
		events:   make(chan control.Event, 64),
		reading:  make(chan struct{}),
		draining: make(chan struct{}),
		consumed: make(chan struct{}),
	}
	go s.handleEvents(handle)
	go s.readEvents()
	if err := s.subscribeEvents(); err != nil {
		s.closeConn()
		return nil, err
	}
	return s, nil
}

func (s *session) subscribeEvents() error {
	return s.runRequest(func(c *control.Conn) error {
		if err := c.AddEventListener(s.events, watchedEvents...); err != nil {
			return fmt.Errorf("subscribe to events of tor: %w", err)
		}
		info, err := c.GetInfo("version")
		if err != nil || len(info) != 1 {
			return errors.Join(errors.New("ask tor for its version"), err)
		}
		s.tor.version = info[0].Val
		return nil
	})
}

// readEvents reads events until the connection ends.
func (s *session) readEvents() {
	defer close(s.reading)
	for s.conn.HandleNextEvent() == nil {
	}
	s.nc.Close() // it is still open if tor sent nonsense
}

// handleEvents calls handle with each event. It outlives the connection, because a
// request that was cut off may still hand over an event.
func (s *session) handleEvents(handle func(*session, control.Event)) {
	defer close(s.consumed)
	for {
		select {
		case e := <-s.events:
			handle(s, e)
		case <-s.draining:
			return
		}
	}
}

// runRequest calls f, which makes requests, while nobody else makes any. A request
// that is not answered in time ends the session.
func (s *session) runRequest(f func(*control.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("tor control connection: %w", net.ErrClosed)
	}
	timer := time.AfterFunc(s.wait, func() { s.nc.Close() })
	defer timer.Stop()
	return f(s.conn)
}

// torState is the answer to requestStatus, as an event.
type torState struct {
	phase    string // of the bootstrap
	circuits bool
}

func (torState) Code() control.EventCode { return control.EventCodeStatusClient }

// requestStatus asks tor for its state, which arrives as an event.
func (s *session) requestStatus() error {
	return s.runRequest(func(c *control.Conn) error {
		info, err := c.GetInfo("status/bootstrap-phase", "status/circuit-established")
		if err != nil || len(info) != 2 {
			return errors.Join(errors.New("ask tor for its state"), err)
		}
		s.events <- torState{phase: info[0].Val, circuits: info[1].Val == "1"}
		return nil
	})
}

// closeSession closes the connection, ends what is behind it, and tells how that
// ended.
func (s *session) closeSession() string {
	s.closeConn()
	return s.end()
}

// closeConn closes the connection and waits until its events are handled.
func (s *session) closeConn() {
	s.nc.Close()
	<-s.reading
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.draining)
	<-s.consumed
}

// boundAuthentication bounds the time of the exchange before there is a session,
// because bine's requests take no context. The function that it returns lifts the
// bound, and returns why the connection was closed, if it was.
func boundAuthentication(ctx context.Context, nc net.Conn, wait time.Duration) func() error {
	_ = nc.SetDeadline(time.Now().Add(wait)) // fails only if the first request does as well
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	return func() error {
		if !stop() {
			return ctx.Err()
		}
		return nc.SetDeadline(time.Time{})
	}
}
