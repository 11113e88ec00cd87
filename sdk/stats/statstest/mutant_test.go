package statstest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// mutant is a Memory with a fault. Fields that are nil change nothing.
type mutant struct {
	*Memory
	export func(ctx context.Context, m *Memory, s stats.Snapshot) error
	flush  func(ctx context.Context, m *Memory) error
	close  func() error
}

func (m *mutant) Export(ctx context.Context, s stats.Snapshot) error {
	if m.export != nil {
		return m.export(ctx, m.Memory, s)
	}
	return m.Memory.Export(ctx, s)
}

func (m *mutant) ForceFlush(ctx context.Context) error {
	if m.flush != nil {
		return m.flush(ctx, m.Memory)
	}
	return m.Memory.ForceFlush(ctx)
}

func (m *mutant) Close() error {
	if m.close != nil {
		return m.close()
	}
	return nil
}

// changingSnapshots makes a mutant that changes valid snapshots.
func changingSnapshots(change func(before stats.Snapshot, s *stats.Snapshot)) mutant {
	return mutant{export: func(ctx context.Context, m *Memory, s stats.Snapshot) error {
		if err := s.Validate(); err != nil {
			return err
		}
		s = s.Clone()
		change(m.Last(), &s)
		if ctx.Err() == nil {
			m.setSnapshot(s)
		}
		return ctx.Err()
	}}
}

// mutants has a fault for each check, which must find it.
var mutants = map[string]mutant{
	"Sequence": changingSnapshots(func(before stats.Snapshot, s *stats.Snapshot) {
		if before.Seq == 19 { // a rare fault
			*s = before
		}
	}),
	"Gaps": {export: func(ctx context.Context, m *Memory, s stats.Snapshot) error {
		if before := m.Last(); before.Seq > 0 && before.Epoch == s.Epoch && s.Seq != before.Seq+1 && s.Validate() == nil && s.Seq > 3 {
			return errors.New("out of sequence")
		}
		return m.Export(ctx, s)
	}},
	"Epoch": changingSnapshots(func(before stats.Snapshot, s *stats.Snapshot) { // "counters never fall"
		if before.Epoch != s.Epoch && before.Seq > 100 {
			*s = before
		}
	}),
	"Numbers": changingSnapshots(func(_ stats.Snapshot, s *stats.Snapshot) {
		for _, m := range s.Metrics {
			for i := range m.Points {
				if v := m.Points[i].Value; v < 0 && v > -1 { // rounds
					m.Points[i].Value = 0
				}
			}
		}
	}),
	"Fewer": changingSnapshots(func(before stats.Snapshot, s *stats.Snapshot) { // keeps metrics that are gone
		for _, old := range before.Metrics {
			if len(s.Metrics) == 1 && len(before.Metrics) > 1 && !slices.ContainsFunc(s.Metrics, func(m stats.Metric) bool { return m.Name == old.Name }) {
				s.Metrics = append(s.Metrics, old)
			}
		}
	}),
	"NoMetrics": changingSnapshots(func(before stats.Snapshot, s *stats.Snapshot) {
		if len(s.Metrics) == 0 {
			*s = before
		}
	}),
	"Largest": {export: func(ctx context.Context, m *Memory, s stats.Snapshot) error {
		if s.Size() > 1<<20 && s.Validate() == nil {
			return errors.New("too large")
		}
		return m.Export(ctx, s)
	}},
	"FlushNothing": {flush: func(ctx context.Context, m *Memory) error {
		if m.Last().Seq == 0 {
			return errors.New("nothing to flush")
		}
		return m.ForceFlush(ctx)
	}},
	"BelongsToCaller": {export: func(ctx context.Context, m *Memory, s stats.Snapshot) error {
		err := m.Export(ctx, s)
		if err == nil {
			m.setSnapshot(s)
		}
		return err
	}},
	"Invalid": {export: func(ctx context.Context, m *Memory, s stats.Snapshot) error {
		for i := range s.Metrics {
			if len(s.Metrics[i].Points) > stats.MaxPoints { // not checked
				return nil
			}
		}
		return m.Export(ctx, s)
	}},
	"EndedContext": {export: func(_ context.Context, m *Memory, s stats.Snapshot) error {
		return m.Export(context.Background(), s)
	}},
	"GivenUp": failingOnceGivenUp(),
	"Flush":   showingLate(),
	"Close":   {close: func() error { return errors.New("not flushed") }},
	"Reopened": {flush: func(ctx context.Context, m *Memory) error {
		if last := m.Last(); last.Seq == 2 { // takes the first snapshot after opening for a repetition
			m.setSnapshot(stats.Snapshot{})
		}
		return ctx.Err()
	}},
}

// showingLate makes a mutant that shows a snapshot only when the next one comes.
func showingLate() mutant {
	var waiting stats.Snapshot
	return changingSnapshots(func(_ stats.Snapshot, s *stats.Snapshot) { *s, waiting = waiting, *s })
}

// failingOnceGivenUp makes a mutant that refuses everything after a call that was given up.
func failingOnceGivenUp() mutant {
	gaveUp := false
	return mutant{export: func(ctx context.Context, m *Memory, s stats.Snapshot) error {
		err := m.Export(ctx, s)
		if gaveUp = gaveUp || errors.Is(err, context.Canceled); gaveUp {
			return errors.Join(errors.New("lost"), err)
		}
		return err
	}}
}

// TestChecksFindMutants shows that each check finds its fault.
func TestChecksFindMutants(t *testing.T) {
	for _, c := range Checks(Opener{}) {
		if _, ok := mutants[c.Name]; !ok && c.Name != "Killed" {
			t.Errorf("the check %s has no mutant", c.Name)
		}
	}
	for name, m := range mutants {
		t.Run(name, func(t *testing.T) {
			checks := Checks(openMemory(func(memory *Memory) stats.Exporter {
				m.Memory = memory
				return &m
			}))
			i := slices.IndexFunc(checks, func(c plugintest.Check) bool { return c.Name == name })
			if i < 0 {
				t.Fatal("there is no such check")
			}
			if plugintest.Evaluate(t.Context(), checks[i:i+1], func(plugintest.Result) {}) != 1 {
				t.Error("the fault was not found")
			}
		})
	}
}
