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

	"github.com/cwtch-relay/cwtch-relay/core/limits"
)

// queue is an admission and what began because of it.
type queue struct {
	*admission
	mu    sync.Mutex
	begun []string
	after []time.Duration
	wg    sync.WaitGroup
	since time.Time
	delay atomic.Uint64
}

func newQueue(perSecond, max int, order func([]*applicant, *applicant) int) *queue {
	q := &queue{since: time.Now()}
	q.admission = newAdmission(perSecond, max, order, &q.delay)
	return q
}

// apply lets a name wait, and returns when it does.
func (q *queue) apply(ctx context.Context, name string, weight int, gone func() bool) {
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

func here() bool { return false }

func (q *queue) expect(t *testing.T, want ...string) {
	t.Helper()
	q.wg.Wait()
	if !slices.Equal(q.begun, want) {
		t.Errorf("began %q, want %q", q.begun, want)
	}
}

func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 3, newestFirst)
		for i := range 5 {
			q.apply(t.Context(), fmt.Sprint(i), 1, here)
		}
		q.expect(t, "0", "1: "+errTooMany.Error(), "4", "3", "2")
		if q.after[4] != 3*time.Second || q.delay.Load() != 4 {
			t.Errorf("the last after %v, %d delayed", q.after[4], q.delay.Load())
		}
	})
}

// TestWaitingIsGivenUp by those whose time is over and those who have gone, and
// costs the others nothing.
func TestWaitingIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 100, newestFirst)
		q.apply(t.Context(), "first", 1, here)
		hurried, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, errors.New("late"))
		defer cancel()
		q.apply(t.Context(), "patient", 1, here)
		q.apply(hurried, "hurried", 1, here)
		q.apply(t.Context(), "closed", 1, func() bool { return time.Since(q.since) > 0 })
		q.wg.Wait()
		slices.Sort(q.begun) // two of them end at the same time
		q.expect(t, "closed: "+errGone.Error(), "first", "hurried: late", "patient")
		if last := slices.Max(q.after); last != time.Second {
			t.Errorf("waited %v", last)
		}
	})
}

// TestUsualPurchasesFirst has many large purchases wait, and small ones come.
func TestUsualPurchasesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(150, maxSales, usualFirst)
		q.apply(t.Context(), "large 0", 150, here)
		for i := 1; i < 4; i++ {
			q.apply(t.Context(), fmt.Sprint("large ", i), 150, here)
		}
		q.apply(t.Context(), "ten", 10, here)
		q.apply(t.Context(), "one", 1, here)
		q.expect(t, "large 0", "ten", "one", "large 1", "large 2", "large 3")
		if q.after[1] > 100*time.Millisecond {
			t.Errorf("ten tokens after %v, want those of a fifteenth of a second", q.after[1])
		}
	})
}

// TestTokensAreCounted: the rate is one of tokens, however many are in a batch.
func TestTokensAreCounted(t *testing.T) {
	for _, size := range []int{1, 10, 150} {
		synctest.Test(t, func(t *testing.T) {
			q := newQueue(1500, maxSales, usualFirst)
			const sold = 15000
			for range sold / size {
				q.wg.Go(func() {
					if err := q.waitTurn(t.Context(), size, here); err != nil {
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

// TestRateChanges while work waits.
func TestRateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(10, 100, newestFirst)
		q.apply(t.Context(), "first", 10, here)
		q.apply(t.Context(), "second", 10, here)
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
