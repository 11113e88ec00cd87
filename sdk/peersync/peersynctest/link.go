package peersynctest

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Line is how a link carries what relays send. The zero Line carries everything at once.
type Line struct {
	Latency   time.Duration
	Bandwidth int // bytes a second in each direction; 0 means no limit
	// Corrupt has one in so many envelopes arrive as something that is not an envelope; 0
	// means none.
	Corrupt int
}

// link connects two relays. The mutex of the world guards it.
type link struct {
	world  *World
	ends   [2]*linkEnd
	line   Line
	wanted bool // by Connect, until Cut
	up     bool
	secret [32]byte // of the keyed sums; another one at each connect
	// A Drop or Rest keeps the link closed until then. drops counts, because each Drop lasts
	// longer.
	closedUntil time.Duration
	drops       int
}

// linkEnd is one end of a link, with the direction that leads away from it.
type linkEnd struct {
	*Replica
	queues [classes][]parcel
	queued int           // bytes of messages in queues
	flight []parcel      // sent and not arrived, in order
	freeAt time.Duration // when the line can carry more

	sending   idSet          // what this end pushed or offered, without outcome
	requested idSet          // what this end requested, without outcome
	expected  idSet          // what was offered to this end, which wants it
	denied    denied         // calls that failed with ErrBusy
	told      peersync.State // what the other end knows of this one
}

// denied says how much the greatest call needs that failed with ErrBusy; 0: none.
type denied struct{ ids, requests, bytes int }

// parcel is one thing under way.
type parcel struct {
	kind    parcelKind
	arrives time.Duration

	message  []byte
	state    peersync.State
	ids      []storage.ID       // of an offer before it is sent, a want, or a gone
	entries  []peersync.Entry   // of an offer, or one of a body
	outcomes []peersync.Outcome // of a taken
	retry    time.Duration
}

type parcelKind int

const (
	message parcelKind = iota
	stateNews
	offer       // keys of envelopes
	wantRequest // ids that the replicator asked for
	wantOffered // ids that the relay wants of an offer
	goneRequest // ids that were asked for and are not there
	goneOffered
	taken // outcomes of what was pushed or offered
	pushed
	requested
	offered
)

// class is the place of a kind in the order on a link.
func (k parcelKind) class() int {
	switch k {
	case message:
		return 0
	case pushed:
		return 2
	case requested:
		return 3
	case offered:
		return 4
	}
	return 1
}

const classes = 5

// size is how many bytes a parcel takes on the line, about as many as it would on a real one.
func (p parcel) size() int {
	n := 32 + len(p.message) + 32*len(p.ids) + 33*len(p.outcomes)
	for _, e := range p.entries {
		n += 40
		if p.kind != offer {
			n += int(e.Size)
		}
	}
	return n
}

func newLink(a, b *Replica) *link {
	return &link{world: a.world, ends: [2]*linkEnd{{Replica: a}, {Replica: b}}}
}

// peerAt returns the number by which the relay at one end knows the other.
func (l *link) peerAt(end int) peersync.Peer {
	return l.ends[end].numbers[l.ends[1-end].index]
}

// isPossible reports whether both ends run and know each other.
func (l *link) isPossible() bool {
	for i, end := range l.ends {
		if end.replicator == nil || l.peerAt(i) == 0 {
			return false
		}
	}
	return true
}

// reconnect brings up a link that is wanted and was not closed for longer.
func (l *link) reconnect() {
	if l.up || !l.wanted || l.world.now < l.closedUntil || !l.isPossible() {
		return
	}
	l.up = true
	for i := 0; i < len(l.secret); i += 8 {
		binary.LittleEndian.PutUint64(l.secret[i:], l.world.rng.Uint64())
	}
	initiator := l.world.rng.IntN(2)
	for i, end := range l.ends {
		other := l.ends[1-i]
		other.told = other.logState()
		end.queueEvent(peersync.PeerUp{
			Peer: l.peerAt(i), Initiator: i == initiator, State: other.told, Version: "simulated",
			Gives: !end.terms[other.index].Mirror, Takes: !other.terms[end.index].Mirror,
		})
	}
}

// cutLink loses what is on the link, and settles all ids.
func (l *link) cutLink() {
	if !l.up {
		return
	}
	l.up = false
	var orphans [2][]storage.ID
	for i, end := range l.ends {
		for _, id := range slices.Clone(end.sending.order) {
			l.settleSent(i, peersync.Outcome{ID: id, Status: peersync.Lost}, 0)
		}
		orphans[i] = append(slices.Clone(end.requested.order), end.expected.order...)
		for _, id := range slices.Clone(end.requested.order) {
			l.settleReceived(i, peersync.Outcome{ID: id, Status: peersync.Lost}, 0, false)
		}
		end.queueEvent(peersync.PeerDown{Peer: l.peerAt(i)})
		end.forgetParked(l)
		l.ends[i] = &linkEnd{Replica: end.Replica}
	}
	for i, end := range l.ends {
		for _, id := range orphans[i] {
			end.endIncoming(l, id)
		}
	}
}

// closeFor closes a link that comes back by itself.
func (l *link) closeFor(d time.Duration) {
	l.closedUntil = l.world.now + d
	l.cutLink()
}

// queueParcel queues what an end sends. Ids and outcomes join those that wait already.
func (l *link) queueParcel(from int, p parcel) {
	queue := &l.ends[from].queues[p.kind.class()]
	if n := len(*queue); n > 0 {
		last := &(*queue)[n-1]
		if last.kind == p.kind && last.retry == p.retry && len(p.ids)+len(p.outcomes) > 0 && p.kind != offer &&
			len(last.ids)+len(p.ids)+len(last.outcomes)+len(p.outcomes) <= peersync.MaxIDs {
			last.ids, last.outcomes = append(last.ids, p.ids...), append(last.outcomes, p.outcomes...)
			return
		}
	}
	*queue = append(*queue, p)
	l.ends[from].queued += len(p.message)
}

// queueBody queues an envelope, which is read when its turn has come.
func (l *link) queueBody(from int, kind parcelKind, id storage.ID) {
	queue := &l.ends[from].queues[kind.class()]
	*queue = append(*queue, parcel{kind: kind, ids: []storage.ID{id}})
}

// nextClass returns the class of the first parcel that waits at an end, or classes.
func (l *link) nextClass(from int) int {
	if !l.ends[from].Silent {
		for class, queue := range l.ends[from].queues {
			if len(queue) > 0 {
				return class
			}
		}
	}
	return classes
}

// nextMove returns when a link carries something next.
func (l *link) nextMove(from int) time.Duration {
	end, next := l.ends[from], never
	if len(end.flight) > 0 {
		next = end.flight[0].arrives
	}
	if l.nextClass(from) < classes {
		next = min(next, end.freeAt)
	}
	return next
}

func (l *link) canMove(from int) bool { return l.up && l.nextMove(from) <= l.world.now }

// moveFrom delivers the first parcel that has arrived, or else sends the first one that waits.
func (l *link) moveFrom(from int) {
	end, now := l.ends[from], l.world.now
	if len(end.flight) > 0 && end.flight[0].arrives <= now {
		p := end.flight[0]
		end.flight = end.flight[1:]
		l.deliverTo(1-from, p)
		return
	}
	queue := &end.queues[l.nextClass(from)]
	p := (*queue)[0]
	*queue = (*queue)[1:]
	if !l.loadParcel(from, &p) {
		return
	}
	p.arrives = now + l.line.Latency
	if l.line.Bandwidth > 0 {
		end.freeAt = now + time.Duration(p.size())*time.Second/time.Duration(l.line.Bandwidth)
		p.arrives = end.freeAt + l.line.Latency
	}
	if p.arrives <= now && len(end.flight) == 0 {
		l.deliverTo(1-from, p)
		return
	}
	end.flight = append(end.flight, p)
}

// loadParcel reads what a parcel carries, and reports whether it has to be sent.
func (l *link) loadParcel(from int, p *parcel) bool {
	end := l.ends[from]
	switch p.kind {
	case message:
		end.queued -= len(p.message)
		l.announceRoom(from)
	case offer, pushed, requested, offered:
		for _, id := range p.ids {
			switch e := end.findEntry(id); {
			case e != nil:
				p.entries = append(p.entries, *e)
			case p.kind == requested:
				l.queueParcel(from, parcel{kind: goneRequest, ids: []storage.ID{id}})
			default:
				if p.kind == offered {
					l.queueParcel(from, parcel{kind: goneOffered, ids: []storage.ID{id}})
				}
				l.settleSent(from, peersync.Outcome{ID: id, Status: peersync.Gone}, 0)
			}
		}
		p.ids = nil
		return len(p.entries) > 0
	}
	return true
}

// exchangeStates tells each end now and then that the log of the other has moved.
func (l *link) exchangeStates() {
	for i, end := range l.ends {
		if l.up && end.told != end.logState() && l.world.rng.IntN(20) == 0 {
			l.tellState(i)
		}
	}
}

// tellState tells the other end the state of an end.
func (l *link) tellState(from int) {
	end := l.ends[from]
	end.told = end.logState()
	l.queueParcel(from, parcel{kind: stateNews, state: end.told})
}

// settleSent settles an id of a Push or an Offer at one end, once for each call.
func (l *link) settleSent(at int, o peersync.Outcome, retry time.Duration) {
	end := l.ends[at]
	for range end.sending.take(o.ID) {
		end.queueEvent(peersync.Sent{Peer: l.peerAt(at), Outcomes: []peersync.Outcome{o}, RetryAfter: retry})
	}
	l.announceRoom(at)
}

// settleReceived settles an id of a Request at one end, once for each call, or reports an envelope
// that the other end pushed or offered.
func (l *link) settleReceived(at int, o peersync.Outcome, retry time.Duration, report bool) {
	end := l.ends[at]
	calls := end.requested.take(o.ID)
	if report {
		calls = max(calls, 1)
	}
	for range calls {
		end.queueEvent(peersync.Received{Peer: l.peerAt(at), Outcomes: []peersync.Outcome{o}, RetryAfter: retry})
	}
	l.announceRoom(at)
}

// announceRoom says that a call may succeed that failed with ErrBusy.
func (l *link) announceRoom(at int) {
	end := l.ends[at]
	d := end.denied
	if l.up && d != (denied{}) && hasRoom(&end.sending, d.ids) && hasRoom(&end.requested, d.requests) && end.queued+d.bytes <= peersync.MaxQueued {
		end.denied = denied{}
		end.queueEvent(peersync.PeerReady{Peer: l.peerAt(at)})
	}
}

func hasRoom(underWay *idSet, more int) bool {
	return underWay.len()+more <= peersync.MaxUnderWay
}

// idSet counts how often each id was added. Its order is that of the first time.
type idSet struct {
	order []storage.ID
	calls map[storage.ID]int
}

func (s *idSet) len() int { return len(s.order) }

func (s *idSet) has(id storage.ID) bool { return s.calls[id] > 0 }

// add adds an id and reports whether it is new.
func (s *idSet) add(id storage.ID) bool {
	if s.calls == nil {
		s.calls = make(map[storage.ID]int)
	}
	if s.calls[id]++; s.calls[id] > 1 {
		return false
	}
	s.order = append(s.order, id)
	return true
}

// take removes an id and returns how often it was added.
func (s *idSet) take(id storage.ID) int {
	n := s.calls[id]
	if n > 0 {
		delete(s.calls, id)
		i := slices.Index(s.order, id)
		s.order = slices.Delete(s.order, i, i+1)
	}
	return n
}
