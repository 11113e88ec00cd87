package lab

import (
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// conn is a connection between two peers.
type conn struct {
	w      *world
	ends   [2]*end
	closed bool
}

// end is one end of a conn: what its node sends goes out here.
type end struct {
	conn    *conn
	node    *node
	other   *end
	busy    time.Duration // until when what was sent occupies the link
	arrived time.Duration // when the last of it arrives
	waits   bool          // for the link to be free
	replay  []peerlink.Frame
}

// maxBurst bounds what is put on a link at a time.
const maxBurst = 32 << 10

// connect joins two nodes.
func (w *world) connect(dialler, listener *node) {
	c := &conn{w: w}
	for i, n := range []*node{dialler, listener} {
		c.ends[i] = &end{conn: c, node: n}
	}
	c.ends[0].other, c.ends[1].other = c.ends[1], c.ends[0]
	for i, e := range c.ends {
		e.node.conns[e.other.node.index] = e
		e.node.advance()
		e.node.engine.Connect(e.other.node.peer(), i == 0)
	}
	if every := w.scenario.Link.CutEvery; every > 0 {
		w.after(drawMean(w.chance, every), func() { c.cut() })
	}
	for _, e := range c.ends {
		e.node.pump()
	}
}

// cut breaks a connection for both ends. One of them notices it up to a minute later.
func (c *conn) cut() {
	if c.closed {
		return
	}
	c.closed = true
	late := c.w.chance.IntN(2)
	c.ends[1-late].notice()
	e := c.ends[late]
	c.w.after(time.Duration(c.w.chance.Int64N(int64(time.Minute))), func() { e.notice() })
}

// isCurrent reports whether the node still has this connection.
func (e *end) isCurrent() bool { return e.node.on && e.node.conns[e.other.node.index] == e }

// notice tells the node that its connection has broken.
func (e *end) notice() {
	n := e.node
	if !e.isCurrent() {
		return // it has another one, or none
	}
	n.conns[e.other.node.index] = nil
	n.advance()
	n.engine.Disconnect(e.other.node.peer())
	n.pump()
}

// closeWith ends a connection from one side, with a last frame if there is one.
func (e *end) closeWith(last *peerlink.Err) {
	e.node.conns[e.other.node.index] = nil
	if e.conn.closed {
		return
	}
	e.conn.closed = true
	other := e.other
	e.conn.w.after(e.latency(), func() {
		if !other.isCurrent() {
			return
		}
		if last != nil {
			other.node.advance()
			other.node.engine.Receive(e.node.peer(), last)
			other.node.pump()
		}
		other.notice()
	})
}

// latency draws how long something is on its way.
func (e *end) latency() time.Duration {
	l := e.conn.w.scenario.Link
	d := l.Latency + e.node.group.Latency + e.other.node.group.Latency
	if l.Jitter > 0 {
		d += time.Duration(e.conn.w.chance.Int64N(int64(l.Jitter)))
	}
	return d
}

// bandwidth is in bytes a second.
func (e *end) bandwidth() int64 {
	b := e.conn.w.scenario.Link.Bandwidth
	for _, g := range []*Group{e.node.group, e.other.node.group} {
		if g.Bandwidth > 0 {
			b = min(b, g.Bandwidth)
		}
	}
	return b
}

// transmit puts frames on the link, as long as it is free.
func (e *end) transmit() {
	w := e.conn.w
	if e.conn.closed || e.waits {
		return
	}
	if e.busy > w.now {
		e.waits = true
		w.at(e.busy, func() {
			e.waits = false
			if !e.conn.closed && e.isCurrent() {
				e.node.advance()
				e.node.pump()
			}
		})
		return
	}
	var frames []peerlink.Frame
	size := 0
	for size < maxBurst {
		f, ok := e.node.engine.Next(e.other.node.peer())
		if !ok {
			break
		}
		for _, f := range e.node.alter(e, f) {
			n := frameSize(f)
			w.count(f, n)
			frames, size = append(frames, f), size+n
		}
	}
	if size == 0 {
		return
	}
	sealed := sealedSize(size)
	w.tally.Padding += uint64(sealed - size)
	e.busy = w.now + time.Duration(float64(sealed)/float64(e.bandwidth())*float64(time.Second))
	e.arrived = max(e.arrived, e.busy+e.latency())
	w.at(e.arrived, func() { e.deliver(frames) })
	if size >= maxBurst {
		e.transmit() // waits
	}
}

// deliver passes frames to the other end.
func (e *end) deliver(frames []peerlink.Frame) {
	n := e.other.node
	if e.conn.closed || !e.other.isCurrent() {
		return
	}
	n.advance()
	for _, f := range frames {
		if b, isBody := f.(*peerlink.Body); isBody {
			n.noteBody(b)
		}
		n.noteTraffic(f)
		n.engine.Receive(e.node.peer(), f)
	}
	n.pump()
}

// frameSize returns how many bytes a frame has.
func frameSize(f peerlink.Frame) int {
	switch f := f.(type) {
	case *peerlink.Body:
		return peerlink.HeaderSize + 7 + len(f.Signature) + len(f.Ciphertext)
	case *peerlink.Message:
		return peerlink.HeaderSize + 1 + len(f.Data)
	case *peerlink.Offer:
		return peerlink.HeaderSize + len(f.Envelopes)*40
	case *peerlink.Want:
		return peerlink.HeaderSize + 1 + len(f.IDs)*32
	case *peerlink.Gone:
		return peerlink.HeaderSize + len(f.IDs)*32
	case *peerlink.Taken:
		return peerlink.HeaderSize + 4 + len(f.Outcomes)*33
	}
	var buffer [512]byte
	return len(peerlink.AppendFrame(buffer[:0], f))
}

// Records of a link, see [peerlink.Conn]: as many full ones as there can be, then those of middle
// size, and a last one.
const (
	fullRecord   = 16384
	middleRecord = 2048
	recordCost   = 3 + 16 // besides the text
	recordCount  = 2      // in the text
)

// sealedSize returns how many bytes are on the wire for so many bytes of frames.
func sealedSize(size int) (total int) {
	for size > 0 {
		class := middleRecord
		switch {
		case size >= fullRecord-recordCount:
			class = fullRecord
		case size <= 128-recordCount:
			class = 128
		case size <= 512-recordCount:
			class = 512
		}
		total += class + recordCost
		size -= class - recordCount
	}
	return total
}

// bornOf returns the lowest hour that a frame names, and whether it names any.
func bornOf(f peerlink.Frame) (least storage.Hour, ok bool) {
	switch f := f.(type) {
	case *peerlink.Body:
		return f.Born, true
	case *peerlink.Offer:
		least = f.Envelopes[0].Born
		for _, o := range f.Envelopes {
			least = min(least, o.Born)
		}
		return least, true
	}
	return 0, false
}
