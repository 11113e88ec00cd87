package relay

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/limits"
)

// crowd is what connections post against one budget, in simulated time.
type crowd struct {
	honest    int           // connections of honest clients
	every     time.Duration // each of them posts, on average
	early     time.Duration // that they were there before the attackers came; negative: after them
	attackers int           // connections that post as much as they can
	lasts     time.Duration

	reconnecting bool // attackers connect again for each post
	unshared     bool // whoever comes first takes what there is, as if there were no shares
}

// tally is what became of the posts of a crowd.
type tally struct {
	mu                      sync.Mutex
	stored, refused, passed int           // of honest clients, and of attackers
	longest                 time.Duration // that a stored honest post waited
}

func (o *tally) share() float64 { return float64(o.stored) / float64(o.stored+o.refused) }

const (
	late         = -10 * time.Minute
	crowdTimeout = 10 * time.Second // for a post
	usualPost    = 2700             // bytes of a short message
	roundTrip    = 50 * time.Millisecond
)

// take posts once.
func (c crowd) take(ctx context.Context, b *budget, u *usage) (bool, error) {
	if c.unshared {
		u = &usage{at: time.Now()} // and no newcomer
	}
	return b.takePost(ctx, u, usualPost, crowdTimeout)
}

// postHonestly posts now and then until ctx ends.
func (c crowd) postHonestly(ctx context.Context, b *budget, random *rand.Rand, o *tally) {
	between := func() time.Duration { return time.Duration(random.ExpFloat64() * float64(c.every)) }
	time.Sleep(-c.early) // not at all if they are early
	u := b.newUsage()
	for wait := max(c.early, 0) + between(); ; wait = between() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		begin := time.Now()
		ok, err := c.take(ctx, b, u)
		if err != nil {
			return
		}
		o.mu.Lock()
		if ok {
			o.stored++
			o.longest = max(o.longest, time.Since(begin))
		} else {
			o.refused++
		}
		o.mu.Unlock()
	}
}

// postMuch posts again as soon as a post was answered, until ctx ends.
func (c crowd) postMuch(ctx context.Context, b *budget, o *tally) {
	u := b.newUsage()
	for {
		ok, err := c.take(ctx, b, u)
		if err != nil {
			return
		}
		pause := crowdTimeout // after a refusal, which takes no simulated time
		if ok {
			o.mu.Lock()
			o.passed++
			o.mu.Unlock()
			pause = roundTrip
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if c.reconnecting {
			u = b.newUsage()
		}
	}
}

// simulate runs a crowd.
func (c crowd) simulate(t *testing.T, b *budget) *tally {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	o := &tally{}
	for i := range c.honest {
		go c.postHonestly(ctx, b, rand.New(rand.NewPCG(uint64(i), 1)), o)
	}
	time.Sleep(c.early)
	for range c.attackers {
		go c.postMuch(ctx, b, o)
	}
	time.Sleep(c.lasts)
	end()
	synctest.Wait()
	return o
}

// defaultBudget is that of a server with the default retention.
var defaultBudget = limits.Limits{PostsPerHour: 1209, BytesPerDay: 59 << 20}

func newQuietBudget(l limits.Limits) *budget { return newBudget(l, slog.New(slog.DiscardHandler)) }

// TestHonestPostersUnderAttack shows whose posts a budget refuses when attackers post as much
// as they can. The honest clients post three times a minute each, nearly as much as the
// budget lets everybody post. If they were there an hour before the attack, the number of the
// attackers does not matter. If they come later, everybody gets the same share in the long
// run. The table in ADR 17 has the output.
func TestHonestPostersUnderAttack(t *testing.T) {
	early := func(attackers int) crowd {
		return crowd{honest: 5, every: 20 * time.Second, early: time.Hour, attackers: attackers, lasts: 30 * time.Minute}
	}
	newcomers := func(attackers int) crowd {
		return crowd{honest: 5, every: 20 * time.Second, early: late, attackers: attackers, lasts: 40 * time.Minute}
	}
	afterHalfADay := func(attackers int) crowd {
		return crowd{honest: 5, every: 20 * time.Second, early: -12 * time.Hour, attackers: attackers, lasts: 12*time.Hour + 30*time.Minute}
	}
	reconnecting := func(c crowd) crowd { c.reconnecting = true; return c }
	unshared := func(c crowd) crowd { c.unshared = true; return c }
	day := crowd{honest: 5, every: 20 * time.Minute, early: late, attackers: 64, lasts: 24 * time.Hour}
	for _, c := range []struct {
		name        string
		crowd       crowd
		least, most float64 // share of the honest posts that are stored
	}{
		{"early, 256 attackers, no shares", unshared(early(256)), 0, 0.2},
		{"early, 1 attacker", early(1), 1, 1},
		{"early, 256 attackers", early(256), 1, 1},
		{"early, 1000 attackers", early(1000), 1, 1},
		{"early, 256 attackers that connect for each post", reconnecting(early(256)), 1, 1},
		{"late, 1 attacker", newcomers(1), 1, 1},
		{"late, 4 attackers", newcomers(4), 1, 1},
		{"late, 16 attackers", newcomers(16), 1, 1},
		{"late, 64 attackers", newcomers(64), 1, 1},
		{"late, 256 attackers", newcomers(256), 0.65, 1},
		{"half a day late, 16 attackers", afterHalfADay(16), 1, 1},
		{"half a day late, 64 attackers", afterHalfADay(64), 0.1, 1},
		{"late, 64 attackers, 72 posts in a day", day, 0.99, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := c.crowd.simulate(t, newQuietBudget(defaultBudget))
				t.Logf("%d honest posts, %.1f %% stored, after at most %v; the attackers posted %d", o.stored+o.refused, 100*o.share(), o.longest.Round(time.Millisecond), o.passed)
				if share := o.share(); !(share >= c.least && share <= c.most) {
					t.Errorf("%.3f of the honest posts were stored, want %.3f to %.3f", share, c.least, c.most)
				}
				hours := 24 + (max(c.crowd.early, 0) + c.crowd.lasts).Hours()
				if most := int(hours / 24 * float64(defaultBudget.BytesPerDay) / usualPost); o.stored+o.passed > most {
					t.Errorf("%d were posted, want at most %d", o.stored+o.passed, most)
				}
			})
		})
	}
}

// TestRefusedPostKeepsItsToken shows that a post that the budget refuses does not spend its
// token, that the limit can be raised meanwhile, and what the status says.
func TestRefusedPostKeepsItsToken(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.PostsPerHour = 1 })
	p := r.connect()
	// A day has 24 posts. The connection counts as having used 3 of them. It may use 11 more,
	// which makes 14, as there are 13 left then.
	for n := range 11 {
		p.post(fmt.Sprint(n), r.token())
		p.expect("posted true")
	}
	kept := r.token()
	p.post("refused", kept)
	p.expect("posted false")
	st := r.Status(t.Context())
	if st.Posts.OverBudget != 1 || st.Budget.PostsLeft != 13 || st.Budget.UsedUp != "" {
		t.Errorf("status says %+v, %+v", st.Posts, st.Budget)
	}
	l := r.cfg.Limits
	l.PostsPerHour = 2
	r.SetLimits(l)
	p.post("taken", kept)
	p.expect("posted true")
}

// TestFailedPostsAreGivenBack shows that only what is stored uses up the budget.
func TestFailedPostsAreGivenBack(t *testing.T) {
	r := startServer(t, func(c *Config) { c.Limits.PostsPerHour, c.Limits.BytesPerDay = 100, 1<<20 })
	p := r.connect()
	spent := r.token()
	p.post("a", spent)
	p.expect("posted true")
	before := r.Status(t.Context()).Budget
	for range 50 {
		p.post("b", spent)
		p.expect("posted false")
	}
	if after := r.Status(t.Context()).Budget; after.PostsLeft < before.PostsLeft || after.BytesLeft < before.BytesLeft {
		t.Errorf("refused posts used up the budget: %+v, before %+v", after, before)
	}
}

// TestBudgetOfBytes shows that the size of posts counts.
func TestBudgetOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newQuietBudget(limits.Limits{BytesPerDay: 80_000})
		u := b.newUsage()
		n := 0
		for ; ; n++ {
			ok, err := b.takePost(t.Context(), u, 5000, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
		}
		if n != 7 { // 10 000 as a newcomer, and 7 of 5 000 of the 80 000
			t.Errorf("%d posts", n)
		}
	})
}

func TestNoBudgetIsNoBound(t *testing.T) {
	b := newQuietBudget(limits.Limits{})
	u := b.newUsage()
	for range 100_000 {
		if wait, _ := b.tryTake(u, 8000); wait != 0 {
			t.Fatal("refused")
		}
	}
	if st := b.status(); st != (BudgetStatus{}) {
		t.Errorf("status is %+v", st)
	}
	b.setLimits(limits.Limits{PostsPerHour: 10})
	if st := b.status(); st.PostsLeft != 240 {
		t.Errorf("after a change of the limits %d are left", st.PostsLeft)
	}
}

// TestWaitForTheBudget shows that a post waits if that helps, and ends with its connection.
func TestWaitForTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newQuietBudget(limits.Limits{PostsPerHour: 3600})
		u := b.newUsage()
		u.since = u.since.Add(-newcomerTime)
		for wait := time.Duration(0); wait == 0; {
			wait, _ = b.tryTake(u, 1)
		}
		begin := time.Now()
		if ok, err := b.takePost(t.Context(), u, 1, 10*time.Second); !ok || err != nil || time.Since(begin) == 0 {
			t.Errorf("got %t, %v after %v", ok, err, time.Since(begin))
		}
		ctx, end := context.WithCancel(t.Context())
		end()
		if ok, err := b.takePost(ctx, u, 1, 10*time.Second); ok || err != context.Canceled {
			t.Errorf("got %t, %v", ok, err)
		}
	})
}

// TestBudgetStatus shows when a budget counts as used up, and that it says when that ends.
func TestBudgetStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newQuietBudget(limits.Limits{PostsPerHour: 10, BytesPerDay: 24_000})
		b.posts.left, b.bytes.left = 20, 23_000
		if st := b.status(); st.UsedUp != "posts_per_hour" || !st.Opens.Equal(time.Now().Add(time.Hour)) {
			t.Errorf("status is %+v", st)
		}
		b.bytes.left = 1_000
		if st := b.status(); st.UsedUp != "bytes_per_day" || !st.Opens.Equal(time.Now().Add(2*time.Hour)) {
			t.Errorf("status is %+v", st)
		}
		time.Sleep(2 * time.Hour)
		if st := b.status(); st.UsedUp != "" || st.Opens != nil {
			t.Errorf("status is %+v", st)
		}
	})
}

// TestLogOfRefusals shows that the log is told once of any number of refusals, and once of
// their end.
func TestLogOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := newBudget(limits.Limits{PostsPerHour: 10}, slog.New(slog.NewTextHandler(&log, nil)))
		for range 3 {
			u := b.newUsage()
			for range 1000 {
				if _, err := b.takePost(t.Context(), u, 1, 0); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Minute)
		}
		time.Sleep(24 * time.Hour)
		if _, err := b.takePost(t.Context(), b.newUsage(), 1, 0); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "level=WARN") || !strings.Contains(lines[0], "limit=posts_per_hour") || !strings.Contains(lines[1], "level=INFO") {
			t.Errorf("the log is\n%s", log.String())
		}
	})
}
