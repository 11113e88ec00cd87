package transfer

import (
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// batchesPerMark is how many batches may have to be appended again after a copy was
// interrupted. Writing the marker costs two flushes, about as much as a batch.
const batchesPerMark = 8

var errGrown = errors.New("the source was written to while it was copied: see to it that nobody uses it, and copy again")

// copyFloor raises the floor of the destination to that of the source, before anything
// is appended. A floor that is still to come, because a clock was ahead or a plugin has
// invented it, becomes the present hour: a store takes no posts before its floor. If an earlier call has copied what the source has pruned since, the
// destination hides it from then on, and its relay removes it.
func (c *copier) copyFloor(ctx context.Context) error {
	if c.pruner == nil {
		return nil
	}
	if _, err := c.pruner.Prune(ctx, storage.PruneRequest{Floor: c.floor}); err != nil {
		return fmt.Errorf("raise the floor of the destination: %w", err)
	}
	return nil
}

// compareFloors checks that the stores, which hold the same, also have the same floor. A
// copy that was finished before gets it only now: nobody knew that it is a copy.
func (c *copier) compareFloors(ctx context.Context) error {
	source, err := c.from.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the source: %w", err)
	}
	if source.Floor != c.info.Floor {
		return errGrown
	}
	if c.finished {
		if err := c.copyFloor(ctx); err != nil {
			return err
		}
	}
	target, err := c.to.Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the destination: %w", err)
	}
	if target.Floor < c.floor {
		return fmt.Errorf("the floor of the copy is hour %d, and not %d: %w", target.Floor, c.floor, storage.ErrCorrupt)
	}
	return nil
}

// copyEnvelopes appends the entries of the source from the position in the marker on.
// What was appended after the marker was written is appended again, and must be a
// duplicate in the same place.
func (c *copier) copyEnvelopes(ctx context.Context, source *sourceReader) error {
	var batch []storage.Record
	size, batches := 0, 0
	read := c.marker.Read
	flush := func() error {
		if err := c.appendBatch(ctx, batch); err != nil {
			return err
		}
		c.marker.Read, c.marker.Written = read, c.marker.Written+storage.Seq(len(batch))
		c.progress(Progress{Envelopes, uint64(c.marker.Written), c.info.Count})
		batch, size = batch[:0], 0
		if batches++; batches%batchesPerMark == 0 {
			return c.marker.writeDurably()
		}
		return nil
	}
	for e, err := range source.entries(ctx, c.marker.Read) {
		if err != nil {
			return fmt.Errorf("read the source: %w", err)
		}
		if e.Seq > c.info.Last && !c.salvage {
			return errGrown
		}
		n := len(e.Signature) + len(e.Ciphertext)
		if len(batch) == storage.MaxBatch || size+n > storage.MaxBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, storage.Record{ID: e.ID, Born: e.Born, Signature: e.Signature, Ciphertext: e.Ciphertext}), size+n
		read = e.Seq
	}
	if len(batch) == 0 {
		return nil
	}
	return flush()
}

// appendBatch appends records, each of which must come or already be where it belongs.
func (c *copier) appendBatch(ctx context.Context, batch []storage.Record) error {
	outcomes, err := c.to.Append(ctx, batch)
	if err != nil {
		return fmt.Errorf("append to the destination: %w", err)
	}
	if len(outcomes) != len(batch) {
		return fmt.Errorf("append to the destination: %d outcomes for %d envelopes: %w", len(outcomes), len(batch), storage.ErrCorrupt)
	}
	for i, o := range outcomes {
		want := c.marker.Written + storage.Seq(i+1)
		if o.Seq != want || o.Status != storage.Stored && o.Status != storage.Duplicate {
			return fmt.Errorf("append to the destination: envelope %d of the copy is %v at %d: copy again into an empty store", want, o.Status, o.Seq)
		}
	}
	return nil
}

// copyTokens copies the whole ledger, because spending a token again changes nothing
// and costs little.
func (c *copier) copyTokens(ctx context.Context, source *sourceReader) error {
	done := uint64(0)
	for page, err := range source.ledgerPages(ctx) {
		if err != nil {
			return fmt.Errorf("read the spent tokens of the source: %w", err)
		}
		if err := c.target.Spend(ctx, page); err != nil {
			return fmt.Errorf("record spent tokens in the destination: %w", err)
		}
		done += uint64(len(page))
		c.progress(Progress{Tokens, done, c.info.Tokens})
	}
	return nil
}
