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

// World simulates relays that replicate one board, without clocks, networks and disks. A seed
// decides what happens next. If the replicators keep the contract, the same seed and the same
// calls of World lead to the same history.
//
// A World belongs to one goroutine.
type World struct {
	// Replicas are the relays. Links between them are down at first.
	Replicas []*Replica

	rng   *rand.Rand
	mu    sync.Mutex // guards the fields below and the replicas, from replicators that call outside of Handle
	links []*link
	now   time.Duration
	posts uint64
}

// firstHour is the hour in which a World begins.
const firstHour storage.Hour = 480_000

// NewWorld makes a world of n relays with empty boards.
func NewWorld(seed uint64, n int) *World {
	w := &World{rng: rand.New(rand.NewPCG(seed, uint64(n)))}
	for i := range n {
		r := &Replica{world: w, index: i, cursors: make(map[string][]byte)}
		r.Renew()
		for _, other := range w.Replicas {
			w.links = append(w.links, &link{ends: [2]*Replica{other, r}})
		}
		w.Replicas = append(w.Replicas, r)
	}
	return w
}

// Start starts a replicator at a relay. It replaces the previous one, which must be dead or
// closed. Its links are down.
func (w *World) Start(at int, replicator peersync.Replicator) {
	r := w.Replicas[at]
	for i := range w.Replicas {
		if i != at {
			w.Cut(at, i)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	start := peersync.Start{State: r.logState(), Hour: w.presentHour()}
	for i := 0; i < len(start.Seed); i += 8 {
		binary.LittleEndian.PutUint64(start.Seed[i:], w.rng.Uint64())
	}
	r.replicator, r.up, r.startedAt = replicator, make(map[peersync.Peer]bool), w.now
	r.pending = []peersync.Event{start}
}

// Post posts n envelopes at a relay, as a client does.
func (w *World) Post(at, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		w.posts++
		key := peersync.Key{Born: w.presentHour(), ID: storage.NewID(binary.BigEndian.AppendUint64(nil, w.posts), nil)}
		w.Replicas[at].addEnvelope(key, uint32(w.rng.IntN(storage.MaxEnvelope)), 0)
	}
}

// Connect brings the link between two relays up, if it is down.
func (w *World) Connect(a, b int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, _ := w.Replicas[a].linkTo(w.Replicas[b]); !l.up {
		l.connectFrom(w.rng.IntN(2))
	}
}

// Cut breaks the link between two relays, if it is up, and loses everything on it.
func (w *World) Cut(a, b int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, _ := w.Replicas[a].linkTo(w.Replicas[b]); l.up {
		l.cutLink()
	}
}

// Tick lets a second pass, and sometimes an hour more.
func (w *World) Tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += time.Second
	if w.rng.IntN(50) == 0 {
		w.now += time.Hour
	}
	for _, r := range w.Replicas {
		if r.replicator != nil {
			r.queueEvent(peersync.Tick{Now: w.now - r.startedAt, Hour: w.presentHour()})
		}
	}
}

// presentHour returns the hour of the simulation. The caller holds w.mu.
func (w *World) presentHour() storage.Hour { return firstHour + storage.Hour(w.now/time.Hour) }

// passHour lets an hour pass, which replicators learn with the next Tick, and returns the new
// one.
func (w *World) passHour() storage.Hour {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += time.Hour
	return w.presentHour()
}

// maxSteps is after how many steps a world that nobody touches must be quiet.
const maxSteps = 1 << 20

// Run runs the world until nothing is under way. The seed decides the order. It returns the
// first error of a Handle.
func (w *World) Run(ctx context.Context) error {
	for range maxSteps {
		if quiet, err := w.runStep(ctx); quiet || err != nil {
			return err
		}
	}
	return errors.New("the replicators never become quiet between two ticks")
}

// runStep delivers one parcel or calls one Handle.
func (w *World) runStep(ctx context.Context) (quiet bool, err error) {
	w.mu.Lock()
	var choices []func(context.Context) error
	for _, l := range w.links {
		for from := range l.queues {
			if len(l.queues[from]) > 0 {
				choices = append(choices, func(context.Context) error { l.deliverFrom(from); return nil })
			}
		}
	}
	for _, r := range w.Replicas {
		if len(r.pending) > 0 && r.replicator != nil {
			choices = append(choices, r.handleQueued)
		}
	}
	if len(choices) == 0 {
		w.mu.Unlock()
		return true, nil
	}
	choice := choices[w.rng.IntN(len(choices))]
	w.mu.Unlock()
	return false, choice(ctx)
}

// Equal returns an error if the boards differ above the highest of their floors.
func (w *World) Equal() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var above peersync.Range
	for _, r := range w.Replicas {
		above.Lo.Born = max(above.Lo.Born, r.floor)
	}
	first := w.Replicas[0]
	for _, r := range w.Replicas[1:] {
		if got, want := r.sumWithin(above), first.sumWithin(above); got != want {
			return fmt.Errorf("relay %d has other envelopes than relay 0: %d and %d", r.index, got.Count, want.Count)
		}
	}
	return nil
}
