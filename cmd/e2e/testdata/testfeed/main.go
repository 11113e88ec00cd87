// Command testfeed is a peersync plugin for tests. It sends each peer the whole log from the
// beginning, and then what comes.
package main

import (
	"context"
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() {
	plugin.Serve(plugin.Plugin{
		Name:    "testfeed",
		Version: "0.0.1",
		Doc:     "Sends peers the whole log.",
		PeerSync: func(_ context.Context, cfg plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
			return &replicator{host: host, next: make(map[peersync.Peer]storage.Seq)}, nil
		},
	})
}

type replicator struct {
	host peersync.HostServices
	next map[peersync.Peer]storage.Seq // to be sent to each peer that is up
}

func (r *replicator) Handle(ctx context.Context, events []peersync.Event) error {
	for _, e := range events {
		switch e := e.(type) {
		case peersync.PeerUp:
			r.next[e.Peer] = 1
		case peersync.PeerDown:
			delete(r.next, e.Peer)
		}
	}
	for p := range r.next {
		if err := r.feed(ctx, p); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// feed sends a peer what follows in the log, as far as it can be sent now.
func (r *replicator) feed(ctx context.Context, p peersync.Peer) error {
	for {
		page, err := r.host.Log(ctx, peersync.LogRequest{From: r.next[p]})
		if err != nil || len(page.Entries) == 0 {
			return nil // another Tick comes
		}
		ids := make([]storage.ID, len(page.Entries))
		for i, e := range page.Entries {
			ids[i] = e.ID
		}
		send := r.host.Offer
		if len(ids) == 1 && page.Entries[0].Via == 0 {
			send = r.host.Push
		}
		switch err := send(ctx, p, ids); {
		case errors.Is(err, peersync.ErrBusy), errors.Is(err, peersync.ErrPeerUnknown):
			return nil
		case err != nil:
			return err
		}
		r.next[p] = page.Entries[len(ids)-1].Seq + 1
	}
}

func (r *replicator) Close() error { return nil }
