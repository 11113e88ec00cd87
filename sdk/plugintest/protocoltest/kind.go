package protocoltest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync/peersynctest"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// kind makes the calls of a kind that the checks need.
type kind interface {
	// prepare sets the client. It comes before Configure.
	prepare(*host.Client)
	smallCall(context.Context) error
	// largeCall takes as long as any call may, and leaves something behind.
	largeCall(context.Context) error
	isUnavailable(error) bool
	// leaveMark leaves something in what is open. hasMark reports whether it is there. If
	// the kind cannot show that, both return errNoMark.
	leaveMark(context.Context) error
	hasMark(context.Context) (bool, error)
	// malformedCalls makes calls that no relay makes and returns their errors.
	malformedCalls(context.Context) map[string]error
	// secretCalls makes calls with secret bytes and returns the bytes.
	secretCalls(context.Context) [][]byte
	// holdCall begins a call that does not end before release, or returns errCannotHold.
	holdCall(context.Context) (heldCall, error)
}

// heldCall is a call under way.
type heldCall struct {
	release func()
	done    <-chan struct{}
}

var (
	errCannotHold = errors.New("no call of the plugin can be made to wait")
	errNoMark     = errors.New("the calls do not show what is open")
)

func newKind(k plugin.Kind) kind {
	switch k {
	case plugin.KindStorage:
		return &storageKind{}
	case plugin.KindStats:
		return &statsKind{epoch: stats.NewEpoch()}
	default:
		return &peersyncKind{}
	}
}

type storageKind struct {
	client *host.Client
	mu     sync.Mutex
	made   uint64
}

func (k *storageKind) prepare(c *host.Client) { k.client = c }

func (k *storageKind) smallCall(ctx context.Context) error {
	_, err := k.client.Storage().Info(ctx)
	return err
}

func (k *storageKind) largeCall(ctx context.Context) error {
	records := make([]storage.Record, 64)
	for i := range records {
		records[i] = k.newRecord(storage.MaxBatchBytes / 64 / 2)
	}
	_, err := k.client.Storage().Append(ctx, records)
	return err
}

func (k *storageKind) newRecord(size int) storage.Record {
	k.mu.Lock()
	k.made++
	sig := fmt.Appendf(nil, "%p %d", k, k.made)
	k.mu.Unlock()
	body := make([]byte, size)
	copy(body, sig)
	return storage.Record{ID: storage.NewID(sig, body), Born: 1, Signature: sig, Ciphertext: body}
}

func (k *storageKind) isUnavailable(err error) bool { return errors.Is(err, storage.ErrUnavailable) }

func (k *storageKind) leaveMark(ctx context.Context) error {
	_, err := k.client.Storage().Append(ctx, []storage.Record{k.newRecord(100)})
	return err
}

func (k *storageKind) hasMark(ctx context.Context) (bool, error) {
	info, err := k.client.Storage().Info(ctx)
	return info.Count > 0, err
}

func (k *storageKind) malformedCalls(ctx context.Context) map[string]error {
	out := make(map[string]error)
	client := pb.NewStorageClient(k.client.Conn())
	for what, r := range map[string]*pb.Record{
		"an id of 31 bytes":       {Id: make([]byte, 31), Signature: []byte("a")},
		"an id of 33 bytes":       {Id: make([]byte, 33), Signature: []byte("b")},
		"no id":                   {Signature: []byte("c")},
		"a nullifier of 31 bytes": {Id: make([]byte, 32), Signature: []byte("d"), Nullifier: make([]byte, 31)},
		"a nullifier of one byte": {Id: make([]byte, 32), Signature: []byte("e"), Nullifier: []byte{1}},
		"a nullifier of 33 bytes": {Id: make([]byte, 32), Signature: []byte("f"), Nullifier: make([]byte, 33)},
	} {
		_, out[what] = client.Append(ctx, &pb.AppendRequest{Records: []*pb.Record{r}})
	}
	if _, ok := storage.As[storage.Index](k.client.Storage()); ok {
		for what, size := range map[string]int{"no range": 0, "half a range": 36, "a range of 71 bytes": 71, "two ranges": 144} {
			_, out[what] = client.Keys(ctx, &pb.KeysRequest{Range: make([]byte, size)})
		}
		_, out["ids of 63 bytes"] = client.Get(ctx, &pb.GetRequest{Ids: make([]byte, 63)})
	}
	return out
}

// secretCalls stores secrets, repeats them, looks for missing ones, and has some refused.
func (k *storageKind) secretCalls(ctx context.Context) (out [][]byte) {
	secret := func(size int) []byte {
		b := make([]byte, size)
		rand.Read(b)
		out = append(out, b)
		return b
	}
	record := func(sig []byte) storage.Record {
		r := storage.Record{Born: 1, Signature: sig, Ciphertext: secret(100), Nullifier: (*storage.Nullifier)(secret(32))}
		r.ID = storage.NewID(r.Signature, r.Ciphertext)
		out = append(out, r.ID[:])
		return r
	}
	store, first := k.client.Storage(), record(secret(64))
	for _, r := range []storage.Record{first, first, record(first.Signature), {ID: first.ID, Signature: first.Signature, Ciphertext: secret(storage.MaxEnvelope + 1)}} {
		store.Append(ctx, []storage.Record{r}) //nolint:errcheck // some are refused
	}
	store.Find(ctx, first.Signature)               //nolint:errcheck // only the log of the plugin matters
	store.Find(ctx, secret(64))                    //nolint:errcheck // there is none
	store.Find(ctx, secret(storage.MaxEnvelope+1)) //nolint:errcheck // it is too long
	store.Log(ctx, storage.LogRequest{From: 1})    //nolint:errcheck // only the log of the plugin matters
	if i, ok := storage.As[storage.Index](store); ok {
		i.Keys(ctx, storage.KeysRequest{Range: storage.Range{Lo: storage.Key{ID: first.ID}}})         //nolint:errcheck // only the log of the plugin matters
		i.Get(ctx, []storage.ID{first.ID, storage.ID(secret(32))})                                    //nolint:errcheck // one is not there
		i.Get(ctx, slices.Repeat([]storage.ID{first.ID, storage.ID(secret(32))}, storage.MaxGet/2+1)) //nolint:errcheck // they are too many
	}
	if p, ok := storage.As[storage.Pruner](store); ok {
		p.Prune(ctx, storage.PruneRequest{Floor: 2})                   //nolint:errcheck // only the log of the plugin matters
		store.Append(ctx, []storage.Record{first, record(secret(64))}) //nolint:errcheck // the one is spent, the other expired
	}
	k.malformedCalls(ctx)
	return out
}

func (k *storageKind) holdCall(ctx context.Context) (heldCall, error) {
	w, ok := storage.As[storage.Watcher](k.client.Storage())
	if !ok {
		return heldCall{}, errCannotHold
	}
	info, err := k.client.Storage().Info(ctx)
	if err != nil {
		return heldCall{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, info.Last) //nolint:errcheck // it ends when it is released
	}()
	return heldCall{cancel, done}, nil
}

type statsKind struct {
	client *host.Client
	epoch  stats.Epoch
	mu     sync.Mutex
	seq    uint64
}

func (k *statsKind) prepare(c *host.Client) { k.client = c }

func (k *statsKind) smallCall(ctx context.Context) error { return k.client.Stats().ForceFlush(ctx) }

func (k *statsKind) largeCall(ctx context.Context) error {
	k.mu.Lock()
	k.seq++
	s := stats.Snapshot{Epoch: k.epoch, Seq: k.seq, Metrics: manyMetrics()}
	k.mu.Unlock()
	return k.client.Stats().Export(ctx, s)
}

func manyMetrics() (out []stats.Metric) {
	for i := range 64 {
		out = append(out, stats.Metric{Name: fmt.Sprintf("load_%d", i), Doc: "Load.", Kind: stats.Counter, Points: []stats.Point{{Value: 1}}})
	}
	return out
}

func (k *statsKind) malformedCalls(ctx context.Context) map[string]error {
	out := make(map[string]error)
	for what, size := range map[string]int{"an epoch of 15 bytes": 15, "no epoch": 0} {
		_, out[what] = pb.NewStatsClient(k.client.Conn()).Export(ctx, &pb.ExportRequest{Epoch: make([]byte, size), Seq: 1})
	}
	return out
}

func (k *statsKind) secretCalls(context.Context) [][]byte       { return nil }
func (k *statsKind) isUnavailable(err error) bool               { return errors.Is(err, stats.ErrUnavailable) }
func (k *statsKind) leaveMark(context.Context) error            { return errNoMark }
func (k *statsKind) hasMark(context.Context) (bool, error)      { return false, errNoMark }
func (k *statsKind) holdCall(context.Context) (heldCall, error) { return heldCall{}, errCannotHold }

func (k *peersyncKind) malformedCalls(context.Context) map[string]error { return nil }
func (k *peersyncKind) secretCalls(context.Context) [][]byte            { return nil }

// peersyncKind has a simulated relay without peers.
type peersyncKind struct {
	client *host.Client
	world  *peersynctest.World
	mu     sync.Mutex
}

func (k *peersyncKind) prepare(c *host.Client) {
	k.client, k.world = c, peersynctest.NewWorld(1, 1)
	k.world.Post(0, 20)
	c.ServeHost(k.world.Replicas[0])
}

func (k *peersyncKind) smallCall(ctx context.Context) error {
	return k.client.PeerSync().Handle(ctx, nil)
}

func (k *peersyncKind) largeCall(ctx context.Context) error {
	k.mu.Lock() // a plugin gets one call at a time
	defer k.mu.Unlock()
	_, err := k.hasMark(ctx)
	return err // ErrNotStarted counts as an answer
}

func (k *peersyncKind) isUnavailable(err error) bool { return errors.Is(err, peersync.ErrUnavailable) }

// leaveMark starts the replicator. After it has been opened again, it answers ErrNotStarted.
func (k *peersyncKind) leaveMark(ctx context.Context) error {
	k.world.Start(0, k.client.PeerSync())
	return k.world.Run(ctx)
}

func (k *peersyncKind) hasMark(ctx context.Context) (bool, error) {
	err := k.client.PeerSync().Handle(ctx, []peersync.Event{peersync.Tick{Now: time.Second, Hour: 480_000}})
	if errors.Is(err, peersync.ErrNotStarted) {
		return false, nil
	}
	return err == nil, err
}

// holdCall makes the host block the first call of the plugin.
func (k *peersyncKind) holdCall(ctx context.Context) (heldCall, error) {
	released, reached, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once, release sync.Once
	k.world.Replicas[0].Refuse = func(string, peersync.Peer) error {
		once.Do(func() { close(reached) })
		<-released
		return nil
	}
	h := heldCall{func() { release.Do(func() { close(released) }) }, done}
	k.world.Start(0, k.client.PeerSync())
	go func() {
		defer close(done)
		k.world.Run(ctx) //nolint:errcheck // it may be interrupted
	}()
	select {
	case <-reached:
		return h, nil
	case <-done:
		return heldCall{}, errCannotHold
	}
}
