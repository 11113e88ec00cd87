package peersynctest_test

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// asker is a replicator that only requests. Every minute, and when they meet, twins tell each
// other all keys; each requests what it lacks, from one peer at a time.
type asker struct {
	host    peersync.HostServices
	now     time.Duration
	tellAt  map[peersync.Peer]time.Duration // of the peers that are up
	waiting map[storage.ID]peersync.Peer    // what was requested
}

const (
	tellTime = time.Minute
	keySize  = 4 + 32
)

func (a *asker) Handle(ctx context.Context, events []peersync.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range events {
		switch e := e.(type) {
		case peersync.Start:
			a.tellAt, a.waiting = make(map[peersync.Peer]time.Duration), make(map[storage.ID]peersync.Peer)
		case peersync.Tick:
			a.now = max(a.now, e.Now)
		case peersync.PeerUp:
			a.tellAt[e.Peer] = a.now
		case peersync.PeerDown:
			delete(a.tellAt, e.Peer)
		case peersync.Received:
			for _, o := range e.Outcomes {
				if a.waiting[o.ID] == e.Peer {
					delete(a.waiting, o.ID)
				}
			}
		}
	}
	for _, e := range events {
		if m, ok := e.(peersync.PeerMessage); ok {
			a.requestKeys(ctx, m)
		}
	}
	var due []peersync.Peer
	for p, at := range a.tellAt {
		if at <= a.now {
			due = append(due, p)
		}
	}
	slices.Sort(due)
	for _, p := range due {
		a.tellKeys(ctx, p)
		a.tellAt[p] = a.now + tellTime
	}
	return ctx.Err()
}

// tellKeys tells a peer all keys.
func (a *asker) tellKeys(ctx context.Context, p peersync.Peer) {
	var in peersync.Range
	for {
		lists, err := a.host.Keys(ctx, []peersync.Range{in}, peersync.MaxIDs)
		if err != nil || len(lists[0]) == 0 {
			return
		}
		var m []byte
		for _, k := range lists[0] {
			m = append(binary.BigEndian.AppendUint32(m, uint32(k.Born)), k.ID[:]...)
		}
		if a.host.Send(ctx, p, m) != nil {
			return
		}
		in.Lo = lists[0][len(lists[0])-1].Next()
	}
}

// requestKeys requests keys of a message from the peer, unless another one was asked for them.
func (a *asker) requestKeys(ctx context.Context, m peersync.PeerMessage) {
	if _, up := a.tellAt[m.Peer]; !up || len(m.Data)%keySize != 0 || len(m.Data) > peersync.MaxIDs*keySize {
		return
	}
	var keys []peersync.Key
	for b := range slices.Chunk(m.Data, keySize) {
		k := peersync.Key{Born: storage.Hour(binary.BigEndian.Uint32(b)), ID: storage.ID(b[4:])}
		if _, asked := a.waiting[k.ID]; !asked {
			keys = append(keys, k)
		}
	}
	if len(keys) > 0 && a.host.Request(ctx, m.Peer, keys) == nil {
		for _, k := range keys {
			a.waiting[k.ID] = m.Peer
		}
	}
}

func (a *asker) Close() error { return nil }

// TestAskerPasses shows that a replicator that only requests keeps the claim.
func TestAskerPasses(t *testing.T) {
	p := plugin.Plugin{Name: "asker", Version: "1", PeerSync: func(_ context.Context, _ plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
		return &asker{host: host}, nil
	}}
	peersynctest.Run(t, peersynctest.Opener{
		Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
			return plugintest.Transports(tb, p)[0].OpenPeerSync(tb, dir, nil, host)
		},
		Converges: true,
	})
}
