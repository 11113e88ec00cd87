package console

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

// graceTime is how long a stranger's connection keeps its place in any case. A browser has
// shown its cookie or its key by then.
const graceTime = 100 * time.Millisecond

// connections is a listener that has at most maxConnections open. One more takes the place of
// the oldest that belongs to a stranger: to wait for a free place would let everybody who can
// connect keep the owner out.
type connections struct {
	net.Listener
	ended <-chan struct{} // closed when the console ends

	mu   sync.Mutex
	open []*connection // the oldest first
}

// connection is one of a browser, or of a stranger.
type connection struct {
	net.Conn
	of     *connections
	since  time.Time
	signed bool // a browser that has signed in uses it; of.mu is held
}

// Accept implements [net.Listener].
func (l *connections) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if one := (&connection{Conn: nc, of: l}); l.waitForPlace(one) {
			return one, nil
		}
		nc.Close()
	}
}

// waitForPlace adds a connection as soon as there is a place. It returns false if the console
// ends before.
func (l *connections) waitForPlace(one *connection) bool {
	for {
		wait := l.addConnection(one)
		if wait <= 0 {
			return true
		}
		select {
		case <-time.After(wait):
		case <-l.ended:
			return false
		}
	}
}

// addConnection adds a connection, and closes the one that loses its place to it. If none can
// yet, it returns when to try again.
func (l *connections) addConnection(one *connection) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.open) >= maxConnections {
		i := slices.IndexFunc(l.open, func(c *connection) bool { return !c.signed })
		if i < 0 {
			return graceTime // browsers that have signed in give a place back when they are idle
		}
		if wait = graceTime - time.Since(l.open[i].since); wait > 0 {
			return wait
		}
		l.open[i].Conn.Close()
		l.open = slices.Delete(l.open, i, i+1)
	}
	one.since = time.Now()
	l.open = append(l.open, one)
	return 0
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	l := c.of
	l.mu.Lock()
	if i := slices.Index(l.open, c); i >= 0 {
		l.open = slices.Delete(l.open, i, i+1)
	}
	l.mu.Unlock()
	return c.Conn.Close()
}

// connectionKey finds the connection of a request in its context.
type connectionKey struct{}

func withConnection(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, nc)
}

// keepConnection lets no stranger take the place of the connection of a request, which comes
// from a browser that has signed in.
func keepConnection(ctx context.Context) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		c.signed = true
	}
}
