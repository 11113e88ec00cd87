// Command peersync-nop is a peer-sync plugin that synchronizes nothing. It follows
// the log of the relay and reports its position. Read it, and copy it to begin a
// plugin that does more.
package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() { plugin.Serve(nop) }

var nop = plugin.Plugin{
	Name:    "nop",
	Version: "0.1.0",
	Doc:     "Follows the log and synchronizes nothing.",
	PeerSync: func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
		return &replicator{host: host}, nil
	},
}

// replicator follows the log of an epoch.
type replicator struct {
	host   peersync.HostServices
	epoch  storage.Epoch
	seen   storage.Seq
	floor  storage.Hour // the relay keeps nothing from before it, and takes nothing
	told   storage.Hour // the floor when the operator was last told of it
	loaded bool         // epoch and seen have been loaded from the cursor
	behind bool         // the log may have more entries
}

// cursor is the name under which the replicator remembers epoch and seen.
const cursor = "log"

// Handle reads on whenever the log has grown, or at the next event if the last
// attempt failed. It does not return errors of the host, except that the context has
// ended: then nobody waits for this Handle any more.
func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e := e.(type) {
		case peersync.Start:
			r.behind, r.floor = true, e.State.Floor
		case peersync.LogAdvanced:
			r.behind, r.floor = true, e.State.Floor
		}
	}
	if r.behind && ctx.Err() == nil {
		more, err := r.readLog(ctx)
		r.behind = more || err != nil
		switch {
		case more:
			_ = r.host.Wake(ctx, 0) // without it, the next event continues
		case r.behind && ctx.Err() == nil:
			r.reportToOperator(ctx, fmt.Sprintf("waits after entry %d: the relay could not answer", r.seen))
		}
	}
	return ctx.Err()
}

// maxPages is how many pages of the log one Handle reads. The relay waits only two minutes
// for it, and a log may be long.
const maxPages = 16

// readLog reads on in the log. It reports whether there may be more.
func (r *replicator) readLog(ctx context.Context) (more bool, err error) {
	if err := r.loadCursor(ctx); err != nil {
		return false, err
	}
	epoch, seen := r.epoch, r.seen
	for range maxPages {
		page, err := r.host.Log(ctx, peersync.LogRequest{From: r.seen + 1})
		if err != nil {
			return false, err
		}
		more = len(page.Entries) > 0 || page.Epoch != r.epoch
		if page.Epoch != r.epoch { // another store: begin at its start
			r.epoch, r.seen = page.Epoch, 0
			continue
		}
		if !more {
			break
		}
		// A real plugin would tell its peers about the entries here.
		r.seen = page.Entries[len(page.Entries)-1].Seq
	}
	if r.epoch == epoch && r.seen == seen && r.floor == r.told {
		return more, nil
	}
	r.told = r.floor
	summary := fmt.Sprintf("has seen the log up to entry %d", r.seen)
	if r.floor > 0 { // a real plugin would not ask for what was born before
		summary += fmt.Sprintf(", of which nothing from before hour %d is kept", r.floor)
	}
	r.reportToOperator(ctx, summary)
	return more, r.host.Save(ctx, peersync.Cursor{Name: cursor, Value: binary.BigEndian.AppendUint64(r.epoch[:], uint64(r.seen))})
}

// loadCursor restores the position of the replicator before this one.
func (r *replicator) loadCursor(ctx context.Context) error {
	if r.loaded {
		return nil
	}
	value, err := r.host.Load(ctx, cursor)
	if err != nil {
		return err
	}
	if len(value) == len(r.epoch)+8 {
		r.seen = storage.Seq(binary.BigEndian.Uint64(value[copy(r.epoch[:], value):]))
	}
	r.loaded = true
	return nil
}

// reportToOperator ignores errors: a lost report does no harm.
func (r *replicator) reportToOperator(ctx context.Context, summary string) {
	_ = r.host.Report(ctx, peersync.Report{Summary: summary})
}

func (r *replicator) Close() error { return nil }
