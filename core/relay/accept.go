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

	"github.com/cwtch-relay/cwtch-relay/limits"
)

// acceptor accepts the connections of one onion service and keeps their number within
// a limit. It accepts every connection at once, and evicts another for it if need be.
// What is expensive about a connection waits elsewhere, see admission.
type acceptor struct {
	ln    net.Listener
	count *connectionCounts
	log   *slog.Logger
	wg    sync.WaitGroup // one for each connection that is served

	places func(limits.Limits) int // how many connections may be open

	mu    sync.Mutex
	max   int // places
	taken int // places, without those of evicted connections, which are about to end
	// Connections that may be evicted, the first to go in front, as *place.
	newcomers *list.List // have not asked for anything yet
	idlers    *list.List // by when they last did
}

// place is the place of one connection.
type place struct {
	acceptor *acceptor
	evict    context.CancelCauseFunc
	list     *list.List // the one it is in; nil if the place is kept, evicted or released
	element  *list.Element
	evicted  bool
	isLink   bool // has left its place, see leaveToLink
}

func newAcceptor(ln net.Listener, places func(limits.Limits) int, l limits.Limits, count *connectionCounts, log *slog.Logger) *acceptor {
	return &acceptor{ln: ln, places: places, max: places(l), count: count, log: log, newcomers: list.New(), idlers: list.New()}
}

// setLimits changes how many connections may be open.
func (a *acceptor) setLimits(l limits.Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.max = a.places(l)
}

// connHandler serves a connection until it ends or ctx does.
type connHandler func(ctx context.Context, nc net.Conn, p *place)

// serveAll serves connections until the listener is closed, and returns when the last
// of them has ended.
func (a *acceptor) serveAll(ctx context.Context, serve connHandler) {
	defer a.wg.Wait()
	for {
		nc, err := a.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			a.makeRoom(ctx, err)
			continue
		}
		if isGone(nc) { // and must not take a place from anybody
			a.count.abandoned.Add(1)
			nc.Close()
			continue
		}
		ctx, evict := context.WithCancelCause(ctx)
		p := a.takePlace(evict)
		if p == nil {
			evict(nil)
			nc.Close()
			continue
		}
		a.wg.Go(func() {
			defer evict(nil)
			defer p.releasePlace()
			defer nc.Close()
			defer a.count.recoverDefect(a.log)
			serve(ctx, nc, p)
		})
	}
}

// makeRoom evicts a connection if there are no file descriptors left, and waits a
// while before the next Accept.
func (a *acceptor) makeRoom(ctx context.Context, err error) {
	pause := 100 * time.Millisecond
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		a.mu.Lock()
		if a.evictOne() {
			pause = time.Millisecond
		}
		a.mu.Unlock()
	}
	n := a.count.acceptErrors.Add(1)
	a.count.acceptLog.Do(func() {
		a.log.Warn("cannot accept connections, will keep trying; logged once a minute", "error", err, "times", n)
	})
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// takePlace gives a new connection a place: a free one, or that of another connection.
// It returns nil if all places are kept.
func (a *acceptor) takePlace(evict context.CancelCauseFunc) *place {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.taken >= a.max {
		if !a.evictOne() {
			a.count.refused.Add(1)
			return nil
		}
	}
	a.taken++
	a.count.open.Add(1)
	a.count.accepted.Add(1)
	p := &place{acceptor: a, evict: evict}
	p.joinList(a.newcomers)
	return p
}

// evictOne evicts a connection, and reports whether there was one that may be evicted.
// A quarter of the places is for newcomers, or idlers could keep them all out. Beyond
// that newcomers evict each other, or clients that never ask could have every place.
// mu is held.
func (a *acceptor) evictOne() bool {
	e := a.newcomers.Front()
	if idler := a.idlers.Front(); idler != nil && (e == nil || a.newcomers.Len() < a.max/4) {
		e = idler
	}
	if e == nil {
		return false
	}
	p := e.Value.(*place)
	p.leaveList()
	p.evicted = true
	a.taken--
	a.count.evicted.Add(1)
	p.evict(errEvicted)
	return true
}

// noteActivity notes that the client asks for something or is being served.
func (p *place) noteActivity() {
	p.acceptor.mu.Lock()
	defer p.acceptor.mu.Unlock()
	if p.list != nil {
		p.leaveList()
		p.joinList(p.acceptor.idlers)
	}
}

// keepForever has the connection keep its place until it ends.
func (p *place) keepForever() {
	p.acceptor.mu.Lock()
	defer p.acceptor.mu.Unlock()
	p.leaveList()
}

// releasePlace gives the place back, because the connection has ended.
func (p *place) releasePlace() {
	p.acceptor.mu.Lock()
	defer p.acceptor.mu.Unlock()
	p.leaveList()
	if p.isLink {
		return
	}
	p.acceptor.count.open.Add(-1)
	if !p.evicted {
		p.acceptor.taken--
	}
}

// leaveToLink gives the place back while the connection goes on, as the link of a peer. It
// reports false if the connection has just been evicted.
func (p *place) leaveToLink() bool {
	p.acceptor.mu.Lock()
	defer p.acceptor.mu.Unlock()
	if p.evicted {
		return false
	}
	p.leaveList()
	p.isLink = true
	p.acceptor.taken--
	p.acceptor.count.open.Add(-1)
	return true
}

func (p *place) joinList(l *list.List) { p.list, p.element = l, l.PushBack(p) }

// leaveList takes the place off the list of those that may be evicted.
func (p *place) leaveList() {
	if p.list != nil {
		p.list.Remove(p.element)
		p.list, p.element = nil, nil
	}
}

// isGone reports whether the client has closed the connection. It reads nothing.
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

// recoverDefect is deferred by every goroutine of a connection. It keeps a defect that
// one client can trigger from ending the relay for all. The stack that it logs has no
// values of the client in it.
func (c *connectionCounts) recoverDefect(log *slog.Logger) {
	if r := recover(); r != nil {
		n := c.panics.Add(1)
		c.panicLog.Do(func() {
			log.Error("a connection ended by a defect of the relay, please report it; logged once a minute", "times", n, "stack", callerStack())
		})
	}
}

func (a *acceptor) closeListener() { a.ln.Close() }
