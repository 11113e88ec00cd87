package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// healthMethod names the question about the health of a plugin, as one of its calls.
const healthMethod = "health"

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

// findHang returns an error when a method hangs: when it has answered no call for a time,
// which is health for the question about health and call for any other.
func (h *hangDetector) findHang(health, call time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for method, s := range h.streaks {
		limit := call
		if method == healthMethod {
			limit = health
		}
		if s.end.Sub(s.begin) >= limit {
			return fmt.Errorf("%s: no answer within %v", method, limit)
		}
	}
	return nil
}
