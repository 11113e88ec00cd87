package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// recordingReplicator is a replicator that records its events.
type recordingReplicator struct {
	events []peersync.Event
	fail   func() error
}

func (h *recordingReplicator) Handle(_ context.Context, events []peersync.Event) error {
	h.events = append(h.events, events...)
	if h.fail != nil {
		return h.fail()
	}
	return nil
}

func (*recordingReplicator) Close() error { return nil }

func TestRunTellsOfNewsAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewMemory()
		r, h := newReplica(t, store), &recordingReplicator{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, h) }()
		time.Sleep(1500 * time.Millisecond)
		appendEnvelopes(t, store, rand.New(rand.NewPCG(1, 2)), 3)
		time.Sleep(15 * time.Second)
		r.NoteRestart()
		time.Sleep(time.Second)
		cancel()
		<-done

		start, ok := h.events[0].(peersync.Start)
		if !ok || start.State.Last != 0 || start.Seed == [32]byte{} || start.Hour != storage.HourOf(time.Now()) {
			t.Errorf("the first event is %+v", h.events[0])
		}
		info, _ := store.Info(t.Context())
		hour := start.Hour
		want := []peersync.Event{
			peersync.LogAdvanced{State: peersync.State{Epoch: info.Epoch, First: 1, Last: 3, Count: 3}},
			peersync.Tick{Now: 2 * time.Second, Hour: hour},
			peersync.Tick{Now: 12 * time.Second, Hour: hour},         // nothing has happened
			peersync.Tick{Now: 16500 * time.Millisecond, Hour: hour}, // somebody may have
		}
		if !slices.EqualFunc(h.events[1:], want, func(a, b peersync.Event) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("then came %+v, want %+v", h.events[1:], want)
		}
	})
}

// TestPeersChangeWhileAPluginStarts shows that a replicator hears of peers that came while it handled
// Start, the first time and later.
func TestPeersChangeWhileAPluginStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, h := newReplica(t, storagetest.NewMemory()), &recordingReplicator{}
		var peers []Peer
		h.fail = func() error {
			if _, ok := h.events[len(h.events)-1].(peersync.Start); ok {
				peers = append(peers, Peer{Onion: identity.NewKey().Onion()})
				return r.SetPeers(peers)
			}
			if len(peers) == 1 {
				return errors.New("lost")
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r.Run(ctx, h)
		var got []string
		for _, e := range h.events {
			switch e := e.(type) {
			case peersync.Start:
				got = append(got, fmt.Sprint("start ", e.Peers))
			case peersync.PeersChanged:
				got = append(got, fmt.Sprint("changed ", e.Peers))
			}
		}
		if want := []string{"start []", "changed [1]", "start [1]", "changed [1 2]"}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// wakingReplicator asks for a tick in each Handle, after one of the times in turn.
type wakingReplicator struct {
	recordingReplicator
	host  peersync.HostServices
	after []time.Duration
}

func (h *wakingReplicator) Handle(ctx context.Context, events []peersync.Event) error {
	if len(h.after) > 0 {
		if err := h.host.Wake(ctx, h.after[0]); err != nil {
			return err
		}
		h.after = h.after[1:]
	}
	return h.recordingReplicator.Handle(ctx, events)
}

// TestWakeBringsATick shows that a Tick comes when a replicator has asked for it, once, and
// that a later wish replaces an earlier one.
func TestWakeBringsATick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, storagetest.NewMemory())
		h := &wakingReplicator{host: r, after: []time.Duration{3700 * time.Millisecond, 0, time.Hour, 300 * time.Millisecond}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r.Run(ctx, h)
		var got []time.Duration
		for _, e := range h.events {
			if tick, ok := e.(peersync.Tick); ok {
				got = append(got, tick.Now)
			}
		}
		// 0 brings a tick at once. The next one comes ten seconds later, at a full second.
		want := []time.Duration{3700, 3700, 14000, 14300}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if !slices.Equal(got, want) {
			t.Errorf("ticks at %v, want %v", got, want)
		}
	})
}

// TestLongHandleIsCut shows that a Handle has the time that the contract gives it, and no more.
func TestLongHandleIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, storagetest.NewMemory())
		begin := time.Now()
		err := r.runOnce(t.Context(), stuckReplicator{})
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took != host.HandleTimeout {
			t.Errorf("a Handle that never returns: %v after %v", err, took)
		}
	})
}

// stuckReplicator returns from no Handle before its context has ended.
type stuckReplicator struct{ peersync.Replicator }

func (stuckReplicator) Handle(ctx context.Context, _ []peersync.Event) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestRunStartsAFailedReplicatorAgain shows that a replicator that fails is given Start
// again, less and less often, and with another seed.
func TestRunStartsAFailedReplicatorAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, storagetest.NewMemory())
		h := &recordingReplicator{fail: func() error { return errors.New("lost") }}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		go func() {
			time.Sleep(time.Minute)
			if r.Status().Trouble != "lost" {
				t.Errorf("the trouble is %q", r.Status().Trouble)
			}
		}()
		r.Run(ctx, h)
		seeds := make(map[[32]byte]bool)
		for _, e := range h.events {
			seeds[e.(peersync.Start).Seed] = true
		}
		// After 0, 1, 3, 7, 15, 31, 63, 123, 183 seconds at the latest, and with half of
		// these delays five times more.
		if n := len(h.events); n < 9 || n > 14 || len(seeds) != n {
			t.Errorf("%d starts with %d seeds in four minutes, want 9 to 14", n, len(seeds))
		}
	})
}

// TestRunTellsOfTheFloor shows that a replicator learns the floor with Start, and that it
// has risen even though nothing else has changed.
func TestRunTellsOfTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewMemory()
		prune := func(floor storage.Hour) {
			if _, err := store.Prune(t.Context(), storage.PruneRequest{Floor: floor}); err != nil {
				t.Error(err)
			}
		}
		prune(100)
		r, h := newReplica(t, store), &recordingReplicator{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, h) }()
		time.Sleep(1500 * time.Millisecond)
		prune(200)
		time.Sleep(time.Second)
		cancel()
		<-done
		if start, ok := h.events[0].(peersync.Start); !ok || start.State.Floor != 100 {
			t.Errorf("the first event is %+v", h.events[0])
		}
		if news, ok := h.events[1].(peersync.LogAdvanced); !ok || news.State.Floor != 200 {
			t.Errorf("then came %+v", h.events[1])
		}
	})
}

// advances is a replicator that records when it was told how far the log goes.
type advances struct {
	at    []time.Time
	last  storage.Seq
	calls int
}

func (a *advances) Handle(_ context.Context, events []peersync.Event) error {
	a.calls++
	for _, e := range events {
		if e, ok := e.(peersync.LogAdvanced); ok {
			a.at, a.last = append(a.at, time.Now()), e.State.Last
		}
	}
	return nil
}

func (*advances) Close() error { return nil }

// TestManyCommitsAreToldTogether shows that the first of many posts is told at once, and that the others
// do not cost a call each; and neither do other events.
func TestManyCommitsAreToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storagetest.NewMemory()
		b := openBoard(t, store)
		r, a := newReplicaOf(t, store, b), &advances{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, a) }()
		time.Sleep(3*time.Second + 300*time.Millisecond) // no look at the store comes in between
		begin := time.Now()
		for n := range 500 {
			postEnvelope(t, b, n)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * handlePause)
		synctest.Wait()
		before, peers := a.calls, []Peer{{Onion: identity.NewKey().Onion()}}
		for n := range 500 {
			if err := r.SetPeers(peers[:n%2]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		cancel()
		<-done
		most := int(500*time.Millisecond/handlePause) + 2
		if n := a.calls - before; n < most/2 || n > most+1 { // and a Tick
			t.Errorf("500 changes of the peers took %d calls, at most %d are due", n, most+1)
		}
		if n := len(a.at); n < most/2 || n > most || a.at[0] != begin || a.last != 500 {
			t.Errorf("told %d times, at most %d are due, first after %v and last of %d", n, most, a.at[0].Sub(begin), a.last)
		}
	})
}
