package board

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// switchable is a real store behind a switch that fails it in the ways a process
// can: before it does anything, after it has done it, or by not answering.
type switchable struct {
	storage.Store
	before, after atomic.Pointer[error] // returned by the next Append, once
	hang          atomic.Bool           // Append waits for its context
	down          atomic.Bool           // Append is unavailable when its context ends
	appends       atomic.Int64
}

func takeError(p *atomic.Pointer[error]) error {
	if err := p.Swap(nil); err != nil {
		return *err
	}
	return nil
}

func (f *switchable) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	f.appends.Add(1)
	if f.hang.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.down.Load() {
		<-ctx.Done() // as a store that waits for its process to come back
		return nil, fmt.Errorf("%w: %w", storage.ErrUnavailable, ctx.Err())
	}
	if err := takeError(&f.before); err != nil {
		return nil, err
	}
	out, err := f.Store.Append(ctx, rs)
	if cut := takeError(&f.after); cut != nil {
		return nil, cut
	}
	return out, err
}

func envelope(n int) wire.Envelope {
	return wire.Envelope{Ciphertext: fmt.Appendf(nil, "ciphertext %d", n), Signature: fmt.Appendf(nil, "signature %d", n)}
}

func nullifier(n int) (t storage.Nullifier) {
	copy(t[:], fmt.Sprintf("token %d", n))
	return t
}

func openBoard(t *testing.T, cfg Config) *Board {
	t.Helper()
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// postAndWait posts and waits for the result.
func postAndWait(b *Board, env, token int) Result {
	c := make(chan Result, 1)
	e := envelope(env)
	b.Post(context.Background(), e, e.AppendJSON(nil), nullifier(token), func(r Result) { c <- r })
	return <-c
}

// awaitSeq waits until cursors see the log up to seq, which they do after the results
// of its posts.
func awaitSeq(b *Board, seq storage.Seq) {
	for end := b.End(); end.Seq < seq; end = b.End() {
		<-end.Changed
	}
}

// readAll returns the log from a position to its end.
func readAll(t *testing.T, b *Board, from storage.Seq) (out []string) {
	t.Helper()
	end := b.End().Seq
	for c := b.CursorAt(from); !c.Passed(end); {
		page, err := c.Next(t.Context(), end, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page {
			out = append(out, string(p))
		}
	}
	return out
}

func TestPostResults(t *testing.T) {
	b := openBoard(t, Config{Store: storagetest.NewMemory()})
	for _, c := range []struct {
		env, token int
		want       Result
	}{
		{1, 1, Result{Success: true}},
		{2, 1, Result{}}, // spent on another envelope
		{1, 1, Result{}}, // spent, though on this very envelope
		{1, 2, Result{Success: true, Earlier: 1}},
		{2, 2, Result{}}, // the duplicate has cost its token
		{2, 3, Result{Success: true}},
	} {
		if got := postAndWait(b, c.env, c.token); got != c.want {
			t.Errorf("envelope %d with token %d: %+v, want %+v", c.env, c.token, got, c.want)
		}
	}
	awaitSeq(b, 2)
	if got := readAll(t, b, 1); len(got) != 2 {
		t.Errorf("log holds %d envelopes, want 2", len(got))
	}
}

// TestCursorsSeeOneLog has posters and readers of all speeds at once, with so
// little in memory that most readers fall back to the store.
func TestCursorsSeeOneLog(t *testing.T) {
	const posters, each, readers = 8, 100, 8
	b := openBoard(t, Config{Store: storagetest.NewMemory(), RecentBytes: 500})
	var wg sync.WaitGroup
	logs := make([][]string, readers)
	for i := range readers {
		wg.Go(func() {
			c := b.CursorAt(1)
			for len(logs[i]) < posters*each {
				end := b.End()
				if c.Passed(end.Seq) {
					<-end.Changed
					continue
				}
				page, err := c.Next(t.Context(), end.Seq, 1+i*200)
				if err != nil {
					t.Error(err)
					return
				}
				for _, p := range page {
					logs[i] = append(logs[i], string(p))
				}
			}
		})
	}
	for i := range posters {
		wg.Go(func() {
			for j := range each {
				if n := i*each + j; !postAndWait(b, n, n).Success {
					t.Errorf("post %d failed", n)
				}
			}
		})
	}
	wg.Wait()
	want := readAll(t, b, 1)
	seen := map[string]bool{}
	for _, e := range want {
		if seen[e] {
			t.Fatal("the log holds an envelope twice")
		}
		seen[e] = true
	}
	for i, got := range logs {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("reader %d saw another log", i)
		}
	}
	if b.Counts.StorePages.Load() == 0 {
		t.Error("no reader fell back to the store, so the test shows nothing")
	}
}

func TestResultComesBeforeEnvelope(t *testing.T) {
	b := openBoard(t, Config{Store: storagetest.NewMemory()})
	for n := range 200 {
		var early atomic.Bool
		done := make(chan Result, 1)
		before := b.End()
		e := envelope(n)
		b.Post(t.Context(), e, e.AppendJSON(nil), nullifier(n), func(r Result) {
			early.Store(b.End().Seq > before.Seq)
			done <- r
		})
		if <-done; early.Load() {
			t.Fatal("the envelope was visible before its result was delivered")
		}
		<-before.Changed
	}
}

// TestSuccessMeansDurable holds promise 1 against every way an append can fail.
func TestSuccessMeansDurable(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(*switchable)
		want    Result
	}{
		"cut before":  {func(f *switchable) { e := error(storage.ErrUnavailable); f.before.Store(&e) }, Result{Success: true}},
		"cut after":   {func(f *switchable) { e := error(storage.ErrUnavailable); f.after.Store(&e) }, Result{Success: true}},
		"full":        {func(f *switchable) { e := error(storage.ErrFull); f.before.Store(&e) }, Result{}},
		"other error": {func(f *switchable) { e := errors.New("disk on fire"); f.before.Store(&e) }, Result{}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &switchable{Store: storagetest.NewMemory()}
			b := openBoard(t, Config{Store: f})
			c.breakIt(f)
			if got := postAndWait(b, 1, 1); got != c.want {
				t.Fatalf("got %+v, want %+v", got, c.want)
			}
			if info, _ := f.Info(t.Context()); (info.Count == 1) != c.want.Success {
				t.Fatalf("success %t, but the store holds %d", c.want.Success, info.Count)
			}
			if got := postAndWait(b, 2, 2); !got.Success {
				t.Error("the board does not go on after a failure")
			}
			want := 1
			if c.want.Success {
				want = 2
			}
			awaitSeq(b, storage.Seq(want))
			if got := readAll(t, b, 1); len(got) != want {
				t.Errorf("cursors see %d envelopes, want %d", len(got), want)
			}
		})
	}
}

// TestPostsWaitBoundedTime holds promise 6: while the store is down posts wait,
// then are refused; when it is back, posts work again.
func TestPostsWaitBoundedTime(t *testing.T) {
	for _, kind := range []string{"down", "hangs"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &switchable{Store: storagetest.NewMemory()}
				b, err := Open(t.Context(), Config{Store: f, PostTimeout: 10 * time.Second, QueueRecords: 4})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close(context.Background())
				f.down.Store(kind == "down")
				f.hang.Store(kind == "hangs")
				start := time.Now()
				var wg sync.WaitGroup
				for n := range 20 { // more than the queue has room for
					wg.Go(func() {
						if postAndWait(b, n, n).Success {
							t.Error("success while the store is down")
						}
						if d := time.Since(start); d > 20*time.Second {
							t.Errorf("refused after %v, want at most twice the timeout", d)
						}
					})
				}
				wg.Wait()
				f.down.Store(false)
				f.hang.Store(false)
				if !postAndWait(b, 100, 100).Success {
					t.Error("the board does not recover")
				}
			})
		})
	}
}

func TestCloseCommitsWhatWaits(t *testing.T) {
	f := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: f})
	results := make(chan Result, 1000)
	for n := range 1000 {
		e := envelope(n)
		b.Post(t.Context(), e, e.AppendJSON(nil), nullifier(n), func(r Result) { results <- r })
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if r := <-results; !r.Success {
			t.Fatal("a post that waited was refused by an orderly close")
		}
	}
	if postAndWait(b, 2000, 2000).Success {
		t.Error("success after close")
	}
}

func TestCloseRefusesWhenOutOfTime(t *testing.T) {
	f := &switchable{Store: storagetest.NewMemory()}
	f.hang.Store(true)
	b := openBoard(t, Config{Store: f})
	results := make(chan Result, 2)
	for n := range 2 {
		e := envelope(n)
		b.Post(t.Context(), e, e.AppendJSON(nil), nullifier(n), func(r Result) { results <- r })
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ctx); err == nil {
		t.Error("Close does not say that it ran out of time")
	}
	for range 2 {
		if r := <-results; r.Success {
			t.Error("success without a commit")
		}
	}
}

// TestLostStoreIsNotServed shows that a store that comes back without what was
// acknowledged is neither appended to nor read.
func TestLostStoreIsNotServed(t *testing.T) {
	f := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: f})
	postAndWait(b, 1, 1)
	f.Store = storagetest.NewMemory()
	if err := b.Reopened(t.Context()); err == nil {
		t.Fatal("another store was accepted")
	}
	if b.Err() == nil || postAndWait(b, 2, 2).Success {
		t.Error("the board goes on with a store that lost envelopes")
	}
	if _, err := b.CursorAt(1).Next(t.Context(), 1, 1000); err == nil {
		t.Error("the board replays from a store that lost envelopes")
	}
}

// TestStoreThatIsOnlyTried shows that a store to which a new configuration leads may
// be refused without consequences, since the plugin goes back to its own store.
func TestStoreThatIsOnlyTried(t *testing.T) {
	store := storagetest.NewMemory()
	b := openBoard(t, Config{Store: store})
	postAndWait(b, 1, 1)
	awaitSeq(b, 1)
	other := described{store, func(i *storage.Info) { i.Epoch[0]++ }}
	shorter := described{store, func(i *storage.Info) { i.Last = 0 }}
	admit := func(s storage.Store, tried bool) error { return b.Admit(t.Context(), s, tried) }
	if admit(store, true) != nil || admit(other, true) == nil || admit(shorter, true) == nil {
		t.Error("the board does not know its store")
	}
	if b.Err() != nil || !postAndWait(b, 2, 2).Success {
		t.Error("the board gave up because of a store that it never used")
	}
	if admit(store, false) != nil || b.Err() != nil || admit(other, false) == nil || b.Err() == nil {
		t.Error("a store that came back as another one was admitted")
	}
}

// described is a store that describes itself otherwise.
type described struct {
	storage.Store
	change func(*storage.Info)
}

func (d described) Info(ctx context.Context) (storage.Info, error) {
	info, err := d.Store.Info(ctx)
	d.change(&info)
	return info, err
}

// TestStoreThatCannotBeAsked shows that a store without an answer may be right after
// another start, unless it says itself that it is damaged.
func TestStoreThatCannotBeAsked(t *testing.T) {
	b := openBoard(t, Config{Store: storagetest.NewMemory()})
	if err := b.Admit(t.Context(), undescribed{err: errors.New("no answer")}, false); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("admit a store that does not answer: %v", err)
	}
	if err := b.Admit(t.Context(), undescribed{err: storage.ErrCorrupt}, false); !errors.Is(err, storage.ErrCorrupt) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("admit a damaged store: %v", err)
	}
	if b.Err() != nil {
		t.Errorf("the board gave up: %v", b.Err())
	}
}

// undescribed is a store whose Info fails.
type undescribed struct {
	storage.Store
	err error
}

func (u undescribed) Info(context.Context) (storage.Info, error) { return storage.Info{}, u.err }

// wrongOutcomes is a store that answers appends with outcomes that do not exist.
type wrongOutcomes struct{ storage.Store }

func (l wrongOutcomes) Append(ctx context.Context, rs []storage.Record) ([]storage.Outcome, error) {
	return make([]storage.Outcome, len(rs)), nil
}

func TestOutcomeWithoutAStatusIsNoSuccess(t *testing.T) {
	m := storagetest.NewMemory()
	f := &switchable{Store: m}
	b := openBoard(t, Config{Store: f})
	postAndWait(b, 1, 1)
	f.Store = wrongOutcomes{m}
	if postAndWait(b, 2, 2).Success {
		t.Error("success for an unknown status")
	}
}

// TestSharedStore has two boards on one store: each sees the posts of the other,
// in the order of the store.
func TestSharedStore(t *testing.T) {
	m := storagetest.NewMemory()
	boards := []*Board{openBoard(t, Config{Store: m}), openBoard(t, Config{Store: m})}
	var wg sync.WaitGroup
	for i, b := range boards {
		wg.Go(func() {
			for n := range 100 {
				if !postAndWait(b, i*100+n, i*100+n).Success {
					t.Error("post failed")
				}
			}
		})
	}
	wg.Wait()
	for _, b := range boards {
		awaitSeq(b, 200)
	}
	if fmt.Sprint(readAll(t, boards[0], 1)) != fmt.Sprint(readAll(t, boards[1], 1)) {
		t.Error("the two relays show different logs")
	}
}

func TestFind(t *testing.T) {
	b := openBoard(t, Config{Store: storagetest.NewMemory()})
	for n := range 5 {
		postAndWait(b, n, n)
	}
	for sig, want := range map[string]storage.Seq{"signature 3": 4, "unknown": 1, "": 1} {
		if got, err := b.Find(t.Context(), []byte(sig)); err != nil || got != want {
			t.Errorf("Find(%q) = %d, %v; want %d", sig, got, err, want)
		}
	}
}

func TestClockBehindTheStoreIsReported(t *testing.T) {
	m := storagetest.NewMemory()
	future := storage.HourOf(time.Now()) + 48
	e := envelope(1)
	if _, err := m.Append(t.Context(), []storage.Record{{ID: storage.NewID(e.Signature, e.Ciphertext), Born: future, Signature: e.Signature}}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	openBoard(t, Config{Store: m, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "from the future") {
		t.Errorf("log: %s", log.String())
	}
}

// damaged is a store that finds its damage while it is read.
type damaged struct{ storage.Store }

func (damaged) Log(context.Context, storage.LogRequest) (storage.Page, error) {
	return storage.Page{}, fmt.Errorf("page 7: %w", storage.ErrCorrupt)
}

// absent is a store whose plugin is away, because it broke its contract.
type absent struct {
	storage.Store
	away atomic.Bool
}

func (a *absent) err() error {
	if a.away.Load() {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, storage.ErrCorrupt)
	}
	return nil
}

func (a *absent) Info(ctx context.Context) (storage.Info, error) {
	if err := a.err(); err != nil {
		return storage.Info{}, err
	}
	return a.Store.Info(ctx)
}

func (a *absent) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if err := a.err(); err != nil {
		return nil, err
	}
	return a.Store.Append(ctx, records)
}

// TestAbsenceIsNoDamage shows that the reason why a store is away says nothing about
// what it holds, and that the board serves when it is back.
func TestAbsenceIsNoDamage(t *testing.T) {
	store := &absent{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: store})
	store.away.Store(true)
	if postAndWait(b, 1, 1).Success {
		t.Error("success while the store is away")
	}
	if _, err := b.Find(t.Context(), []byte("unknown")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("find: %v", err)
	}
	store.away.Store(false)
	if !postAndWait(b, 2, 2).Success {
		t.Errorf("the board does not recover: %v", b.Err())
	}
}

// TestDamageEndsTheService shows that a board whose store is damaged serves nobody, not
// only not the client that met the damage.
func TestDamageEndsTheService(t *testing.T) {
	f := &switchable{Store: storagetest.NewMemory()}
	b := openBoard(t, Config{Store: f, RecentBytes: 1})
	postAndWait(b, 1, 1)
	postAndWait(b, 2, 2)
	awaitSeq(b, 2) // and the first is no longer in memory
	f.Store = damaged{f.Store}
	if _, err := b.CursorAt(1).Next(t.Context(), 1, 1000); err == nil {
		t.Fatal("a damaged store was read")
	}
	if b.Err() == nil || postAndWait(b, 3, 3).Success {
		t.Error("the board goes on with a damaged store")
	}
}

// TestReadersAreFewAtATime shows that only few pages are read at a time, however many
// readers there are.
func TestReadersAreFewAtATime(t *testing.T) {
	var now, most atomic.Int64
	store := &counted{Store: storagetest.NewMemory(), now: &now, most: &most}
	b := openBoard(t, Config{Store: store, RecentBytes: 1})
	for n := range 3 {
		postAndWait(b, n, n)
	}
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := b.CursorAt(1).Next(t.Context(), 1, 1000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > maxReads {
		t.Errorf("%d pages were read at a time, limit %d", most.Load(), maxReads)
	}
}

type counted struct {
	storage.Store
	now, most *atomic.Int64
}

func (c *counted) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	runtime.Gosched()
	return c.Store.Log(ctx, req)
}
