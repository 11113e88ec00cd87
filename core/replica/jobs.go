package replica

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxJobs is how many calls of the store are under way for peers at a time.
const maxJobs = 4

// errNoIndex is why there are no links with some stores.
var errNoIndex = errors.New("the store does not find envelopes by their ids, so it cannot exchange any")

// errOtherEntries is the fault of a store.
var errOtherEntries = errors.New("the store returns other envelopes than it was asked for, or in another order")

// runJob does a job for the engine and passes its result.
func (r *Replica) runJob(job exchange.Job) {
	result := r.doJob(r.workCtx, job)
	r.lockEngine()
	defer r.unlockEngine()
	r.jobs--
	r.engine.Done(job, result)
}

// fetchKept does a job at once if it only fetches envelopes that are in memory, and reports whether it
// did: no other goroutine is needed for that. The caller has the engine.
func (r *Replica) fetchKept(job exchange.Job) bool {
	if _, ok := storage.As[storage.Index](r.store); !ok || job.Kind != exchange.Fetch {
		return false
	}
	records, unread := r.findKept(job.IDs)
	if len(unread) > 0 {
		return false
	}
	result := exchange.Result{Records: make([]storage.Record, len(job.IDs))}
	for i, id := range job.IDs {
		result.Records[i] = records[id]
	}
	r.engine.Done(job, result)
	if l := r.links[job.Peer]; l != nil {
		l.signalWriter()
	}
	signal(r.news)
	return true
}

func (r *Replica) doJob(ctx context.Context, job exchange.Job) (result exchange.Result) {
	switch job.Kind {
	case exchange.Look:
		result.Found, result.Err = r.lookUp(ctx, job.IDs)
	case exchange.Fetch:
		result.Records, result.Err = r.fetchRecords(ctx, job.IDs)
	case exchange.Store:
		result.Outcomes, result.Err = r.storeRecords(ctx, job.Peer, job.Records)
	case exchange.Lower:
		result.Err = r.lowerKeys(ctx, job.Keys)
	}
	return result
}

// getEntries calls do with the entries of the log that have the ids, once for each.
func getEntries(ctx context.Context, index storage.Index, ids []storage.ID, do func(storage.Entry)) error {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b storage.ID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	for len(ids) > 0 {
		asked := ids[:min(len(ids), storage.MaxGet)]
		call, cancel := context.WithTimeout(ctx, pageTimeout)
		entries, err := index.Get(call, asked)
		cancel()
		if err != nil {
			return err
		}
		n := 0 // ids that were answered
		for _, e := range entries {
			at := slices.Index(asked[n:], e.ID)
			if at < 0 {
				return errOtherEntries
			}
			n += at + 1
			do(e)
		}
		if n == 0 { // behind the last entry, the answer may have been full
			n = len(asked)
		}
		ids = ids[n:]
	}
	return nil
}

// lookUp finds out which envelopes are in the log.
func (r *Replica) lookUp(ctx context.Context, ids []storage.ID) ([]exchange.Found, error) {
	index, ok := storage.As[storage.Index](r.store)
	if !ok {
		return nil, errNoIndex
	}
	found := make([]exchange.Found, len(ids))
	var unknown []storage.ID
	for i, id := range ids {
		if f := r.recent.find(id); f.held {
			found[i] = exchange.Found{Held: true, Born: f.born, Size: f.size}
		} else {
			unknown = append(unknown, id)
		}
	}
	stored := make(map[storage.ID]exchange.Found)
	err := getEntries(ctx, index, unknown, func(e storage.Entry) {
		f := exchange.Found{Held: true, Born: e.Born, Size: uint32(len(e.Signature) + len(e.Ciphertext))}
		stored[e.ID] = f
		r.recent.note(e.ID, func(known *facts) { known.born, known.size, known.held = f.Born, f.Size, true })
	})
	for i, id := range ids {
		if !found[i].Held {
			found[i] = stored[id]
		}
	}
	return found, err
}

// fetchRecords reads envelopes for a peer.
func (r *Replica) fetchRecords(ctx context.Context, ids []storage.ID) (records []storage.Record, err error) {
	index, ok := storage.As[storage.Index](r.store)
	if !ok {
		return nil, errNoIndex
	}
	stored, unread := r.findKept(ids)
	err = getEntries(ctx, index, unread, func(e storage.Entry) { stored[e.ID] = recordOf(e) })
	for _, id := range ids {
		if rec, held := stored[id]; held {
			records = append(records, rec)
		}
	}
	return records, err
}

// findKept returns the envelopes that are in memory, and the ids of the others.
func (r *Replica) findKept(ids []storage.ID) (kept map[storage.ID]storage.Record, unread []storage.ID) {
	kept = make(map[storage.ID]storage.Record, len(ids))
	for _, id := range ids {
		rec, ok := r.bodies.find(id)
		if !ok {
			unread = append(unread, id)
			continue
		}
		if f := r.recent.find(id); f.held {
			rec.Born = min(rec.Born, f.born) // which was lowered since
		}
		kept[id] = rec
	}
	return kept, unread
}

// storeRecords has the board store envelopes that came from a peer.
func (r *Replica) storeRecords(ctx context.Context, via peersync.Peer, records []storage.Record) ([]storage.OutcomeStatus, error) {
	b, err := r.board()
	if err != nil {
		return nil, err
	}
	for _, rec := range records { // before anybody reads it in the log
		r.recent.note(rec.ID, func(f *facts) {
			if !f.held {
				f.via = via
			}
		})
	}
	outcomes := make([]storage.OutcomeStatus, len(records)) // 0 is lost
	for i, status := range b.Replicate(ctx, records) {
		switch status {
		case peersync.Stored:
			outcomes[i] = storage.Stored
		case peersync.Known:
			outcomes[i] = storage.Duplicate
		case peersync.TooOld:
			outcomes[i] = storage.Expired
		case peersync.Invalid:
			outcomes[i] = storage.Conflict
		}
		if status != peersync.Stored {
			r.recent.note(records[i].ID, func(f *facts) {
				if !f.held {
					f.via = 0
				}
			})
		}
	}
	return outcomes, nil
}

// lowerKeys has the store lower the hours of envelopes that it has, as far as it does.
func (r *Replica) lowerKeys(ctx context.Context, keys []storage.Key) error {
	b, err := r.board()
	if err != nil {
		return err
	}
	born := make(map[storage.ID]storage.Hour, len(keys))
	ids := make([]storage.ID, len(keys))
	for i, k := range keys {
		born[k.ID], ids[i] = k.Born, k.ID
	}
	records, err := r.fetchRecords(ctx, ids)
	if err != nil || len(records) == 0 {
		return err
	}
	for i := range records {
		records[i].Born = min(records[i].Born, born[records[i].ID])
		r.recent.note(records[i].ID, func(f *facts) { f.held = false }) // its hour is looked up again
	}
	b.Replicate(ctx, records)
	return nil
}
