// Package transfer copies what one store holds into another. It serves the operator
// who moves a server to another storage plugin or to another disk, and the start of a
// server, which must not use half a copy.
//
// # What is copied
//
// All that a relay has promised to keep is copied: the envelopes, in the order of the
// log, the spent tokens, with and without their envelopes, and the floor. Sequence
// numbers are not copied. The destination counts from 1 without gaps and has an epoch of its own,
// which tells those who remember numbers that they are no longer valid. The source is
// only read.
//
// # Proof
//
// At the end both stores are read once more. The copy is finished when they have the
// same [Digest].
//
// # Damage
//
// A copy of a damaged store ends with an error. With Config.Salvage it holds what is whole, in
// the same order, and [Result] says what is missing. The proof is the same: the destination
// holds all that can be read of the source and is whole. A spent token whose envelope is
// lost stays spent.
//
// # Interruptions
//
// A copy may end at any moment, by an error, a signal or a power cut. The next copy
// between the same two stores goes on where it stopped. Until it is finished, a marker
// tells the destination from a store that is in use. The marker is a file that is there
// before the first envelope is written; see [CheckFinished]. A destination that is
// neither empty nor marked is refused, unless it holds just what the source holds: then
// the copy was finished before.
//
// Memory is bounded by a batch and a few pages, whatever the size of the stores.
package transfer

import (
	"context"
	"fmt"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Config says what to copy.
type Config struct {
	// From and To are both a [storage.Ledger]. Nobody else uses them during the copy.
	From, To storage.Store
	// Salvage copies what is whole of a source that may be damaged, and was opened for
	// inspection; see [storage.Checker].
	Salvage bool
	// Dir is the directory of the marker. It stays with the destination, and is not the
	// directory of its plugin.
	Dir string
	// Progress, where set, is called after each batch, by the goroutine of Copy.
	Progress func(Progress)
}

// Phase is a part of a copy. The phases follow each other in this order.
type Phase int

const (
	Envelopes Phase = iota
	Tokens
	Comparison // of the envelopes and tokens of both stores
)

// Progress says how far a copy is.
type Progress struct {
	Phase       Phase
	Done, Total uint64 // envelopes or tokens, or both in Comparison
}

// Result is a finished copy.
type Result struct {
	Envelopes, Tokens uint64
	Digest            Digest        // of either store
	Epoch             storage.Epoch // of the destination
	Resumed           bool          // an earlier call had begun or finished it
	Missing           Missing       // of a salvage
}

// copier is a copy that is under way.
type copier struct {
	from, to       storage.Store
	source, target storage.Ledger
	pruner         storage.Pruner // of the destination; nil if the source has no floor
	marker         marker
	info           storage.Info // of the source when the copy began
	floor          storage.Hour // of the copy
	finished       bool         // by an earlier call, if the comparison confirms it
	salvage        bool
	progress       func(Progress)
}

// Copy copies From into To. When it returns an error, the destination is unfinished,
// or unchanged if it was refused.
func Copy(ctx context.Context, cfg Config) (Result, error) {
	c := &copier{from: cfg.From, to: cfg.To, salvage: cfg.Salvage, progress: cfg.Progress}
	if c.progress == nil {
		c.progress = func(Progress) {}
	}
	resumed, err := c.beginCopy(ctx, cfg.Dir)
	if err != nil {
		return Result{}, err
	}
	if !c.finished {
		if err := c.copyFloor(ctx); err != nil {
			return Result{}, err
		}
		source := c.newReader()
		if err := c.copyEnvelopes(ctx, source); err != nil {
			return Result{}, err
		}
		if err := c.copyTokens(ctx, source); err != nil {
			return Result{}, err
		}
	}
	sum, missing, err := c.compareStores(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := c.compareFloors(ctx); err != nil {
		return Result{}, err
	}
	if !c.finished {
		if err := c.marker.finishCopy(); err != nil {
			return Result{}, err
		}
	}
	return Result{
		Envelopes: sum.entries, Tokens: sum.tokens, Digest: sum.digest, Epoch: c.marker.epoch, Resumed: resumed, Missing: missing,
	}, nil
}

// beginCopy checks both stores, and finds or writes the marker.
func (c *copier) beginCopy(ctx context.Context, dir string) (resumed bool, err error) {
	var ok bool
	if c.source, ok = storage.As[storage.Ledger](c.from); !ok {
		return false, fmt.Errorf("the plugin of the source cannot list spent tokens, without which each could be spent once more")
	}
	if c.target, ok = storage.As[storage.Ledger](c.to); !ok {
		return false, fmt.Errorf("the plugin of the destination cannot take spent tokens over, without which each could be spent once more")
	}
	if c.info, err = c.from.Info(ctx); err != nil {
		return false, fmt.Errorf("look at the source: %w", err)
	}
	target, err := c.to.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("look at the destination: %w", err)
	}
	c.floor = min(c.info.Floor, storage.HourOf(time.Now()))
	if c.info.Floor > 0 {
		if c.pruner, ok = storage.As[storage.Pruner](c.to); !ok {
			return false, fmt.Errorf("the source has pruned what is old, and the plugin of the destination cannot, so that it could come back: copy to a plugin that can prune")
		}
	}
	if c.info.Last == 0 && c.info.Tokens == 0 && !c.salvage { // what counts them may be lost
		return false, fmt.Errorf("the source is empty, and may have been made just now: is it the right one?")
	}
	if target.Epoch == c.info.Epoch {
		return false, fmt.Errorf("source and destination are one store, or one is a copy of the file of the other")
	}
	m, found, err := loadMarker(dir, target.Epoch)
	switch {
	case err != nil:
		return false, err
	case found && m.Source != c.info.Epoch.String():
		return false, fmt.Errorf("the destination is the unfinished copy of another store, with epoch %s: finish that one, or copy into an empty store", m.Source)
	case !found && !c.salvage && target.Count == c.info.Count && target.Tokens == c.info.Tokens,
		!found && c.salvage && (target.Last > 0 || target.Tokens > 0): // any part of the source may be all that is whole
		c.finished = true
	case !found && (target.Last > 0 || target.Tokens > 0):
		return false, fmt.Errorf("the destination holds %d envelopes and %d spent tokens already: copy into an empty store", target.Count, target.Tokens)
	case target.Floor > c.info.Floor:
		return false, fmt.Errorf("the destination has pruned what the source may keep: copy into an empty store")
	case !found:
		m.Source = c.info.Epoch.String()
		err = m.writeDurably()
	case c.salvage: // only a reader from the start knows what is there twice
		m.Read, m.Written = 0, 0
	}
	c.marker = m
	return found || c.finished, err
}
