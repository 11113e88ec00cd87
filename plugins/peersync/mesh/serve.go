package mesh

import (
	"context"
	"errors"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// maxRequests is how many requests of a repair may wait, maxRequestBytes how long they may
	// be together. An initiator has at most maxSessions at a time.
	maxRequests     = 2*maxSessions + 2
	maxRequestBytes = 5 << 20
	// workRate is how many bytes of repairs are worked on in a second for each peer, those
	// that come and those that are the answer; workBurst is how many may be at once. Each
	// message counts workMessage bytes more, and each key that a comparison makes the relay
	// hash workKey. The relay has sums of blocks of 512 keys, so bounds that lie within
	// blocks have it hash about maxHashed keys for each range.
	workRate    = 512 << 10
	workBurst   = 8 << 20
	workMessage = 4 << 10
	workKey     = 8
	maxHashed   = 512
	// maxServed is how many keys a window may have here. The ids of all of them fit into an
	// answer.
	maxServed = 2 * windowKeys
	// copyRatio is how many times more keys one end has of a window that is copied, copyLeast
	// how many it has at least. A window with more than maxCompared keys is always copied.
	copyRatio   = 20
	copyLeast   = 256
	maxCompared = 3 * windowKeys / 2
)

// workBudget bounds how much work a peer makes.
type workBudget struct {
	left int // may be less than 0
	at   time.Duration
}

// mayGo reports whether there is something left of the budget.
func (b *workBudget) mayGo(now time.Duration) bool {
	earned := (now - b.at).Seconds() * workRate
	b.left, b.at = int(min(float64(b.left)+earned, workBurst)), now
	return b.left >= 0
}

func (b *workBudget) charge(size int) { b.left -= size + workMessage }

// serving is what the initiator of the other end has asked for.
type serving struct {
	requests []message
	bytes    int             // of their payloads
	open     []storage.Range // windows whose sessions are to be opened
	repair   uint64          // that they belong to
	whole    uint64          // repair that covers everything; 0: none since everything was wanted
	copies   bool            // a copy was promised, and its end not told
}

// noteRequest keeps a message of the initiator until it is its turn. A repair that ends, or that
// another one follows, needs no answers any more.
func (r *replicator) noteRequest(p *peer, m message) {
	s := &p.serving
	if m.kind == typeCompare || m.kind == typeDone {
		s.requests, s.bytes, s.open = nil, 0, nil
	}
	if m.kind == typeDone {
		r.noteDone(p, m)
		return
	}
	s.bytes += len(m.payload)
	if len(s.requests) == maxRequests || s.bytes > maxRequestBytes {
		p.fault("it sent more requests than a repair has, without waiting for the answers")
		return
	}
	s.requests = append(s.requests, m)
}

// noteDone notes that the initiator has ended a repair.
func (r *replicator) noteDone(p *peer, m message) {
	p.schedule.doneAt, p.schedule.done = r.now, true
	switch {
	case !m.flag: // the initiator compares everything again
	case m.repair == p.serving.whole:
		p.schedule.whole, p.tail.valid = false, p.tail.loaded
	default: // it takes for done what this end has asked for since
		p.schedule.asked = false
	}
}

// serveTwin answers what the initiator has asked for.
func (r *replicator) serveTwin(ctx context.Context, p *peer) {
	s := &p.serving
	for steps := 0; p.isUsable() && r.flushOutbox(ctx, p) && p.work.mayGo(r.now) && len(s.requests)+len(s.open) > 0; steps++ {
		if steps == stepsAtOnce {
			r.more = true
			return
		}
		if len(s.open) > 0 {
			if !r.openSession(ctx, p, s.open[0]) {
				return
			}
			takeFront(&s.open, 1)
			continue
		}
		m := s.requests[0]
		if !r.answerRequest(ctx, p, m) {
			return
		}
		s.bytes -= len(m.payload)
		takeFront(&s.requests, 1)
	}
	if s.copies && p.isUsable() && p.transfer.isCopied() && p.outbox == nil {
		s.copies = !r.send(ctx, p, message{kind: typeCopied, repair: s.repair})
	}
}

// answerRequest answers a message of the initiator, and reports whether it could.
func (r *replicator) answerRequest(ctx context.Context, p *peer, m message) bool {
	if m.kind == typeCompare {
		return r.answerCompare(ctx, p, m)
	}
	return r.answerSession(ctx, p, m)
}

// answerCompare says which windows differ, and what is to be done about each.
func (r *replicator) answerCompare(ctx context.Context, p *peer, m message) bool {
	s := &p.serving
	board := countingStorage{negentropy.ForPeer(r.host, p.number), make(map[storage.Key]uint64)}
	differing, err := negentropy.Differing(ctx, board, m.in, m.payload)
	if errors.Is(err, negentropy.ErrInvalid) || len(differing) > maxWindows {
		p.fault("it sent a comparison that is not Negentropy")
		return false
	}
	if err != nil {
		return false
	}
	s.repair, s.open, s.copies = m.repair, nil, false
	if s.whole = 0; m.in.Hi == (storage.Key{}) {
		s.whole = m.repair
	}
	p.transfer.copies = nil
	answer := message{kind: typeDiffer, repair: m.repair}
	for _, in := range differing {
		here, there := board.counts[in.Lo], m.perPart
		switch {
		case isLopsided(here, there) && p.takes:
			s.copies = true
			p.transfer.addCopy(in)
		case isLopsided(there, here) && p.gives:
			answer.copies = append(answer.copies, in)
		case here <= maxServed:
			s.open = append(s.open, in)
		case p.gives: // the ids here do not fit an answer, and the other end does not want them
			answer.copies = append(answer.copies, in)
		}
	}
	answer.sessions, answer.flag = uint64(len(s.open)), s.copies
	p.work.charge(workKey*board.countHashed() + len(m.payload) + len(answer.encode()))
	r.send(ctx, p, answer)
	return true
}

// countingStorage keeps how many keys there are in the ranges whose sums are read.
type countingStorage struct {
	negentropy.Storage
	counts map[storage.Key]uint64 // by the first key that is in a range
}

// Sums returns the sums of the ranges, which have no key in common.
func (c countingStorage) Sums(ctx context.Context, ranges []storage.Range) ([]peersync.Sum, error) {
	sums, err := c.Storage.Sums(ctx, ranges)
	for i := range min(len(sums), len(ranges)) {
		c.counts[ranges[i].Lo] = sums[i].Count
	}
	return sums, err
}

// countHashed returns about how many keys the relay had to hash for the sums.
func (c countingStorage) countHashed() (n int) {
	for _, count := range c.counts {
		n += int(min(count, maxHashed))
	}
	return n
}

// isLopsided reports whether one end has so many more keys that it copies all of them.
func isLopsided(more, less uint64) bool {
	return more > less && (more >= copyLeast && more/copyRatio >= less || more > maxCompared)
}

// openSession sends the first message of a session, which the other end goes on with.
func (r *replicator) openSession(ctx context.Context, p *peer, in storage.Range) bool {
	payload, err := negentropy.Initiate(ctx, negentropy.ForPeer(r.host, p.number), in)
	switch {
	case errors.Is(err, negentropy.ErrTooLarge):
		payload = nil
	case err != nil:
		return false
	}
	p.work.charge(len(payload))
	r.send(ctx, p, message{kind: typeAnswer, repair: p.serving.repair, in: in, payload: payload})
	return true
}

// answerSession answers a message of a session.
func (r *replicator) answerSession(ctx context.Context, p *peer, m message) bool {
	sums, err := r.host.RangeSum(ctx, p.number, []peersync.Range{m.in})
	if err != nil {
		return false
	}
	var payload []byte
	if sums[0].Count <= maxServed {
		payload, err = negentropy.Respond(ctx, negentropy.ForPeer(r.host, p.number), m.in, m.payload)
	}
	switch {
	case errors.Is(err, negentropy.ErrInvalid):
		p.fault("it sent a request that is not Negentropy")
		return false
	case errors.Is(err, negentropy.ErrTooLarge):
		payload = nil
	case err != nil:
		return false
	}
	p.work.charge(len(m.payload) + len(payload))
	r.send(ctx, p, message{kind: typeAnswer, repair: m.repair, in: m.in, payload: payload})
	return true
}

// send sends a message, now or when the link takes it. It reports false if another one waits.
func (r *replicator) send(ctx context.Context, p *peer, m message) bool {
	if !r.flushOutbox(ctx, p) {
		return false
	}
	p.outbox = m.encode()
	r.flushOutbox(ctx, p)
	return true
}

// flushOutbox sends the message that waits, and reports whether none waits any more.
func (r *replicator) flushOutbox(ctx context.Context, p *peer) bool {
	if p.outbox == nil {
		return true
	}
	if r.now < p.outboxAt {
		return false
	}
	if r.host.Send(ctx, p.number, p.outbox) != nil {
		p.outboxAt = r.now + retryWait
		return false
	}
	p.outbox = nil
	return true
}
