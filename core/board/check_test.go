package board

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// TestNothingIsAcknowledgedWhileFilesAreGone shows that posts are refused when a check
// fails before or after the append. The board goes on when all is well again, and
// shows what is stored.
func TestNothingIsAcknowledgedWhileFilesAreGone(t *testing.T) {
	missing := errors.New("the files are gone")
	var calls, from atomic.Int64 // the check fails from this call on
	from.Store(1 << 30)
	b := openBoard(t, Config{Store: storagetest.NewMemory(), Check: func() error {
		if calls.Add(1) >= from.Load() {
			return missing
		}
		return nil
	}})
	if !postAndWait(b, 1, 1).Success {
		t.Fatal("a post is refused")
	}
	from.Store(calls.Load() + 2) // after the append
	if postAndWait(b, 2, 2).Success {
		t.Error("a post is acknowledged though its file may be gone")
	}
	from.Store(0)
	if postAndWait(b, 3, 3).Success {
		t.Error("a post is acknowledged though the files are gone")
	}
	if err := b.Problem(); !errors.Is(err, missing) || b.Err() != nil {
		t.Errorf("problem %v, error %v", err, b.Err())
	}
	from.Store(1 << 30)
	if !postAndWait(b, 4, 4).Success || b.Problem() != nil {
		t.Error("a post is refused though all is well again")
	}
	awaitSeq(b, 3)
	if got := readAll(t, b, 1); len(got) != 3 { // the third was not stored
		t.Errorf("the log shows %q", got)
	}
	if failed := b.Counts.Failed.Load(); failed != 2 {
		t.Errorf("%d posts failed, want 2", failed)
	}
}
