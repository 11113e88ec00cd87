package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// floorDuring is a store whose floor rises after left pages of its log were read.
type floorDuring struct {
	*storagetest.Memory
	floor storage.Hour
	left  int
}

func (f *floorDuring) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	page, err := f.Memory.Log(ctx, req)
	if f.left--; f.left == 0 {
		if _, err := f.Prune(ctx, storage.PruneRequest{Floor: f.floor, Max: 1}); err != nil {
			return page, err
		}
	}
	return page, err
}

// TestFloorRisesDuringAReplay shows that the announced count adds up, that the connection
// goes on, and that a client whose last envelope was pruned gets all that is there.
func TestFloorRisesDuringAReplay(t *testing.T) {
	store := &floorDuring{Memory: storagetest.NewMemory(), floor: 4, left: 3}
	for i := range 6 {
		e := envelopeOf(fmt.Sprint("m", i+1))
		r := storage.Record{ID: storage.NewID(e.Signature, e.Ciphertext), Born: storage.Hour(i + 1), Signature: e.Signature, Ciphertext: e.Ciphertext}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	r := startServer(t, func(c *Config) {
		c.Store = store
		c.Limits.ReaderBuffer = 1 // a page is an envelope
	})
	p := r.connect()
	p.replay("")
	p.expect("count 6")
	var got []string
	for range 6 {
		got = append(got, p.next())
	}
	for _, m := range []string{"old m4", "old m5", "old m6"} {
		if !slices.Contains(got, m) {
			t.Errorf("%s is missing in %q", m, got)
		}
	}
	p.post("m7", r.token())
	p.expect("posted true", "new m7")
	again := r.connect()
	again.replay("m2")
	again.expect("count 4", "old m4", "old m5", "old m6", "old m7")
}
