package peersynctest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// World simulates relays that replicate one board, on a virtual clock, with simulated links and
// stores. A seed decides what happens next. If the replicators keep the contract, the same seed
// and the same calls of World lead to the same history.
//
// Time stands still except in [World.RunFor]. At first all relays are configured as peers of each
// other, nothing limits what they take, links are as fast as can be, and all of them are down.
//
// A World belongs to one goroutine.
type World struct {
	// Replicas are the relays.
	Replicas []*Replica

	rng     *rand.Rand
	mu      sync.Mutex // guards the fields below and the replicas, from replicators that call outside of Handle
	links   []*link
	now     time.Duration
	posts   uint64
	choices []choice // reused by runStep
}

// firstHour is the hour in which a World begins.
const firstHour storage.Hour = 480_000

// NewWorld makes a world of n relays with empty boards.
func NewWorld(seed uint64, n int) *World {
	w := &World{rng: rand.New(rand.NewPCG(seed, uint64(n)))}
	for i := range n {
		r := newReplica(w, i, n)
		for _, other := range w.Replicas {
			w.links = append(w.links, newLink(other, r))
		}
		w.Replicas = append(w.Replicas, r)
	}
	return w
}

// Start starts a replicator at a relay. It replaces the previous one, which must be dead or
// closed. Its links are down.
func (w *World) Start(at int, replicator peersync.Replicator) {
	w.Stop(at)
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.Replicas[at]
	start := peersync.Start{State: r.logState(), Hour: r.presentHour(), Peers: r.configuredPeers()}
	for i := 0; i < len(start.Seed); i += 8 {
		binary.LittleEndian.PutUint64(start.Seed[i:], w.rng.Uint64())
	}
	r.replicator, r.up, r.startedAt, r.wakeAt = replicator, make(map[peersync.Peer]bool), w.now, never
	r.pending = []peersync.Event{start}
}

// Stop turns a relay off: its links are down, and nothing calls its replicator any more.
func (w *World) Stop(at int) {
	for i := range w.Replicas {
		w.Cut(at, i)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.Replicas[at]
	r.replicator, r.pending, r.wakeAt = nil, nil, never
}

// Post posts n envelopes at a relay, as clients do.
func (w *World) Post(at, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		r := w.Replicas[at]
		r.addEnvelope(w.newKey(r.presentHour()), w.newSize(), 0)
	}
}

// PostTwice posts one envelope at two relays. The first one accepts it an hour before the second.
func (w *World) PostTwice(first, second int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, size := w.newKey(w.Replicas[second].presentHour()), w.newSize()
	w.Replicas[second].addEnvelope(key, size, 0)
	key.Born--
	w.Replicas[first].addEnvelope(key, size, 0)
}

func (w *World) newKey(born storage.Hour) peersync.Key {
	w.posts++
	return peersync.Key{Born: born, ID: storage.NewID(binary.BigEndian.AppendUint64(nil, w.posts), nil)}
}

func (w *World) newSize() uint32 { return uint32(w.rng.IntN(storage.MaxEnvelope)) }

// SetLine changes the link between two relays.
func (w *World) SetLine(a, b int, line Line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, _ := w.Replicas[a].linkTo(w.Replicas[b]); l != nil {
		l.line = line
	}
}

// Connect brings the link between two relays up, if both have a replicator, and the peers are
// configured. After a Drop or a Rest the link comes back by itself, until Cut.
func (w *World) Connect(a, b int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, _ := w.Replicas[a].linkTo(w.Replicas[b]); l != nil && l.isPossible() {
		l.wanted = true
		l.reconnect()
	}
}

// Cut breaks the link between two relays, if it is up, and loses everything on it.
func (w *World) Cut(a, b int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, _ := w.Replicas[a].linkTo(w.Replicas[b]); l != nil {
		l.wanted = false
		l.cutLink()
	}
}

// maxSteps is after how many steps a world that nobody touches must be quiet.
const maxSteps = 1 << 20

// Run runs the world until nothing more happens without the passing of time. The seed decides the
// order. It returns the first error of a Handle.
func (w *World) Run(ctx context.Context) error {
	for range maxSteps {
		if quiet, err := w.runStep(ctx); quiet || err != nil {
			return err
		}
	}
	return errors.New("the replicators never become quiet although no time passes")
}

// RunFor runs the world while some time passes. Replicators get a Tick every second.
func (w *World) RunFor(ctx context.Context, d time.Duration) error {
	for end := w.now + d; ; {
		if err := w.Run(ctx); err != nil || w.now >= end {
			return err
		}
		w.advanceClock(end)
	}
}

// choice is something that can happen now: one of a direction of a link, and a relay.
type choice struct {
	link *link
	from int
	r    *Replica
}

// runStep lets one thing happen: a link carries something, or a relay calls Handle.
func (w *World) runStep(ctx context.Context) (quiet bool, err error) {
	w.mu.Lock()
	w.choices = w.choices[:0]
	for _, l := range w.links {
		for from := range l.ends {
			if l.canMove(from) {
				w.choices = append(w.choices, choice{link: l, from: from})
			}
		}
	}
	for _, r := range w.Replicas {
		if len(r.pending) > 0 || r.wakeAt <= w.now {
			w.choices = append(w.choices, choice{r: r})
		}
	}
	if len(w.choices) == 0 {
		w.mu.Unlock()
		return true, nil
	}
	c := w.choices[w.rng.IntN(len(w.choices))]
	if c.link != nil {
		for range 1 + w.rng.IntN(8) {
			if c.link.canMove(c.from) {
				c.link.moveFrom(c.from)
			}
		}
		w.mu.Unlock()
		return false, nil
	}
	w.mu.Unlock()
	return false, c.r.handleQueued(ctx)
}

// never is a time that does not come.
const never = time.Duration(1<<63 - 1)

// advanceClock moves the clock to the next moment at which something can happen, but not beyond end.
func (w *World) advanceClock(end time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := min(end, w.now.Truncate(time.Second)+time.Second)
	for _, l := range w.links {
		for from := range l.ends {
			next = min(next, l.nextMove(from))
		}
	}
	for _, r := range w.Replicas {
		next = min(next, r.wakeAt)
	}
	w.setClock(next)
}

// setClock moves the clock. The caller holds w.mu.
func (w *World) setClock(now time.Duration) {
	w.now = now
	if now%time.Second != 0 {
		return
	}
	for _, l := range w.links {
		l.reconnect()
		l.exchangeStates()
		for i := range l.ends {
			l.announceRoom(i)
		}
	}
	for _, r := range w.Replicas {
		if r.replicator != nil && (now%idleTick == 0 || r.isConnected()) {
			r.queueTick()
		}
	}
}

// idleTick is how often a replicator without links gets a Tick.
const idleTick = 10 * time.Second

// tick lets a second pass without running the world meanwhile, and gives each replicator a Tick.
func (w *World) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setClock(w.now.Truncate(time.Second) + time.Second)
	for _, r := range w.Replicas {
		if r.replicator != nil {
			r.queueTick()
		}
	}
}

// passHour lets an hour pass, which replicators learn with the next Tick, and returns the new
// one.
func (w *World) passHour() storage.Hour {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += time.Hour
	return w.Replicas[0].presentHour()
}

// Equal returns an error if an envelope that was born at or after the highest of the floors is at
// one relay and not at another. It compares the relays with the given indexes, or all.
func (w *World) Equal(at ...int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	compared := w.Replicas
	if len(at) > 0 {
		compared = nil
		for _, i := range at {
			compared = append(compared, w.Replicas[i])
		}
	}
	var above peersync.Range
	for _, r := range compared {
		above.Lo.Born = max(above.Lo.Born, r.floor)
	}
	for _, r := range compared {
		for _, other := range compared {
			lacks := 0
			for _, k := range r.keysWithin(above) {
				if other.findEntry(k.ID) == nil {
					lacks++
				}
			}
			if lacks > 0 {
				return fmt.Errorf("relay %d lacks %d of the %d envelopes of relay %d", other.index, lacks, len(r.keysWithin(above)), r.index)
			}
		}
	}
	return nil
}
