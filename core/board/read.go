package board

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/semaphore"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// maxReads is how many calls to the store are under way for readers at a
	// time. A page under way takes a few times its size in both processes, so a
	// thousand at once would take gigabytes.
	maxReads = 8
	// maxFinds is how many of them may be searches for a signature. A client
	// chooses the signature; when searches are slow, six places are left for pages.
	maxFinds = 2
)

// ErrReadTimeout means that a reader had to wait for its turn at the store, or
// for the answer of the store, for longer than [Config.ReadTimeout].
var ErrReadTimeout = errors.New("the store is too busy to be read")

// askStore makes one call to the store for a reader, once it has a slot of each kind.
func askStore[R any](ctx context.Context, b *Board, slots []*semaphore.Weighted, call func(context.Context) (R, error)) (r R, err error) {
	leave, err := b.acquireSlots(ctx, slots)
	if err != nil {
		return r, err
	}
	defer leave()
	limited, cancel := context.WithTimeout(ctx, b.cfg.ReadTimeout)
	defer cancel()
	r, err = call(limited)
	return r, asReadTimeout(ctx, limited, err)
}

// acquireSlots waits for a slot of each kind. leave gives them back.
func (b *Board) acquireSlots(ctx context.Context, slots []*semaphore.Weighted) (leave func(), err error) {
	limited, cancel := context.WithTimeout(ctx, b.cfg.ReadTimeout)
	defer cancel()
	for i, slot := range slots {
		if err := slot.Acquire(limited, 1); err != nil {
			releaseSlots(slots[:i])
			return nil, asReadTimeout(ctx, limited, err)
		}
	}
	return func() { releaseSlots(slots) }, nil
}

func releaseSlots(slots []*semaphore.Weighted) {
	for _, slot := range slots {
		slot.Release(1)
	}
}

// asReadTimeout makes err an ErrReadTimeout when limited has ended and ctx has not.
func asReadTimeout(ctx, limited context.Context, err error) error {
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", ErrReadTimeout, err)
	}
	return err
}

// retryOnce calls the store, and once more if it went away during the call. The second
// call waits until the store is back or ctx ends. It is for calls whose cost no client
// chooses: what a client chose may be what the store died of.
func retryOnce[R any](ctx context.Context, call func() (R, error)) (R, error) {
	r, err := call()
	if errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil {
		r, err = call()
	}
	return r, err
}

// readPage reads a page from the store. The log is known to reach end. The call may be
// repeated: a client chooses where the page begins, but its size is bounded.
func (b *Board) readPage(ctx context.Context, from, end storage.Seq, maxBytes int) ([]storage.Entry, error) {
	req := storage.LogRequest{
		From:     from,
		Max:      pageLength(from, end),
		MaxBytes: max(1, min(maxBytes/4*3, storage.PageBytes)), // JSON is a third longer
	}
	page, err := askStore(ctx, b, []*semaphore.Weighted{b.readSlots}, func(ctx context.Context) (storage.Page, error) {
		return retryOnce(ctx, func() (storage.Page, error) { return b.store.Log(ctx, req) })
	})
	if err == nil && page.Last < end {
		err = fmt.Errorf("%w: it ends at %d and had reached %d", storage.ErrCorrupt, page.Last, end)
	}
	if err != nil {
		return nil, fmt.Errorf("read the log from %d: %w", from, b.failIfCorrupt(err))
	}
	b.Counts.StorePages.Add(1)
	return entriesUpTo(end, page.Entries), nil
}

// readInfo asks the store to describe itself, for a reader. The call may be repeated,
// because no part of it comes from a client.
func (b *Board) readInfo(ctx context.Context) (storage.Info, error) {
	info, err := askStore(ctx, b, []*semaphore.Weighted{b.readSlots}, func(ctx context.Context) (storage.Info, error) {
		return retryOnce(ctx, func() (storage.Info, error) { return b.store.Info(ctx) })
	})
	return info, b.failIfCorrupt(err)
}

// Find returns the position of the first envelope with the given signature, or
// the beginning of the log if no envelope has it. An envelope that is stored and not
// shown yet is found right behind the end of the log. The search is not repeated,
// because a client chose the signature.
//
// If clients may roam, the position is that of an earlier envelope; see [Board.SetRoaming].
func (b *Board) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if err := b.Err(); err != nil {
		return 0, err
	}
	if len(signature) > 0 {
		seq, err := askStore(ctx, b, []*semaphore.Weighted{b.findSlots, b.readSlots}, func(ctx context.Context) (storage.Seq, error) {
			return b.store.Find(ctx, signature)
		})
		if err == nil {
			start, err := b.findOverlap(ctx, min(seq, b.tail.lastSeq()+1))
			if err != nil || start > 0 {
				return start, err
			}
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrTooLarge) {
			return 0, fmt.Errorf("find the last commit: %w", b.failIfCorrupt(err))
		}
	}
	info, err := b.readInfo(ctx)
	if err != nil {
		return 0, fmt.Errorf("find the beginning of the log: %w", err)
	}
	return min(max(info.First, 1), b.tail.lastSeq()+1), nil
}

// countEntries returns how many entries there are from a position to end. If the store
// has a gap anywhere, it counts them page by page, and a reader asks for the same
// pages again afterwards.
func (b *Board) countEntries(ctx context.Context, from, end storage.Seq) (n uint64, err error) {
	if from > end || b.tail.holdsSeq(from) {
		return seqDistance(from, end), nil
	}
	info, err := b.readInfo(ctx)
	if err != nil {
		return 0, fmt.Errorf("count the envelopes of a replay: %w", err)
	}
	if info.Count == seqDistance(info.First, info.Last) && info.Last >= end {
		return seqDistance(max(from, info.First), end), nil
	}
	for from <= end && !b.tail.holdsSeq(from) {
		page, err := b.readPage(ctx, from, end, 2*storage.PageBytes)
		if err != nil {
			return 0, err
		}
		if len(page) == 0 {
			return n, nil // what was left has been pruned
		}
		n += uint64(len(page))
		from = page[len(page)-1].Seq + 1
	}
	return n + seqDistance(from, end), nil
}

// seqDistance returns how many positions there are from one to another, both included.
func seqDistance(from, end storage.Seq) uint64 {
	if from > end {
		return 0
	}
	return uint64(end-from) + 1
}

// pageLength returns how many entries a page from one position to another may have.
func pageLength(from, end storage.Seq) int { return int(min(seqDistance(from, end), storage.MaxPage)) }

// entriesUpTo returns the entries that are not beyond end. A page may reach further
// where entries were pruned, and what is there may not be durable yet.
func entriesUpTo(end storage.Seq, entries []storage.Entry) []storage.Entry {
	n, _ := slices.BinarySearchFunc(entries, end+1, func(e storage.Entry, seq storage.Seq) int {
		return cmp.Compare(e.Seq, seq)
	})
	return entries[:n]
}
