package replica

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/keyindex"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

const (
	// writeAtOnce is how many bytes of frames are collected for one write. What is collected
	// is not overtaken any more.
	writeAtOnce = 32 << 10
	// lastFrameTimeout is how long a peer may take for the frame that says why its link is
	// closed.
	lastFrameTimeout = 5 * time.Second
	// silentAfter is how long nothing has come of a link that another one of the peer may
	// replace. Peers ping each other about every minute.
	silentAfter = 2 * time.Minute
	// leastAge is how long a link is not replaced by another one that the same side dialled.
	leastAge = 5 * time.Second
	// helloAge is how old a link without a HELLO is when the peer may replace it: it did not
	// list this relay when that dialled, and took it for a client.
	helloAge = 10 * time.Second
)

// link is a connection to a peer. One goroutine reads it and one writes it.
type link struct {
	peer    peersync.Peer
	conn    *peerlink.Conn
	dialled bool // by this side
	since   time.Time
	wake    chan struct{} // holds a signal while there may be a frame to write
	heard   atomic.Int64  // when the last frame came, in Unix seconds

	in, out atomic.Uint64 // bytes of frames

	last *peerlink.Err // to be written before the link is closed; under Replica.linksMu

	keyedMu sync.Mutex
	keyed   *keyindex.Keyed // of index; nil before it was asked for
	index   *keyindex.Index
}

func newLink(peer peersync.Peer, conn *peerlink.Conn, dialled bool) *link {
	l := &link{peer: peer, conn: conn, dialled: dialled, since: time.Now(), wake: make(chan struct{}, 1)}
	l.heard.Store(l.since.Unix())
	return l
}

// sums returns what computes the sums that are keyed for this link.
func (l *link) sums(index *keyindex.Index) *keyindex.Keyed {
	l.keyedMu.Lock()
	defer l.keyedMu.Unlock()
	if l.keyed == nil || l.index != index {
		l.keyed, l.index = index.Keyed(l.conn.Secret()), index
	}
	return l.keyed
}

func (l *link) signalWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// isSilent reports whether nothing has come for so long that the link may be dead.
func (l *link) isSilent() bool { return time.Since(time.Unix(l.heard.Load(), 0)) > silentAfter }

// serveLink carries frames between a link and the engine until it ends.
func (r *Replica) serveLink(ctx context.Context, l *link) {
	defer context.AfterFunc(ctx, func() { l.conn.Close() })()
	var writer sync.WaitGroup
	writer.Go(func() {
		r.writeFrames(l)
		l.conn.Close()
	})
	err := r.readFrames(l)
	r.endLink(l, err)
	writer.Wait()
}

// readFrames passes the frames of a peer to the engine until the link ends.
func (r *Replica) readFrames(l *link) error {
	in := &countingReader{r: l.conn, n: &l.in}
	for {
		f, err := peerlink.ReadFrame(in)
		if err != nil {
			return err
		}
		l.heard.Store(time.Now().Unix())
		if !r.receiveFrame(l, f) {
			return net.ErrClosed
		}
	}
}

// receiveFrame passes a frame to the engine. It reports false if the link is no longer served.
func (r *Replica) receiveFrame(l *link, f peerlink.Frame) bool {
	r.lockEngine()
	defer r.unlockEngine()
	if r.links[l.peer] != l {
		return false
	}
	r.engine.Receive(l.peer, f)
	return true
}

// endLink tells the engine that a link has ended, and why.
func (r *Replica) endLink(l *link, err error) {
	r.lockEngine()
	defer r.unlockEngine()
	if r.links[l.peer] != l {
		return // the engine knows
	}
	if errors.Is(err, peerlink.ErrFrame) || errors.Is(err, peerlink.ErrRecord) {
		r.engine.Breach(l.peer, err) // NextClose follows
		return
	}
	r.forgetLink(l)
	r.engine.Disconnect(l.peer)
}

// writeFrames writes what the engine has for a peer until the link ends.
func (r *Replica) writeFrames(l *link) {
	var buffer []byte
	for {
		var done bool
		if buffer, done = r.collectFrames(l, buffer[:0]); len(buffer) > 0 {
			if _, err := l.conn.Write(buffer); err != nil {
				return
			}
			l.out.Add(uint64(len(buffer)))
		}
		if done {
			return
		}
		if len(buffer) == 0 {
			<-l.wake
		}
	}
}

// collectFrames appends the next frames for a peer. done says that they are the last ones.
func (r *Replica) collectFrames(l *link, buffer []byte) (frames []byte, done bool) {
	r.lockEngine()
	defer r.unlockQuietly()
	if r.links[l.peer] != l {
		if l.last != nil {
			buffer = peerlink.AppendFrame(buffer, l.last)
		}
		return buffer, true
	}
	for len(buffer) < writeAtOnce {
		f, ok := r.engine.Next(l.peer)
		if !ok {
			break
		}
		buffer = peerlink.AppendFrame(buffer, f)
	}
	return buffer, false
}

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n *atomic.Uint64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(uint64(n))
	return n, err
}
