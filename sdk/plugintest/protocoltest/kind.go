package protocoltest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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

// kind makes the calls of a kind, as far as the protocol needs some.
type kind interface {
	// prepare makes the calls go to a plugin, before it is configured.
	prepare(*host.Client)
	// call makes a small call.
	call(context.Context) error
	// load makes a call that takes as long as any, and leaves something behind.
	load(context.Context) error
	unavailable(error) bool
	// mark leaves something in what is open, and marked tells whether it is there.
	mark(context.Context) error
	marked(context.Context) (bool, error)
	// malformed makes calls such as no relay makes, and gives what came of each.
	malformed(context.Context) map[string]error
	// secrets makes calls with bytes that nobody may see, and gives those.
	secrets(context.Context) [][]byte
	// hold begins a call that ends with release at the earliest, or gives errCannotHold.
	hold(context.Context) (held, error)
}

// held is a call under way.
type held struct {
	release func()
	done    <-chan struct{}
}

var (
	errCannotHold = errors.New("no call of the plugin can be made to wait")
	errNoMark     = errors.New("nothing of what is open can be seen from outside")
)

func kindOf(k plugin.Kind) kind {
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

func (k *storageKind) call(ctx context.Context) error {
	_, err := k.client.Storage().Info(ctx)
	return err
}

func (k *storageKind) load(ctx context.Context) error {
	records := make([]storage.Record, 64)
	for i := range records {
		records[i] = k.record(storage.MaxBatchBytes / 64 / 2)
	}
	_, err := k.client.Storage().Append(ctx, records)
	return err
}

func (k *storageKind) record(size int) storage.Record {
	k.mu.Lock()
	k.made++
	sig := fmt.Appendf(nil, "%p %d", k, k.made)
	k.mu.Unlock()
	body := make([]byte, size)
	copy(body, sig)
	return storage.Record{ID: storage.NewID(sig, body), Born: 1, Signature: sig, Ciphertext: body}
}

func (k *storageKind) unavailable(err error) bool { return errors.Is(err, storage.ErrUnavailable) }

func (k *storageKind) mark(ctx context.Context) error {
	_, err := k.client.Storage().Append(ctx, []storage.Record{k.record(100)})
	return err
}

func (k *storageKind) marked(ctx context.Context) (bool, error) {
	info, err := k.client.Storage().Info(ctx)
	return info.Count > 0, err
}

func (k *storageKind) malformed(ctx context.Context) map[string]error {
	out := make(map[string]error)
	for what, r := range map[string]*pb.Record{
		"an id of 31 bytes":       {Id: make([]byte, 31), Signature: []byte("a")},
		"an id of 33 bytes":       {Id: make([]byte, 33), Signature: []byte("b")},
		"no id":                   {Signature: []byte("c")},
		"a nullifier of 31 bytes": {Id: make([]byte, 32), Signature: []byte("d"), Nullifier: make([]byte, 31)},
		"a nullifier of one byte": {Id: make([]byte, 32), Signature: []byte("e"), Nullifier: []byte{1}},
		"a nullifier of 33 bytes": {Id: make([]byte, 32), Signature: []byte("f"), Nullifier: make([]byte, 33)},
	} {
		_, out[what] = pb.NewStorageClient(k.client.Conn()).Append(ctx, &pb.AppendRequest{Records: []*pb.Record{r}})
	}
	return out
}

// secrets are stored, met again, looked for in vain, and refused.
func (k *storageKind) secrets(ctx context.Context) (out [][]byte) {
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
	store.Find(ctx, first.Signature)               //nolint:errcheck // the log is looked at
	store.Find(ctx, secret(64))                    //nolint:errcheck // there is none
	store.Find(ctx, secret(storage.MaxEnvelope+1)) //nolint:errcheck // it is too long
	store.Log(ctx, storage.LogRequest{From: 1})    //nolint:errcheck // the log of the plugin is looked at
	k.malformed(ctx)
	return out
}

func (k *storageKind) hold(ctx context.Context) (held, error) {
	w, ok := storage.As[storage.Watcher](k.client.Storage())
	if !ok {
		return held{}, errCannotHold
	}
	info, err := k.client.Storage().Info(ctx)
	if err != nil {
		return held{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, info.Last) //nolint:errcheck // it ends by being released
	}()
	return held{cancel, done}, nil
}

type statsKind struct {
	client *host.Client
	epoch  stats.Epoch
	mu     sync.Mutex
	seq    uint64
}

func (k *statsKind) prepare(c *host.Client) { k.client = c }

func (k *statsKind) call(ctx context.Context) error { return k.client.Stats().ForceFlush(ctx) }

func (k *statsKind) load(ctx context.Context) error {
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

func (k *statsKind) malformed(ctx context.Context) map[string]error {
	out := make(map[string]error)
	for what, size := range map[string]int{"an epoch of 15 bytes": 15, "no epoch": 0} {
		_, out[what] = pb.NewStatsClient(k.client.Conn()).Export(ctx, &pb.ExportRequest{Epoch: make([]byte, size), Seq: 1})
	}
	return out
}

func (k *statsKind) secrets(context.Context) [][]byte     { return nil }
func (k *statsKind) unavailable(err error) bool           { return errors.Is(err, stats.ErrUnavailable) }
func (k *statsKind) mark(context.Context) error           { return errNoMark }
func (k *statsKind) marked(context.Context) (bool, error) { return false, errNoMark }
func (k *statsKind) hold(context.Context) (held, error)   { return held{}, errCannotHold }

func (k *peersyncKind) malformed(context.Context) map[string]error { return nil }
func (k *peersyncKind) secrets(context.Context) [][]byte           { return nil }

// peersyncKind has a relay that is alone.
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

func (k *peersyncKind) call(ctx context.Context) error { return k.client.PeerSync().Handle(ctx, nil) }

func (k *peersyncKind) load(ctx context.Context) error {
	k.mu.Lock() // there is never more than one
	defer k.mu.Unlock()
	_, err := k.marked(ctx)
	return err // not to be started is an answer as well
}

func (k *peersyncKind) unavailable(err error) bool { return errors.Is(err, peersync.ErrUnavailable) }

// mark starts the replicator: one that is opened anew knows nothing of that.
func (k *peersyncKind) mark(ctx context.Context) error {
	k.world.Start(0, k.client.PeerSync())
	return k.world.Run(ctx)
}

func (k *peersyncKind) marked(ctx context.Context) (bool, error) {
	err := k.client.PeerSync().Handle(ctx, []peersync.Event{peersync.Tick{Now: time.Second, Hour: 480_000}})
	if errors.Is(err, peersync.ErrNotStarted) {
		return false, nil
	}
	return err == nil, err
}

// hold has the host take its time with the first thing that it is asked for.
func (k *peersyncKind) hold(ctx context.Context) (held, error) {
	released, reached, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once, release sync.Once
	k.world.Replicas[0].Refuse = func(string) error {
		once.Do(func() { close(reached) })
		<-released
		return nil
	}
	h := held{func() { release.Do(func() { close(released) }) }, done}
	k.world.Start(0, k.client.PeerSync())
	go func() {
		defer close(done)
		k.world.Run(ctx) //nolint:errcheck // it may be cut off
	}()
	select {
	case <-reached:
		return h, nil
	case <-done:
		return held{}, errCannotHold
	}
}
