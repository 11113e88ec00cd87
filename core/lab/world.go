package lab

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// beginning is when a simulation begins: a Monday, 0:00 UTC.
var beginning = time.Date(2026, time.January, 5, 0, 0, 0, 0, time.UTC)

// world is one run.
type world struct {
	clock
	ctx       context.Context
	scenario  *Scenario
	algorithm *Algorithm
	seed      uint64
	chance    *rand.Rand // of links, and all that depends on the algorithm

	nodes     []*node
	members   []*member
	honest    int // number of peers
	envelopes []envelope
	numbers   map[storage.ID]int32
	filler    []byte // bytes of all ciphertexts
	attempts  int

	parted    []int // by node: number of partitions it is in, as bits
	confining int   // bits of the partitions that members feel
	calm      bool  // no more cuts: the world heals
	frozen    bool  // no more measures
	tally     Tally
	delays    histogram
	measured  measures
	failure   error // the plugin cannot be opened
	violation *Violation
}

// newWorld makes the world of a scenario.
func newWorld(ctx context.Context, s *Scenario, a *Algorithm, seed uint64) *world {
	w := &world{
		ctx: ctx, scenario: s, algorithm: a, seed: seed,
		chance:  newChance(seed, "links"),
		numbers: make(map[storage.ID]int32),
		filler:  make([]byte, storage.MaxEnvelope),
	}
	// Traces and messages do not depend on the algorithm.
	total := s.Duration + s.Settle
	for gi := range s.Groups {
		g := &s.Groups[gi]
		for i := range g.Count {
			n := &node{w: w, index: len(w.nodes), name: fmt.Sprintf("%s.%d", g.Name, i), group: g, cursors: make(map[string][]byte)}
			n.hostile = newBehaviour(g.Hostile)
			n.store = newStore(w)
			n.spans = g.Trace.spans(i, total, newChance(seed, "peer "+n.name))
			if n.hostile.isHonest() {
				w.honest++
			}
			w.nodes = append(w.nodes, n)
		}
	}
	w.parted = make([]int, len(w.nodes))
	w.joinNodes()
	for gi := range s.Members {
		g := &s.Members[gi]
		for i := range g.Count {
			m := &member{w: w, index: len(w.members), group: g, cursors: make([]memberCursor, len(w.nodes))}
			m.chance = newChance(seed, fmt.Sprintf("member %s.%d", g.Name, i))
			m.spans = g.Trace.spans(i, total, m.chance)
			if g.Own != "" {
				m.own = w.nodesOf([]string{fmt.Sprintf("%s.%d", g.Own, i)})[0]
				m.spans = m.own.spans
			}
			w.members = append(w.members, m)
		}
	}
	return w
}

// newChance returns a source of randomness for a purpose.
func newChance(seed uint64, purpose string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// joinNodes decides who has a link with whom.
func (w *world) joinNodes() {
	n, t := len(w.nodes), w.scenario.Topology
	linked := make([][]bool, n)
	for i := range linked {
		linked[i] = make([]bool, n)
	}
	join := func(a, b int) {
		if a != b {
			linked[a][b], linked[b][a] = true, true
		}
	}
	chance := newChance(w.seed, "topology")
	for i := range n {
		switch t.Shape {
		case "ring":
			join(i, (i+1)%n)
		case "star":
			join(0, i)
		case "random":
			join(i, (i+1)%n) // so that all are connected
			for _, j := range chance.Perm(n) {
				if countTrue(linked[i]) >= min(t.Degree, n-1) {
					break
				}
				join(i, j)
			}
		default:
			for j := range i {
				join(i, j)
			}
		}
	}
	for i, row := range linked {
		for j, yes := range row {
			if yes {
				w.nodes[i].neighbours = append(w.nodes[i].neighbours, j)
			}
		}
	}
}

func countTrue(list []bool) (n int) {
	for _, yes := range list {
		if yes {
			n++
		}
	}
	return n
}

// nodesOf returns the nodes with names: of groups, or of single ones.
func (w *world) nodesOf(names []string) (out []*node) {
	for _, n := range w.nodes {
		if slices.Contains(names, n.group.Name) || slices.Contains(names, n.name) {
			out = append(out, n)
		}
	}
	return out
}

// areSeparated reports whether a partition is between two nodes.
func (w *world) areSeparated(a, b *node) bool { return w.parted[a.index] != w.parted[b.index] }

func (w *world) sizeOf(number int32) uint32 {
	e := &w.envelopes[number]
	return uint32(len(e.signature) + len(e.ciphertext))
}

// fail ends the run with an error that is not the algorithm's.
func (w *world) fail(err error) {
	if w.failure == nil {
		w.failure = err
	}
}

// noteFailure records an error of the plugin.
func (w *world) noteFailure(err error) {
	if w.ctx.Err() != nil {
		w.fail(w.ctx.Err())
		return
	}
	w.tally.PluginErrors++
	if w.tally.PluginError == "" {
		w.tally.PluginError = err.Error()
	}
}

// schedule plans all that the scenario says.
func (w *world) schedule() {
	for _, n := range w.nodes {
		for _, s := range n.spans {
			w.at(s.from, n.start)
			if s.to < w.scenario.Duration+w.scenario.Settle {
				w.at(s.to, func() { n.stop(false) })
			}
		}
	}
	for _, m := range w.members {
		for _, s := range m.spans {
			w.at(s.from, func() { m.start(s.to) })
			w.at(s.to, m.stop)
		}
	}
	for i, p := range w.scenario.Partitions {
		side := w.nodesOf(p.Peers)
		if len(p.Members) > 0 {
			w.confining |= 1 << i
		}
		for _, at := range []time.Duration{p.At, p.Heal} {
			w.at(at, func() {
				w.partMembers(p.Members, 1<<i)
				w.part(side, 1<<i)
			})
		}
	}
	for _, r := range w.scenario.Restarts {
		w.at(r.At, func() { w.restart(r) })
	}
	for _, r := range w.scenario.Restores {
		w.at(r.At, func() {
			for _, n := range w.nodesOf(r.Peers) {
				n.restore(r.Age)
			}
		})
	}
	for _, c := range w.scenario.Clocks {
		jump := func(by time.Duration) func() {
			return func() {
				for _, n := range w.nodesOf(c.Peers) {
					n.jump += by
				}
			}
		}
		w.at(c.At, jump(c.By))
		if c.Until > 0 {
			w.at(c.Until, jump(-c.By))
		}
	}
}

// part begins or ends a partition, and cuts the connections across it.
func (w *world) part(side []*node, bit int) {
	if w.calm {
		return
	}
	for _, n := range side {
		w.parted[n.index] ^= bit
	}
	for _, m := range w.members {
		for _, a := range m.attached {
			if m.isSeparated(a.node) {
				a.detach()
			}
		}
	}
	for _, n := range w.nodes {
		for _, e := range n.conns {
			if e != nil && w.areSeparated(n, e.other.node) {
				e.conn.cut()
			}
		}
	}
}

// partMembers moves groups of members to the other side of a partition.
func (w *world) partMembers(groups []string, bit int) {
	for _, m := range w.members {
		if slices.Contains(groups, m.group.Name) {
			m.parted ^= bit
		}
	}
}

// restart ends nodes that are on, and starts them again.
func (w *world) restart(r Restart) {
	if w.calm {
		return
	}
	for _, n := range w.nodesOf(r.Peers) {
		if !n.on {
			continue
		}
		n.stop(r.Crash)
		life := n.life
		w.after(r.Down, func() {
			if n.life == life && (w.calm || isWithin(n.spans, w.now)) {
				n.start()
			}
		})
	}
	if r.Every > 0 {
		w.after(r.Every, func() { w.restart(r) })
	}
}

func isWithin(spans []span, at time.Duration) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from <= at && at < s.to })
}

// restore puts the store of a node back to what it was some time ago.
func (n *node) restore(age time.Duration) {
	on := n.on
	n.stop(false)
	removed := n.store.truncate(n.w.now - age)
	n.store.epoch = n.w.newEpoch()
	for _, number := range removed {
		e := &n.w.envelopes[number]
		e.lost = !slices.ContainsFunc(n.w.nodes, func(other *node) bool {
			return other.hostile.isHonest() && other.store.holds(number)
		})
		if e.lost {
			n.w.tally.LostByRestore++
		}
	}
	if on {
		n.start()
	}
}

// run runs the scenario to its end, and heals the world if the scenario says so.
func (w *world) run() error {
	w.schedule()
	end := w.scenario.Duration + w.scenario.Settle
	if err := w.runUntil(end); err != nil || w.violation != nil {
		return err
	}
	w.freeze()
	if w.scenario.Heal {
		return w.heal()
	}
	w.checkCostly()
	return nil
}

// costlyEvery is how much time is between two checks that cost much.
const costlyEvery = 6 * time.Hour

// runUntil runs until a time, or a violation.
func (w *world) runUntil(end time.Duration) error {
	for w.now < end {
		until := min(end, w.now.Truncate(costlyEvery)+costlyEvery)
		for w.step(until) {
			if w.violation != nil || w.failure != nil {
				return w.failure
			}
			if w.steps%4096 == 0 && w.ctx.Err() != nil {
				return w.ctx.Err()
			}
		}
		w.checkCostly()
		if w.violation != nil {
			return nil
		}
	}
	return nil
}

// Limits of healing.
const (
	healTime  = 24 * time.Hour
	healCheck = 10 * time.Minute
	quietTime = time.Hour
)

// heal brings everybody online, without any more faults, and demands that all become equal and
// quiet. Floors rest from now on: otherwise what a peer of short retention lacks falls below its
// floor before anybody looks.
func (w *world) heal() error {
	w.calm, w.confining = true, 0
	for i := range w.parted {
		w.parted[i] = 0
	}
	for _, n := range w.nodes {
		n.start()
	}
	for _, m := range w.members {
		m.stop()
		m.start(never)
	}
	begin := w.now
	for !w.areEqual() {
		if w.now-begin > healTime {
			w.tally.Missing, w.tally.Compared = w.compareBoards(true)
			if w.algorithm.Converges {
				w.violate("I7", "%d envelopes are still missing somewhere %v after everything has healed", w.tally.Missing, healTime)
			}
			return nil
		}
		if err := w.runUntil(w.now + healCheck); err != nil || w.violation != nil {
			return err
		}
	}
	w.tally.HealedAfter = w.now - begin
	return w.demandQuiet()
}

// demandQuiet checks that nothing moves any more when all are equal.
func (w *world) demandQuiet() error {
	if err := w.runUntil(w.now + healCheck); err != nil || w.violation != nil { // what is on its way arrives
		return err
	}
	before := w.tally
	if err := w.runUntil(w.now + quietTime); err != nil || w.violation != nil {
		return err
	}
	w.tally.QuietBytes = w.tally.total() - before.total()
	if moved := w.tally.Bodies - before.Bodies; moved > 0 && w.algorithm.Quiet && w.honest == len(w.nodes) {
		w.violate("I9", "%d bytes of bodies pass in an hour, although all boards are equal", moved)
	}
	w.checkEnd()
	return nil
}
