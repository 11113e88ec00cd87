package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// proxy is the way to the implementation of a plugin, whichever incarnation
// it has at the time. T is the interface of its kind.
type proxy[T any] struct {
	plugin      *Plugin
	pick        func(*host.Client) T
	unavailable error // the word of the kind for it
	patient     bool  // a call waits for an incarnation
	// fatal, where set, tells the errors after which the incarnation has to end.
	fatal func(error) bool
}

// invoke passes one call on.
func invoke[T, R any](ctx context.Context, b proxy[T], method string, call func(T) (R, error)) (result R, err error) {
	inc, err := b.awaitIncarnation(ctx)
	if err != nil {
		return result, err
	}
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("%s %s: %w", b.plugin.kind, method, err) // nothing is asked, so nothing is left unanswered
	}
	begin := time.Now()
	result, err = call(b.pick(inc.process.Client()))
	lost := errors.Is(err, b.unavailable)
	inc.overdue.noteCall(method, begin, err, lost)
	if b.fatal != nil && b.fatal(err) {
		inc.requestKill(fmt.Errorf("it gave up: %w", err))
	}
	if lost && b.patient {
		b.plugin.awaitSettled(ctx, inc)
	}
	return result, err
}

// awaitIncarnation is the one that answers calls.
func (b proxy[T]) awaitIncarnation(ctx context.Context) (inc *incarnation, err error) {
	if b.patient {
		inc, err = b.plugin.awaitReady(ctx)
	} else if inc, _, err = b.plugin.currentIncarnation(); inc == nil && err == nil {
		err = b.plugin.notReady(errImpatient)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", b.unavailable, err)
	}
	return inc, nil
}

var errImpatient = errors.New("the call was dropped")

// none is the result of a call that returns nothing but an error.
type none struct{}

// settleTime is how long the death of a process may go unnoticed by the
// supervisor, with time to spare.
const settleTime = time.Second

// awaitSettled waits until inc is no longer called, or for settleTime if it lives. A
// call learns of the end of a process before the supervisor does; without the
// wait its repetition would meet the dead process again, instead of waiting
// for the next one.
func (p *Plugin) awaitSettled(ctx context.Context, inc *incarnation) {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	for {
		p.mu.Lock()
		current, changed := p.current, p.changed
		p.mu.Unlock()
		if current != inc {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
