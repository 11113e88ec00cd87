package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Names of calls whose deadlines differ from those of all others. healthMethod is the
// question about the health of a plugin.
const (
	healthMethod  = "health"
	compactMethod = "compact"
	checkMethod   = "check"
	handleMethod  = "handle"
)

// hangDetector decides that a plugin hangs. It remembers the calls that the plugin
// leaves unanswered or answers only with being unavailable. A single one says little,
// since its deadline may have been short. A method that has answered no call for long
// hangs, whatever the plugin says about its health.
type hangDetector struct {
	mu      sync.Mutex
	streaks map[string]streak // by method
}

// streak is a row of unanswered calls of one method.
type streak struct{ begin, end time.Time }

// noteCall notes how a call ended; lost tells that the plugin was unavailable.
func (h *hangDetector) noteCall(method string, begin time.Time, err error, lost bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		// The caller lost interest, which says nothing about the plugin.
	case lost, errors.Is(err, context.DeadlineExceeded):
		s, ok := h.streaks[method]
		if !ok {
			s.begin = begin
		}
		s.end = time.Now()
		if h.streaks == nil {
			h.streaks = make(map[string]streak)
		}
		h.streaks[method] = s
	default:
		delete(h.streaks, method)
	}
}

// findHang returns an error when a method hangs: when it has answered no call for as long
// as limit says.
func (h *hangDetector) findHang(limit func(method string) time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for method, s := range h.streaks {
		if l := limit(method); s.end.Sub(s.begin) >= l {
			return fmt.Errorf("%s: no answer within %v", method, l)
		}
	}
	return nil
}

// hangLimit is how long calls of a method may go unanswered. It is not shorter than the
// deadline of one call, or a plugin that works on a long one would be killed.
func (t timing) hangLimit(method string) time.Duration {
	switch method {
	case healthMethod:
		return t.health
	case compactMethod, checkMethod, handleMethod:
		return t.step
	}
	return t.hang
}
