package onion

import (
	"context"
	"net"
	"time"
)

// A tor that gets a hundred services at once builds some hundred circuits at once. Those that
// time out count as tries, and tor gives a service only a few tries in five minutes. So services
// take turns: each holds a place from when tor gets it until a directory has its descriptor.
const publishingAtOnce = 8

// turns has a place for each service that tor is publishing.
type turns struct {
	places chan struct{}
	freed  chan struct{} // has an element after a place became free
}

func newTurns() turns {
	return turns{make(chan struct{}, publishingAtOnce), make(chan struct{}, 1)}
}

// awaitTurn waits for a place for a service.
func (t *Tor) awaitTurn(ctx context.Context, s *service) error {
	select {
	case t.turns.places <- struct{}{}:
		t.beginTurn(s)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.ctx.Done():
		return net.ErrClosed
	}
}

// tryTurn takes a place for a service if one is free.
func (t *Tor) tryTurn(s *service) bool {
	select {
	case t.turns.places <- struct{}{}:
		t.beginTurn(s)
		return true
	default:
		return false
	}
}

// beginTurn gives a place that was just taken to a service.
func (t *Tor) beginTurn(s *service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.turn != nil || s.published || t.services[s.onion] != s { // it has or had one, or has been withdrawn
		t.freePlace()
		return
	}
	s.turn = time.AfterFunc(t.timing.turn, func() { t.cutTurn(s) })
}

// cutTurn ends the turn of a service that holds up others. While tor itself cannot be used, there
// is nothing to hold up.
func (t *Tor) cutTurn(s *service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.turn != nil && t.status.State != Ready && t.ctx.Err() == nil {
		s.turn.Reset(t.timing.turn)
		return
	}
	t.endTurn(s)
}

// dropTurn ends the turn of a service that tor did not get.
func (t *Tor) dropTurn(s *service) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endTurn(s)
}

// endTurn gives back the place of a service, if it has one; t.mu is held.
func (t *Tor) endTurn(s *service) {
	if s.turn == nil {
		return
	}
	s.turn.Stop()
	s.turn = nil
	t.freePlace()
}

func (t *Tor) freePlace() {
	<-t.turns.places
	select {
	case t.turns.freed <- struct{}{}:
	default:
	}
}
