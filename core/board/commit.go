package board

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Result is what became of a post.
type Result struct {
	// Success means that the envelope is durable.
	Success bool
	// Earlier is the position of the envelope when it was in the log before this
	// post, so that cursors may have passed it already; else 0.
	Earlier storage.Seq
	// outcome is the word of the store, or 0 without one.
	outcome storage.OutcomeStatus
}

// Post queues an envelope with the nullifier of the token that pays for it.
// json is the encoding of the envelope; both are kept by the board. It waits
// for room in the queue until ctx ends or the timeout for posts has passed.
//
// done is called exactly once, possibly before Post returns, and always before
// a cursor yields the envelope. It must not block, because it runs in the goroutine
// that commits all posts. Successes come in the order of the posts; a refusal may
// overtake a post that still waits.
func (b *Board) Post(ctx context.Context, env wire.Envelope, json []byte, token storage.Nullifier, done func(Result)) {
	now := time.Now()
	p := &post{
		record: storage.Record{
			ID:         storage.NewID(env.Signature, env.Ciphertext),
			Born:       storage.HourOf(now),
			Signature:  env.Signature,
			Ciphertext: env.Ciphertext,
			Nullifier:  &token,
		},
		json:  json,
		since: now,
		done:  done,
	}
	if b.Err() != nil {
		b.Counts.Failed.Add(1)
		done(Result{})
		return
	}
	if b.NoRoom() != nil {
		b.Counts.NoRoom.Add(1)
		done(Result{})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PostTimeout)
	defer cancel()
	if err := b.queue.putPost(ctx, p); err != nil {
		b.Counts.Timeout.Add(1)
		done(Result{})
	}
}

// commitPosts is the committer: the one goroutine that appends to the log.
func (b *Board) commitPosts(ctx context.Context) {
	for {
		batch := b.queue.takeBatch(ctx)
		if batch == nil {
			break
		}
		b.commitBatch(ctx, b.refuseExpired(batch))
	}
	// Only a Close that ran out of time leaves something behind.
	for batch := b.queue.takeBatch(ctx); batch != nil; batch = b.queue.takeBatch(ctx) {
		b.refuseBatch(batch, &b.Counts.Timeout)
	}
}

// refuseExpired refuses the posts that have waited too long and returns the others.
func (b *Board) refuseExpired(batch []*post) []*post {
	isExpired := func(p *post) bool { return time.Since(p.since) > b.cfg.PostTimeout }
	if !slices.ContainsFunc(batch, isExpired) {
		return batch
	}
	var expired, others []*post
	for _, p := range batch {
		if isExpired(p) {
			expired = append(expired, p)
		} else {
			others = append(others, p)
		}
	}
	b.refuseBatch(expired, &b.Counts.Timeout)
	return others
}

func (b *Board) refuseBatch(batch []*post, count interface{ Add(uint64) uint64 }) {
	for _, p := range batch {
		if !p.fromPeer {
			count.Add(1)
		}
		b.sendResult(p, Result{})
	}
}

func (b *Board) sendResult(p *post, r Result) {
	b.queue.releaseRoom(p)
	p.done(r)
}

// commitBatch appends a batch to the log, answers its posts, and then shows what is new.
func (b *Board) commitBatch(ctx context.Context, batch []*post) {
	if len(batch) == 0 {
		return
	}
	records := make([]storage.Record, len(batch))
	for i, p := range batch {
		records[i] = p.record
	}
	b.appendMu.Lock()
	defer b.appendMu.Unlock()
	b.noteHour()
	outcomes, repeated, err := b.appendBatch(ctx, records)
	if err != nil {
		b.logRefused(len(batch), b.failIfCorrupt(err))
		b.lastRefusal.Store(&err)
		b.refuseBatch(batch, &b.Counts.Failed)
		b.tellFollowers(Change{Unsure: true})
		return
	}
	b.lastRefusal.Store(nil)
	b.noteExpired(batch, outcomes)
	b.Counts.Batches.Add(1)
	fresh := make([]entry, 0, len(batch))
	var reached storage.Seq
	for i, o := range outcomes {
		reached = max(reached, o.Seq)
		if o.Status == storage.Stored {
			fresh = append(fresh, entry{seq: o.Seq, json: batch[i].json})
			b.Counts.Bytes.Add(uint64(len(records[i].Signature) + len(records[i].Ciphertext)))
		}
	}
	for i, p := range batch {
		b.sendResult(p, b.countOutcome(p, outcomes[i], repeated))
	}
	b.publishEntries(ctx, fresh, b.addedBy(batch, outcomes), reached)
	b.tellFollowers(Change{Found: b.foundBy(batch, outcomes), Unsure: repeated})
}

// logRefusedEvery limits how often refused posts are logged. While a store is down
// hundreds may be refused in a second, and per-post timestamps would reveal when
// people post.
const logRefusedEvery = time.Minute

func (b *Board) logRefused(n int, err error) {
	b.refusedCount += n
	if time.Since(b.refusedLogged) < logRefusedEvery {
		return
	}
	b.log.Warn("posts are refused, because of the store", "count", b.refusedCount, "error", err)
	b.refusedCount, b.refusedLogged = 0, time.Now()
}

// errClockBehind is why the store refuses a post as expired: a post was born in the
// present hour.
var errClockBehind = errors.New("the store keeps nothing from before an hour that is still to come by the clock of this machine: if the clock is behind, set it; if it was ahead before, wait until that hour, or copy the store, since a copy takes posts at once (cwtch-relay storage copy)")

// noteExpired notes that the store has refused posts as expired. Their tokens are not
// spent.
func (b *Board) noteExpired(batch []*post, outcomes []storage.Outcome) {
	n := 0
	for i, o := range outcomes {
		if o.Status == storage.Expired && !batch[i].fromPeer {
			n++
		}
	}
	if n > 0 {
		b.logRefused(n, errClockBehind)
		b.lastRefusal.Store(&errClockBehind)
	}
}

// appendBatch writes the records to the store, again if need be until the time for
// posts is over, and reports whether it had to be repeated. It fails as well when
// what is stored may not be found again; posts that were stored and refused for that
// may be posted again.
func (b *Board) appendBatch(ctx context.Context, records []storage.Record) (outcomes []storage.Outcome, repeated bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PostTimeout)
	defer cancel()
	for ; ; repeated = true {
		if err := b.Problem(); err != nil {
			return nil, repeated, err
		}
		outcomes, err = b.store.Append(ctx, records)
		if err == nil {
			err = b.checkOutcomes(outcomes, len(records))
		}
		if err == nil {
			return outcomes, repeated, b.cfg.Check()
		}
		if !errors.Is(err, storage.ErrUnavailable) || ctx.Err() != nil {
			return nil, repeated, err
		}
		// The store has to be checked before anything is appended again. A refusal
		// now could be of posts that are stored, so a check that fails is repeated
		// too; calls of the store wait until it is back, so this does not spin. What
		// the cut attempt may have stored is not shown yet, since its posters have
		// no results.
		if err := b.retryUntil(ctx, func() error { _, err := b.checkStore(ctx); return err }); err != nil {
			return nil, true, err
		}
	}
}

// checkOutcomes refuses outcomes that contradict the log as it is known.
func (b *Board) checkOutcomes(outcomes []storage.Outcome, want int) error {
	if len(outcomes) != want {
		return fmt.Errorf("%w: %d outcomes for %d records", storage.ErrCorrupt, len(outcomes), want)
	}
	last := b.tail.lastSeq()
	for _, o := range outcomes {
		if o.Status != storage.Stored {
			continue
		}
		if o.Seq <= last {
			err := fmt.Errorf("%w: it stored an envelope at %d after one at %d", storage.ErrCorrupt, o.Seq, last)
			b.giveUp(err)
			return err
		}
		last = o.Seq
	}
	return nil
}

// countOutcome counts the outcome of a post and returns what its poster is told.
func (b *Board) countOutcome(p *post, o storage.Outcome, repeated bool) Result {
	switch {
	case p.fromPeer:
		if o.Status == storage.Stored {
			b.Counts.Stored.Add(1)
			b.Counts.FromPeers.Add(1)
		}
		return Result{outcome: o.Status}
	case o.Status == storage.Stored:
		b.Counts.Stored.Add(1)
		return Result{Success: true}
	case o.Status == storage.Duplicate:
		b.Counts.Duplicate.Add(1)
		return Result{Success: true, Earlier: o.Seq}
	case o.Status == storage.Replayed && repeated:
		// Our own earlier attempt, which was cut before it could answer.
		b.Counts.Stored.Add(1)
		return Result{Success: true}
	case o.Status == storage.Conflict:
		b.Counts.Conflict.Add(1)
		return Result{}
	case o.Status == storage.Expired:
		b.Counts.Expired.Add(1)
		return Result{}
	}
	b.Counts.Spent.Add(1)
	return Result{}
}

// publishEntries makes the entries of a batch visible: as added to followers, as fresh to
// cursors. The log reaches at least to reached, and may hold more than the entries: after an
// append that was cut or refused though the store had done it, and where other relays have
// appended in between. That is read from the store. If reading fails, the next append or the
// next Reopened shows it.
func (b *Board) publishEntries(ctx context.Context, fresh []entry, added []storage.Entry, reached storage.Seq) {
	last := b.tail.lastSeq()
	if followsWithoutGap(fresh, last) && reached <= last+storage.Seq(len(fresh)) {
		b.tellFollowers(Change{Added: added})
		b.tail.appendEntries(fresh)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PostTimeout)
	defer cancel()
	if b.publishAfterGap(ctx, fresh, added, reached) {
		return
	}
	if err := b.resyncTail(ctx); err != nil {
		b.log.Warn("new envelopes are stored but cannot be shown yet", "error", err)
	}
}

// publishAfterGap reads what other relays have appended before the entries, and then shows the
// entries, which need not be read again. It reports whether it could.
func (b *Board) publishAfterGap(ctx context.Context, fresh []entry, added []storage.Entry, reached storage.Seq) bool {
	n := len(fresh)
	if n == 0 || reached != fresh[n-1].seq || !followsWithoutGap(fresh, fresh[0].seq-1) {
		return false
	}
	if err := b.catchUp(ctx, fresh[0].seq-1); err != nil || b.tail.lastSeq() != fresh[0].seq-1 {
		return false
	}
	b.tellFollowers(Change{Added: added})
	b.tail.appendEntries(fresh)
	return true
}

// followsWithoutGap reports whether the entries follow last without a gap.
func followsWithoutGap(es []entry, last storage.Seq) bool {
	return len(es) == 0 || es[0].seq == last+1 && es[len(es)-1].seq == last+storage.Seq(len(es))
}
