package relay

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/client"
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

// appendBorn appends the envelopes first to last, each born in the hour of its number.
func appendBorn(t *testing.T, store storage.Store, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		e := envelopeOf(fmt.Sprint("m", n))
		r := storage.Record{ID: storage.NewID(e.Signature, e.Ciphertext), Born: storage.Hour(n), Signature: e.Signature, Ciphertext: e.Ciphertext}
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFloorRisesDuringAReplay shows that the announced count adds up, that the connection
// goes on, and that a client whose last envelope was pruned gets all that is there.
func TestFloorRisesDuringAReplay(t *testing.T) {
	store := &floorDuring{Memory: storagetest.NewMemory(), floor: 4, left: 3}
	appendBorn(t, store, 1, 6)
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

// TestClientsReadWhileTheFloorRises shows that a client ends its replay in good order and has
// all that is above the new floor, and that one whose last envelope was pruned meanwhile
// gets all of it as well.
func TestClientsReadWhileTheFloorRises(t *testing.T) {
	store := &floorDuring{Memory: storagetest.NewMemory(), floor: 31, left: 20}
	appendBorn(t, store, 1, 60)
	r := startServer(t, func(c *Config) {
		c.Store = store
		c.Limits.ReaderBuffer = 1
	})
	sync := func(reader *client.Reader) (board *client.Board, got []string) {
		t.Helper()
		board, err := client.Open(t.Context(), r.net, r.cfg.Keys.Board.Onion())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { board.Close() })
		err = board.Sync(t.Context(), reader.ReplayFrom(), func(e client.Event) error {
			if e.Kind == client.Replayed {
				got = append(got, string(e.Envelope.Signature))
			}
			return reader.Accept(e)
		})
		if err != nil {
			t.Fatal(err)
		}
		return board, got
	}
	history := client.NewHistory()
	for n := range 10 {
		history.Add(fmt.Append(nil, "m", n+1))
	}
	away := client.NewReader(history, client.Position{{Signature: []byte("m10"), Number: 10}})
	board, got := sync(client.NewReader(client.NewHistory(), nil))
	if len(got) != 60 {
		t.Errorf("read %d envelopes, and 60 were announced", len(got))
	}
	if !slices.Contains(got, "m5") {
		t.Error("the floor rose before the replay")
	}
	_, all := sync(away)
	for n := 31; n <= 60; n++ {
		if m := fmt.Sprint("m", n); !slices.Contains(got, m) || !slices.Contains(all, m) {
			t.Errorf("%s is missing", m)
		}
	}
	if len(all) != 30 {
		t.Errorf("the client that was away has read %q", all)
	}
	if err := board.Post(t.Context(), envelopeOf("after"), r.token(), nil); err != nil {
		t.Errorf("a post after the replay: %v", err)
	}
}
