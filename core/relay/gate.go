package relay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// gate accepts the connections of one onion service and turns away those above
// the limits.
type gate struct {
	ln    net.Listener
	max   atomic.Int64
	rate  *rate.Limiter
	count *connectionCounts
	log   *slog.Logger
	wg    sync.WaitGroup // one for each connection that is served
}

func newGate(ln net.Listener, l Limits, count *connectionCounts, log *slog.Logger) *gate {
	g := &gate{
		ln:    ln,
		rate:  rate.NewLimiter(rate.Limit(l.ConnectionsPerSecond), l.ConnectionsPerSecond),
		count: count,
		log:   log,
	}
	g.max.Store(int64(l.Connections))
	return g
}

// set changes what the gate lets in.
func (g *gate) set(l Limits) {
	g.max.Store(int64(l.Connections))
	g.rate.SetLimit(rate.Limit(l.ConnectionsPerSecond))
	g.rate.SetBurst(l.ConnectionsPerSecond)
}

// run serves connections until the gate is closed, and returns when the last of
// them has ended.
func (g *gate) run(ctx context.Context, serve func(context.Context, net.Conn)) {
	defer g.wg.Wait()
	for {
		nc, err := g.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, most likely; they come back.
			g.log.Warn("can not accept a connection, will try again", "error", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		if !g.admit(ctx) {
			nc.Close()
			continue
		}
		g.wg.Go(func() {
			defer g.count.open.Add(-1)
			defer nc.Close()
			defer g.count.survive(g.log)
			serve(ctx, nc)
		})
	}
}

// admit decides on a new connection, and holds up those behind it while they
// come faster than they may.
func (g *gate) admit(ctx context.Context) bool {
	if !g.rate.Allow() {
		g.count.delayed.Add(1)
		if g.rate.Wait(ctx) != nil {
			return false
		}
	}
	if g.count.open.Add(1) > g.max.Load() {
		g.count.open.Add(-1)
		g.count.refused.Add(1)
		return false
	}
	g.count.accepted.Add(1)
	return true
}

// survive, deferred by every goroutine of a connection, keeps a defect that one
// client can trigger from ending the relay for all. The stack has no values of
// the client's in it.
func (c *connectionCounts) survive(log *slog.Logger) {
	if r := recover(); r != nil {
		c.panics.Add(1)
		log.Error("a connection ended by a defect of the relay, please report it", "stack", callers())
	}
}

func (g *gate) close() { g.ln.Close() }
