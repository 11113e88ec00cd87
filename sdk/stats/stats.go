// Package stats is the contract between a relay and exporters of its numbers. It is for
// authors of stats plugins, who implement [Exporter], and for the relay, which calls it.
//
// The relay counts posts, connections and bytes. Every few seconds it takes a [Snapshot] of
// all numbers and passes it to each exporter of a server, which writes it to a file, shows it
// to a scraper or draws it. An exporter learns nothing else about the relay.
//
// # Cumulative
//
// A snapshot holds everything that was counted since counting began, not only what came after
// the previous snapshot. A lost snapshot therefore costs only resolution, and nothing has to
// be repeated: if Export fails, the next snapshot has all numbers. Counters and the counts of
// histograms never fall within one [Epoch]. When the server starts again it counts from zero in
// another epoch. Exporters that compute differences or rates begin again there, and must not
// subtract across epochs.
//
// # A slow exporter
//
// At most one snapshot waits for an exporter: while a call is under way, a newer snapshot
// replaces the waiting one. A slow exporter delays no messages. A gap in Seq shows it how many
// snapshots were dropped.
//
// # Concurrency
//
// The methods are called one at a time. Even if the relay has given up a call, the sdk begins
// the next one only after it has returned. An exporter that serves its numbers to others, such
// as a scrape endpoint, has to guard them itself.
//
// A method whose context has ended before the call returns the context's error and does
// nothing.
//
// # Names and units
//
// A name is complete: it ends in the unit, if there is one, as in stored_bytes. Exporters do
// not append the unit again. Units are the words of OpenMetrics, "bytes", "seconds" and so on,
// without prefixes such as "kilo"; plain counts have an empty unit. No name ends in a suffix of
// OpenMetrics, such as the _total of a counter, so an exporter can always append it. It may also
// put a prefix of its own in front, such as cwtch_. The label "server" is left free for
// exporters that show [Snapshot.Server]. Snapshots that break this are invalid.
//
// # Blindness
//
// Numbers can betray what messages do not. Names, units and labels come from a list that is
// fixed when the relay is built. No label holds an identifier, an address, a key or anything
// else from outside, and there is one point for each combination of a few words. A snapshot
// has no time of day: an exporter that needs one uses its own clock. Exporters must not add
// what would undo this, such as the addresses of those who read the numbers.
//
// # Proof
//
// Package statstest checks every sentence of this contract that can be checked from outside:
// with direct calls, over gRPC, and with a process that is killed.
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
	// Export replaces the previous snapshot. It may return before the numbers can be read,
	// but must then keep a copy, see [Snapshot.Clone]: the snapshot and everything it points
	// to belong to the caller and must not be kept or changed after the call. The relay
	// calls it every few seconds, and gives up after ten.
	//
	// A snapshot that [Snapshot.Validate] rejects is refused with [ErrInvalid] and changes
	// nothing. After any other error the snapshot may be missing; the relay logs the error
	// and goes on with the next snapshot.
	Export(ctx context.Context, s Snapshot) error

	// ForceFlush returns when every successfully exported snapshot, or a later one, can be
	// read. The relay calls it after a last Export, before it closes the exporter. Without
	// any snapshot it does nothing and returns no error.
	ForceFlush(ctx context.Context) error

	// Close releases the exporter. The relay calls it once, after the last call of the other
	// methods has returned. Numbers that were not flushed may be lost.
	Close() error
}

// Epoch identifies one run of counting from zero. Every start of the server has a new random
// one.
type Epoch [16]byte

// NewEpoch returns a random epoch.
func NewEpoch() (e Epoch) {
	rand.Read(e[:]) // never fails: crypto/rand ends the process instead
	return e
}

func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// Snapshot has all numbers of a server at one moment.
type Snapshot struct {
	// Server is the name of the server in the configuration of the relay, the same in all
	// snapshots that an exporter gets. It is empty if the relay is too old to send it.
	Server string
	Epoch  Epoch
	// Seq starts at 1 in an epoch and rises by one with every snapshot. An exporter gets
	// ascending numbers; a gap means that snapshots were dropped because the exporter was
	// slow. After a relay has given up an Export, it goes on with a higher number.
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
	Name string // a lower-case letter, then lower-case letters, digits and underscores; unique in a snapshot
	Unit string // "seconds", "bytes", …, also at the end of the name; empty for plain counts
	Doc  string // a sentence
	Kind Kind
	// Points has one point for every combination of labels that occurred. All points have the
	// same label names.
	Points []Point
}

// Kind says what the points of a metric hold. The numbers are part of the protocol and never
// change.
type Kind uint8

const (
	// Counter: a sum that only rises, such as posts accepted. Never negative.
	Counter Kind = 1
	// Gauge: a present value, such as open connections.
	Gauge Kind = 2
	// Histogram: how many values fell into each bucket.
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
	// Of a Histogram: the number of values, their sum, and how many of them were at most each
	// bound.
	Count   uint64
	Sum     float64 // finite
	Buckets []Bucket
}

// Label tells the points of a metric apart, for example {"result", "stored"}.
type Label struct{ Name, Value string }

// Bucket counts the values up to a bound. Both fields ascend from bucket to bucket. The last
// bucket is up to +Inf and counts all values.
type Bucket struct {
	UpTo  float64 // inclusive
	Count uint64  // of all values up to here, with those of lower buckets
}

// The errors of an exporter. errors.Is recognises them across processes; of any other error
// only the text arrives.
var (
	// ErrInvalid: the snapshot breaks its rules. Nothing was exported.
	ErrInvalid = errors.New("invalid snapshot")
	// ErrUnavailable: the exporter cannot be reached now, for example while its process is
	// started again.
	ErrUnavailable = errors.New("stats exporter unavailable")
)
