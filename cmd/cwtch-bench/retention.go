package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	day = 24 * time.Hour
	// youngestTenth is the age of the youngest envelopes that a round removes. Those of the
	// round before are tenthApart older.
	youngestTenth = 400 * day
	tenthApart    = 10 * day

	retentionClients = 16
	// retentionSlice is how many posts come between two questions whether the relay is still
	// at work.
	retentionSlice = 200
	// workTimeout bounds one removal or compaction.
	workTimeout = 20 * time.Minute
)

func retentionRows(p plan) group {
	return group{fmt.Sprintf("a tenth of %d envelopes goes, %d clients post meanwhile", p.Many, retentionClients), []*row{
		{Name: "retention.calm.rate", Text: "posts before", Unit: "/s"},
		{Name: "retention.calm.p99", Text: "posts before, p99", Unit: "ms"},
		{Name: "retention.prune.rate", Text: "posts while it is removed / before", Unit: "×", Target: atLeast(0.9)},
		{Name: "retention.prune.p99", Text: "p99 while it is removed / before", Unit: "×", Target: atMost(2)},
		{Name: "retention.prune.time", Text: "time until it is removed", Unit: "s"},
		{Name: "retention.compact.rate", Text: "posts while the file is compacted / before", Unit: "×", Target: atLeast(0.9)},
		{Name: "retention.compact.p99", Text: "p99 while the file is compacted / before", Unit: "×", Target: atMost(2)},
		{Name: "retention.compact.time", Text: "time until the file is compacted", Unit: "s"},
		{Name: "retention.file", Text: "file / envelopes in it afterwards", Unit: "×", Target: atMost(1.3)},
	}}
}

// prepareRetention makes a store in which a tenth of the envelopes is old for each round.
func (b *bench) prepareRetention(ctx context.Context) (err error) {
	b.printf("store %d envelopes, of which some are old", b.plan.Many)
	tenth, now := b.plan.Many/10, storage.HourOf(time.Now())
	born := func(i int) storage.Hour {
		if n := i / tenth; n < b.plan.Rounds {
			return now - storage.Hour(b.ageOf(n)/time.Hour)
		}
		return now
	}
	b.retained, err = b.prepareHome(ctx, "retained", b.plan.Many, born)
	return err
}

// ageOf returns the age of the envelopes that a round removes.
func (b *bench) ageOf(round int) time.Duration {
	return youngestTenth + time.Duration(b.plan.Rounds-round)*tenthApart
}

// maxAge returns a limit that keeps everything that a round before this one has left.
func (b *bench) maxAge(round int) time.Duration { return b.ageOf(round) + tenthApart/2 }

// measureRetention has a relay remove a tenth of its envelopes and compact its file while
// clients post.
func (b *bench) measureRetention(ctx context.Context) error {
	s := b.retained
	round := s.rounds
	s.rounds++
	s.maxAge = b.maxAge(round)
	r, err := b.startRelay(ctx, s)
	if err != nil {
		return err
	}
	defer r.killRunning()
	calm, err := b.postLoad(ctx, r, retentionClients, b.plan.Posts[retentionClients])
	if err != nil {
		return err
	}
	b.sheet.setFigure("retention.calm.rate", calm.rate)
	b.sheet.setFigure("retention.calm.p99", toMilliseconds(percentileOf(calm.latencies, 0.99)))
	tenth := uint64(b.plan.Many / 10)
	err = b.compareLoad(ctx, r, "prune", calm, func() error {
		s.maxAge = b.maxAge(round + 1)
		return r.reload(ctx, b)
	}, func() (bool, error) {
		st, err := manager.AskStatus(ctx, r.dataDir())
		if err != nil {
			return false, err
		}
		return st.Servers[0].Retention.Removed < tenth, nil
	})
	if err != nil {
		return err
	}
	s.stored -= int(tenth)
	compacted := make(chan error, 1)
	err = b.compareLoad(ctx, r, "compact", calm, func() error {
		go func() {
			done, err := manager.AskCompact(ctx, r.dataDir(), serverName)
			if err == nil && done[0].Error != "" {
				err = errors.New(done[0].Error)
			}
			compacted <- err
		}()
		return nil
	}, func() (bool, error) {
		select {
		case err := <-compacted:
			return false, err
		default:
			return true, nil
		}
	})
	if err != nil {
		return err
	}
	size, err := r.fileSize(b.plan.Size)
	if err != nil {
		return err
	}
	b.sheet.setFigure("retention.file", size)
	return r.stopAndWait()
}

// compareLoad sets the figures of posts while the relay is at work, beside those of calm.
func (b *bench) compareLoad(ctx context.Context, r *relay, name string, calm postResult, begin func() error, atWork func() (bool, error)) error {
	res, took, err := b.postBeside(ctx, r, begin, atWork)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.sheet.setFigure("retention."+name+".rate", res.rate/calm.rate)
	b.sheet.setFigure("retention."+name+".p99", float64(percentileOf(res.latencies, 0.99))/float64(percentileOf(calm.latencies, 0.99)))
	b.sheet.setFigure("retention."+name+".time", took.Seconds())
	return nil
}

// reload makes the relay take over a changed configuration.
func (r *relay) reload(ctx context.Context, b *bench) error {
	if err := b.writeConfig(r.relayHome); err != nil {
		return err
	}
	_, err := manager.AskReload(ctx, r.dataDir(), r.configFile(), false)
	return err
}

// postBeside begins some work of the relay and posts until that is done, or until the posts
// of the plan are used up. It returns how long the work took.
func (b *bench) postBeside(ctx context.Context, r *relay, begin func() error, atWork func() (bool, error)) (res postResult, took time.Duration, err error) {
	posts, err := r.posts.makePosts(ctx, b.plan.Posts[retentionClients], b.plan.Size)
	if err != nil {
		return res, 0, err
	}
	peers, err := r.connectAll(ctx, retentionClients, 16<<10)
	if err != nil {
		return res, 0, err
	}
	defer closeAll(peers)
	if err := begin(); err != nil {
		return res, 0, err
	}
	start := time.Now()
	var posting time.Duration
	for {
		busy, err := atWork()
		if err != nil {
			return res, 0, err
		}
		if !busy && len(res.latencies) > 0 {
			break
		}
		if time.Since(start) > workTimeout {
			return res, 0, fmt.Errorf("the relay was at work for more than %v", workTimeout)
		}
		if len(posts) == 0 {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		n := min(retentionSlice, len(posts))
		sliceStart := time.Now()
		latencies, err := postAll(peers, posts[:n])
		if err != nil {
			return res, 0, err
		}
		posting += time.Since(sliceStart)
		res.latencies, posts, r.stored = append(res.latencies, latencies...), posts[n:], r.stored+n
	}
	res.rate = float64(len(res.latencies)) / posting.Seconds()
	return res, time.Since(start), nil
}
