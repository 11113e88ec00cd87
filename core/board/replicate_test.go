package board

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// arrival returns an envelope as a peer sends it.
func arrival(env wire.Envelope, born storage.Hour) storage.Record {
	return storage.Record{ID: storage.NewID(env.Signature, env.Ciphertext), Born: born, Signature: env.Signature, Ciphertext: env.Ciphertext}
}

func TestReplicate(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, Config{Store: store, MaxJSON: 200})
	var follower recorder
	defer b.Follow(follower.note)()
	now := storage.HourOf(time.Now())
	if _, err := store.Prune(t.Context(), storage.PruneRequest{Floor: 100}); err != nil {
		t.Fatal(err)
	}
	if !postAndWait(b, 1, 1).Success {
		t.Fatal("the post failed")
	}
	large := wire.Envelope{Ciphertext: make([]byte, 300), Signature: []byte("large")}
	got := b.Replicate(t.Context(), []storage.Record{
		arrival(envelope(2), 200),
		arrival(envelope(2), 200),
		arrival(envelope(1), now-1), // posted here an hour later
		arrival(envelope(3), 99),
		arrival(wire.Envelope{Ciphertext: []byte("unsigned")}, 200),
		arrival(large, 200),
		arrival(wire.Envelope{Ciphertext: []byte("other"), Signature: envelope(1).Signature}, 200),
	})
	want := []peersync.OutcomeStatus{peersync.Stored, peersync.Known, peersync.Known, peersync.TooOld, peersync.Invalid, peersync.Invalid, peersync.Stored}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	awaitSeq(b, 3)
	if log := readAll(t, b, 1); len(log) != 3 || log[1] != string(envelope(2).AppendJSON(nil)) {
		t.Errorf("the log is %q", log)
	}
	if b.Counts.Stored.Load() != 3 || b.Counts.FromPeers.Load() != 2 || b.Counts.Duplicate.Load()+b.Counts.Expired.Load() != 0 || b.LastRefusal() != nil {
		t.Errorf("counts: %d stored, %d of them from peers, refused: %v", b.Counts.Stored.Load(), b.Counts.FromPeers.Load(), b.LastRefusal())
	}
	if err := b.Close(t.Context()); err != nil { // so that the follower has heard all
		t.Fatal(err)
	}
	lowered := storage.Key{Born: now - 1, ID: arrival(envelope(1), 0).ID}
	if len(follower.added) != 3 || !slices.Contains(follower.found, lowered) {
		t.Errorf("the follower has heard of %d, and again of %v", len(follower.added), follower.found)
	}
	if got := b.Replicate(t.Context(), []storage.Record{arrival(envelope(4), 200)}); got[0] != peersync.Lost {
		t.Errorf("a closed board: %v", got)
	}
}

// TestReplicateToAStoreThatFails: what is not stored is lost, and may be sent again.
func TestReplicateToAStoreThatFails(t *testing.T) {
	store := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: store})
	one := []storage.Record{arrival(envelope(1), 200)}
	fails := errors.New("disk on fire")
	store.before.Store(&fails)
	if got := b.Replicate(t.Context(), one); got[0] != peersync.Lost || b.Counts.Failed.Load() != 0 {
		t.Errorf("%v, %d posts failed", got, b.Counts.Failed.Load())
	}
	b.SetNoRoom(errors.New("full"))
	if got := b.Replicate(t.Context(), one); got[0] != peersync.Lost {
		t.Errorf("without room: %v", got)
	}
	b.SetNoRoom(nil)
	cut := fmt.Errorf("%w: cut", storage.ErrUnavailable)
	store.after.Store(&cut) // stored, and found by the second attempt
	if got := b.Replicate(t.Context(), one); got[0] != peersync.Known {
		t.Errorf("repeated: %v", got)
	}
	awaitSeq(b, 1)
	if log := readAll(t, b, 1); len(log) != 1 {
		t.Errorf("the log is %q", log)
	}
}

// TestPostsAndPeersShareABatch: neither side keeps the other out, however much waits.
func TestPostsAndPeersShareABatch(t *testing.T) {
	fill := func(posts, peers, size int) *queue {
		q := newQueue(1<<20, 1<<40)
		for i := range posts + peers {
			p := &post{fromPeer: i >= posts, record: storage.Record{Ciphertext: make([]byte, size)}}
			if err := q.putPost(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		return q
	}
	for _, c := range []struct{ posts, peers, size, wantPosts, wantPeers int }{
		{1000, 0, 10, 256, 0},
		{1000, 1000, 10, 224, 32},
		{1000, 3, 10, 224, 3},
		{3, 1000, 10, 3, 32},
		{0, 1000, 10, 0, 32},
		{1000, 1000, 16 << 10, 56, 8},
		{1000, 0, 16 << 10, 64, 0},
	} {
		posts, peers := 0, 0
		for _, p := range fill(c.posts, c.peers, c.size).cutBatch() {
			if p.fromPeer {
				peers++
			} else if peers > 0 {
				t.Error("a peer comes before a post")
			} else {
				posts++
			}
		}
		if posts != c.wantPosts || peers != c.wantPeers {
			t.Errorf("%+v: %d and %d", c, posts, peers)
		}
	}
}

// TestPostersAreServedWhilePeersFlood has peers send as much as the board takes.
func TestPostersAreServedWhilePeersFlood(t *testing.T) {
	b := openBoard(t, Config{Store: storagetest.NewMemory()})
	done := make(chan struct{})
	var peers sync.WaitGroup
	for peer := range 3 {
		peers.Go(func() {
			for n := 0; ; n += 200 {
				select {
				case <-done:
					return
				default:
				}
				records := make([]storage.Record, 200)
				for i := range records {
					records[i] = arrival(envelope((peer+1)*1_000_000+n+i), 200)
				}
				b.Replicate(t.Context(), records)
			}
		})
	}
	for n := range 300 {
		if !postAndWait(b, n, n).Success {
			t.Errorf("post %d failed", n)
		}
	}
	close(done)
	peers.Wait()
	if b.Counts.FromPeers.Load() == 0 {
		t.Error("nothing came from peers, so the test shows nothing")
	}
}

// BenchmarkPostsWhilePeersSend posts one after the other on 16 connections, without peers and
// while three peers send as fast as the board takes.
func BenchmarkPostsWhilePeersSend(b *testing.B) {
	for _, peers := range []int{0, 3} {
		b.Run(fmt.Sprint(peers, " peers"), func(b *testing.B) {
			board, err := Open(b.Context(), Config{Store: slowStore{storagetest.NewMemory()}})
			if err != nil {
				b.Fatal(err)
			}
			done := make(chan struct{})
			var wg sync.WaitGroup
			for peer := range peers {
				wg.Go(func() {
					for n := 0; ; n += 64 {
						select {
						case <-done:
							return
						default:
						}
						records := make([]storage.Record, 64)
						for i := range records {
							records[i] = arrival(envelope((peer+1)*100_000_000+n+i), 200)
						}
						board.Replicate(b.Context(), records)
					}
				})
			}
			var next atomic.Int64
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					n := int(next.Add(1))
					if !postAndWait(board, n, n).Success {
						b.Error("a post failed")
					}
				}
			})
			b.StopTimer()
			close(done)
			wg.Wait()
			board.Close(b.Context())
		})
	}
}

// slowStore takes 2 ms for an append, as a sync of a disk does, and 5 µs for each record.
type slowStore struct{ storage.Store }

func (s slowStore) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	time.Sleep(2*time.Millisecond + time.Duration(len(rs))*5*time.Microsecond)
	return s.Store.Append(ctx, rs)
}
