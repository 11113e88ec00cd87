package mesh

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/negentropy"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// windowKeys is how many keys a window has at most, unless there are more than fit into
	// maxWindows of them. minWindows makes the first answer to a small difference short.
	windowKeys = 12 << 10
	minWindows = 16
	maxWindows = peersync.MaxRanges
	// maxSessions is how many sessions wait for an answer at a time. Each answer may have a
	// megabyte; what the queue of the other end does not take, waits there.
	maxSessions = 4
	// maxFirstAnswer bounds the answer that opens a session: 16 fingerprints or 31 ids.
	maxFirstAnswer = 2 << 10
	// repairEvery is the mean time between two repairs.
	repairEvery = 15 * time.Minute
	// askEvery is how often a twin can have everything compared.
	askEvery = time.Minute
	// tailFirst is how long the first repair of a link waits for the tail to catch up.
	tailFirst = time.Minute
	// settleHours is how many hours are left to the tail: the present one and the one before.
	settleHours = 2
	// silence is how long the other end may say nothing in a repair before it is given up.
	silence = 2 * time.Minute
	// repairSoon is the time before the next repair if one has changed something and left
	// something, repairLater if it has only left something; then twice as long each time.
	repairSoon  = 5 * time.Second
	repairLater = time.Minute
	// stepsAtOnce is how many messages of repairs one Handle works on for a peer.
	stepsAtOnce = 32
)

// schedule says when to repair.
type schedule struct {
	at       time.Duration // of the next repair
	whole    bool          // it covers the hours of the tail as well
	asked    bool          // the initiator was asked for it
	upAt     time.Duration // since when the peer is up
	begunAt  time.Duration // of the last repair
	begun    uint64        // repairs so far
	doneAt   time.Duration // when the last one ended that settled everything
	done     bool          // there was one
	failures int           // in a row that changed nothing
}

// repair is a comparison that this end has begun.
type repair struct {
	number    uint64
	whole     bool
	compared  bool // the answer to the comparison has come
	windows   []window
	first     []int // windows that wait for their turn, with the answer that opens the session
	answered  []int // windows in the middle of a session that have an answer
	expected  int   // answers that open a session and have not come
	inFlight  int   // sessions that wait for an answer
	copying   bool  // the other end copies windows
	progress  bool  // an envelope was stored
	unsettled bool  // something is left for another repair
}

// window is one of the ranges that are compared.
type window struct {
	storage.Range
	state  windowState
	rounds int
	answer []byte
}

type windowState uint8

const (
	windowCompared windowState = iota // it may differ
	windowReady                       // it has an answer
	windowInFlight
	windowDone
)

// noteAsk notes that the twin wants everything to be compared.
func (r *replicator) noteAsk(p *peer) {
	p.schedule.whole = true
	p.schedule.at = max(r.now, p.schedule.begunAt+askEvery)
	if p.schedule.begun == 0 {
		p.schedule.at = r.now
	}
}

// repairPeer does the next steps of a repair, or asks the other end for one.
func (r *replicator) repairPeer(ctx context.Context, p *peer) {
	if !p.isUsable() || !p.gives && !p.takes {
		return
	}
	if !p.initiator {
		if p.schedule.whole && !p.schedule.asked {
			p.schedule.asked = r.send(ctx, p, message{kind: typeAsk})
		}
		return
	}
	if p.repair == nil && r.now >= p.schedule.at && p.outbox == nil && !r.waitsForTail(p) {
		r.beginRepair(ctx, p)
	}
	if p.repair == nil {
		return
	}
	r.runSessions(ctx, p)
	if p.repair != nil && p.repair.isOver() && p.transfer.isIdle() {
		r.endRepair(ctx, p, !p.repair.unsettled)
	}
	if p.repair != nil && r.now >= p.heardAt+silence && r.now >= max(p.sendAt, p.takeAt)+silence {
		r.endRepair(ctx, p, false)
	}
}

// waitsForTail reports whether the first repair of a link waits: what the tail brings in a moment,
// it need not find.
func (r *replicator) waitsForTail(p *peer) bool {
	return p.takes && p.schedule.begun == 0 && (!p.tail.loaded || !p.schedule.whole && !p.tail.isIdle() && r.now < p.schedule.upAt+tailFirst)
}

// compared returns the keys that a repair covers, and whether there are any.
func (r *replicator) comparedRange(p *peer) (in storage.Range, ok bool) {
	in.Lo.Born = max(r.state.Floor, p.state.Floor)
	if p.schedule.whole {
		return in, true
	}
	if r.hour >= settleHours {
		in.Hi.Born = r.hour - settleHours + 1
	}
	return in, in.Lo.Born < in.Hi.Born
}

// beginRepair sends the fingerprints of all windows.
func (r *replicator) beginRepair(ctx context.Context, p *peer) {
	in, ok := r.comparedRange(p)
	if !ok {
		p.schedule.at = r.now + repairEvery
		return
	}
	sums, err := r.host.RangeSum(ctx, p.number, []peersync.Range{in})
	if err != nil {
		return
	}
	count := sums[0].Count
	parts := min(max((count+windowKeys-1)/windowKeys, minWindows), maxWindows)
	payload, windows, err := negentropy.Compare(ctx, negentropy.ForPeer(r.host, p.number), in, int(parts))
	if err != nil {
		return
	}
	s := &p.schedule
	s.begun++
	s.begunAt, p.heardAt = r.now, r.now
	p.repair = &repair{number: s.begun, whole: s.whole}
	for _, w := range windows {
		p.repair.windows = append(p.repair.windows, window{Range: w})
	}
	perPart := (count + uint64(len(windows)) - 1) / uint64(len(windows))
	r.send(ctx, p, message{kind: typeCompare, repair: s.begun, in: in, perPart: perPart, payload: payload})
}

// noteDiffer notes which windows differ.
func (r *replicator) noteDiffer(p *peer, m message) {
	re := p.repair
	if re == nil || re.number != m.repair || re.compared {
		return
	}
	re.compared, re.expected, re.copying = true, int(m.sessions), m.flag
	for _, in := range m.copies {
		w := re.findWindow(in)
		if w < 0 || re.windows[w].state != windowCompared {
			p.fault("it wants windows that were not compared")
			return
		}
		re.windows[w].state = windowDone
		if p.takes {
			p.transfer.addCopy(in)
		}
	}
	if m.flag || len(m.copies) > 0 && p.gives {
		re.unsettled = true // the next repair compares what was copied
	}
}

// findWindow returns the index of a window, or -1.
func (re *repair) findWindow(in storage.Range) int {
	at, _ := slices.BinarySearchFunc(re.windows, in.Lo, func(w window, lo storage.Key) int { return w.Lo.Compare(lo) })
	if at < len(re.windows) && re.windows[at].Range == in {
		return at
	}
	return -1
}

// noteAnswer keeps an answer until it is its turn.
func (r *replicator) noteAnswer(p *peer, m message) {
	re := p.repair
	if re == nil || re.number != m.repair {
		return
	}
	at := re.findWindow(m.in)
	if at < 0 || !re.compared {
		p.fault("it answers a window that was not compared")
		return
	}
	w := &re.windows[at]
	switch {
	case w.state == windowInFlight:
		re.inFlight--
		re.answered = append(re.answered, at)
	case w.state == windowCompared && re.expected > 0 && len(m.payload) <= maxFirstAnswer:
		re.expected--
		re.first = append(re.first, at)
	default:
		p.fault("it answers a window that nobody asked for")
		return
	}
	w.state, w.answer = windowReady, slices.Clone(m.payload)
}

// runSessions goes on with sessions that have an answer: first with those that are in the middle,
// because their answers are long.
func (r *replicator) runSessions(ctx context.Context, p *peer) {
	re := p.repair
	for steps := 0; p.isUsable() && r.flushOutbox(ctx, p) && p.work.mayGo(r.now) && p.transfer.hasRoom(); steps++ {
		var next *[]int
		switch {
		case len(re.answered) > 0:
			next = &re.answered
		case len(re.first) > 0 && re.inFlight < maxSessions:
			next = &re.first
		default:
			return
		}
		if steps == stepsAtOnce {
			r.more = true
			return
		}
		if !r.reconcileWindow(ctx, p, &re.windows[(*next)[0]]) {
			return
		}
		takeFront(next, 1)
	}
}

// reconcileWindow reads the answer of a window, and reports whether it could.
func (r *replicator) reconcileWindow(ctx context.Context, p *peer, w *window) bool {
	re, answer := p.repair, w.answer
	if len(answer) == 0 { // there was too much in it
		w.state, re.unsettled = windowDone, true
		return true
	}
	next, have, need, err := negentropy.Reconcile(ctx, negentropy.ForPeer(r.host, p.number), w.Range, answer)
	switch {
	case errors.Is(err, negentropy.ErrInvalid):
		p.fault("it sent an answer that is not Negentropy")
		return false
	case errors.Is(err, negentropy.ErrTooLarge):
		next, re.unsettled = nil, true
	case err != nil:
		return false
	}
	p.work.charge(len(answer) + len(next))
	w.answer = nil
	re.unsettled = p.addDifferences(have, need) || re.unsettled
	if next == nil {
		w.state = windowDone
		return true
	}
	if w.rounds++; w.rounds > negentropy.MaxRounds {
		p.fault("a session of a repair did not end after %d rounds", negentropy.MaxRounds)
		return false
	}
	w.state = windowInFlight
	re.inFlight++
	r.send(ctx, p, message{kind: typeSession, repair: re.number, in: w.Range, payload: next})
	return true
}

// addDifferences queues what a session has found, and reports whether something had no room.
func (p *peer) addDifferences(have, need []storage.Key) (lost bool) {
	if p.takes {
		for _, k := range have {
			lost = !p.transfer.addHave(k.ID) || lost
		}
	}
	if p.gives {
		lost = !p.transfer.addNeed(need) || lost
	}
	return lost
}

// isOver reports whether all windows are known.
func (re *repair) isOver() bool {
	return re.compared && re.expected == 0 && re.inFlight == 0 && len(re.first) == 0 && len(re.answered) == 0 && !re.copying
}

// endRepair tells the twin that a repair has ended, and plans the next one.
func (r *replicator) endRepair(ctx context.Context, p *peer, settled bool) {
	re, s := p.repair, &p.schedule
	if !r.send(ctx, p, message{kind: typeDone, repair: re.number, flag: settled && re.whole}) {
		return
	}
	p.repair = nil
	if settled {
		s.failures = 0
		s.doneAt, s.done = r.now, true
		if re.whole {
			s.whole, p.tail.valid = false, p.tail.loaded
		}
		s.at = r.now + repairEvery/2 + time.Duration(r.rng.Int64N(int64(repairEvery)))
	} else {
		p.transfer.haves, p.transfer.needs, p.transfer.copies = nil, nil, nil
	}
	switch {
	case settled && !s.whole:
	case settled || re.progress:
		s.failures = 0
		s.at = r.now + repairSoon
	default:
		s.at = r.now + min(repairLater<<min(s.failures, 10), repairEvery)
		s.failures++
	}
}
