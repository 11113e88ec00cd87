package relay

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
)

// budget bounds what all connections together may post, and shares it out among them.
//
// Each of its two allowances refills steadily and holds at most what comes in a day. A
// connection may take from it as long as it has used less of it, in the last day or so,
// than what is left for all. So the connections that post most are refused first. With n
// of them at it, an n-th of a day's refill is left, and a connection that posts less than
// that in a day is never refused. The last eighth is only for connections that are older
// than ten minutes. ADR 17 says why it is the connection that counts.
type budget struct {
	log     *slog.Logger
	refused atomic.Uint64 // posts

	mu    sync.Mutex
	posts allowance
	bytes allowance
	at    time.Time // of the last refill
	// Of the log: whether it was told of refused posts, and when the last one was.
	told        bool
	lastRefusal time.Time
}

// allowance is how much of one thing the connections may still post.
type allowance struct {
	option string  // which sets it
	perDay float64 // 0 is no bound
	left   float64
}

// usage is what one connection has used, of which it forgets two thirds in a day. It is
// guarded by the mutex of the budget and kept in memory only.
type usage struct {
	posts, bytes float64
	at           time.Time // of the last decay
	since        time.Time // of the connection
}

const (
	// newcomerShare is the part of an allowance that a new connection counts as having used,
	// if there is as much left. Otherwise a client could start over by connecting again.
	newcomerShare = 1.0 / 8
	// newcomerTime is how long a connection counts as having used at least that much, whatever
	// is left. It keeps clients that connect again and again from the last eighth.
	newcomerTime = 10 * time.Minute
)

const day = 24 * time.Hour

// quietTime is how long no post must have been refused until the log says that it is over.
const quietTime = time.Hour

func newBudget(l limits.Limits, log *slog.Logger) *budget {
	b := &budget{log: log, at: time.Now(), posts: allowance{option: "posts_per_hour"}, bytes: allowance{option: "bytes_per_day"}}
	b.setLimits(l)
	return b
}

// setLimits changes the allowances. What is added to a day can be used at once.
func (b *budget) setLimits(l limits.Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(time.Now())
	b.posts.setPerDay(24 * float64(l.PostsPerHour))
	b.bytes.setPerDay(float64(l.BytesPerDay))
}

func (a *allowance) setPerDay(perDay float64) {
	a.left = min(max(0, a.left+perDay-a.perDay), perDay)
	a.perDay = perDay
}

// refill adds what has come since the last refill. mu is held.
func (b *budget) refill(now time.Time) {
	days := float64(now.Sub(b.at)) / float64(day)
	b.at = now
	for _, a := range []*allowance{&b.posts, &b.bytes} {
		a.left = min(a.perDay, a.left+days*a.perDay)
	}
}

// newUsage returns the usage of a new connection.
func (b *budget) newUsage() *usage {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.refill(now)
	return &usage{posts: b.posts.newcomerUse(), bytes: b.bytes.newcomerUse(), at: now, since: now}
}

func (a *allowance) newcomerUse() float64 { return min(a.left, newcomerShare*a.perDay) }

// decay forgets what was used long ago.
func (u *usage) decay(now time.Time) {
	rest := math.Exp(-float64(now.Sub(u.at)) / float64(day))
	u.posts, u.bytes, u.at = u.posts*rest, u.bytes*rest, now
}

// takePost takes a post of a size from the budget. It waits at most until timeout, and
// reports whether the post may be stored. An error is that of ctx.
func (b *budget) takePost(ctx context.Context, u *usage, size int, timeout time.Duration) (bool, error) {
	deadline := time.Now().Add(timeout)
	for {
		wait, short := b.tryTake(u, float64(size))
		if wait == 0 {
			return true, nil
		}
		if time.Until(deadline) < wait {
			b.noteRefusal(short)
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// tryTake takes a post and returns 0, or returns how long it takes until there is enough for
// it if nobody else takes any, and which option there is too little of.
func (b *budget) tryTake(u *usage, size float64) (wait time.Duration, short string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.refill(now)
	u.decay(now)
	young := now.Sub(u.since) < newcomerTime
	if wait, short = b.posts.delay(u.posts, 1, young), b.posts.option; wait == 0 {
		wait, short = b.bytes.delay(u.bytes, size, young), b.bytes.option
	}
	if wait == 0 {
		b.addUse(u, 1, size)
		b.noteQuiet(now)
	}
	return wait, short
}

// giveBack returns what a post took that was not stored.
func (b *budget) giveBack(u *usage, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addUse(u, -1, -float64(size))
}

// addUse moves posts and bytes from the allowances to a connection. mu is held.
func (b *budget) addUse(u *usage, posts, bytes float64) {
	b.posts.take(posts)
	b.bytes.take(bytes)
	u.posts, u.bytes = max(0, u.posts+posts), max(0, u.bytes+bytes)
}

func (a *allowance) take(n float64) {
	if a.perDay > 0 {
		a.left = min(a.left-n, a.perDay)
	}
}

// delay returns how long it takes until a connection that has used some may use more, by
// what comes and what it forgets.
func (a *allowance) delay(used, more float64, young bool) time.Duration {
	if young {
		used = max(used, newcomerShare*a.perDay)
	}
	lacks := used + more - a.left
	if a.perDay == 0 || lacks <= 0 {
		return 0
	}
	return time.Millisecond + time.Duration(lacks/(a.perDay+used)*float64(day))
}

// noteRefusal counts a refused post. The log is told of the first in a while.
func (b *budget) noteRefusal(option string) {
	b.refused.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastRefusal = time.Now()
	if !b.told {
		b.told = true
		b.log.Warn("too much is posted: posts of the connections that post most are refused, and the others share what is left; see the limit in docs/operations.md", "limit", option)
	}
}

// noteQuiet tells the log, with the first post after a while without refusals. mu is held.
func (b *budget) noteQuiet(now time.Time) {
	if b.told && now.Sub(b.lastRefusal) >= quietTime {
		b.told = false
		b.log.Info("no post was refused for an hour because too much is posted", "refused_since_start", b.refused.Load())
	}
}

// BudgetStatus is how much may be posted now. Its JSON form is part of the output of the
// status command.
type BudgetStatus struct {
	PostsPerHour int    `json:"posts_per_hour,omitempty"` // 0 is no bound
	PostsLeft    uint64 `json:"posts_left,omitempty"`     // of those of a day
	BytesPerDay  int64  `json:"bytes_per_day,omitempty"`  // 0 is no bound
	BytesLeft    uint64 `json:"bytes_left,omitempty"`
	// UsedUp is the limit of which less than an eighth is left, for older connections that
	// have posted little; Opens is when there is more than that if nobody posts until then.
	UsedUp string     `json:"used_up,omitempty"`
	Opens  *time.Time `json:"opens,omitempty"`
}

// status describes the budget as it is now.
func (b *budget) status() BudgetStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.refill(now)
	st := BudgetStatus{
		PostsPerHour: int(b.posts.perDay / 24), PostsLeft: uint64(max(0, b.posts.left)),
		BytesPerDay: int64(b.bytes.perDay), BytesLeft: uint64(max(0, b.bytes.left)),
	}
	var opens time.Duration
	for _, a := range []allowance{b.posts, b.bytes} {
		lacks := newcomerShare*a.perDay - a.left
		if lacks <= 0 {
			continue
		}
		if in := time.Duration(lacks / a.perDay * float64(day)); in >= opens {
			st.UsedUp, opens = a.option, in
		}
	}
	if st.UsedUp != "" {
		st.Opens = new(now.Add(opens).UTC())
	}
	return st
}
