package bolt

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// killRoundsVariable sets how often TestKilledWhileItCompacts kills the store.
const killRoundsVariable = "CWTCH_RELAY_KILL_ROUNDS"

// TestKilledWhileItCompacts kills the process of a store again and again while it appends,
// prunes and compacts. What was acknowledged above the floor stays, what is below does not come
// back, and no token can be spent again.
func TestKilledWhileItCompacts(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv(killRoundsVariable))
	rounds = max(rounds, 5)
	process := plugintest.Transports(t, smallPlugin)[2]
	k := &killed{T: t, dir: t.TempDir(), stored: make(map[storage.ID]storage.Entry)}
	for round := range rounds {
		opened, err := process.Open(t, k.dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		k.checkStore(opened.Store)
		if t.Failed() {
			t.Fatalf("after %d kills", round)
		}
		k.useUntilKilled(opened, storage.Hour(round+1))
	}
	t.Logf("%d kills, %d calls of prune and %d compactions finished, %d envelopes appended", rounds, k.prunes, k.compactions, k.appended)
}

// killed is what a store that is killed has acknowledged.
type killed struct {
	*testing.T
	dir string

	mu                            sync.Mutex
	stored                        map[storage.ID]storage.Entry // above the floor
	records                       []storage.Record             // of all that was appended
	unsure                        []storage.Record             // of the batch that was cut off
	floor, begun                  storage.Hour
	prunes, compactions, appended int
}

// useUntilKilled appends, prunes and compacts at once until the process is killed.
func (k *killed) useUntilKilled(opened *plugintest.Opened, hour storage.Hour) {
	var calls sync.WaitGroup
	repeat := func(call func(context.Context) error) {
		calls.Go(func() {
			for {
				if err := call(k.Context()); err != nil {
					if !errors.Is(err, storage.ErrUnavailable) {
						k.Errorf("a call of a store that is killed: %v", err)
					}
					return
				}
			}
		})
	}
	repeat(func(ctx context.Context) error { return k.appendSome(ctx, opened.Store, hour+rand.N(storage.Hour(3))) })
	pruner, _ := storage.As[storage.Pruner](opened.Store)
	repeat(func(ctx context.Context) error { return k.prune(ctx, pruner, hour-min(hour, 2)) })
	compactor, _ := storage.As[storage.Compactor](opened.Store)
	repeat(func(ctx context.Context) error {
		done, err := compactor.Compact(ctx, storage.CompactRequest{Room: math.MaxInt64, Max: 1 + rand.IntN(1<<20)})
		if err == nil && !done.More {
			k.compactions++
		}
		return err
	})
	<-time.After(rand.N(300 * time.Millisecond)) // the kill falls anywhere
	opened.Kill()
	calls.Wait()
}

func (k *killed) appendSome(ctx context.Context, s storage.Store, hour storage.Hour) error {
	batch := figureRecords(1+rand.IntN(20), hour, rand.IntN(3000))
	k.mu.Lock()
	k.unsure = batch
	k.mu.Unlock()
	outcomes, err := s.Append(ctx, batch)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, o := range outcomes {
		switch o.Status {
		case storage.Stored:
			k.stored[batch[i].ID] = storage.Entry{Seq: o.Seq, ID: batch[i].ID, Born: hour}
			k.records = append(k.records, batch[i])
			k.appended++
		case storage.Expired:
		default:
			k.Errorf("a new record is %v", o)
		}
	}
	k.unsure = nil
	return nil
}

func (k *killed) prune(ctx context.Context, s storage.Pruner, floor storage.Hour) error {
	k.mu.Lock()
	k.begun = max(k.begun, floor)
	k.mu.Unlock()
	p, err := s.Prune(ctx, storage.PruneRequest{Floor: floor, Max: 1 + rand.IntN(50)})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.floor = max(k.floor, p.Floor)
	k.prunes++
	return nil
}

// checkStore compares a store with what it has acknowledged.
func (k *killed) checkStore(s storage.Store) {
	info, err := s.Info(k.Context())
	if err != nil {
		k.Fatal(err)
	}
	if info.Floor < k.floor || info.Floor > k.begun {
		k.Errorf("the floor is %d, want %d to %d", info.Floor, k.floor, k.begun)
	}
	k.floor = info.Floor
	for id, e := range k.stored {
		if e.Born < info.Floor {
			delete(k.stored, id)
		}
	}
	unsure := make(map[storage.ID]bool)
	for _, r := range k.unsure {
		unsure[r.ID] = r.Born >= info.Floor
	}
	found, last := 0, storage.Seq(0)
	for from := storage.Seq(1); ; from = last + 1 {
		page, err := s.Log(k.Context(), storage.LogRequest{From: from})
		if err != nil {
			k.Fatal(err)
		}
		if len(page.Entries) == 0 {
			break
		}
		for _, e := range page.Entries {
			switch want, known := k.stored[e.ID]; {
			case e.Seq <= last || storage.NewID(e.Signature, e.Ciphertext) != e.ID:
				k.Errorf("entry %d is out of order or another one", e.Seq)
			case known && want.Seq == e.Seq && want.Born == e.Born:
				found++
			case !known && unsure[e.ID]:
				k.stored[e.ID] = storage.Entry{Seq: e.Seq, ID: e.ID, Born: e.Born}
				found++
			default:
				k.Errorf("entry %d, born in hour %d, is in the log, the floor is %d", e.Seq, e.Born, info.Floor)
			}
			last = e.Seq
		}
	}
	if found != len(k.stored) || info.Count != uint64(found) {
		k.Errorf("%d envelopes are in the log, %d are counted and %d were acknowledged", found, info.Count, len(k.stored))
	}
	k.spendAgain(s)
	k.unsure = nil
}

// spendAgain tries to spend tokens again.
func (k *killed) spendAgain(s storage.Store) {
	for range 4 {
		var batch []storage.Record
		for range min(len(k.records), storage.MaxBatch/2) {
			paid := k.records[rand.IntN(len(k.records))]
			theft := figureRecords(1, math.MaxUint32, 10)[0]
			theft.Nullifier = paid.Nullifier
			batch = append(batch, theft, paid)
		}
		outcomes, err := s.Append(k.Context(), batch)
		if err != nil {
			k.Fatal(err)
		}
		for i, o := range outcomes {
			want := storage.Outcome{Status: storage.Spent}
			if e, kept := k.stored[batch[i].ID]; kept {
				want = storage.Outcome{Status: storage.Replayed, Seq: e.Seq}
			}
			if o != want {
				k.Errorf("a token was spent again: %v, want %v", o, want)
			}
		}
	}
}
