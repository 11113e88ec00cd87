package storagetest

import (
	"context"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// openMemories opens one Memory for each directory.
func openMemories(wrap func(*Memory) storage.Store) Opener {
	stores := make(map[string]storage.Store)
	return Opener{Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
		store, ok := stores[dir]
		if !ok {
			store = wrap(NewMemory())
			stores[dir] = store
		}
		return &plugintest.Opened{Store: store, Close: store.Close}, nil
	}}
}

func TestMemory(t *testing.T) { Run(t, openMutants(mutant{}, false)) }

// TestPlainMemory shows that what is optional is skipped in a store without it.
func TestPlainMemory(t *testing.T) {
	checks := Checks(openMemories(func(m *Memory) storage.Store {
		m.keepsBorn = true
		return struct{ storage.Store }{m}
	}))
	skipped := 0
	plugintest.Evaluate(t.Context(), checks, func(r plugintest.Result) {
		optional := strings.Contains(strings.Join(r.Output, " "), "which is optional")
		switch {
		case r.Verdict == plugintest.Failed:
			t.Errorf("%s: %v", r.Check.Name, r.Output)
		case r.Verdict == plugintest.Skipped && optional:
			skipped++
		}
	})
	if want := len(ledgerChecks) + len(prunerChecks) + len(indexChecks) + len(compactorChecks) + len(checkerChecks); skipped < want {
		t.Errorf("%d checks were skipped, want %d", skipped, want)
	}
}

// TestSharedMemory appends to one Memory as two relays would.
func TestSharedMemory(t *testing.T) {
	m := NewMemory()
	seen := make(chan storage.Seq)
	go func() {
		seq, err := m.Watch(context.Background(), 0)
		if err != nil {
			t.Error(err)
		}
		seen <- seq
	}()
	batch := newRecords(2, 100)
	for i, want := range []storage.Outcome{storedAt(1), duplicateOf(1)} {
		got, err := m.Append(t.Context(), batch[:1])
		if err != nil || got[0] != want {
			t.Errorf("append of relay %d: %v, %v, want %v", i, got, err, want)
		}
	}
	if seq := <-seen; seq != 1 {
		t.Errorf("watched %d", seq)
	}
}

// TestEvaluate runs the suite as a program does that is not a test.
func TestEvaluate(t *testing.T) {
	checks := Checks(openMemories(func(m *Memory) storage.Store { return m }))
	plugintest.Evaluate(t.Context(), checks, func(r plugintest.Result) {
		if r.Verdict == plugintest.Failed {
			t.Errorf("%s: %v", r.Check.Name, r.Output)
		}
	})
}
