package plugin

import (
	"context"
	"sync"
)

// gate lets calls to the implementation begin or not, and knows how many are
// under way.
type gate struct {
	mu    sync.Mutex
	shut  error         // why no call may begin; nil while they may
	calls int           // under way
	idle  chan struct{} // closed once the gate is shut and calls is 0

	// ending ends the calls that only wait, when the gate is shut.
	ending context.Context
	end    context.CancelFunc
}

func newGate(shut error) *gate {
	g := &gate{shut: shut, idle: make(chan struct{})}
	close(g.idle)
	g.ending, g.end = context.WithCancel(context.Background())
	g.end()
	return g
}

// beginCall lets a call begin. It has to leave.
func (g *gate) beginCall() (ending context.Context, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		return nil, g.shut
	}
	g.calls++
	return g.ending, nil
}

func (g *gate) endCall() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls--; g.calls == 0 && g.shut != nil {
		close(g.idle)
	}
}

// openGate lets calls begin.
func (g *gate) openGate() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.idle = nil, make(chan struct{})
	g.ending, g.end = context.WithCancel(context.Background())
}

// closeGate lets no call begin any more, for a reason, and waits for those under
// way until ctx ends.
func (g *gate) closeGate(ctx context.Context, reason error) error {
	g.mu.Lock()
	if g.shut == nil {
		g.end()
		if g.calls == 0 {
			close(g.idle)
		}
	}
	g.shut = reason
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
