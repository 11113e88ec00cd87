package lab

import (
	"math/rand/v2"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// member is a person of the group with one device. It writes while it is online, and reads from
// some core peers at a time.
type member struct {
	w        *world
	index    int
	group    *MemberGroup
	own      *node // nil: none
	spans    []span
	chance   *rand.Rand
	on       bool
	parted   int           // partitions it is in, as bits; with an own core peer, that of it counts
	session  int           // changes with each session
	until    time.Duration // end of the session
	has      bitSet        // envelopes that it has read
	outbox   []outgoing
	attached []*attachment
	cursors  []memberCursor // by index of the node
}

// outgoing is a message that no core peer has acknowledged.
type outgoing struct {
	number int32
	sentTo int // attempt under way; 0: none
}

// memberCursor is up to where a member has read the log of a core peer.
type memberCursor struct {
	epoch storage.Epoch
	seq   int
}

// attachment is a connection of a member to a core peer.
type attachment struct {
	m    *member
	node *node
	live bool // it has read everything so far
}

// retryEvery is how often a member looks for core peers, and tries again to post.
const retryEvery = time.Minute

// start begins a session that lasts until a time.
func (m *member) start(until time.Duration) {
	m.on, m.until = true, until
	m.session++
	m.lookForPeers()
	m.planWriting()
}

// stop ends the session.
func (m *member) stop() {
	m.on = false
	m.session++
	for len(m.attached) > 0 {
		m.attached[0].detach()
	}
}

// inSession returns a function that does something if the present session lasts.
func (m *member) inSession(do func()) func() {
	session := m.session
	return func() {
		if m.on && m.session == session {
			do()
		}
	}
}

// lookForPeers connects to core peers as long as there are too few, and again after a while.
func (m *member) lookForPeers() {
	m.attach()
	m.send()
	m.w.after(retryEvery, m.inSession(m.lookForPeers))
}

// attach connects to core peers: the own one first, others in random order.
func (m *member) attach() {
	missing := m.group.Reads - len(m.attached)
	if m.own != nil && m.own.on && !m.isAttached(m.own) && missing > 0 {
		m.connect(m.own)
		missing--
	}
	for _, i := range m.chance.Perm(len(m.w.nodes)) {
		n := m.w.nodes[i]
		if missing <= 0 {
			return
		}
		if !n.on || n == m.own || !n.hostile.isHonest() || m.isAttached(n) || m.isSeparated(n) {
			continue
		}
		missing--
		m.w.after(m.w.scenario.Link.Dial, m.inSession(func() {
			if n.on && !m.isAttached(n) && !m.isSeparated(n) && len(m.attached) < m.group.Reads {
				m.connect(n)
				m.send()
			}
		}))
	}
}

// isSeparated reports whether a partition that members feel is between the member and a core peer.
func (m *member) isSeparated(n *node) bool {
	side := m.parted
	if m.own != nil {
		side = m.w.parted[m.own.index]
	}
	return (side^m.w.parted[n.index])&m.w.confining != 0
}

func (m *member) isAttached(n *node) bool {
	for _, a := range m.attached {
		if a.node == n {
			return true
		}
	}
	return false
}

// connect attaches the member to a core peer, and reads what it has missed there, up to the end
// of the session.
func (m *member) connect(n *node) {
	a := &attachment{m: m, node: n}
	m.attached = append(m.attached, a)
	n.readers = append(n.readers, a)
	c := &m.cursors[n.index]
	if c.epoch != n.store.epoch {
		*c = memberCursor{epoch: n.store.epoch}
	}
	at := m.w.now + m.latency(n)
	for i := max(c.seq, n.store.first); i < len(n.store.log); i++ {
		if e := n.store.log[i]; e.number >= 0 && !m.has.has(e.number) {
			at += m.transferTime(n, e.number)
			if at > m.until {
				return
			}
			m.receive(e.number, at)
		}
		c.seq = i + 1
	}
	a.live = true
}

// push passes the envelope at a sequence number to a member that listens.
func (a *attachment) push(number int32, seq int) {
	if !a.live {
		return
	}
	a.m.cursors[a.node.index].seq = seq
	a.m.receive(number, a.m.w.now+a.m.latency(a.node)+a.m.transferTime(a.node, number))
}

func (a *attachment) detach() {
	a.m.attached = removeFrom(a.m.attached, a)
	a.node.readers = removeFrom(a.node.readers, a)
}

// removeFrom returns a copy of a list without x.
func removeFrom(list []*attachment, x *attachment) (out []*attachment) {
	for _, a := range list {
		if a != x {
			out = append(out, a)
		}
	}
	return out
}

func (m *member) latency(n *node) time.Duration {
	if n == m.own {
		return 0
	}
	return m.w.scenario.Link.Latency + n.group.Latency
}

// transferTime returns how long an envelope takes between the member and a core peer.
func (m *member) transferTime(n *node, number int32) time.Duration {
	if n == m.own {
		return 0
	}
	bandwidth := m.w.scenario.Link.Bandwidth
	if n.group.Bandwidth > 0 {
		bandwidth = min(bandwidth, n.group.Bandwidth)
	}
	return time.Duration(float64(m.w.sizeOf(number)) / float64(bandwidth) * float64(time.Second))
}

// receive records that the member has an envelope at a time.
func (m *member) receive(number int32, at time.Duration) {
	if m.has.has(number) {
		return
	}
	m.has.add(number)
	e := &m.w.envelopes[number]
	if e.sought && e.author != m.index && !m.w.frozen {
		e.readers.arrive(at, len(m.w.members)-1)
		m.w.delays.add(at - e.written)
	}
}

// planWriting plans the next message of the session.
func (m *member) planWriting() {
	perMember := float64(m.w.scenario.Posts.PerHour) / float64(len(m.w.members))
	if perMember == 0 {
		return
	}
	m.w.after(drawMean(m.chance, time.Duration(float64(time.Hour)/perMember)), m.inSession(func() {
		if m.w.now < m.w.scenario.Duration {
			m.write()
			m.planWriting()
		}
	}))
}

// write writes a message, and posts it as soon as that is possible.
func (m *member) write() {
	p := m.w.scenario.Posts
	number := m.w.newEnvelope(p.MinSize+m.chance.Int64N(p.MaxSize-p.MinSize+1), m.index)
	m.w.envelopes[number].sought = true
	m.receive(number, m.w.now)
	m.w.tally.Written++
	if len(m.attached) == 0 {
		m.w.tally.Unmet++
	}
	m.outbox = append(m.outbox, outgoing{number: number})
	m.send()
}

// ackTimeout is how long a member waits for the word that a message is durable.
const ackTimeout = 2 * time.Minute

// send posts what waits, at the first of the core peers.
func (m *member) send() {
	if !m.on || len(m.attached) == 0 {
		return
	}
	n := m.attached[0].node
	for i := range m.outbox {
		o := &m.outbox[i]
		if o.sentTo > 0 {
			continue
		}
		m.w.attempts++
		attempt := m.w.attempts
		o.sentTo = attempt
		number := o.number
		m.w.after(m.latency(n)+m.transferTime(n, number), func() {
			if n.on && !m.isSeparated(n) {
				n.post(number, func() { m.acknowledge(number) })
			}
		})
		m.w.after(ackTimeout, func() { m.giveUp(number, attempt) })
	}
}

// acknowledge forgets a message that is durable somewhere.
func (m *member) acknowledge(number int32) {
	for i := range m.outbox {
		if m.outbox[i].number == number {
			m.outbox = append(m.outbox[:i:i], m.outbox[i+1:]...)
			m.w.tally.Posted++
			return
		}
	}
}

// giveUp lets a message be posted again.
func (m *member) giveUp(number int32, attempt int) {
	for i := range m.outbox {
		if o := &m.outbox[i]; o.number == number && o.sentTo == attempt {
			o.sentTo = 0
			m.send()
			return
		}
	}
}
