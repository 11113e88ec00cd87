package exchange

import (
	"math"
	"math/bits"
	"time"
)

// bucket is a quota that refills evenly: it holds limit, and gets as much in each period. It may
// be overdrawn by what was promised before; then it has no room until that is made up for.
type bucket struct {
	limit  uint64 // 0 means none
	unit   uint64 // how much counts as room
	period time.Duration
	full   time.Duration // when it will be full again; before now if it is
	closed time.Duration // until when it has no room, although it may have refilled a little
}

// refillRest is how long a bucket that had no room stays closed at least. Without it a peer with a
// backlog would offer thousands of ids whenever there is room for one.
const refillRest = time.Minute

// wait returns the time until the bucket has room: as much as a unit, or half of it when that is
// less.
func (b *bucket) wait(now time.Duration) time.Duration {
	if b.limit == 0 {
		return 0
	}
	unit := min(b.unit, max(b.limit/2, 1))
	if wait := max(b.full, now) + b.refillTime(unit) - now - b.period; wait > 0 {
		b.closed = max(b.closed, now+max(wait, refillRest))
	}
	return max(0, b.closed-now)
}

// spend takes n out.
func (b *bucket) spend(now time.Duration, n uint64) {
	if b.limit > 0 {
		b.full = max(b.full, now) + b.refillTime(n)
	}
}

// giveBack puts n in that were taken out, and opens the bucket.
func (b *bucket) giveBack(n uint64) {
	if b.limit > 0 {
		b.full -= b.refillTime(n)
		b.closed = 0
	}
}

// spent returns how much is missing.
func (b *bucket) spent(now time.Duration) uint64 {
	if b.limit == 0 || b.full <= now {
		return 0
	}
	return mulDiv(uint64(b.full-now), b.limit, uint64(b.period))
}

// setLimit changes the limit. What is missing stays missing.
func (b *bucket) setLimit(now time.Duration, limit uint64) {
	if limit == b.limit {
		return
	}
	missing := b.spent(now)
	b.limit, b.full, b.closed = limit, now, 0
	b.spend(now, missing)
}

// refillTime returns how long the bucket takes to get n, at most a year.
func (b *bucket) refillTime(n uint64) time.Duration {
	const year = 365 * 24 * time.Hour
	return time.Duration(min(mulDiv(n, uint64(b.period), b.limit), uint64(year)))
}

// mulDiv returns a*b/c, or the greatest number if that is too large.
func mulDiv(a, b, c uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	if hi >= c {
		return math.MaxUint64
	}
	q, _ := bits.Div64(hi, lo, c)
	return q
}
