package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/limits"
)

// TestUsualPurchaseThroughLargeOnes shows that many large purchases do not hold up a
// usual one.
func TestUsualPurchaseThroughLargeOnes(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.TokenBatchesPerSecond = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 100 { // paid purchases, for which the service needs 100 s
		waiting.Go(func() { r.purchases.waitTurn(ctx, 150, stillWaiting) })
	}
	for r.Status(t.Context()).TokenConnections.Delayed < 50 {
		time.Sleep(time.Millisecond)
	}
	soon, done := context.WithTimeout(ctx, 5*time.Second)
	defer done()
	if _, err := client.Buy(soon, r.net, r.Bundle(), 10, nil); err != nil {
		t.Error(err)
	}
	cancel()
	waiting.Wait()
}

// TestPaidPurchasesAreServed fills all places of the token service with clients that
// come back with their proof of work at once.
func TestPaidPurchasesAreServed(t *testing.T) {
	r := startServer(t, func(c *Config) {
		c.Limits.TokenBatchesPerSecond, c.Limits.TokenBatch = 2, 5
		c.Limits.HandshakeTimeout = time.Minute // one machine does the work of all of them
	})
	const places = 20 // ten seconds, of ten tokens, by five
	if n := tokenPlaces(r.cfg.Limits); n != places {
		t.Fatalf("%d places", n)
	}
	var buying sync.WaitGroup
	for range places {
		buying.Go(func() {
			if _, err := client.Buy(t.Context(), r.net, r.Bundle(), 5, nil); err != nil {
				t.Errorf("paid, and got no tokens: %v", err)
			}
		})
	}
	buying.Wait()
	if st := r.Status(t.Context()); st.Tokens.Refused != 0 || st.TokenConnections.Delayed == 0 {
		t.Errorf("counted %+v and %+v", st.Tokens, st.TokenConnections)
	}
}

// TestTokenServiceHasItsOwnPlaces shows that no more clients get a place than can be
// served, also after a change of the limits.
func TestTokenServiceHasItsOwnPlaces(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.TokenBatchesPerSecond, c.Limits.TokenBatch = 2, 1 })
	service := r.cfg.Keys.Token.Onion()
	until := func(evicted uint64, open int64) {
		t.Helper()
		for begin := time.Now(); ; time.Sleep(time.Millisecond) {
			c := r.Status(t.Context()).TokenConnections
			if c.Evicted == evicted && c.Open == open {
				return
			}
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("%+v, want %d evicted and %d open", c, evicted, open)
			}
		}
	}
	r.dialSilent(23, service)
	until(3, 20)
	l := r.cfg.Limits
	l.TokenBatchesPerSecond = 1
	r.SetLimits(l)
	r.dialSilent(1, service)
	until(14, 10)
}

// TestUsualPurchaseKeepsItsPlace shows that a paid purchase keeps its place while it
// waits, unless it is a large one.
func TestUsualPurchaseKeepsItsPlace(t *testing.T) {
	for n, evicted := range map[int]bool{1: false, usualPurchase: false, usualPurchase + 1: true} {
		synctest.Test(t, func(t *testing.T) {
			q := newTestQueue(1, maxPurchases, usualFirst)
			q.apply(t.Context(), "first", 1, stillWaiting)
			g := newAcceptor(nil, constantPlaces(1), limits.Limits{}, &connectionCounts{}, slog.New(slog.DiscardHandler))
			s := &Server{purchases: q.admission}
			ctx, cancel := context.WithCancelCause(t.Context())
			p := g.takePlace(cancel)
			nc, _ := net.Pipe()
			q.wg.Go(func() {
				if err := s.admitPurchase(ctx, nc, n, p); errors.Is(err, errEvicted) != evicted {
					t.Errorf("a purchase of %d ended with %v", n, err)
				}
			})
			synctest.Wait()
			if newcomer := g.takePlace(func(error) {}); (newcomer != nil) != evicted {
				t.Errorf("a newcomer beside a purchase of %d has a place: %v", n, newcomer != nil)
			}
			q.wg.Wait()
			if !evicted && g.takePlace(func(error) {}) != nil {
				t.Errorf("a purchase of %d that is served lost its place", n)
			}
		})
	}
}

// TestServedPurchaseKeepsItsPlace shows it for a large one.
func TestServedPurchaseKeepsItsPlace(t *testing.T) {
	g := newAcceptor(nil, constantPlaces(1), limits.Limits{}, &connectionCounts{}, slog.New(slog.DiscardHandler))
	var delayed atomic.Uint64
	s := &Server{purchases: newAdmission(1, maxPurchases, usualFirst, &delayed)}
	nc, _ := net.Pipe()
	if err := s.admitPurchase(t.Context(), nc, 150, g.takePlace(func(error) {})); err != nil {
		t.Fatal(err)
	}
	if g.takePlace(func(error) {}) != nil {
		t.Error("a purchase that is served lost its place")
	}
}
