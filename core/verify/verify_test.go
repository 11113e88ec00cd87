package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/scan"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// lying is a store whose answers are changed. It is its own checker.
type lying struct {
	*storagetest.Memory
	info  func(*storage.Info)
	log   func(*storage.Page) error
	find  func(storage.Seq, error) (storage.Seq, error)
	spent func([]storage.SpentToken) []storage.SpentToken
	hours func([]storage.HourSize) []storage.HourSize
	keys  func([]storage.Key) []storage.Key
	get   func([]storage.Entry) []storage.Entry
	check func(storage.CheckRequest) (storage.Checked, error)
}

func (l lying) Info(ctx context.Context) (storage.Info, error) {
	i, err := l.Memory.Info(ctx)
	if l.info != nil {
		l.info(&i)
	}
	return i, err
}

func (l lying) Log(ctx context.Context, req storage.LogRequest) (storage.Page, error) {
	p, err := l.Memory.Log(ctx, req)
	if l.log != nil {
		err = l.log(&p)
	}
	return p, err
}

func (l lying) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	seq, err := l.Memory.Find(ctx, signature)
	if l.find != nil {
		return l.find(seq, err)
	}
	return seq, err
}

func (l lying) SpentTokens(ctx context.Context, req storage.SpentTokensRequest) ([]storage.SpentToken, error) {
	p, err := l.Memory.SpentTokens(ctx, req)
	if l.spent != nil {
		p = l.spent(p)
	}
	return p, err
}

func (l lying) Hours(ctx context.Context, req storage.HoursRequest) ([]storage.HourSize, error) {
	p, err := l.Memory.Hours(ctx, req)
	if l.hours != nil {
		p = l.hours(p)
	}
	return p, err
}

func (l lying) Keys(ctx context.Context, req storage.KeysRequest) ([]storage.Key, error) {
	p, err := l.Memory.Keys(ctx, req)
	if l.keys != nil {
		p = l.keys(p)
	}
	return p, err
}

func (l lying) Get(ctx context.Context, ids []storage.ID) ([]storage.Entry, error) {
	p, err := l.Memory.Get(ctx, ids)
	if l.get != nil {
		p = l.get(p)
	}
	return p, err
}

func (l lying) Check(_ context.Context, req storage.CheckRequest) (storage.Checked, error) {
	if l.check != nil {
		return l.check(req)
	}
	return storage.Checked{}, nil
}

// plain is a store without any optional interface.
type plain struct{ storage.Store }

// filledStore returns a store of n envelopes. Some are paid for, some share their signatures,
// some lie in another hour than they were stored with.
func filledStore(t *testing.T, n int) *storagetest.Memory {
	t.Helper()
	m := storagetest.NewMemory()
	for i := range n {
		signature, ciphertext := fmt.Appendf(nil, "signature %d", i-i%50/49), make([]byte, 1+rand.IntN(5000))
		ciphertext[0] = byte(i)
		r := storage.Record{ID: storage.NewID(signature, ciphertext), Born: storage.Hour(100 + i/7 + i%3), Signature: signature, Ciphertext: ciphertext}
		again := r
		again.Born -= storage.Hour(i % 5)
		batch := []storage.Record{r, again}
		if i%50 != 49 {
			batch[1].Nullifier = &storage.Nullifier{byte(i), byte(i >> 8)}
		}
		if _, err := m.Append(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func checkStore(t *testing.T, s storage.Store) Report {
	t.Helper()
	r, err := Store(t.Context(), s, func(Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWholeStores shows that the check of a whole store finds no fault.
func TestWholeStores(t *testing.T) {
	pruned := filledStore(t, 900)
	if p, err := pruned.Prune(t.Context(), storage.PruneRequest{Floor: 130, Max: 5}); err != nil || !p.More {
		t.Fatal(err)
	}
	for name, m := range map[string]*storagetest.Memory{
		"empty": storagetest.NewMemory(), "one": filledStore(t, 1), "many": filledStore(t, 900), "pruned": pruned,
	} {
		info, _ := m.Info(t.Context())
		last := Progress{}
		r, err := Store(t.Context(), lying{Memory: m}, func(p Progress) {
			if p.Phase < last.Phase || p.Phase == last.Phase && p.Done < last.Done {
				t.Errorf("%+v comes after %+v", p, last)
			}
			last = p
		})
		if err != nil || !r.IsWhole() || r.Envelopes != info.Count || r.Tokens != info.Tokens || len(r.Unverified) > 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if r := checkStore(t, plain{m}); !r.IsWhole() || len(r.Unverified) != 2 {
			t.Errorf("%s without optional interfaces: %+v", name, r)
		}
	}
}

// TestForgottenSignatures shows that a signature that was pruned with an older envelope is
// no fault.
func TestForgottenSignatures(t *testing.T) {
	m := storagetest.NewMemory()
	for born := range storage.Hour(3) {
		ciphertext := []byte{byte(born)}
		r := storage.Record{ID: storage.NewID([]byte("same"), ciphertext), Born: 10 + born, Signature: []byte("same"), Ciphertext: ciphertext}
		if _, err := m.Append(t.Context(), []storage.Record{r}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Prune(t.Context(), storage.PruneRequest{Floor: 11}); err != nil {
		t.Fatal(err)
	}
	r := checkStore(t, lying{Memory: m})
	if !r.IsWhole() || len(r.Unverified) != 1 || !strings.Contains(r.Unverified[0], "2 signatures") {
		t.Errorf("%+v", r)
	}
}

// onlyEntry changes the entry with a number in every page.
func onlyEntry(seq storage.Seq, change func(*storage.Entry)) func(*storage.Page) error {
	return func(p *storage.Page) error {
		for i := range p.Entries {
			if p.Entries[i].Seq == seq {
				change(&p.Entries[i])
			}
		}
		return nil
	}
}

// TestFaultsAreFound shows that every kind of contradiction is a fault of its own.
func TestFaultsAreFound(t *testing.T) {
	m := filledStore(t, 700)
	for _, c := range []struct {
		name  string
		store lying
		want  string // in place and text
	}{
		{"other bytes", lying{log: onlyEntry(5, func(e *storage.Entry) { e.Ciphertext[0]++ })}, "envelopes 5 of the log: 1 of them do not have the id"},
		{"another born", lying{log: onlyEntry(5, func(e *storage.Entry) { e.Born++ })}, "the keys of hours"},
		{"a hole", lying{log: func(p *storage.Page) error {
			p.Entries = slices.DeleteFunc(p.Entries, func(e storage.Entry) bool { return e.Seq > 10 && e.Seq < 15 || e.Seq == 700 })
			return nil
		}}, "envelopes 11 to 14, 700 of the log: 5 envelopes are missing"},
		{"a log that breaks off", lying{log: func(p *storage.Page) error {
			if p.Entries[0].Seq > 1 {
				*p = storage.Page{}
				return storage.ErrCorrupt
			}
			return nil
		}}, "the log behind envelope"},
		{"a log without order", lying{log: onlyEntry(5, func(e *storage.Entry) { e.Seq = 3 })}, "the log behind envelope 4"},
		{"more than there is", lying{info: func(i *storage.Info) { i.Count++ }}, "the number of envelopes: the store counts 701"},
		{"less than there is", lying{info: func(i *storage.Info) { i.Last-- }}, "the ends of the log: the store says 1 and 699"},
		{"another beginning", lying{info: func(i *storage.Info) { i.First = 3 }}, "the ends of the log: the store says 3 and 700"},
		{"another size", lying{info: func(i *storage.Info) { i.InUse = i.Bytes + 1 }}, "the size of the store"},
		{"another number of tokens", lying{info: func(i *storage.Info) { i.Tokens++ }}, "spent tokens: the store counts 687"},
		{"a floor above envelopes", lying{info: func(i *storage.Info) { i.Floor = 101 }}, "were born before the floor"},
		{"no signature", lying{find: func(seq storage.Seq, err error) (storage.Seq, error) {
			if seq == 9 {
				return 0, storage.ErrNotFound
			}
			return seq, err
		}}, "envelopes 9 of the log: 1 of them are not found by their signature"},
		{"another signature", lying{find: func(seq storage.Seq, err error) (storage.Seq, error) { return max(seq, 2), err }}, "envelopes 1 of the log: 1 of them are something else when asked for by their signature"},
		{"an envelope that is not there", lying{find: func(storage.Seq, error) (storage.Seq, error) { return 100_000, nil }}, "envelopes 1 to 700 of the log: 700 of them are something else"},
		{"an id without envelope", lying{get: func(p []storage.Entry) []storage.Entry {
			return slices.DeleteFunc(p, func(e storage.Entry) bool { return e.Seq == 8 })
		}}, "envelopes 8 of the log: 1 of them are not found by their id"},
		{"no id at all", lying{get: func([]storage.Entry) []storage.Entry { return nil }}, "700 of them are not found by their id"},
		{"another envelope", lying{get: func(p []storage.Entry) []storage.Entry {
			for i := range p {
				if p[i].Seq == 8 {
					p[i].Ciphertext = nil
				}
			}
			return p
		}}, "envelopes 8 of the log: 1 of them are something else when asked for by their id"},
		{"answers to no question", lying{get: func(p []storage.Entry) []storage.Entry {
			return append(p, storage.Entry{}, storage.Entry{ID: storage.ID{1}})
		}}, "of them are not found by their id"},
		{"a key less", lying{keys: func(p []storage.Key) []storage.Key { return p[min(1, len(p)):] }}, "the keys of hours"},
		{"another key", lying{keys: func(p []storage.Key) []storage.Key {
			for i := range p {
				p[i].ID[31]++
			}
			return p
		}}, "the keys of hours"},
		{"keys forever", lying{keys: func([]storage.Key) []storage.Key { return []storage.Key{{Born: 1}} }}, "the keys of the store: cannot be read"},
		{"an hour less", lying{hours: func(p []storage.HourSize) []storage.HourSize { return p[min(1, len(p)):] }}, "the sizes of hours"},
		{"an hour more", lying{hours: func(p []storage.HourSize) []storage.HourSize {
			if len(p) > 0 {
				p = append(p, storage.HourSize{Hour: 1000, Count: 1})
			}
			return p
		}}, "the sizes of hours"},
		{"another hour", lying{hours: func(p []storage.HourSize) []storage.HourSize {
			if len(p) > 0 {
				p[0].Bytes++
			}
			return p
		}}, "the sizes of hours: 1 differ from the log; 1970-01-05"},
		{"hours forever", lying{hours: func([]storage.HourSize) []storage.HourSize { return []storage.HourSize{{Hour: 1}} }}, "the hours of the store: cannot be read"},
		{"a token less", lying{spent: func(p []storage.SpentToken) []storage.SpentToken { return p[min(1, len(p)):] }}, "the store counts 686 of them and lists 685"},
		{"tokens without envelopes", lying{spent: func(p []storage.SpentToken) []storage.SpentToken {
			for i := range p {
				p[i].ID[0]++
			}
			return p
		}}, "spent tokens: 686 of them paid for envelopes that are not in the log"},
		{"tokens forever", lying{spent: func(p []storage.SpentToken) []storage.SpentToken { return make([]storage.SpentToken, 1) }}, "the list of spent tokens: cannot be read"},
		{"what the store finds", lying{check: func(req storage.CheckRequest) (storage.Checked, error) {
			if len(req.After) == 0 {
				return storage.Checked{Next: []byte{1}, Done: 1, Total: 2}, nil
			}
			return storage.Checked{Faults: []storage.Fault{{Place: "page 3", Text: "is torn"}}, Done: 2, Total: 2}, nil
		}}, "page 3: is torn"},
		{"a check without end", lying{check: func(req storage.CheckRequest) (storage.Checked, error) {
			return storage.Checked{Next: fmt.Append(nil, len(req.After)%2, "x")[:1+len(req.After)%2]}, nil
		}}, "does not get further than 0 of 0 bytes"},
		{"a check that always gets further", lying{check: func(req storage.CheckRequest) (storage.Checked, error) {
			done := uint64(1)
			if len(req.After) > 0 {
				done += binary.BigEndian.Uint64(req.After)
			}
			return storage.Checked{Next: binary.BigEndian.AppendUint64(nil, done), Done: done, Total: 2 * done}, nil
		}}, "is not finished after 1048576 parts"},
		{"a check that stays", lying{check: func(req storage.CheckRequest) (storage.Checked, error) {
			return storage.Checked{Next: []byte{1}, Done: uint64(len(req.After))}, nil
		}}, "does not get further"},
		{"a check that breaks off", lying{check: func(storage.CheckRequest) (storage.Checked, error) {
			return storage.Checked{}, storage.ErrCorrupt
		}}, "the check of the store by its plugin: cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.store.Memory = m
			r := checkStore(t, c.store)
			var all []string
			for _, f := range r.Faults {
				all = append(all, f.Place+": "+f.Text)
			}
			t.Log(strings.Join(all, "\n"))
			if !strings.Contains(strings.Join(all, "\n"), c.want) {
				t.Errorf("no fault like %q", c.want)
			}
		})
	}
}

// TestTwinsAreFound shows it for an envelope that is in the log twice.
func TestTwinsAreFound(t *testing.T) {
	m := filledStore(t, 10)
	r := checkStore(t, lying{Memory: m, log: onlyEntry(7, func(e *storage.Entry) {
		page, _ := m.Log(t.Context(), storage.LogRequest{From: 6, Max: 1})
		*e = page.Entries[0]
		e.Seq = 7
	})})
	if !slices.ContainsFunc(r.Faults, func(f storage.Fault) bool { return f.Text == "1 of them are there twice" }) {
		t.Errorf("%+v", r)
	}
}

// TestManyFaultsAreCounted shows that a store cannot make the report grow.
func TestManyFaultsAreCounted(t *testing.T) {
	parts := 0
	r := checkStore(t, lying{Memory: filledStore(t, 1), check: func(storage.CheckRequest) (storage.Checked, error) {
		parts++
		c := storage.Checked{Faults: make([]storage.Fault, storage.MaxFaults), Done: uint64(parts), Total: 10}
		if parts < 10 {
			c.Next = []byte{byte(parts)}
		}
		return c, nil
	}})
	if len(r.Faults) != MaxFaults || r.MoreFaults != 9*storage.MaxFaults || r.IsWhole() {
		t.Errorf("%d faults and %d more", len(r.Faults), r.MoreFaults)
	}
}

// TestStoreThatIsAwayEndsTheCheck shows that a check that could not be finished is not one
// that has found nothing.
func TestStoreThatIsAwayEndsTheCheck(t *testing.T) {
	m := filledStore(t, 10)
	for name, s := range map[string]lying{
		"check": {Memory: m, check: func(storage.CheckRequest) (storage.Checked, error) { return storage.Checked{}, storage.ErrUnavailable }},
		"log":   {Memory: m, log: func(*storage.Page) error { return storage.ErrUnavailable }},
		"find":  {Memory: m, find: func(storage.Seq, error) (storage.Seq, error) { return 0, storage.ErrUnavailable }},
	} {
		if _, err := Store(t.Context(), s, func(Progress) {}); !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Store(ctx, m, func(Progress) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestManyHours shows that hours beyond those that are told apart are compared, too.
func TestManyHours(t *testing.T) {
	var c checker
	c.log = logState{ids: scan.NewIDSet(), hours: newHourTable()}
	for i := range uint32(maxHours + 10) {
		c.log.hours.add(storage.Key{Born: storage.Hour(i)}, 1)
	}
	if len(c.log.hours.hours) != maxHours || c.log.hours.others.count != 10 {
		t.Errorf("%d hours, and %d others", len(c.log.hours.hours), c.log.hours.others.count)
	}
	for name, want := range map[string]bool{"as they are": true, "one less": false} {
		c.report = Report{}
		c.pruner = hoursOnly{upTo: maxHours + 9, whole: want}
		c.index = keysOnly{upTo: maxHours + 9, whole: want}
		if err := errors.Join(c.checkHours(t.Context()), c.checkKeys(t.Context())); err != nil || len(c.report.Faults) == 0 != want {
			t.Errorf("%s: %+v, %v", name, c.report, err)
		}
	}
}

// hoursOnly has one envelope in each hour up to a last one, which may be missing.
type hoursOnly struct {
	storage.Pruner
	upTo  storage.Hour
	whole bool
}

func (h hoursOnly) Hours(_ context.Context, req storage.HoursRequest) (p []storage.HourSize, _ error) {
	for at := req.From; at <= h.upTo && len(p) < storage.MaxHours && (h.whole || at < h.upTo); at++ {
		p = append(p, storage.HourSize{Hour: at, Count: 1, Bytes: 1})
	}
	return p, nil
}

// keysOnly has the keys of the same envelopes.
type keysOnly struct {
	storage.Index
	upTo  storage.Hour
	whole bool
}

func (k keysOnly) Keys(_ context.Context, req storage.KeysRequest) (p []storage.Key, _ error) {
	at := req.Range.Lo.Born
	if req.Range.Lo.ID != (storage.ID{}) {
		at++
	}
	for ; at <= k.upTo && len(p) < storage.MaxKeys && (k.whole || at < k.upTo); at++ {
		p = append(p, storage.Key{Born: at})
	}
	return p, nil
}
