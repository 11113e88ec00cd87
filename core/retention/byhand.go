package retention

import (
	"context"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// CompactStore compacts a store that no [Keeper] keeps, without a rest between the steps, and
// returns when that is done. After each step it calls progress with the bytes written so far.
// The store is on the disk d.
func CompactStore(ctx context.Context, store storage.Store, r limits.Retention, d Disk, progress func(written uint64)) (Compaction, error) {
	compactor, ok := storage.As[storage.Compactor](store)
	if !ok {
		return Compaction{}, errNoCompactor
	}
	info, err := store.Info(ctx)
	if err != nil {
		return Compaction{}, fmt.Errorf("look at the store: %w", err)
	}
	c := newCompaction(info, compactionRoom(r, d))
	for more := true; more; progress(c.Moved) {
		if more, err = c.takeStep(ctx, compactor, c.room, storage.MaxCompact); err != nil {
			return c.Compaction, err
		}
	}
	if info, err = store.Info(ctx); err != nil {
		return c.Compaction, fmt.Errorf("look at the store: %w", err)
	}
	c.After = info.Bytes
	return c.Compaction, nil
}
