// Package stats is the contract between a relay and the places where its
// operator looks at numbers. It is for authors of stats plugins, who implement
// [Exporter], and for the relay, which calls it.
//
// The relay counts: posts, connections, bytes. Every few seconds it takes a
// [Snapshot] of all its numbers and hands it to each exporter of a server, which
// writes it to a file, shows it to a scraper or draws it. An exporter knows
// nothing of the relay but these numbers.
//
// # Cumulative
//
// A snapshot holds all that was counted since counting began, not what came since
// the snapshot before. So one that is lost costs resolution and nothing else,
// and there is nothing to repeat: when Export fails, the next snapshot says it
// all. Counters and the counts of histograms never fall within one [Epoch]. When
// the server starts anew it counts from zero, and says so by another epoch;
// exporters that compute differences or rates begin again there, and must not
// subtract across it.
//
// # A slow exporter
//
// There is at most one snapshot waiting for an exporter: while a call is under
// way, newer ones take the place of those that wait. The relay never waits for an
// exporter, and what an exporter does can slow down nobody's messages. It sees by a
// gap in Seq how many snapshots were dropped.
//
// # Concurrency
//
// The methods are called one at a time, also when a relay has given up waiting
// for one of them: the sdk lets the next call begin when the one before has
// returned. An exporter that serves what it was given, such as a scrape
// endpoint, guards that for itself.
//
// A method that is called with a context that has ended returns its error and
// does nothing.
//
// # Names and units
//
// A name is complete: where a metric has a unit, it is the end of the name, as in
// stored_bytes, and nobody adds it a second time. Units are the words of OpenMetrics,
// "bytes", "seconds" and so on, not prefixed ones such as "kilobytes"; what is
// merely counted has none, and the text is empty. What OpenMetrics appends itself, such
// as the _total of a counter, ends no name, so an exporter appends it without looking.
// It may put a prefix of its own in front, such as cwtch_. The label "server" is left
// free for exporters that show to which server their numbers belong, by
// [Snapshot.Server]. Snapshots that break this are invalid.
//
// # Blindness
//
// Numbers can betray what messages do not. Names, units and labels come from a
// list that is fixed when the relay is built: no label ever holds an identifier,
// an address, a key or anything else that came from outside, and there is one
// point per combination of a few words. A snapshot holds no time of day, since the
// relay gives its clock to nobody: an exporter that needs one takes its own.
// Exporters must not add what would undo this, such as addresses of those who read
// the numbers.
//
// # Proof
//
// The package statstest beside this one checks every sentence above and below
// that can be checked from outside: called directly, over gRPC and as a process
// that is killed.
package stats

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
)

// Exporter shows the numbers of one server.
type Exporter interface {
	// Export takes over a snapshot in place of the one before. It may return
	// before the numbers are where they are to be read, but then keeps a copy, see
	// [Snapshot.Clone]: the snapshot and all it points to belong to the caller and
	// are not to be kept or changed after the call. The relay calls it every few
	// seconds, and gives up after ten.
	//
	// A snapshot that [Snapshot.Validate] finds fault with is refused with
	// [ErrInvalid] and changes nothing. Any other error says that this snapshot may
	// not be shown; the relay logs it and goes on with the next.
	Export(ctx context.Context, s Snapshot) error

	// ForceFlush returns when every snapshot whose Export has returned without an
	// error is where it is to be read, or one that came after it is. The relay calls
	// it before it closes the exporter, after a last Export. Without any snapshot
	// there is nothing to do, and no error.
	ForceFlush(ctx context.Context) error

	// Close releases the exporter. The relay calls it once, after the last call of
	// the other methods has returned. Numbers that were not flushed may be lost.
	Close() error
}

// Epoch names one run of counting, from zero. It is random and new whenever
// counting begins anew, which is at each start of the server.
type Epoch [16]byte

// NewEpoch draws an epoch.
func NewEpoch() (e Epoch) {
	rand.Read(e[:]) // never fails: crypto/rand ends the process instead
	return e
}

func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// Snapshot is all the numbers of a server at one moment.
type Snapshot struct {
	// Server is the name of the server in the configuration of the relay, the same in
	// all snapshots that an exporter gets. Empty: the relay is too old to tell.
	Server string
	Epoch  Epoch
	// Seq starts at 1 within an epoch and rises by one with every snapshot that is
	// taken. What an exporter gets is ascending; gaps are snapshots that were
	// dropped because the exporter was slow. A relay that gave up waiting for an
	// Export goes on with a higher one.
	Seq     uint64
	Metrics []Metric
}

// Clone returns a copy that shares nothing with s.
func (s Snapshot) Clone() Snapshot {
	s.Metrics = slices.Clone(s.Metrics)
	for i := range s.Metrics {
		m := &s.Metrics[i]
		m.Points = slices.Clone(m.Points)
		for j := range m.Points {
			p := &m.Points[j]
			p.Labels, p.Buckets = slices.Clone(p.Labels), slices.Clone(p.Buckets)
		}
	}
	return s
}

// Metric is one thing that is counted or measured.
type Metric struct {
	Name string // lower case: a letter, then letters, digits and underscores; each once in a snapshot
	Unit string // "seconds", "bytes", and then the name ends in it; empty for plain counts
	Doc  string // a sentence
	Kind Kind
	// Points has one point for every combination of labels that occurred; all
	// have the same names of labels.
	Points []Point
}

// Kind says what the points of a metric hold. The numbers cross the wire and are
// never changed.
type Kind uint8

const (
	// Counter: a sum that only rises, such as posts accepted. Not negative.
	Counter Kind = 1
	// Gauge: a value now, such as open connections.
	Gauge Kind = 2
	// Histogram: how often a value fell into which bucket.
	Histogram Kind = 3
)

func (k Kind) String() string {
	switch k {
	case Counter:
		return "counter"
	case Gauge:
		return "gauge"
	case Histogram:
		return "histogram"
	}
	return "unknown"
}

// Point is the number of one combination of labels.
type Point struct {
	Labels []Label // ascending by name, each name once
	Value  float64 // of a Counter or Gauge; finite
	// Of a Histogram: how many values there were, their sum, and how many of them
	// were not above each bound.
	Count   uint64
	Sum     float64 // finite
	Buckets []Bucket
}

// Label tells points of one metric apart, as in {"result", "stored"}.
type Label struct{ Name, Value string }

// Bucket counts the values up to a bound. The buckets of a point ascend in both
// members; the last is up to +Inf and counts them all.
type Bucket struct {
	UpTo  float64 // inclusive
	Count uint64  // of all values up to here, those of lower buckets among them
}

// The errors of an exporter. They keep their identity (errors.Is) across the
// process border; any other error is reported by its text.
var (
	// ErrInvalid: the snapshot breaks its rules. Nothing was exported.
	ErrInvalid = errors.New("invalid snapshot")
	// ErrUnavailable: the exporter cannot be reached now, as while its process
	// restarts.
	ErrUnavailable = errors.New("stats exporter unavailable")
)
