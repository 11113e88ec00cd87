package lab

import (
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// hostileKinds are what a peer may do wrong.
var hostileKinds = []string{"withholds", "floods", "lies", "replays", "rolls-back", "wrong-born", "garbage"}

// behaviour is what a peer does wrong.
type behaviour struct {
	withholds bool // it names envelopes, and gives no body: it says that they are gone, or nothing
	floods    bool // it posts what nobody wrote, within what its clients may
	lies      bool // its sums are wrong
	replays   bool // it sends bodies again
	rollsBack bool // its log shrinks, and numbers are used twice
	wrongBorn bool // it changes the hours
	garbage   bool // it sends random messages to the plugins
	flooded   time.Duration
	rolled    time.Duration
}

func newBehaviour(kinds []string) behaviour {
	has := func(kind string) bool { return slices.Contains(kinds, kind) }
	return behaviour{
		withholds: has("withholds"), floods: has("floods"), lies: has("lies"), replays: has("replays"),
		rollsBack: has("rolls-back"), wrongBorn: has("wrong-born"), garbage: has("garbage"),
	}
}

func (b *behaviour) isHonest() bool {
	return !(b.withholds || b.floods || b.lies || b.replays || b.rollsBack || b.wrongBorn || b.garbage)
}

// stateOf returns what the peer says of its board.
func (b *behaviour) stateOf(n *node) peersync.State { return n.store.state() }

// act does what a peer does wrong of its own accord, at each tick.
func (b *behaviour) act(n *node) {
	w := n.w
	if b.floods {
		every := time.Hour / time.Duration(max(n.group.Flood, 1))
		for ; b.flooded <= w.now; b.flooded += every {
			if w.now-b.flooded < time.Minute && w.now < w.scenario.Duration {
				number := w.newEnvelope(w.scenario.Posts.MaxSize, -1)
				n.store.append(number, n.hour(), 0)
			}
		}
	}
	if b.rollsBack && w.now-b.rolled > 2*time.Hour {
		b.rolled = w.now
		n.store.truncate(w.now - time.Hour)
	}
}

// alterSum makes a sum wrong, half of the time.
func (b *behaviour) alterSum(n *node, sum *peersync.Sum) {
	if b.lies && n.w.chance.IntN(2) == 0 {
		sum.IDs[n.w.chance.IntN(len(sum.IDs))]++
	}
}

// alter returns what a peer sends in the place of a frame.
func (n *node) alter(e *end, f peerlink.Frame) []peerlink.Frame {
	if n.hostile.isHonest() {
		n.checkFrame(f)
		n.one[0] = f
		return n.one[:]
	}
	b, chance := &n.hostile, n.w.chance
	out := []peerlink.Frame{f}
	switch f := f.(type) {
	case *peerlink.Body:
		if b.wrongBorn {
			altered := *f
			altered.Born = wrongHour(n, f.Born)
			out[0] = &altered
		}
		if b.replays {
			e.replay = append(e.replay, out[0])
			if chance.IntN(4) == 0 {
				again := *e.replay[chance.IntN(len(e.replay))].(*peerlink.Body)
				again.Kind = peerlink.BodyKind(chance.IntN(3))
				out = append(out, &again)
			}
		}
	case *peerlink.Offer:
		if b.wrongBorn {
			altered := peerlink.Offer{Envelopes: slices.Clone(f.Envelopes)}
			for i := range altered.Envelopes {
				altered.Envelopes[i].Born = wrongHour(n, altered.Envelopes[i].Born)
			}
			out[0] = &altered
		}
	case *peerlink.Gone:
		if b.withholds && chance.IntN(2) == 0 {
			return nil
		}
	case *peerlink.Message:
		if b.garbage && chance.IntN(4) == 0 {
			altered := peerlink.Message{More: f.More, Data: slices.Clone(f.Data)}
			for range 1 + chance.IntN(8) {
				altered.Data[chance.IntN(len(altered.Data))] = byte(chance.Uint32())
			}
			out[0] = &altered
		}
	}
	return out
}

// wrongHour returns another hour than that of an envelope.
func wrongHour(n *node, born storage.Hour) storage.Hour {
	switch n.w.chance.IntN(5) {
	case 0:
		return born - 1
	case 1:
		return born - 30
	case 2:
		return born + 5
	case 3:
		return 1<<32 - 1
	}
	return 0
}
