package scan_test

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// filledStore returns a store of n envelopes, each with a token.
func filledStore(t *testing.T, n int) *storagetest.Memory {
	t.Helper()
	m := storagetest.NewMemory()
	for i := range n {
		r := storage.Record{
			ID: storage.ID{byte(i), byte(i >> 8)}, Born: storage.Hour(i), Signature: []byte{byte(i), byte(i >> 8)},
			Nullifier: &storage.Nullifier{byte(i), byte(i >> 8)},
		}
		if _, err := m.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func collect[T any](t *testing.T, all iter.Seq2[T, error]) (values []T) {
	t.Helper()
	for v, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, v)
	}
	return values
}

// TestEverythingIsRead shows that a scan reads beyond one page, and everything once.
func TestEverythingIsRead(t *testing.T) {
	n := 3*storage.MaxKeys + 1
	m := filledStore(t, n)
	// The last of their kinds: nothing follows them.
	r := storage.Record{Born: math.MaxUint32}
	for i := range r.ID {
		r.ID[i] = 0xff
	}
	if _, err := m.Append(t.Context(), []storage.Record{r}); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, scan.Entries(t.Context(), m, 1)); len(got) != n || got[0].Seq != 2 {
		t.Errorf("%d entries behind the first of %d", len(got), n+1)
	}
	if got := collect(t, scan.Hours(t.Context(), m)); len(got) != n+1 {
		t.Errorf("%d hours of %d", len(got), n+1)
	}
	if got := collect(t, scan.Keys(t.Context(), m)); len(got) != n+1 || !slices.IsSortedFunc(got, storage.Key.Compare) {
		t.Errorf("%d keys of %d, or not sorted", len(got), n+1)
	}
	tokens := 0
	for _, page := range collect(t, scan.LedgerPages(t.Context(), m)) {
		tokens += len(page)
	}
	if tokens != n {
		t.Errorf("%d tokens of %d", tokens, n)
	}
}

// stuck is a store that answers every question with its first page.
type stuck struct{ *storagetest.Memory }

func (s stuck) Log(ctx context.Context, _ storage.LogRequest) (storage.Page, error) {
	return s.Memory.Log(ctx, storage.LogRequest{})
}

func (s stuck) SpentTokens(ctx context.Context, _ storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	return s.Memory.SpentTokens(ctx, storage.SpentTokensRequest{})
}

func (s stuck) Hours(ctx context.Context, _ storage.HoursRequest) ([]storage.HourSize, error) {
	return s.Memory.Hours(ctx, storage.HoursRequest{})
}

func (s stuck) Keys(ctx context.Context, _ storage.KeysRequest) ([]storage.Key, error) {
	return s.Memory.Keys(ctx, storage.KeysRequest{})
}

// TestScanEnds shows that no store can make a scan go on forever, and that a caller can end it.
func TestScanEnds(t *testing.T) {
	s := stuck{filledStore(t, 10)}
	ended := func(name string, err error) {
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s end with %v", name, err)
		}
	}
	ended("entries", scanAll(scan.Entries(t.Context(), s, 0)))
	ended("tokens", scanAll(scan.LedgerPages(t.Context(), s)))
	ended("hours", scanAll(scan.Hours(t.Context(), s)))
	ended("keys", scanAll(scan.Keys(t.Context(), s)))
	for range scan.Entries(t.Context(), s, 0) {
		break
	}
	for range scan.LedgerPages(t.Context(), s) {
		break
	}
	for range scan.Hours(t.Context(), s) {
		break
	}
	for range scan.Keys(t.Context(), s) {
		break
	}
}

func scanAll[T any](all iter.Seq2[T, error]) (last error) {
	for _, err := range all {
		last = err
	}
	return last
}

func TestIDSet(t *testing.T) {
	s := scan.NewIDSet()
	for i := range 1000 {
		id := storage.ID{byte(i), byte(i >> 8)}
		if s.Has(id) || !s.Add(id) || s.Add(id) || !s.Has(id) {
			t.Fatalf("id %d", i)
		}
	}
}

func TestGaps(t *testing.T) {
	var g scan.Gaps
	g.Add(1, 0)
	g.Add(1, 3)
	g.Add(4, 4)
	g.Add(7, 9)
	if want := []scan.Range{{First: 1, Last: 4}, {First: 7, Last: 9}}; !slices.Equal(g.Ranges, want) || g.Count != 7 || g.More != 0 || g.Last != want[1] {
		t.Errorf("%+v", g)
	}
	if got := g.Describe(5); got != "1 to 4, 7 to 9" {
		t.Errorf("described as %q", got)
	}
	for seq := storage.Seq(100); seq < 2100; seq += 2 {
		g.Add(seq, seq)
	}
	g.Add(2099, 2100)
	if len(g.Ranges) != scan.MaxGaps || g.More != 1002-scan.MaxGaps || g.Count != 1009 || g.Last != (scan.Range{First: 2098, Last: 2100}) {
		t.Errorf("%d ranges, %d more, %d numbers, the last %v", len(g.Ranges), g.More, g.Count, g.Last)
	}
	if got := g.Describe(2); got != "1 to 4, 7 to 9 and 1000 more ranges, the last of which is 2098 to 2100" {
		t.Errorf("described as %q", got)
	}
}
