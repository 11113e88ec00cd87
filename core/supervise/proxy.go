package supervise

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// proxy passes the calls of callers on to the incarnation that is there at the time.
// Each method of a kind is a beginCall, the call of the client, and an endCall.
type proxy struct {
	plugin      *Plugin
	unavailable error // what the kind calls it
	patient     bool  // a call waits for an incarnation
	// isFatal, where set, tells the errors after which the incarnation has to end.
	isFatal func(error) bool
}

// proxyCall is one call of an incarnation.
type proxyCall struct {
	*host.Client
	incarnation *incarnation
	method      string
	begin       time.Time
}

// beginCall returns the incarnation to call, or the reason why there is none.
func (p *proxy) beginCall(ctx context.Context, method string) (proxyCall, error) {
	inc, err := p.callableIncarnation(ctx)
	if err != nil {
		return proxyCall{}, err
	}
	if err := ctx.Err(); err != nil {
		return proxyCall{}, fmt.Errorf("%s %s: %w", p.plugin.kind, method, err) // an unasked question is not left unanswered
	}
	return proxyCall{inc.process.Client(), inc, method, time.Now()}, nil
}

// endCall draws the conclusions from the error of a call, and returns it.
func (p *proxy) endCall(ctx context.Context, c proxyCall, err error) error {
	lost := errors.Is(err, p.unavailable)
	c.incarnation.hangs.noteCall(c.method, c.begin, err, lost)
	if p.isFatal != nil && p.isFatal(err) {
		c.incarnation.requestKill(fmt.Errorf("it gave up: %w", err))
	}
	if lost && p.patient {
		p.plugin.awaitWithdrawal(ctx, c.incarnation)
	}
	return err
}

// callableIncarnation returns the incarnation that answers calls. A patient proxy waits
// for it.
func (p *proxy) callableIncarnation(ctx context.Context) (inc *incarnation, err error) {
	if p.patient {
		inc, err = p.plugin.awaitReady(ctx)
	} else if inc, _, err = p.plugin.currentIncarnation(); inc == nil && err == nil {
		err = p.plugin.notReady(errCallDropped)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", p.unavailable, err)
	}
	return inc, nil
}

var errCallDropped = errors.New("the call was dropped")

// Close ends the plugin: it is Stop, which closes the implementation in good order.
func (p *proxy) Close() error { return p.plugin.Stop(context.Background()) }

// exitNoticeTime is how long the supervisor may take to notice the death of a process,
// with time to spare.
const exitNoticeTime = time.Second

// awaitWithdrawal waits until inc is no longer called, or for exitNoticeTime if it lives.
// A caller learns of the end of a process before the supervisor does. Without the
// wait, a repeated call would meet the dead process again and not wait for the next.
func (p *Plugin) awaitWithdrawal(ctx context.Context, inc *incarnation) {
	timer := time.NewTimer(exitNoticeTime)
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
