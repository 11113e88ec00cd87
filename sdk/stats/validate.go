package stats

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
)

// Bounds on a snapshot. The relay stays far below them.
const (
	MaxMetrics = 512
	MaxPoints  = 64      // of one metric
	MaxLabels  = 16      // of one point
	MaxBuckets = 64      // of one point
	MaxName    = 128     // bytes of the name of a metric, its unit at the end included, or of a label
	MaxValue   = 128     // bytes of the value of a label or the name of a server
	MaxText    = 1 << 10 // bytes of a doc
	MaxBytes   = 4 << 20 // of a snapshot, as Size counts them
)

// Size returns an upper bound of the encoded size of the snapshot, in bytes: its texts, and 8 for
// each number and each text.
func (s Snapshot) Size() int {
	size := len(s.Server) + len(s.Epoch) + 3*8
	for _, m := range s.Metrics {
		size += len(m.Name) + len(m.Unit) + len(m.Doc) + 5*8
		for _, p := range m.Points {
			size += 5*8 + len(p.Buckets)*3*8
			for _, l := range p.Labels {
				size += len(l.Name) + len(l.Value) + 3*8
			}
		}
	}
	return size
}

// Validate returns an error that matches [ErrInvalid] if the snapshot breaks a rule or a bound of
// this package. Exporters call it first.
func (s Snapshot) Validate() error {
	if err := s.validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func (s Snapshot) validate() error {
	switch {
	case s.Epoch == Epoch{}:
		return fmt.Errorf("no epoch")
	case s.Seq == 0:
		return fmt.Errorf("sequence number 0")
	case !isText(s.Server, MaxValue):
		return fmt.Errorf("the name of the server is longer than %d bytes, has control characters or is not UTF-8", MaxValue)
	case len(s.Metrics) > MaxMetrics:
		return fmt.Errorf("%d metrics, limit %d", len(s.Metrics), MaxMetrics)
	}
	seen := make(map[string]bool, len(s.Metrics))
	for _, m := range s.Metrics {
		if err := m.validate(); err != nil {
			return fmt.Errorf("metric %.64q: %w", m.Name, err)
		}
		if seen[m.Name] {
			return fmt.Errorf("metric %q occurs twice", m.Name)
		}
		seen[m.Name] = true
	}
	if size := s.Size(); size > MaxBytes {
		return fmt.Errorf("%d bytes, limit %d", size, MaxBytes)
	}
	return nil
}

func (m Metric) validate() error {
	switch {
	case !isName(m.Name):
		return fmt.Errorf("not a name: at most %d of a-z, 0-9 and _, a letter first", MaxName)
	case m.Unit != "" && (!isName(m.Unit) || !strings.HasSuffix(m.Name, "_"+m.Unit)):
		return fmt.Errorf("the name does not end in the unit %.64q", m.Unit)
	case slices.ContainsFunc(reservedSuffixes, func(suffix string) bool { return strings.HasSuffix(m.Name, suffix) }):
		return fmt.Errorf("the name ends in a suffix that OpenMetrics appends: one of %s", strings.Join(reservedSuffixes, ", "))
	case !isText(m.Doc, MaxText):
		return fmt.Errorf("doc is longer than %d bytes, has control characters or is not UTF-8", MaxText)
	case m.Kind < Counter || m.Kind > Histogram:
		return fmt.Errorf("unknown kind %d", m.Kind)
	case len(m.Points) > MaxPoints:
		return fmt.Errorf("%d points, limit %d", len(m.Points), MaxPoints)
	}
	for i, p := range m.Points {
		if err := p.validate(m.Kind); err != nil {
			return fmt.Errorf("point %d: %w", i, err)
		}
		if !slices.EqualFunc(p.Labels, m.Points[0].Labels, func(a, b Label) bool { return a.Name == b.Name }) {
			return fmt.Errorf("point %d: label names differ from point 0", i)
		}
	}
	points := slices.SortedFunc(slices.Values(m.Points), comparePoints)
	if len(slices.CompactFunc(points, func(a, b Point) bool { return comparePoints(a, b) == 0 })) < len(m.Points) {
		return fmt.Errorf("two points have the same labels")
	}
	return nil
}

// reservedSuffixes are the suffixes that OpenMetrics appends to names by itself.
var reservedSuffixes = []string{"_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum", "_info"}

// serverLabel is the label that is left free for exporters.
const serverLabel = "server"

func comparePoints(a, b Point) int {
	return slices.CompareFunc(a.Labels, b.Labels, func(a, b Label) int { return cmp.Compare(a.Value, b.Value) })
}

func (p Point) validate(kind Kind) error {
	if len(p.Labels) > MaxLabels {
		return fmt.Errorf("%d labels, limit %d", len(p.Labels), MaxLabels)
	}
	for i, l := range p.Labels {
		switch {
		case !isName(l.Name):
			return fmt.Errorf("label %.64q: not a name", l.Name)
		case l.Name == serverLabel:
			return fmt.Errorf("label %s: only exporters may use it", l.Name)
		case !isText(l.Value, MaxValue):
			return fmt.Errorf("label %s: value is longer than %d bytes, has control characters or is not UTF-8", l.Name, MaxValue)
		case i > 0 && l.Name <= p.Labels[i-1].Name:
			return fmt.Errorf("label %s: out of order", l.Name)
		}
	}
	if kind == Histogram {
		return p.validateHistogram()
	}
	switch {
	case !isFinite(p.Value) || kind == Counter && p.Value < 0:
		return fmt.Errorf("a %v of %v", kind, p.Value)
	case p.Count != 0 || p.Sum != 0 || len(p.Buckets) > 0:
		return fmt.Errorf("a %v with the numbers of a histogram", kind)
	}
	return nil
}

func (p Point) validateHistogram() error {
	n := len(p.Buckets)
	switch {
	case n == 0 || n > MaxBuckets:
		return fmt.Errorf("%d buckets, limits 1 and %d", n, MaxBuckets)
	case !math.IsInf(p.Buckets[n-1].UpTo, 1) || p.Buckets[n-1].Count != p.Count:
		return fmt.Errorf("the last bucket does not count all %d values up to +Inf", p.Count)
	case p.Value != 0 || !isFinite(p.Sum):
		return fmt.Errorf("a histogram with the value %v and the sum %v", p.Value, p.Sum)
	}
	for i, b := range p.Buckets {
		if math.IsNaN(b.UpTo) || math.IsInf(b.UpTo, -1) {
			return fmt.Errorf("a bucket up to %v", b.UpTo)
		}
		if i > 0 && (b.UpTo <= p.Buckets[i-1].UpTo || b.Count < p.Buckets[i-1].Count) {
			return fmt.Errorf("bucket %d does not ascend", i)
		}
	}
	return nil
}

func isFinite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

func isName(s string) bool {
	if s == "" || len(s) > MaxName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_'
	})
}

// isText reports whether s is at most limit bytes of UTF-8 without control characters.
func isText(s string, limit int) bool {
	return len(s) <= limit && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\uFFFD' })
}
