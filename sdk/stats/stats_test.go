package stats

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func snapshot() Snapshot {
	return Snapshot{Epoch: NewEpoch(), Seq: 1, Metrics: []Metric{
		{Name: "a", Kind: Counter, Points: []Point{{Labels: []Label{{"k", "1"}}, Value: 1}, {Labels: []Label{{"k", "2"}}, Value: 2}}},
		{Name: "b", Kind: Histogram, Points: []Point{{Count: 2, Sum: 3, Buckets: []Bucket{{1, 1}, {math.Inf(1), 2}}}}},
	}}
}

func TestClone(t *testing.T) {
	s := snapshot()
	clone, want := s.Clone(), s.Clone()
	if !reflect.DeepEqual(clone, s) {
		t.Fatalf("the clone of %v is %v", s, clone)
	}
	s.Metrics[0].Points[0].Labels[0].Value = "changed"
	s.Metrics[0].Points[1].Value = 9
	s.Metrics[1].Points[0].Buckets[0].Count = 9
	s.Metrics[1].Name = "changed"
	if !reflect.DeepEqual(clone, want) {
		t.Errorf("the clone changed to %v", clone)
	}
}

// TestValidateSaysWhere checks the texts for operators. Package statstest checks every rule,
// against every exporter.
func TestValidateSaysWhere(t *testing.T) {
	if err := snapshot().Validate(); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Snapshot){
		"invalid snapshot: sequence number 0": func(s *Snapshot) { s.Seq = 0 },
		`invalid snapshot: metric "a": point 1: a counter of -2`: func(s *Snapshot) {
			s.Metrics[0].Points[1].Value = -2
		},
		`invalid snapshot: metric "a": the name does not end in the unit "bytes"`: func(s *Snapshot) {
			s.Metrics[0].Unit = "bytes"
		},
		`invalid snapshot: metric "a": two points have the same labels`: func(s *Snapshot) {
			s.Metrics[0].Points[1].Labels[0].Value = "1"
		},
		`invalid snapshot: metric "b": point 0: bucket 1 does not ascend`: func(s *Snapshot) {
			s.Metrics[1].Points[0].Buckets[0].Count = 3
		},
	} {
		s := snapshot()
		spoil(&s)
		if err := s.Validate(); !errors.Is(err, ErrInvalid) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	s := snapshot()
	s.Metrics[0].Name = strings.Repeat("\x1b", 1<<20)
	if err := s.Validate(); len(err.Error()) > 1<<10 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}
