package supervise

import (
	"strings"
	"testing"
	"time"
)

// startStalled starts a store that never leaves its Configure, and waits until it is there.
func startStalled(t *testing.T, open time.Duration) *supervised {
	r := startSupervised(t, func(c *setup) {
		stayInBackoff(c)
		c.timing.configure, c.timing.open, c.timing.slowOpen = time.Nanosecond, open, time.Millisecond
		c.Value = encodeValue(t, map[string]any{"stall": true})
	}, "good")
	r.await("being configured or beyond", func(s Status) bool { return s.State == Configuring || s.State == Backoff })
	return r
}

// TestStoreThatHangsInConfigureEnds shows that a caller waits for a store that is being opened
// longer than it would, and that a store that hangs there is killed.
func TestStoreThatHangsInConfigureEnds(t *testing.T) {
	r := startStalled(t, 300*time.Millisecond)
	err := r.WaitOpened(r.ctx(), time.Nanosecond, nil)
	if s := r.Status(); err == nil || !strings.Contains(err.Error(), "deadline") || s.State != Backoff || s.PID != 0 || s.Incarnation != 1 {
		t.Errorf("got %v, %+v", err, s)
	}
	r.awaitLog("the store is still being opened")
}

// TestWaitOpenedEndsWithEnough shows that a caller that can do without the store does not wait
// until it is open.
func TestWaitOpenedEndsWithEnough(t *testing.T) {
	r := startStalled(t, time.Hour)
	enough := make(chan struct{})
	close(enough)
	err := r.WaitOpened(r.ctx(), time.Nanosecond, enough)
	if s := r.Status(); err == nil || !strings.Contains(err.Error(), "(configuring): it is still being opened") || s.State != Configuring {
		t.Errorf("got %v, %+v", err, s)
	}
}

// TestWaitOpenedGivesUp shows that only a plugin that is being configured is waited for.
func TestWaitOpenedGivesUp(t *testing.T) {
	r := startSupervised(t, stayInBackoff, "exit")
	r.await("away", func(s Status) bool { return s.State == Backoff })
	if err := r.WaitOpened(r.ctx(), time.Millisecond, nil); err == nil || !strings.Contains(err.Error(), "told to exit") || !strings.Contains(err.Error(), "gave up after 1ms") {
		t.Errorf("got %v", err)
	}
	good := startSupervised(t, nil, "good")
	if err := good.WaitOpened(good.ctx(), patience, nil); err != nil {
		t.Error(err)
	}
}
