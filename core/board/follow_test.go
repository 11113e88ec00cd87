package board

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// recorder records the changes that a board tells of.
type recorder struct {
	mu     sync.Mutex
	added  []storage.Entry
	found  []storage.Key
	unsure int
}

func (r *recorder) note(c Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added, r.found = append(r.added, c.Added...), append(r.found, c.Found...)
	if c.Unsure {
		r.unsure++
	}
}

// TestFollowersLearnEveryKey has followers come and go while clients and another relay
// fill the store. Each learns every entry that was not in the store when it came, once and in
// the order of the log.
func TestFollowersLearnEveryKey(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, Config{Store: store})
	var posters, followers sync.WaitGroup
	for who := range 3 {
		posters.Go(func() {
			for n := range 100 {
				postAndWait(b, 1000*who+n, 1000*who+n)
			}
		})
	}
	posters.Go(func() {
		for n := range 100 {
			env := envelope(5000 + n)
			r := storage.Record{ID: storage.NewID(env.Signature, env.Ciphertext), Born: 7, Signature: env.Signature, Ciphertext: env.Ciphertext}
			if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
				t.Error(err)
			}
		}
	})
	for range 5 {
		followers.Go(func() {
			var r recorder
			stop := b.Follow(r.note)
			before, err := store.Keys(t.Context(), storage.KeysRequest{})
			if err != nil {
				t.Error(err)
			}
			awaitSeq(b, 400)
			posters.Wait()
			stop()
			r.mu.Lock()
			defer r.mu.Unlock()
			page, err := store.Log(t.Context(), storage.LogRequest{})
			if err != nil {
				t.Error(err)
			}
			all := page.Entries
			if len(r.added) < len(all)-len(before) || !reflect.DeepEqual(r.added, all[len(all)-len(r.added):]) {
				t.Errorf("%d entries came, or not those at the end; there are %d, and were %d", len(r.added), len(all), len(before))
			}
		})
	}
	posters.Wait()
	followers.Wait()
}

// TestFollowersLearnWhatIsInDoubt shows that followers are told of envelopes that were there
// already, and of appends that may have been done.
func TestFollowersLearnWhatIsInDoubt(t *testing.T) {
	store := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: store})
	var r recorder
	stop := b.Follow(r.note)
	postAndWait(b, 1, 1)
	postAndWait(b, 1, 2)
	want := storage.NewID(envelope(1).Signature, envelope(1).Ciphertext)
	cut, late := fmt.Errorf("killed: %w", storage.ErrUnavailable), errors.New("no answer in time")
	for i, err := range []*error{&cut, &late} {
		store.after.Store(err)
		postAndWait(b, 2+i, 3+i)
		postAndWait(b, 10+i, 10+i)
	}
	stop()
	postAndWait(b, 20, 20)
	postAndWait(b, 1, 21) // what is under way is over with this
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.added) != 5 || len(r.found) != 1 || r.found[0].ID != want || r.unsure != 2 {
		t.Errorf("%d keys, %d found, %d times unsure; want 5, 1 and 2", len(r.added), len(r.found), r.unsure)
	}
}
