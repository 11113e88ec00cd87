package lab

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
)

// Tally counts what has happened in a run, or in several.
type Tally struct {
	// Bytes on all links between peers, both directions:
	Bodies   uint64 `json:"bodies"`
	IDs      uint64 `json:"ids"`      // offers, wants and their answers
	Messages uint64 `json:"messages"` // of the plugins
	Control  uint64 `json:"control"`  // greetings, states, credit, pings
	Padding  uint64 `json:"padding"`  // that records add

	Replicated      uint64 `json:"replicated"` // envelopes that an honest peer has stored from another one
	ReplicatedBytes uint64 `json:"replicated_bytes"`
	Duplicates      uint64 `json:"duplicates"` // bodies that the receiver had
	DuplicateBytes  uint64 `json:"duplicate_bytes"`
	Junk            uint64 `json:"junk,omitempty"` // stored by honest peers, although nobody wrote it

	Written       int `json:"written"`
	Posted        int `json:"posted"` // acknowledged by a core peer
	Unmet         int `json:"unmet"`  // written while no core peer could be reached
	LostByRestore int `json:"lost_by_restore,omitempty"`

	Drops        int    `json:"drops,omitempty"`    // by plugins
	Breaches     int    `json:"breaches,omitempty"` // of the protocol, by hostile peers
	PluginErrors int    `json:"plugin_errors,omitempty"`
	PluginError  string `json:"plugin_error,omitempty"` // the first one

	Missing     int           `json:"missing,omitempty"` // after everything has healed
	Compared    int           `json:"compared"`          // envelopes of which that was found out
	HealedAfter time.Duration `json:"healed_after_ns"`
	QuietBytes  uint64        `json:"quiet_bytes"` // in an hour in which all boards are equal
}

func (t *Tally) total() uint64 { return t.Bodies + t.IDs + t.Messages + t.Control + t.Padding }

// overhead is what was sent besides the bodies that the receiver lacked, as a share of these.
func (t *Tally) overhead() float64 {
	if t.ReplicatedBytes == 0 {
		return 0
	}
	return float64(t.total())/float64(t.ReplicatedBytes) - 1
}

// add adds the counts of another run.
func (t *Tally) add(o Tally) {
	t.Bodies += o.Bodies
	t.IDs += o.IDs
	t.Messages += o.Messages
	t.Control += o.Control
	t.Padding += o.Padding
	t.Replicated += o.Replicated
	t.ReplicatedBytes += o.ReplicatedBytes
	t.Duplicates += o.Duplicates
	t.DuplicateBytes += o.DuplicateBytes
	t.Junk += o.Junk
	t.Written += o.Written
	t.Posted += o.Posted
	t.Unmet += o.Unmet
	t.LostByRestore += o.LostByRestore
	t.Drops += o.Drops
	t.Breaches += o.Breaches
	t.PluginErrors += o.PluginErrors
	t.PluginError = cmp.Or(t.PluginError, o.PluginError)
	t.Missing += o.Missing
	t.Compared += o.Compared
	t.HealedAfter = max(t.HealedAfter, o.HealedAfter)
	t.QuietBytes += o.QuietBytes
}

// count counts a frame that a peer sends.
func (w *world) count(f peerlink.Frame, size int) {
	n := uint64(size)
	switch f.(type) {
	case *peerlink.Body:
		w.tally.Bodies += n
	case *peerlink.Offer, *peerlink.Want, *peerlink.Gone, *peerlink.Taken:
		w.tally.IDs += n
	case *peerlink.Message:
		w.tally.Messages += n
	default:
		w.tally.Control += n
	}
}

// noteBreach counts what an honest peer refuses. If nobody is hostile, it is a fault of ours.
func (w *world) noteBreach(n *node, other int, reason error) {
	w.tally.Breaches++
	if n.hostile.isHonest() && w.nodes[other].hostile.isHonest() {
		w.violate("I1", "%s says that %s, which is honest, breaks the protocol: %v", n.name, w.nodes[other].name, reason)
	}
}

// histogram counts delays in steps of the fourth root of 2.
type histogram struct {
	counts       [112]int
	hour, day, n int
}

// leastDelay is the end of the first step.
const leastDelay = 250 * time.Millisecond

func (h *histogram) add(d time.Duration) {
	h.n++
	if d <= time.Hour {
		h.hour++
	}
	if d <= day {
		h.day++
	}
	step := 0
	if d > leastDelay {
		step = int(math.Ceil(4 * math.Log2(float64(d)/float64(leastDelay))))
	}
	h.counts[min(step, len(h.counts)-1)]++
}

func (h *histogram) addAll(o histogram) {
	h.hour, h.day, h.n = h.hour+o.hour, h.day+o.day, h.n+o.n
	for i, n := range o.counts {
		h.counts[i] += n
	}
}

// CurvePoint says what share of the messages has arrived after a delay.
type CurvePoint struct {
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share"`
}

// curve returns what share of all pairs has arrived, by delay.
func (h *histogram) curve(pairs int) (out []CurvePoint) {
	sum := 0
	for i, n := range h.counts {
		sum += n
		if sum == 0 || pairs == 0 {
			continue
		}
		out = append(out, CurvePoint{leastDelay.Seconds() * math.Exp2(float64(i)/4), float64(sum) / float64(pairs)})
		if sum == h.n {
			break
		}
	}
	return out
}

// delays are those of all messages until 50, 95 and 100 % have them.
type delays [3][]time.Duration

// measures are what is measured of one run, or of several.
type measures struct {
	runs           int
	sought         int // messages that were posted
	pairs          int // of messages and members other than the author
	peers, readers delays
	histogram      histogram
	tally          Tally
	steps          uint64
}

// freeze measures the run as it is now; what follows does not count.
func (w *world) freeze() {
	w.frozen = true
	m := &w.measured
	m.runs, m.histogram, m.tally = 1, w.delays, w.tally
	for i := range w.envelopes {
		e := &w.envelopes[i]
		if !e.sought {
			continue
		}
		m.pairs += len(w.members) - 1
		m.sought++
		if e.committed > 0 {
			m.peers.note(e.peers, e.committed)
		}
		m.readers.note(e.readers, e.written)
	}
}

func (d *delays) note(s spread, since time.Duration) {
	for i, at := range [...]time.Duration{s.half, s.most, s.to} {
		if at > 0 {
			d[i] = append(d[i], at-since)
		}
	}
}

// add adds the measures of another run.
func (m *measures) add(o *measures) {
	m.runs += o.runs
	m.sought += o.sought
	m.pairs += o.pairs
	m.steps += o.steps
	m.histogram.addAll(o.histogram)
	m.tally.add(o.tally)
	for i := range m.peers {
		m.peers[i] = append(m.peers[i], o.peers[i]...)
		m.readers[i] = append(m.readers[i], o.readers[i]...)
	}
}

// Quantiles describe delays in seconds. Messages that never got so far count as infinitely late;
// then a quantile is -1.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
	// Reached is the share of the messages that got so far at all.
	Reached float64 `json:"reached"`
}

// quantilesOf describes the delays of n messages.
func quantilesOf(d []time.Duration, n int) Quantiles {
	if n == 0 {
		return Quantiles{}
	}
	d = slices.Sorted(slices.Values(d))
	at := func(q float64) float64 {
		if i := int(math.Ceil(q*float64(n))) - 1; i < len(d) {
			return d[max(i, 0)].Seconds()
		}
		return -1
	}
	return Quantiles{at(0.5), at(0.95), at(1), float64(len(d)) / float64(n)}
}
