package board

import (
	"errors"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// raiseFloor raises the floor of a store and removes nothing yet.
func raiseFloor(t *testing.T, store storage.Pruner, floor storage.Hour) {
	t.Helper()
	if _, err := store.Prune(t.Context(), storage.PruneRequest{Floor: floor, Max: 1}); err != nil {
		t.Fatal(err)
	}
}

// TestPostBelowTheFloorIsRefused shows that a post is refused while the clock is behind
// the floor, that the board says so, and that the token stays good.
func TestPostBelowTheFloorIsRefused(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, Config{Store: store})
	raiseFloor(t, store, storage.HourOf(time.Now())+2)
	for n := range 2 {
		if r := postAndWait(b, n, n); r != (Result{}) {
			t.Errorf("a post below the floor: %+v", r)
		}
	}
	if n := b.Counts.Expired.Load(); n != 2 || b.Counts.Spent.Load() != 0 {
		t.Errorf("counted %d expired, %d spent", n, b.Counts.Spent.Load())
	}
	if err := b.LastRefusal(); !errors.Is(err, errClockBehind) {
		t.Errorf("refusing because of %v", err)
	}
	r := storage.Record{ID: storage.ID{1}, Born: storage.HourOf(time.Now()) + 3, Nullifier: new(nullifier(0))}
	if out, err := store.Append(t.Context(), []storage.Record{r}); err != nil || out[0].Status != storage.Stored {
		t.Errorf("the token of a refused post: %v, %v", out, err)
	}
}

func TestBoardWithoutRoomRefusesPostsAndReads(t *testing.T) {
	b := openBoard(t, Config{Store: storagetest.NewMemory()})
	postMany(b, 3)
	b.SetNoRoom(errors.New("the disk is full"))
	if r := postAndWait(b, 4, 4); r.Success {
		t.Error("a post was taken")
	}
	if got := readAll(t, b, 1); len(got) != 3 || b.Counts.NoRoom.Load() != 1 || b.NoRoom() == nil {
		t.Errorf("%d envelopes, %d refused, because of %v", len(got), b.Counts.NoRoom.Load(), b.NoRoom())
	}
	b.SetNoRoom(nil)
	if r := postAndWait(b, 4, 4); !r.Success || b.NoRoom() != nil {
		t.Error("a post was refused, and there is room again")
	}
}

// TestMemoryShowsNothingBelowTheFloor shows that what was pruned is not read from memory,
// and that cursors at the end of the log go on.
func TestMemoryShowsNothingBelowTheFloor(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, Config{Store: store})
	postMany(b, 3)
	late := b.CursorAt(4)
	floor := storage.HourOf(time.Now()) + 1
	raiseFloor(t, store, floor)
	b.FloorRose()
	if got := readAll(t, b, 1); len(got) != 0 {
		t.Errorf("%d pruned envelopes are read", len(got))
	}
	r := recordOf(100)
	r.Born = floor
	if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
		t.Fatal(err)
	}
	awaitSeq(b, 4) // the watcher
	for name, c := range map[string]*Cursor{"at the end": late, "at the beginning": b.CursorAt(1)} {
		if n, err := c.Count(t.Context(), 4, 1000); n != 1 || err != nil {
			t.Errorf("%s: counted %d, %v", name, n, err)
		}
		if page, err := c.Next(t.Context(), 4, 1000); len(page) != 1 || err != nil {
			t.Errorf("%s: read %d, %v", name, len(page), err)
		}
	}
	if seq, err := b.Find(t.Context(), envelope(2).Signature); err != nil || seq != 4 {
		t.Errorf("a replay from a pruned envelope begins at %d, %v", seq, err)
	}
}

// TestFloorRisesDuringAReplay shows that a reader whose page is pruned gets the rest of
// the log, and nothing else is missing.
func TestFloorRisesDuringAReplay(t *testing.T) {
	store := storagetest.NewMemory()
	for n := range 300 {
		r := recordOf(n + 1)
		r.Born = storage.Hour(1000 + n%3*100) // as with envelopes that came from other relays
		if _, err := store.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	b := openBoard(t, Config{Store: store})
	c := b.CursorAt(1)
	if n, err := c.Count(t.Context(), 300, 1000); n != 300 || err != nil {
		t.Fatalf("counted %d, %v", n, err)
	}
	read, rose := 0, 0
	for !c.Passed(300) {
		page, err := c.Next(t.Context(), 300, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if read += len(page); read >= 90 && rose == 0 {
			raiseFloor(t, store, 1150)
			b.FloorRose()
			rose = read + len(c.page)
		}
	}
	if least, most := rose+(300-rose)/3, rose+(300-rose)/3+1; rose == 0 || read < least || read > most {
		t.Errorf("read %d envelopes, of which %d before the floor rose; want %d or %d", read, rose, least, most)
	}
}
