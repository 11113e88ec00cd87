package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// plan says how much to do of everything in one round. Work is counted and not
// timed, so that a slow machine takes longer and measures the same.
type plan struct {
	Rounds int `json:"rounds"`
	Size   int `json:"post_bytes"`

	Few  int `json:"few"`  // envelopes in the small store
	Many int `json:"many"` // and in the large one

	Posts map[int]int `json:"posts"` // by number of clients

	Batches map[int]int `json:"batches"` // for each store, by their size

	Purchases int `json:"purchases"` // of each size
	Tries     int `json:"tries"`     // of a proof of work, at the least

	Readers    int `json:"readers"`     // of replays at a time
	ReaderPart int `json:"reader_part"` // envelopes that each of them takes

	Subscribers int           `json:"subscribers"`
	Paced       int           `json:"paced_posts"`
	Pace        time.Duration `json:"pace_ns"`
	Closed      int           `json:"closed_loop_posts"`
	Window      int           `json:"closed_loop_window"`

	Idle int `json:"idle_connections"`

	Limit time.Duration `json:"limit_ns"` // for each look at a limit of the machine
}

func choose(o options) plan {
	p := plan{
		Rounds: 3,
		Size:   o.size,
		Few:    1_000, Many: 100_000,
		Posts:     map[int]int{1: 1_200, 16: 6_000, 64: 16_000},
		Batches:   map[int]int{1: 300, 16: 60, 64: 30, 256: 10},
		Purchases: 200, Tries: 2 * averageTries,
		Readers: 32, ReaderPart: 3_000,
		Subscribers: 100, Paced: 150, Pace: 20 * time.Millisecond, Closed: 600, Window: 16,
		Idle:  1_000,
		Limit: 500 * time.Millisecond,
	}
	if o.large {
		p.Many = 1_000_000
	}
	if o.quick {
		p.Rounds = 1
		p.Few, p.Many = 100, 2_000
		p.Posts = map[int]int{1: 40, 16: 200, 64: 400}
		p.Batches = map[int]int{1: 10, 16: 2, 64: 1, 256: 1}
		p.Purchases, p.Tries = 8, 2_500
		p.Readers, p.ReaderPart = 8, 200
		p.Subscribers, p.Paced, p.Closed = 20, 20, 40
		p.Idle = 50
		p.Limit = 20 * time.Millisecond
	}
	return p
}

// bench is one run of the program.
type bench struct {
	plan     plan
	program  string
	dir      string
	sheet    *sheet
	progress io.Writer

	many *site
}

// site is a directory from which a relay can be started, and what the bench
// knows of it.
type site struct {
	dir    string
	keys   *identity.Server
	stored int
	last   []byte // signature of the last envelope that was put in beforehand
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, format+"\n", args...)
}

func (b *bench) run(ctx context.Context) (err error) {
	b.say("store %d envelopes", b.plan.Many)
	if b.many, err = b.prepare(ctx, "many", b.plan.Many); err != nil {
		return err
	}
	for n := range b.plan.Rounds {
		b.say("round %d of %d", n+1, b.plan.Rounds)
		if err := b.round(ctx, n); err != nil {
			return err
		}
		b.sheet.endRound()
	}
	return nil
}

// round measures everything once. The small store is new in each round, the
// large one grows a little.
func (b *bench) round(ctx context.Context, n int) error {
	few, err := b.prepare(ctx, fmt.Sprintf("few-%d", n), b.plan.Few)
	if err != nil {
		return err
	}
	defer os.RemoveAll(few.dir)
	small, err := b.start(ctx, few)
	if err != nil {
		return err
	}
	defer small.kill()
	large, err := b.startLarge(ctx)
	if err != nil {
		return err
	}
	defer large.kill()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"idle connections", func(ctx context.Context) error { return b.idle(ctx, small) }},
		{"replay", func(ctx context.Context) error { return b.replay(ctx, large) }},
		{"posts", func(ctx context.Context) error { return b.posts(ctx, small, large) }},
		{"purchases", func(ctx context.Context) error { return b.purchases(ctx, small) }},
		{"fan-out", func(ctx context.Context) error { return b.fanOut(ctx, small) }},
		{"stores", b.stores},
	} {
		b.say("  %s", step.name)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := b.fileSize(large); err != nil {
		return err
	}
	if err := small.stop(); err != nil {
		return err
	}
	return large.stop()
}

// prepare makes a site with n envelopes in its store.
func (b *bench) prepare(ctx context.Context, name string, n int) (*site, error) {
	s := &site{dir: filepath.Join(b.dir, name), stored: n}
	if err := os.MkdirAll(s.serverDir(), 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.keys, err = identity.LoadOrCreate(filepath.Join(s.serverDir(), "keys")); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, n, b.plan.Size); err != nil {
		return nil, fmt.Errorf("fill the store: %w", err)
	}
	return s, nil
}
