package retention

import (
	"context"
	"errors"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// prunedStore returns a store of which a half was removed.
func prunedStore(t *testing.T) *storagetest.Memory {
	t.Helper()
	m := storagetest.NewMemory()
	for i := range 100 {
		r := storage.Record{ID: storage.ID{byte(i)}, Born: storage.Hour(100 + i), Signature: []byte{byte(i)}, Ciphertext: make([]byte, 1000)}
		if _, err := m.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Prune(t.Context(), storage.PruneRequest{Floor: 150}); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCompactStore shows that a store is compacted to its end if there is room beside the
// reserve, and is left as it is otherwise.
func TestCompactStore(t *testing.T) {
	const keep = 10_000
	r := limits.Retention{KeepFree: keep}
	for free, full := range map[uint64]bool{0: true, keep + keep/10 + 50_000: true, keep + keep/10 + 51_000: false} {
		m, written := prunedStore(t), uint64(0)
		c, err := CompactStore(t.Context(), m, r, Disk{Size: 1 << 20, Free: free}, func(n uint64) { written = n })
		info, _ := m.Info(t.Context())
		if full != errors.Is(err, storage.ErrFull) || full == (info.Bytes == info.InUse) {
			t.Errorf("with %d bytes free: %v; the store takes %d bytes, of which %d are in use", free, err, info.Bytes, info.InUse)
		}
		if !full && (err != nil || c.Before <= c.After || c.After != info.Bytes || c.Moved == 0 || written != c.Moved) {
			t.Errorf("%+v, %v; shown: %d", c, err, written)
		}
	}
	if _, err := CompactStore(t.Context(), struct{ storage.Store }{storagetest.NewMemory()}, r, Disk{}, func(uint64) {}); !errors.Is(err, errNoCompactor) {
		t.Errorf("a store that cannot: %v", err)
	}
}

// endless is a store whose compaction does not end.
type endless struct {
	*storagetest.Memory
	moves uint64
}

func (e endless) Compact(context.Context, storage.CompactRequest) (storage.Compacted, error) {
	return storage.Compacted{Moved: e.moves, More: true}, nil
}

func TestCompactStoreEnds(t *testing.T) {
	for _, moves := range []uint64{0, storage.MaxCompact} {
		if _, err := CompactStore(t.Context(), endless{prunedStore(t), moves}, limits.Retention{}, Disk{Free: 1 << 40}, func(uint64) {}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("moving %d bytes in each step: %v", moves, err)
		}
	}
}
