package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Violation says that a run has broken an invariant.
type Violation struct {
	Invariant string        `json:"invariant"`
	Text      string        `json:"text"`
	Seed      uint64        `json:"seed"`
	Step      uint64        `json:"step"`
	At        time.Duration `json:"at"`
}

func (v *Violation) Error() string {
	return fmt.Sprintf("invariant %s is broken at %v, step %d, seed %d: %s", v.Invariant, v.At, v.Step, v.Seed, v.Text)
}

// violate records the first violation, which ends the run.
func (w *world) violate(invariant, format string, args ...any) {
	if w.violation == nil {
		w.violation = &Violation{invariant, fmt.Sprintf(format, args...), w.seed, w.steps, w.now}
	}
}

// checkStep checks what is cheap, after each step of a node.
func (n *node) checkStep() {
	w := n.w
	if !n.hostile.isHonest() {
		return
	}
	if w.steps%16 == 0 {
		for i, e := range n.conns {
			if e == nil {
				continue
			}
			if s, ok := n.engine.Status(peersync.Peer(i + 1)); ok && s.Memory > exchange.MaxMemory {
				w.violate("I4", "%s takes %d bytes in the memory of %s", e.other.node.name, s.Memory, n.name)
			}
		}
	}
	s := n.store
	if kept := len(s.log) - s.pruned; s.count != kept {
		w.violate("I5", "%s keeps %d envelopes, and should keep %d", n.name, s.count, kept)
	}
	if s.first < len(s.log) && s.log[s.first].number < 0 {
		w.violate("I2", "%s begins with an entry that was pruned", n.name)
	}
}

// checkFrame checks what an honest peer sends.
func (n *node) checkFrame(f peerlink.Frame) {
	if born, ok := bornOf(f); ok && born < n.store.floor {
		n.w.violate("I3", "%s sends an envelope that was born in hour %d, below its floor %d", n.name, born, n.store.floor)
	}
}

// checkRecord checks what a peer is to store, and returns the number of the envelope.
func (n *node) checkRecord(r storage.Record) int32 {
	w := n.w
	if r.Born < n.store.floor && n.told == n.store.mark {
		w.violate("I3", "%s is to store an envelope of hour %d, below its floor %d", n.name, r.Born, n.store.floor)
	}
	number := w.numberOf(r.Signature, r.Ciphertext)
	if number < 0 || !sameBytes(w.envelopes[number].signature, r.Signature) || !sameBytes(w.envelopes[number].ciphertext, r.Ciphertext) {
		w.violate("I1", "%s is to store something that nobody wrote", n.name)
		return -1
	}
	if w.envelopes[number].id != r.ID {
		w.violate("I1", "%s is to store envelope %d under a wrong id", n.name, number)
	}
	return number
}

// sameBytes compares two slices, which are mostly the same memory.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b))
}

// checkCostly checks what costs much, now and then.
func (w *world) checkCostly() {
	for _, n := range w.nodes {
		if !n.hostile.isHonest() {
			continue
		}
		n.checkLog()
		n.checkSums()
	}
}

// checkLog checks that the log has each envelope once, at its place.
func (n *node) checkLog() {
	s, kept := n.store, 0
	for i, e := range s.log {
		if e.number < 0 {
			continue
		}
		kept++
		p := s.places[e.number]
		if int(p.seq) != i+1 {
			n.w.violate("I2", "entry %d of %s has an envelope that is at %d", i+1, n.name, p.seq)
		}
		if p.born < s.floor {
			n.w.violate("I3", "%s keeps an envelope of hour %d, below its floor %d", n.name, p.born, s.floor)
		}
		if p.born+storage.MaxAging < p.first {
			n.w.violate("I3", "%s lowered the hour of an envelope by %d", n.name, p.first-p.born)
		}
	}
	if kept != s.count {
		n.w.violate("I5", "%s has %d envelopes in its log, and counts %d", n.name, kept, s.count)
	}
}

// checkSums compares the sum of the index with the sum of the log.
func (n *node) checkSums() {
	s, want := n.store, peersync.Sum{}
	var limbs [4]uint64
	for _, e := range s.log[s.first:] {
		if e.number < 0 {
			continue
		}
		id := &s.w.envelopes[e.number].id
		var carry uint64
		for i := range limbs {
			limbs[i], carry = bits.Add64(limbs[i], binary.LittleEndian.Uint64(id[8*i:]), carry)
		}
		want.Count++
	}
	for i, limb := range limbs {
		binary.LittleEndian.PutUint64(want.IDs[8*i:], limb)
	}
	if got := s.index.Sum(storage.Range{}); got != want {
		n.w.violate("I8", "the index of %s has %d keys with another sum than the %d of its log", n.name, got.Count, want.Count)
	}
}

// areEqual reports whether no honest peer lacks an envelope, and nobody waits to post.
func (w *world) areEqual() bool {
	for _, m := range w.members {
		if len(m.outbox) > 0 {
			return false
		}
	}
	missing, _ := w.compareBoards(false)
	return missing == 0
}

// compareBoards compares each honest peer with those that it takes from, above its own floor. What
// it has pruned it does not lack, although another one may keep it longer or under a later hour.
// Peers without a link are equal by way of those between them, or need not be. What hostile peers
// made up does not count: quotas let it through for days.
// compared is how many envelopes some peer has to have because another one has them, if all are to be
// looked at; otherwise pairs of peers with equal sums are skipped.
func (w *world) compareBoards(all bool) (missing, compared int) {
	seen := make([]bool, len(w.envelopes))
	for _, n := range w.nodes {
		if !n.hostile.isHonest() {
			continue
		}
		lacks := make(map[int32]bool)
		for _, i := range n.neighbours {
			giver := w.nodes[i]
			if !giver.hostile.isHonest() || giver.group.Mirror {
				continue
			}
			above := storage.Range{Lo: storage.Key{Born: n.store.floor}}
			if all || n.store.index.Sum(above) != giver.store.index.Sum(above) {
				n.compareWith(giver, lacks, seen)
			}
		}
		missing += len(lacks)
	}
	for _, yes := range seen {
		if yes {
			compared++
		}
	}
	return missing, compared
}

// compareWith notes what a node lacks of what another one has, and all that was compared.
func (n *node) compareWith(giver *node, lacks map[int32]bool, seen []bool) {
	for number := range n.w.envelopes {
		id := int32(number)
		if n.w.envelopes[number].author < 0 || !giver.store.holds(id) || giver.store.key(id).Born < n.store.floor {
			continue
		}
		if n.store.hasPruned(id) {
			continue
		}
		seen[number] = true
		if !n.store.holds(id) {
			lacks[id] = true
		}
	}
}

// checkCompared demands that the comparison of the boards was about something. Otherwise a run says
// that they are equal, and has looked at nothing.
func (w *world) checkCompared() {
	_, w.tally.Compared = w.compareBoards(true)
	if w.tally.Compared > 0 {
		return
	}
	for number := range w.envelopes {
		e := &w.envelopes[number]
		if e.author >= 0 && !e.lost && e.committed > 0 && e.isExpectedElsewhere() {
			w.violate("I7", "envelope %d was acknowledged above the floors of two peers with a link, and the boards were compared without any envelope", number)
			return
		}
	}
}

// isExpectedElsewhere reports whether an honest peer takes envelopes from the first one that had this
// one, and keeps as old ones as well.
func (e *envelope) isExpectedElsewhere() bool {
	from, born := e.origin, storage.HourOf(beginning.Add(e.committed))
	return !from.group.Mirror && slices.ContainsFunc(from.neighbours, func(i int) bool {
		n := from.w.nodes[i]
		return n.hostile.isHonest() && born >= max(n.store.floor, from.store.floor)
	})
}

// checkEnd checks what holds when everything has healed.
func (w *world) checkEnd() {
	w.checkCompared()
	for number := range w.envelopes {
		e := &w.envelopes[number]
		if e.author < 0 || e.lost || e.committed == 0 {
			continue
		}
		known := slices.ContainsFunc(w.nodes, func(n *node) bool {
			return n.hostile.isHonest() && (n.store.holds(int32(number)) || n.store.hasPruned(int32(number)))
		})
		if !known {
			w.violate("I7", "envelope %d was acknowledged, and no peer has it or has pruned it", number)
		}
	}
	for _, m := range w.members {
		for _, a := range m.attached {
			w.checkReader(a)
		}
	}
	s := w.scenario
	if s.MaxOverhead > 0 && w.algorithm.Label == s.Algorithms[0] && w.measured.tally.overhead() > float64(s.MaxOverhead)/100 {
		w.violate("I10", "besides the bodies that the receiver lacked, %.0f %% of them were sent, and allowed are %d %%", 100*w.measured.tally.overhead(), s.MaxOverhead)
	}
}

// checkReader checks that a member has all that its core peer ever told it.
func (w *world) checkReader(a *attachment) {
	if !a.live {
		return
	}
	for _, e := range a.node.store.log {
		if e.number >= 0 && !a.m.has.has(e.number) {
			w.violate("I6", "a member that follows %s lacks envelope %d of it", a.node.name, e.number)
			return
		}
	}
}
