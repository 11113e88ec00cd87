package board

import (
	"context"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Replicate appends envelopes that came from another relay, which has checked who pays for
// them, and returns when each is durable or refused. The caller has computed the ids and
// checked the hours. The board keeps the slices of the records.
//
// An envelope is [peersync.Stored]; [peersync.Known] if it was in the log, which then has the
// earlier hour of both; [peersync.TooOld]; [peersync.Invalid] if no client could ever receive
// it; or [peersync.Lost] if it was not stored for want of room, or because of the store.
func (b *Board) Replicate(ctx context.Context, records []storage.Record) []peersync.OutcomeStatus {
	statuses := make([]peersync.OutcomeStatus, len(records))
	now := time.Now()
	var wg sync.WaitGroup
	for i, r := range records {
		statuses[i] = peersync.Lost
		size := wire.EnvelopeSize(len(r.Ciphertext), len(r.Signature))
		if len(r.Signature) == 0 || b.cfg.MaxJSON > 0 && size > b.cfg.MaxJSON {
			statuses[i] = peersync.Invalid
			continue
		}
		if b.Err() != nil || b.NoRoom() != nil {
			continue
		}
		r.Nullifier = nil
		env := wire.Envelope{Ciphertext: r.Ciphertext, Signature: r.Signature}
		wg.Add(1)
		p := &post{record: r, json: env.AppendJSON(make([]byte, 0, size)), since: now, fromPeer: true, done: func(res Result) {
			statuses[i] = arrivalOf(res.outcome)
			wg.Done()
		}}
		if err := b.putReplicated(ctx, p); err != nil {
			wg.Done()
		}
	}
	wg.Wait()
	return statuses
}

func (b *Board) putReplicated(ctx context.Context, p *post) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PostTimeout)
	defer cancel()
	return b.queue.putPost(ctx, p)
}

func arrivalOf(s storage.OutcomeStatus) peersync.OutcomeStatus {
	switch s {
	case storage.Stored:
		return peersync.Stored
	case storage.Duplicate:
		return peersync.Known
	case storage.Expired:
		return peersync.TooOld
	}
	return peersync.Lost
}
