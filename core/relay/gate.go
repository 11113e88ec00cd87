package relay

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/limits"
)

// gate accepts the connections of one onion service, and sees to it that not too
// many are open. It takes every connection at once; what is expensive about one
// waits elsewhere, see admission.
type gate struct {
	ln    net.Listener
	count *connectionCounts
	log   *slog.Logger
	wg    sync.WaitGroup // one for each connection that is served

	places func(limits.Limits) int // how many connections may be open

	mu    sync.Mutex
	max   int
	taken int // places; not those of evicted connections, which are about to end
	// Connections that may be evicted, the first to go in front, as *place.
	newcomers *list.List // have not asked for anything yet
	idlers    *list.List // by when they last did
}

// place is that of one connection.
type place struct {
	gate    *gate
	evict   context.CancelCauseFunc
	list    *list.List // that it is in; nil: kept, evicted or left
	element *list.Element
	evicted bool
}

func newGate(ln net.Listener, places func(limits.Limits) int, l limits.Limits, count *connectionCounts, log *slog.Logger) *gate {
	return &gate{ln: ln, places: places, max: places(l), count: count, log: log, newcomers: list.New(), idlers: list.New()}
}

// setLimits changes how many connections may be open.
func (g *gate) setLimits(l limits.Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.max = g.places(l)
}

// server serves a connection until it ends or ctx does.
type server func(ctx context.Context, nc net.Conn, p *place)

// serveAll serves connections until the gate is closed, and returns when the last of
// them has ended.
func (g *gate) serveAll(ctx context.Context, serve server) {
	defer g.wg.Wait()
	for {
		nc, err := g.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			g.makeRoom(ctx, err)
			continue
		}
		if isGone(nc) { // takes no place from anybody
			g.count.abandoned.Add(1)
			nc.Close()
			continue
		}
		ctx, evict := context.WithCancelCause(ctx)
		p := g.takePlace(evict)
		if p == nil {
			evict(nil)
			nc.Close()
			continue
		}
		g.wg.Go(func() {
			defer g.count.open.Add(-1)
			defer evict(nil)
			defer p.leaveGate()
			defer nc.Close()
			defer g.count.recoverDefect(g.log)
			serve(ctx, nc, p)
		})
	}
}

// makeRoom makes room if there are no file descriptors, and waits for some.
func (g *gate) makeRoom(ctx context.Context, err error) {
	pause := 100 * time.Millisecond
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		g.mu.Lock()
		if g.evictOne() {
			pause = time.Millisecond
		}
		g.mu.Unlock()
	}
	n := g.count.acceptErrors.Add(1)
	g.count.acceptLog.Do(func() {
		g.log.Warn("cannot accept connections, will keep trying; said once a minute", "error", err, "times", n)
	})
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// takePlace gives a new connection a place, that of another if there is none free;
// nil if all are kept.
func (g *gate) takePlace(evict context.CancelCauseFunc) *place {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.taken >= g.max {
		if !g.evictOne() {
			g.count.refused.Add(1)
			return nil
		}
	}
	g.taken++
	g.count.open.Add(1)
	g.count.accepted.Add(1)
	p := &place{gate: g, evict: evict}
	p.joinList(g.newcomers)
	return p
}

// evictOne reports whether there was one to evict. A quarter of the places is for
// newcomers, or idlers could keep them all out; beyond that newcomers evict each
// other, or those who never ask could have every place. mu is held.
func (g *gate) evictOne() bool {
	e := g.newcomers.Front()
	if idler := g.idlers.Front(); idler != nil && (e == nil || g.newcomers.Len() < g.max/4) {
		e = idler
	}
	if e == nil {
		return false
	}
	p := e.Value.(*place)
	p.leaveList()
	p.evicted = true
	g.taken--
	g.count.evicted.Add(1)
	p.evict(errEvicted)
	return true
}

// noteActivity notes that the client asks for something, or takes what it asked for.
func (p *place) noteActivity() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	if p.list != nil {
		p.leaveList()
		p.joinList(p.gate.idlers)
	}
}

// keepForever gives the place to the connection until it ends.
func (p *place) keepForever() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.leaveList()
}

func (p *place) leaveGate() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	p.leaveList()
	if !p.evicted {
		p.gate.taken--
	}
}

func (p *place) joinList(l *list.List) { p.list, p.element = l, l.PushBack(p) }

// leaveList takes the place off the list of those that may be evicted.
func (p *place) leaveList() {
	if p.list != nil {
		p.list.Remove(p.element)
		p.list, p.element = nil, nil
	}
}

// isGone reports whether the client has closed the connection, without taking
// anything from it.
func isGone(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = err == nil && n == 0 || err != nil && err != unix.EAGAIN && err != unix.EINTR
	})
	return closed || err != nil
}

// survive, deferred by every goroutine of a connection, keeps a defect that one
// client can trigger from ending the relay for all. The stack has no values of
// the client's in it.
func (c *connectionCounts) recoverDefect(log *slog.Logger) {
	if r := recover(); r != nil {
		n := c.panics.Add(1)
		c.panicLog.Do(func() {
			log.Error("a connection ended by a defect of the relay, please report it; said once a minute", "times", n, "stack", callerStack())
		})
	}
}

func (g *gate) closeGate() { g.ln.Close() }
