package transfer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// filledStore returns a store with n envelopes, some of them paid for more than once,
// and with tokens whose envelopes are not there.
func filledStore(t *testing.T, n int) *storagetest.Memory {
	t.Helper()
	m := storagetest.NewMemory()
	token := 0
	pay := func(r storage.Record) storage.Record {
		token++
		r.Nullifier = &storage.Nullifier{byte(token), byte(token >> 8), 1}
		return r
	}
	var spent []storage.SpentToken
	for i := range n {
		signature, ciphertext := fmt.Appendf(nil, "signature %d", i), make([]byte, rand.IntN(storage.MaxEnvelope-16))
		r := storage.Record{ID: storage.NewID(signature, ciphertext), Born: storage.Hour(i / 7), Signature: signature, Ciphertext: ciphertext}
		batch := []storage.Record{r}
		if i%3 > 0 {
			batch = append(batch, pay(r), pay(r))
		}
		if _, err := m.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			spent = append(spent, storage.SpentToken{Token: storage.TokenID{byte(i), byte(i >> 8)}, ID: storage.ID{byte(i), 1}})
		}
	}
	for page := range slices.Chunk(spent, storage.MaxSpentTokens) {
		if err := m.Spend(t.Context(), page); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// expectSame checks that two stores hold the same, apart from epoch and numbers.
func expectSame(t *testing.T, got, want storage.Store) {
	t.Helper()
	read := func(s storage.Store) (list []storage.Entry, spent []storage.SpentToken) {
		for e, err := range scan.Entries(t.Context(), s, 0) {
			if err != nil {
				t.Fatal(err)
			}
			e.Seq = 0
			list = append(list, e)
		}
		ledger, _ := storage.As[storage.Ledger](s)
		for page, err := range scan.LedgerPages(t.Context(), ledger) {
			if err != nil {
				t.Fatal(err)
			}
			spent = append(spent, page...)
		}
		return list, spent
	}
	a, spentA := read(got)
	b, spentB := read(want)
	same := func(a, b storage.Entry) bool {
		return a.ID == b.ID && a.Born == b.Born && string(a.Signature) == string(b.Signature) && string(a.Ciphertext) == string(b.Ciphertext)
	}
	if !slices.EqualFunc(a, b, same) || !slices.Equal(spentA, spentB) {
		t.Errorf("%d envelopes and %d tokens, want %d and %d, or others than expected", len(a), len(spentA), len(b), len(spentB))
	}
}

func expectNoMarkers(t *testing.T, dir string) {
	t.Helper()
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestCopy(t *testing.T) {
	for _, n := range []int{1, storage.MaxBatch, 1000} {
		from, to, dir := filledStore(t, n), storagetest.NewMemory(), t.TempDir()
		last := Progress{}
		r, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir, Progress: func(p Progress) {
			if p.Phase < last.Phase || p.Phase == last.Phase && p.Done < last.Done || p.Done > p.Total {
				t.Errorf("%+v comes after %+v", p, last)
			}
			last = p
		}})
		if err != nil {
			t.Fatal(err)
		}
		expectSame(t, to, from)
		expectNoMarkers(t, dir)
		info, _ := to.Info(t.Context())
		again, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir})
		if err != nil || !again.Resumed || again.Digest != r.Digest {
			t.Errorf("the copy of a copy that is there: %+v, %v", again, err)
		}
		if r.Resumed || r.Envelopes != uint64(n) || r.Tokens != info.Tokens || r.Epoch != info.Epoch {
			t.Errorf("the result is %+v of %+v", r, info)
		}
	}
}

// TestCopyOfAPrunedLogHasNoGaps shows that the order of a log with gaps stays, and that
// its numbers do not.
func TestCopyOfAPrunedLogHasNoGaps(t *testing.T) {
	whole := filledStore(t, 700)
	from := pruned{whole, func(s storage.Seq) bool { return s < 100 || s%3 == 0 || s > 400 && s < 690 }}
	to, dir := storagetest.NewMemory(), t.TempDir()
	if _, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	expectSame(t, to, from)
	if info, _ := to.Info(t.Context()); info.First != 1 || uint64(info.Last) != info.Count {
		t.Errorf("the destination has gaps: %+v", info)
	}
}

// floored returns a store of n envelopes that has pruned some of them, and not removed all
// of these.
func floored(t *testing.T, n int) *storagetest.Memory {
	t.Helper()
	m := filledStore(t, n)
	if p, err := m.Prune(t.Context(), storage.PruneRequest{Floor: storage.Hour(n / 7 / 3), Max: 5}); err != nil || !p.More {
		t.Fatalf("%+v, %v", p, err)
	}
	return m
}

// TestCopyKeepsTheFloor shows that what the source has pruned cannot come back in the copy.
func TestCopyKeepsTheFloor(t *testing.T) {
	from, to, dir := floored(t, 700), storagetest.NewMemory(), t.TempDir()
	source, _ := from.Info(t.Context())
	for range 2 {
		r, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir})
		if err != nil || r.Envelopes != source.Count {
			t.Fatalf("%+v, %v; want %d envelopes", r, err, source.Count)
		}
		expectSame(t, to, from)
		if info, _ := to.Info(t.Context()); info.Floor != source.Floor || info.Count != source.Count {
			t.Errorf("the copy is %+v of %+v", info, source)
		}
	}
	outcomes, err := to.Append(t.Context(), []storage.Record{{Born: source.Floor - 1}})
	if err != nil || outcomes[0].Status != storage.Expired {
		t.Errorf("what was born before the floor: %v, %v", outcomes, err)
	}
}

// TestCopyTakesPostsAtOnce shows that a floor in the future does not silence the copy as well.
func TestCopyTakesPostsAtOnce(t *testing.T) {
	from, to := storagetest.NewMemory(), storagetest.NewMemory()
	now := storage.HourOf(time.Now())
	ahead := []storage.Record{{ID: storage.NewID(nil, []byte("x")), Ciphertext: []byte("x"), Born: now + 10_000}}
	if _, err := from.Append(t.Context(), ahead); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Prune(t.Context(), storage.PruneRequest{Floor: now + 9000}); err != nil {
		t.Fatal(err)
	}
	if r, err := Copy(t.Context(), Config{From: from, To: to, Dir: t.TempDir()}); err != nil || r.Envelopes != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if info, _ := to.Info(t.Context()); info.Floor < now || info.Floor > now+1 {
		t.Errorf("the floor of the copy is %d, at hour %d", info.Floor, now)
	}
	late := []storage.Record{{ID: storage.ID{2}, Born: storage.HourOf(time.Now())}}
	if out, err := to.Append(t.Context(), late); err != nil || out[0].Status != storage.Stored {
		t.Errorf("a post to the copy: %v, %v", out, err)
	}
}

// TestFinishedCopyGetsTheFloor shows it for a copy whose source has raised its floor since,
// and that a store that is no copy gets none.
func TestFinishedCopyGetsTheFloor(t *testing.T) {
	storeWith := func(signature string) *storagetest.Memory {
		m := storagetest.NewMemory()
		r := storage.Record{ID: storage.NewID([]byte(signature), nil), Born: 100, Signature: []byte(signature)}
		if _, err := m.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
		return m
	}
	from, other, to, dir := storeWith("one"), storeWith("another"), storagetest.NewMemory(), t.TempDir()
	if _, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := from.Prune(t.Context(), storage.PruneRequest{Floor: 50}); err != nil {
		t.Fatal(err)
	}
	if r, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir}); err != nil || !r.Resumed {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := Copy(t.Context(), Config{From: from, To: other, Dir: dir}); err == nil || !strings.Contains(err.Error(), "but not the same") {
		t.Errorf("got %v", err)
	}
	for want, m := range map[storage.Hour]*storagetest.Memory{50: to, 0: other} {
		if info, _ := m.Info(t.Context()); info.Floor != want || info.Count != 1 {
			t.Errorf("%+v, want the floor %d", info, want)
		}
	}
}

// pruned is a store that has pruned some envelopes, but not their tokens.
type pruned struct {
	*storagetest.Memory
	gone func(storage.Seq) bool
}

func (p pruned) Info(ctx context.Context) (storage.Info, error) {
	info, err := p.Memory.Info(ctx)
	for seq := range info.Last {
		if p.gone(seq + 1) {
			info.Count--
		}
	}
	return info, err
}

func (p pruned) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	for {
		page, err := p.Memory.Log(ctx, req)
		if err != nil || len(page.Entries) == 0 {
			return page, err
		}
		req.From = page.Entries[len(page.Entries)-1].Seq + 1
		page.Entries = slices.DeleteFunc(page.Entries, func(e storage.Entry) bool { return p.gone(e.Seq) })
		if len(page.Entries) > 0 {
			return page, nil
		}
	}
}

// failing is a store that fails from a certain call on. The first failing call takes effect
// if late is set.
type failing struct {
	*storagetest.Memory
	calls *int
	late  bool
}

var errFailing = fmt.Errorf("%w: of the test", storage.ErrUnavailable)

func (f failing) call(do func() error) error {
	*f.calls--
	switch {
	case *f.calls < 0, *f.calls == 0 && !f.late:
		return errFailing
	case *f.calls == 0:
		return errors.Join(do(), errFailing)
	}
	return do()
}

func (f failing) Append(ctx context.Context, records []storage.Record) (outcomes []storage.Outcome, err error) {
	err = f.call(func() error { outcomes, err = f.Memory.Append(ctx, records); return err })
	return outcomes, err
}

func (f failing) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	err = f.call(func() error { page, err = f.Memory.Log(ctx, req); return err })
	return page, err
}

func (f failing) Spend(ctx context.Context, spendings []storage.SpentToken) error {
	return f.call(func() error { return f.Memory.Spend(ctx, spendings) })
}

func (f failing) Prune(ctx context.Context, req storage.PruneRequest) (p storage.Pruned, err error) {
	err = f.call(func() error { p, err = f.Memory.Prune(ctx, req); return err })
	return p, err
}

func (f failing) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) (page []storage.SpentToken, err error) {
	err = f.call(func() error { page, err = f.Memory.SpentTokens(ctx, req); return err })
	return page, err
}

// TestCopyResumesAfterAnyCall has the copy fail at every single call, and goes on each
// time.
func TestCopyResumesAfterAnyCall(t *testing.T) {
	from := floored(t, 60*storage.MaxBatch/16)
	for _, late := range []bool{false, true} {
		to, dir := storagetest.NewMemory(), t.TempDir()
		for n := 1; ; n++ {
			calls := n
			r, err := Copy(t.Context(), Config{From: from, To: failing{to, &calls, late}, Dir: dir})
			if err == nil {
				if n < 10 || !r.Resumed {
					t.Errorf("finished at once: %+v", r)
				}
				break
			}
			if !errors.Is(err, errFailing) {
				t.Fatalf("after %d calls: %v", n, err)
			}
			if err := CheckFinished(t.Context(), dir, to); err == nil || !strings.Contains(err.Error(), "unfinished copy") {
				t.Fatalf("after %d calls: an unfinished copy passes for a store: %v", n, err)
			}
		}
		expectSame(t, to, from)
		expectNoMarkers(t, dir)
		if err := CheckFinished(t.Context(), dir, to); err != nil {
			t.Error(err)
		}
		if info, _ := to.Info(t.Context()); info.Floor == 0 {
			t.Error("the copy has no floor")
		}
	}
}

// TestResumedCopyBeginsNearItsEnd shows that little is appended again.
func TestResumedCopyBeginsNearItsEnd(t *testing.T) {
	from, to, dir := filledStore(t, 4000), storagetest.NewMemory(), t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Copy(ctx, Config{From: from, To: to, Dir: dir, Progress: func(p Progress) {
		if p.Done > 3900 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	first := Progress{}
	r, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir, Progress: func(p Progress) {
		if first.Total == 0 {
			first = p
		}
	}})
	if err != nil || !r.Resumed {
		t.Fatalf("%+v, %v", r, err)
	}
	if first.Done < 1000 {
		t.Errorf("the second copy began at %d of 4000", first.Done)
	}
	expectSame(t, to, from)
}

func TestRefusedCopyChangesNothing(t *testing.T) {
	from, dir := filledStore(t, 10), t.TempDir()
	for name, c := range map[string]struct {
		from, to storage.Store
		want     string
	}{
		"not empty": {from, filledStore(t, 1), "holds 1 envelopes"},
		"tokens only": {from, func() storage.Store {
			m := storagetest.NewMemory()
			m.Spend(t.Context(), make([]storage.SpentToken, 1))
			return m
		}(), "and 1 spent tokens"},
		"something else": {from, filledStore(t, 10), "but not the same"},
		"itself":         {from, from, "are one store"},
		"from nothing":   {storagetest.NewMemory(), storagetest.NewMemory(), "source is empty"},
		"from no ledger": {struct{ storage.Store }{from}, storagetest.NewMemory(), "source cannot list"},
		"to no pruner": {floored(t, 100), struct {
			storage.Store
			storage.Ledger
		}{storagetest.NewMemory(), storagetest.NewMemory()}, "has pruned what is old"},
		"to a higher floor": {from, func() storage.Store {
			m := storagetest.NewMemory()
			m.Prune(t.Context(), storage.PruneRequest{Floor: 1})
			return m
		}(), "what the source may keep"},
		"to no ledger": {from, struct{ storage.Store }{storagetest.NewMemory()}, "destination cannot take"},
	} {
		if _, err := Copy(t.Context(), Config{From: c.from, To: c.to, Dir: dir}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err := CheckFinished(t.Context(), dir, c.to); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	expectNoMarkers(t, dir)
}

// TestCopyDoesNotMixSources shows that an unfinished copy takes no other source.
func TestCopyDoesNotMixSources(t *testing.T) {
	to, dir := storagetest.NewMemory(), t.TempDir()
	calls := 2
	if _, err := Copy(t.Context(), Config{From: filledStore(t, 300), To: failing{to, &calls, false}, Dir: dir}); err == nil {
		t.Fatal("not cut off")
	}
	other := filledStore(t, 300)
	if _, err := Copy(t.Context(), Config{From: other, To: to, Dir: dir}); err == nil || !strings.Contains(err.Error(), "of another store") {
		t.Errorf("got %v", err)
	}
	if err := CheckFinished(t.Context(), dir, other); err != nil {
		t.Errorf("another store in the same place is taken for the copy: %v", err)
	}
	if err := CheckFinished(t.Context(), filepath.Join(dir, "nowhere"), to); err != nil {
		t.Error(err)
	}
}

// liar is a store with wrong answers.
type liar struct {
	*storagetest.Memory
	info      func(storage.Info) storage.Info
	append    func([]storage.Record) []storage.Record
	log       func(storage.Page) storage.Page
	spendings func([]storage.SpentToken) []storage.SpentToken
}

func (l liar) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if l.append != nil {
		records = l.append(records)
	}
	return l.Memory.Append(ctx, records)
}

func (l liar) Info(ctx context.Context) (storage.Info, error) {
	info, err := l.Memory.Info(ctx)
	if l.info != nil {
		info = l.info(info)
	}
	return info, err
}

func (l liar) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	page, err := l.Memory.Log(ctx, req)
	if l.log != nil {
		page = l.log(page)
	}
	return page, err
}

func (l liar) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	page, err := l.Memory.SpentTokens(ctx, req)
	if l.spendings != nil {
		page = l.spendings(page)
	}
	return page, err
}

// TestWrongAnswersAreFound shows that a copy that differs from its source is not
// finished.
func TestWrongAnswersAreFound(t *testing.T) {
	from := floored(t, 300)
	for name, to := range map[string]liar{
		"a lower floor": {info: func(i storage.Info) storage.Info { i.Floor = max(i.Floor, 1) - 1; return i }},
		"another hour": {append: func(r []storage.Record) []storage.Record {
			r = slices.Clone(r)
			r[len(r)-1].Born++
			return r
		}},
		"another order": {append: func(r []storage.Record) []storage.Record {
			r = slices.Clone(r)
			slices.Reverse(r)
			return r
		}},
		"one envelope twice": {append: func(r []storage.Record) []storage.Record {
			r = slices.Clone(r)
			r[len(r)-1] = r[0]
			return r
		}},
		"a hole": {log: func(p storage.Page) storage.Page {
			if len(p.Entries) > 9 {
				p.Entries = slices.Delete(p.Entries, 5, 6)
			}
			return p
		}},
		"backwards forever": {log: func(p storage.Page) storage.Page {
			for i := range p.Entries {
				p.Entries[i].Seq = 1
			}
			return p
		}},
		"a token less": {spendings: func(s []storage.SpentToken) []storage.SpentToken {
			if len(s) > 9 {
				s = slices.Delete(s, 5, 6)
			}
			return s
		}},
	} {
		t.Run(name, func(t *testing.T) {
			to.Memory = storagetest.NewMemory()
			dir := t.TempDir()
			_, err := Copy(t.Context(), Config{From: from, To: to, Dir: dir})
			if err == nil {
				t.Fatal("the copy differs from its source and was finished")
			}
			t.Log(err)
			if CheckFinished(t.Context(), dir, to) == nil {
				t.Error("a relay may use it")
			}
		})
	}
	for name, from := range map[string]liar{
		"a wrong id": {Memory: from, log: func(p storage.Page) storage.Page {
			if len(p.Entries) > 0 {
				p.Entries[0].ID[0]++
			}
			return p
		}},
		"grows": {Memory: from, log: func(p storage.Page) storage.Page {
			for i := range p.Entries {
				p.Entries[i].Seq += 1000
			}
			return p
		}},
	} {
		if _, err := Copy(t.Context(), Config{From: from, To: storagetest.NewMemory(), Dir: t.TempDir()}); err == nil {
			t.Errorf("a source that lies (%s) was copied", name)
		}
	}
}

// TestDigest checks the definition of the digest.
func TestDigest(t *testing.T) {
	m := storagetest.NewMemory()
	r := storage.Record{ID: storage.NewID([]byte("s"), []byte("c")), Born: 7, Signature: []byte("s"), Ciphertext: []byte("c"), Nullifier: &storage.Nullifier{1}}
	if _, err := m.Append(t.Context(), []storage.Record{r}); err != nil {
		t.Fatal(err)
	}
	s, err := summarizeStore(scan.Entries(t.Context(), m, 0), scan.LedgerPages(t.Context(), m), func(uint64) {})
	if err != nil {
		t.Fatal(err)
	}
	// Computed with Python's hashlib.
	if got := s.digest.String(); got != "e52a9a74b96cb95d8161f00f59fb94bb90db17ba91ec3c0889f4a919e739d5ca" {
		t.Errorf("the digest is %s", got)
	}
}
