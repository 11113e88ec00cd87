package statstest

import (
	"context"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
)

// Memory is an exporter that keeps the last snapshot in memory.
type Memory struct {
	mu   sync.Mutex
	last stats.Snapshot
}

// NewMemory returns a Memory without a snapshot.
func NewMemory() *Memory { return &Memory{} }

// Last returns the last exported snapshot, or the zero one. The caller must not change it.
func (m *Memory) Last() stats.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *Memory) Export(ctx context.Context, s stats.Snapshot) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.setSnapshot(s.Clone())
	return nil
}

func (m *Memory) setSnapshot(s stats.Snapshot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = s
}

func (m *Memory) ForceFlush(ctx context.Context) error { return ctx.Err() }

func (m *Memory) Close() error { return nil }
