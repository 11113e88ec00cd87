package board

import (
	"context"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// pruneAround is a store that prunes entries before and after it reads a page.
type pruneAround struct {
	*storagetest.Pruning
	gone          map[storage.Seq]bool
	before, after []storage.Seq
}

func (p *pruneAround) prune(seqs *[]storage.Seq) {
	for _, seq := range *seqs {
		p.gone[seq] = true
	}
	p.Prune(*seqs...)
	*seqs = nil
}

func (p *pruneAround) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	p.prune(&p.before)
	defer p.prune(&p.after)
	return p.Pruning.Log(ctx, req)
}

// follower is a reader and what it has seen.
type follower struct {
	*Cursor
	begin, seen storage.Seq // where it began, and the latest entry that it got
	got         map[storage.Seq]bool
}

// TestNothingIsSkippedWhilePruning has a store prune any entries at any moment, while
// several readers replay and follow the log. Each gets once and in order what was not
// pruned before its turn, and Count counts what is there.
func TestNothingIsSkippedWhilePruning(t *testing.T) {
	positions := make(map[string]storage.Seq)
	for n := range 400 {
		positions[string(envelope(n).AppendJSON(nil))] = storage.Seq(n)
	}
	rapid.Check(t, func(t *rapid.T) {
		store := &pruneAround{Pruning: storagetest.NewPruning(), gone: make(map[storage.Seq]bool)}
		b, err := Open(context.Background(), Config{Store: store, RecentBytes: rapid.SampledFrom([]int{1, 500, 1 << 20}).Draw(t, "recent")})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close(context.Background())
		last := storage.Seq(0)
		somewhere := func(t *rapid.T) storage.Seq {
			return storage.Seq(rapid.Uint64Range(1, uint64(last)+1).Draw(t, "position"))
		}
		drawPrune := func(t *rapid.T) []storage.Seq {
			if rapid.Bool().Draw(t, "run") { // of neighbours, which an arbitrary set rarely has
				from := somewhere(t)
				to := min(last, from+storage.Seq(rapid.IntRange(0, 40).Draw(t, "length")))
				var out []storage.Seq
				for seq := from; seq <= to; seq++ {
					out = append(out, seq)
				}
				return out
			}
			var out []storage.Seq
			for range rapid.IntRange(0, 8).Draw(t, "some") {
				out = append(out, min(last, somewhere(t)))
			}
			return out
		}
		present := func(from, to storage.Seq) (n uint64) {
			for seq := from; seq <= to; seq++ {
				if !store.gone[seq] {
					n++
				}
			}
			return n
		}
		var readers []*follower
		step := func(t *rapid.T, f *follower, end storage.Seq, maxBytes int) {
			page, err := f.Next(context.Background(), end, maxBytes)
			if err != nil {
				t.Fatalf("the reader ended: %v", err)
			}
			for _, json := range page {
				seq := positions[string(json)]
				if seq <= f.seen || seq > end {
					t.Fatalf("entry %d after %d, in a log read to %d", seq, f.seen, end)
				}
				f.seen, f.got[seq] = seq, true
			}
			if len(page) == 0 && !f.Passed(end) {
				t.Fatalf("nothing came, and the reader is not past %d", end)
			}
			for seq := f.begin; seq < f.next; seq++ {
				if !f.got[seq] && !store.gone[seq] {
					t.Fatalf("entry %d was skipped", seq)
				}
			}
		}
		maxBytes := rapid.SampledFrom([]int{1, 100, 300, 1 << 20})
		t.Repeat(map[string]func(*rapid.T){
			"post": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "posts") {
					if last < 399 {
						last++
						postAndWait(b, int(last), int(last))
					}
				}
				awaitSeq(b, last)
			},
			"prune": func(t *rapid.T) {
				seqs := drawPrune(t)
				store.prune(&seqs)
			},
			"prune at the next page": func(t *rapid.T) { store.before = drawPrune(t) },
			"prune after the page":   func(t *rapid.T) { store.after = drawPrune(t) },
			"replay": func(t *rapid.T) {
				from, end := somewhere(t), b.End().Seq
				f := &follower{Cursor: b.CursorAt(from), begin: from, got: make(map[storage.Seq]bool)}
				most := present(from, end)
				for seq := from; seq <= end; seq++ {
					if store.gone[seq] && b.tail.holdsSeq(seq) { // memory has it still
						most++
					}
				}
				n, err := f.Count(context.Background(), end, maxBytes.Draw(t, "bytes"))
				if err != nil {
					t.Fatalf("count: %v", err)
				}
				if least := present(from, end); n < least || n > most {
					t.Fatalf("counted %d entries, there are %d to %d", n, least, most)
				}
				readers = append(readers, f)
			},
			"read": func(t *rapid.T) {
				if len(readers) == 0 {
					t.Skip("nobody reads now: rapid takes another action")
				}
				f := rapid.SampledFrom(readers).Draw(t, "reader")
				end := b.End().Seq
				if !f.Passed(end) {
					end = min(end, f.next+storage.Seq(rapid.IntRange(0, 50).Draw(t, "as far as")))
					step(t, f, end, maxBytes.Draw(t, "bytes"))
				}
			},
		})
		for _, f := range readers {
			for end := b.End().Seq; !f.Passed(end); {
				step(t, f, end, 300)
			}
		}
	})
}
