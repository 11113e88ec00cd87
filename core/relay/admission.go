package relay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// admission bounds the rate at which expensive work begins. Work that has to wait
// costs a goroutine that was there already. Who is next is decided only when the next
// may begin, so nobody waits behind somebody who is gone.
type admission struct {
	// order returns the index at which a new applicant joins those that wait. The
	// last of them is next.
	order   func(waiting []*applicant, a *applicant) int
	max     int            // how many may wait; if there is one more, the first is refused
	delayed *atomic.Uint64 // counts those that had to wait

	mu      sync.Mutex
	rate    *rate.Limiter
	waiting []*applicant
	timer   *time.Timer // for the next
}

// applicant is work that waits.
type applicant struct {
	weight int
	gone   func() bool // reports that nobody wants the work done any more
	answer chan error  // takes nil to begin; has room for the answer
}

var (
	errTooMany = errors.New("too many at the same time")
	errGone    = errors.New("the client is gone")
	errEvicted = errors.New("a newer connection took the place")
)

// newAdmission lets work of the weight perSecond begin in a second, or at once in a
// burst.
func newAdmission(perSecond, max int, order func([]*applicant, *applicant) int, delayed *atomic.Uint64) *admission {
	return &admission{
		order: order, max: max, delayed: delayed,
		rate: rate.NewLimiter(rate.Limit(perSecond), perSecond),
	}
}

func (q *admission) setRate(perSecond int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rate.SetLimit(rate.Limit(perSecond))
	q.rate.SetBurst(perSecond)
	q.dispatchNext()
}

// waitTurn returns nil when the work may begin, or why it will not: ctx has ended,
// too many wait, or nobody wants it any more.
func (q *admission) waitTurn(ctx context.Context, weight int, gone func() bool) error {
	a := &applicant{weight: weight, gone: gone, answer: make(chan error, 1)}
	q.addApplicant(a)
	select {
	case err := <-a.answer:
		return err
	default:
		q.delayed.Add(1)
	}
	select {
	case err := <-a.answer:
		return err
	case <-ctx.Done():
		q.removeApplicant(a)
		return context.Cause(ctx)
	}
}

func (q *admission) addApplicant(a *applicant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.Insert(q.waiting, q.order(q.waiting, a), a)
	q.dispatchNext()
	if len(q.waiting) > q.max {
		q.waiting[0].answer <- errTooMany
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
}

func (q *admission) removeApplicant(a *applicant) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, a); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

// dispatchNext starts what may begin now and sets the timer for the next. mu is held.
func (q *admission) dispatchNext() {
	for len(q.waiting) > 0 {
		last := len(q.waiting) - 1
		next, err := q.waiting[last], error(nil)
		if next.gone() {
			err = errGone // and costs nothing
		} else if delay := q.takeWeight(next.weight); delay > 0 {
			q.wakeAfter(delay)
			return
		}
		next.answer <- err
		q.waiting = slices.Delete(q.waiting, last, last+1)
	}
}

// takeWeight takes weight and returns 0, or returns how long until there is enough.
func (q *admission) takeWeight(weight int) time.Duration {
	now := time.Now()
	// A burst may have become smaller while its work was prepared.
	r := q.rate.ReserveN(now, min(weight, q.rate.Burst()))
	delay := r.DelayFrom(now)
	if delay > 0 {
		r.CancelAt(now)
	}
	return delay
}

func (q *admission) wakeAfter(delay time.Duration) {
	if q.timer != nil {
		q.timer.Reset(delay)
		return
	}
	q.timer = time.AfterFunc(delay, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.dispatchNext()
	})
}

// newestFirst serves the newest first: under overload the others may have given up.
func newestFirst(waiting []*applicant, _ *applicant) int { return len(waiting) }
