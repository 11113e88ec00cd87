package plugin

import (
	"context"
	"sync"
)

// drainer admits calls to the implementation, counts those under way, and waits for them
// to return.
type drainer struct {
	mu      sync.Mutex
	refusal error         // why no call may begin; nil while calls may
	active  int           // calls under way
	idle    chan struct{} // closed while calls are refused and none is under way

	// waitCtx is done when calls that only wait have to return.
	waitCtx     context.Context
	cancelWaits context.CancelFunc
}

// newDrainer refuses calls until open is called.
func newDrainer(refusal error) *drainer {
	d := &drainer{refusal: refusal, idle: make(chan struct{})}
	close(d.idle)
	d.waitCtx, d.cancelWaits = context.WithCancel(context.Background())
	d.cancelWaits()
	return d
}

// begin admits a call, which has to end.
func (d *drainer) begin() (waitCtx context.Context, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusal != nil {
		return nil, d.refusal
	}
	d.active++
	return d.waitCtx, nil
}

func (d *drainer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.active--; d.active == 0 && d.refusal != nil {
		close(d.idle)
	}
}

// open lets calls begin.
func (d *drainer) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusal, d.idle = nil, make(chan struct{})
	d.waitCtx, d.cancelWaits = context.WithCancel(context.Background())
}

// drain refuses new calls with an error and waits for those under way, until ctx ends.
func (d *drainer) drain(ctx context.Context, refusal error) error {
	d.mu.Lock()
	if d.refusal == nil {
		d.cancelWaits()
		if d.active == 0 {
			close(d.idle)
		}
	}
	d.refusal = refusal
	idle := d.idle
	d.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
