package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
)

// testQueue is an admission and what it let begin.
type testQueue struct {
	*admission
	mu    sync.Mutex
	begun []string
	after []time.Duration
	wg    sync.WaitGroup
	since time.Time
	delay atomic.Uint64
}

func newTestQueue(perSecond, max int, order func([]*applicant, *applicant) int) *testQueue {
	q := &testQueue{since: time.Now()}
	q.admission = newAdmission(perSecond, max, order, &q.delay)
	return q
}

// apply has work of that name wait for its turn, and returns when it waits.
func (q *testQueue) apply(ctx context.Context, name string, weight int, gone func() bool) {
	q.wg.Go(func() {
		err := q.waitTurn(ctx, weight, gone)
		q.mu.Lock()
		defer q.mu.Unlock()
		if err != nil {
			name += ": " + err.Error()
		}
		q.begun = append(q.begun, name)
		q.after = append(q.after, time.Since(q.since))
	})
	synctest.Wait()
}

func stillWaiting() bool { return false }

func (q *testQueue) expect(t *testing.T, want ...string) {
	t.Helper()
	q.wg.Wait()
	if !slices.Equal(q.begun, want) {
		t.Errorf("began %q, want %q", q.begun, want)
	}
}

func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(1, 3, newestFirst)
		for i := range 5 {
			q.apply(t.Context(), fmt.Sprint(i), 1, stillWaiting)
		}
		q.expect(t, "0", "1: "+errTooMany.Error(), "4", "3", "2")
		if q.after[4] != 3*time.Second || q.delay.Load() != 4 {
			t.Errorf("the last after %v, %d delayed", q.after[4], q.delay.Load())
		}
	})
}

// TestAbandonedWorkCostsNoTurn shows that work whose time is over, and work whose
// client is gone, do not delay the rest.
func TestAbandonedWorkCostsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(1, 100, newestFirst)
		q.apply(t.Context(), "first", 1, stillWaiting)
		hurried, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, errors.New("late"))
		defer cancel()
		q.apply(t.Context(), "patient", 1, stillWaiting)
		q.apply(hurried, "hurried", 1, stillWaiting)
		q.apply(t.Context(), "closed", 1, func() bool { return time.Since(q.since) > 0 })
		q.wg.Wait()
		slices.Sort(q.begun) // two of them end at the same time
		q.expect(t, "closed: "+errGone.Error(), "first", "hurried: late", "patient")
		if last := slices.Max(q.after); last != time.Second {
			t.Errorf("waited %v", last)
		}
	})
}

// TestUsualPurchasesFirst shows that small purchases are served before large ones that
// came earlier.
func TestUsualPurchasesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(150, maxPurchases, usualFirst)
		q.apply(t.Context(), "large 0", 150, stillWaiting)
		for i := 1; i < 4; i++ {
			q.apply(t.Context(), fmt.Sprint("large ", i), 150, stillWaiting)
		}
		q.apply(t.Context(), "ten", 10, stillWaiting)
		q.apply(t.Context(), "one", 1, stillWaiting)
		q.expect(t, "large 0", "ten", "one", "large 1", "large 2", "large 3")
		if q.after[1] > 100*time.Millisecond {
			t.Errorf("ten tokens after %v, want those of a fifteenth of a second", q.after[1])
		}
	})
}

// TestRateIsOneOfTokens shows that it does not depend on how many are in a batch.
func TestRateIsOneOfTokens(t *testing.T) {
	for _, size := range []int{1, 10, 150} {
		synctest.Test(t, func(t *testing.T) {
			q := newTestQueue(1500, maxPurchases, usualFirst)
			const sold = 15000
			for range sold / size {
				q.wg.Go(func() {
					if err := q.waitTurn(t.Context(), size, stillWaiting); err != nil {
						t.Error(err)
					}
				})
			}
			q.wg.Wait()
			// The first second's worth is a burst.
			if took := time.Since(q.since).Round(time.Millisecond); took != 9*time.Second {
				t.Errorf("%d tokens in batches of %d took %v", sold, size, took)
			}
		})
	}
}

// TestRateMayChange shows it while work waits.
func TestRateMayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestQueue(10, 100, newestFirst)
		q.apply(t.Context(), "first", 10, stillWaiting)
		q.apply(t.Context(), "second", 10, stillWaiting)
		q.setRate(5) // a burst is half of what the second wants
		q.expect(t, "first", "second")
	})
}

func TestTokenPlaces(t *testing.T) {
	for _, c := range []struct{ batches, batch, connections, want int }{
		{10, 150, 4096, 1500}, {1, 150, 4096, 150}, {1, 10, 4096, 10}, {1, 1, 4096, 10}, {100_000, 150, 4096, 4096}, {10, 150, 7, 7},
	} {
		l := limits.Limits{TokenBatchesPerSecond: c.batches, TokenBatch: c.batch, Connections: c.connections}
		if got := tokenPlaces(l); got != c.want {
			t.Errorf("%+v: %d places", c, got)
		}
	}
}
