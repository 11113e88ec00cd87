// Package verify checks a whole store for damage. It serves an operator whose store is not in
// use, and changes nothing.
//
// # What is verified
//
// A store that implements [storage.Checker] verifies itself, down to its pages and indexes.
// After that, everything that any store can be asked must go together:
//
//   - The numbers of the log ascend without gaps, as far as nothing was pruned, and each
//     entry has the id of its bytes.
//   - Find, Get, Keys and Hours answer what the log says.
//   - Info counts what is there.
//   - The ledger ascends, and while nothing was pruned, the log has each envelope that a
//     token in it has paid for.
//
// [Report].Unverified names what could not be verified.
//
// # Cost
//
// Each envelope is read twice, and Find is called once for it. Memory is bounded by a few
// pages, some 20 bytes for each envelope and some 100 for each of at most 131072 hours.
package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// MaxFaults is how many faults a [Report] holds.
const MaxFaults = 256

// maxStill is how many parts of its own check a store may verify without getting further.
const maxStill = 100

// maxParts is how many parts the own check of a store may have. A store of a tebibyte has as
// many with parts of one mebibyte.
const maxParts = 1 << 20

// Phase is a part of the work. The phases follow each other in this order.
type Phase int

const (
	Bytes     Phase = iota // that the store verifies itself
	Envelopes              // of the log
	Tokens                 // of the ledger
)

// Progress says how far a check is.
type Progress struct {
	Phase       Phase
	Done, Total uint64 // Total is what the store says, and may be wrong
}

// Report says what a check has found.
type Report struct {
	// Envelopes and Tokens could be read, and are whole by themselves.
	Envelopes, Tokens uint64
	// Faults are the first MaxFaults, and MoreFaults counts the others.
	Faults     []storage.Fault
	MoreFaults uint64
	// Missing are the numbers that are missing from the log of a store that has pruned
	// nothing, and MissingEnvelopes how many envelopes a store says it has and does not show.
	Missing          scan.Gaps
	MissingEnvelopes uint64
	MissingTokens    uint64
	Unverified       []string // what could not be verified, and why
}

// IsWhole reports whether no fault was found.
func (r *Report) IsWhole() bool { return len(r.Faults) == 0 }

// CountFaults returns how many faults were found.
func (r *Report) CountFaults() uint64 { return uint64(len(r.Faults)) + r.MoreFaults }

func (r *Report) addFault(place, text string) {
	if len(r.Faults) == MaxFaults {
		r.MoreFaults++
		return
	}
	r.Faults = append(r.Faults, storage.Fault{Place: place, Text: text})
}

// checker is a check that is under way.
type checker struct {
	store    storage.Store
	info     storage.Info
	progress func(Progress)
	report   Report

	index  storage.Index  // nil if the store has none
	pruner storage.Pruner // nil if the store cannot prune
	log    logState
}

// Store checks a store that nobody else uses. The error says why the check could not be
// finished; damage is no error.
func Store(ctx context.Context, store storage.Store, progress func(Progress)) (Report, error) {
	c := &checker{store: store, progress: progress}
	c.index, _ = storage.As[storage.Index](store)
	c.pruner, _ = storage.As[storage.Pruner](store)
	// The store is asked what it holds after its own check: it may have to read all of itself
	// for that, which the check does in parts.
	for _, step := range []func(context.Context) error{c.checkBytes, c.readInfo, c.checkLog, c.checkHours, c.checkKeys, c.checkLedger} {
		if err := step(ctx); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

func (c *checker) readInfo(ctx context.Context) (err error) {
	if c.info, err = c.store.Info(ctx); err != nil {
		return fmt.Errorf("look at the store: %w", err)
	}
	return nil
}

// checkBytes has the store verify itself.
func (c *checker) checkBytes(ctx context.Context) error {
	self, ok := storage.As[storage.Checker](c.store)
	if !ok {
		c.report.Unverified = append(c.report.Unverified, "the files of the store, and whatever nobody has asked it for: its plugin cannot check them")
		return nil
	}
	var req storage.CheckRequest
	done, still := uint64(0), 0
	for range maxParts {
		part, err := self.Check(ctx, req)
		if err != nil {
			return c.noteFailure("the check of the store by its plugin", err)
		}
		for _, f := range part.Faults {
			c.report.addFault(f.Place, f.Text)
		}
		c.progress(Progress{Bytes, part.Done, part.Total})
		if len(part.Next) == 0 {
			return nil
		}
		if still++; part.Done > done {
			done, still = part.Done, 0
		}
		if still == maxStill || bytes.Equal(part.Next, req.After) {
			c.report.addFault("the check of the store by its plugin", fmt.Sprintf("does not get further than %d of %d bytes", part.Done, part.Total))
			return nil
		}
		req.After = part.Next
	}
	c.report.addFault("the check of the store by its plugin", fmt.Sprintf("is not finished after %d parts", maxParts))
	return nil
}

// noteFailure notes that a part of the store could not be read, which is a fault if that is
// because of damage. Any other error ends the check.
func (c *checker) noteFailure(place string, err error) error {
	if !errors.Is(err, storage.ErrCorrupt) {
		return fmt.Errorf("read %s: %w", place, err)
	}
	c.report.addFault(place, fmt.Sprintf("cannot be read to its end: %v", err))
	return nil
}

// checkLedger reads all spent tokens.
func (c *checker) checkLedger(ctx context.Context) error {
	ledger, ok := storage.As[storage.Ledger](c.store)
	if !ok {
		c.report.Unverified = append(c.report.Unverified, "the spent tokens: the plugin cannot list them")
		return nil
	}
	orphans := uint64(0)
	for page, err := range scan.LedgerPages(ctx, ledger) {
		if err != nil {
			if err := c.noteFailure("the list of spent tokens", err); err != nil {
				return err
			}
			break
		}
		for i := range page {
			if id := page[i].ID; id != (storage.ID{}) && !c.log.ids.Has(id) {
				orphans++
			}
		}
		c.report.Tokens += uint64(len(page))
		c.progress(Progress{Tokens, c.report.Tokens, c.info.Tokens})
	}
	if orphans > 0 && c.info.Floor == 0 {
		c.report.addFault("spent tokens", fmt.Sprintf("%d of them paid for envelopes that are not in the log", orphans))
	}
	if c.report.Tokens != c.info.Tokens {
		c.report.addFault("spent tokens", fmt.Sprintf("the store counts %d of them and lists %d", c.info.Tokens, c.report.Tokens))
		c.report.MissingTokens = c.info.Tokens - min(c.info.Tokens, c.report.Tokens)
	}
	return nil
}
