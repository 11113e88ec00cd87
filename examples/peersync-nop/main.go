// Command peersync-nop is a peer-sync plugin that synchronizes nothing: it follows
// the log of the relay and reports how far it is. It is here to be read, and to be
// the beginning of one that does more.
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

// replicator has seen the log of an epoch up to some entry.
type replicator struct {
	host   peersync.HostServices
	epoch  storage.Epoch
	seen   storage.Seq
	loaded bool // epoch and seen are what the cursor says, or newer
	behind bool // there is more in the log, as far as is known
}

// cursor is the name under which the replicator remembers epoch and seen.
const cursor = "log"

// Handle goes on reading the log whenever it is longer, and with the next event
// when the last attempt failed. Errors of the host are left for then, except for the
// end of the context: it says that nobody waits for this Handle any more.
func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e.(type) {
		case peersync.Start, peersync.LogAdvanced:
			r.behind = true
		}
	}
	if r.behind && ctx.Err() == nil {
		err := r.follow(ctx)
		r.behind = err != nil
		if r.behind && ctx.Err() == nil {
			r.report(ctx, fmt.Sprintf("waits after entry %d: the relay could not answer", r.seen))
		}
	}
	return ctx.Err()
}

// follow reads the log to its end.
func (r *replicator) follow(ctx context.Context) error {
	if err := r.load(ctx); err != nil {
		return err
	}
	epoch, seen := r.epoch, r.seen
	for {
		page, err := r.host.Log(ctx, peersync.LogRequest{From: r.seen + 1})
		if err != nil {
			return err
		}
		if page.Epoch != r.epoch { // another store: what was seen is no more
			r.epoch, r.seen = page.Epoch, 0
			continue
		}
		if len(page.Entries) == 0 {
			break
		}
		// Here a real one would tell its peers what there is.
		r.seen = page.Entries[len(page.Entries)-1].Seq
	}
	if r.epoch == epoch && r.seen == seen {
		return nil
	}
	r.report(ctx, fmt.Sprintf("has seen the log up to entry %d", r.seen))
	return r.host.Save(ctx, cursor, binary.BigEndian.AppendUint64(r.epoch[:], uint64(r.seen)))
}

// load fills in what the replicator before this one has seen.
func (r *replicator) load(ctx context.Context) error {
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

// report tells the operator, who can live without it.
func (r *replicator) report(ctx context.Context, summary string) {
	_ = r.host.Report(ctx, peersync.Report{Summary: summary})
}

func (r *replicator) Close() error { return nil }
