package storagetest

import (
	"errors"
	"flag"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// processModelChecks is how many sequences of calls a store that is a process
// is compared in, since each starts some.
const processModelChecks = "3"

// checkModel makes random calls of the store and of a Memory and compares what
// they return. There are few envelopes and fewer tokens, so that most calls
// meet what calls before them did.
func checkModel(f *fixture) {
	defer setRapid("checks", processModelChecks, f.opened.Kill != nil)()
	if !testing.Testing() {
		defer setRapid("nofailfile", "true", true)()
		parseFlags()
	}
	_, ledger := f.store.(storage.Ledger)
	f.close()
	rapid.Check(f.TB, func(t *rapid.T) {
		m := &modelled{f: newFixture(f.TB, f.opener), model: NewMemory()}
		defer m.f.close()
		actions := map[string]func(*rapid.T){
			"append": m.append,
			"log":    m.log,
			"find":   m.find,
			"info":   m.info,
			"reopen": m.reopen,
		}
		if ledger {
			actions["spend"], actions["spendings"] = m.spend, m.spendings
		}
		t.Repeat(actions)
		m.log(t)
	})
}

// setRapid sets a flag of rapid that has its default, on the condition, and
// returns what sets it back.
func setRapid(name, value string, condition bool) (reset func()) {
	f := flag.Lookup("rapid." + name)
	if !condition || f.Value.String() != f.DefValue {
		return func() {}
	}
	f.Value.Set(value)                        //nolint:errcheck // of its type
	return func() { f.Value.Set(f.DefValue) } //nolint:errcheck // its own default
}

// parseFlags lets rapid, which asks for -test.short, work in a program that is
// no test: the flags of a test have their defaults.
var parseFlags = sync.OnceFunc(func() {
	testing.Init()
	if !flag.Parsed() {
		flag.CommandLine.Parse(nil) //nolint:errcheck // nothing is nothing wrong
	}
})

// modelled is a store and what it should be.
type modelled struct {
	f     *fixture
	model *Memory
}

var (
	modelSignatures = rapid.Map(rapid.IntRange(0, 7), func(n int) []byte { return []byte("signature")[:n] })
	modelTokens     = rapid.Map(rapid.IntRange(0, 15), func(n int) *storage.Nullifier {
		if n < 4 {
			return nil
		}
		return &storage.Nullifier{31: byte(n)}
	})
	modelSpendings = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) storage.Spending {
		return storage.Spending{
			Token: storage.NewTokenID(storage.Nullifier{31: byte(rapid.IntRange(0, 15).Draw(t, "token"))}),
			ID:    modelRecords.Draw(t, "envelope").ID,
		}
	}), 0, 4)
	modelRecords = rapid.Custom(func(t *rapid.T) storage.Record {
		signature := modelSignatures.Draw(t, "signature")
		n := rapid.IntRange(0, 3).Draw(t, "ciphertext")
		ciphertext := make([]byte, n*n*1800) // 0 to 16200 bytes
		return storage.Record{
			ID:         storage.NewID(signature, ciphertext),
			Born:       storage.Hour(rapid.Uint32().Draw(t, "born")),
			Signature:  signature,
			Ciphertext: ciphertext,
			Nullifier:  modelTokens.Draw(t, "token"),
		}
	})
	modelBatches = rapid.SliceOfN(modelRecords, 0, 12)
)

func (m *modelled) append(t *rapid.T) {
	batch := modelBatches.Draw(t, "batch")
	got, err := m.f.store.Append(m.f.Context(), batch)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	want, err := m.model.Append(m.f.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("append: %v, want %v", got, want)
	}
}

func (m *modelled) log(t *rapid.T) {
	req := storage.LogRequest{
		From: storage.Seq(rapid.IntRange(0, 40).Draw(t, "from")),
		Max:  rapid.IntRange(0, 40).Draw(t, "max"),
	}
	got, err := m.f.store.Log(m.f.Context(), req)
	if err != nil {
		t.Fatalf("log: %v", err)
	}
	want, err := m.model.Log(m.f.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Entries) != len(want.Entries) || got.Last != want.Last {
		t.Fatalf("log: %d entries, last of the log %d; want %d and %d", len(got.Entries), got.Last, len(want.Entries), want.Last)
	}
	for i, e := range want.Entries {
		if r := (storage.Record{ID: e.ID, Born: e.Born, Signature: e.Signature, Ciphertext: e.Ciphertext}); got.Entries[i].Seq != e.Seq || !same(got.Entries[i], r) {
			t.Fatalf("log: entry %d is not what was appended", e.Seq)
		}
	}
}

func (m *modelled) find(t *rapid.T) {
	signature := modelSignatures.Draw(t, "signature")
	got, err := m.f.store.Find(m.f.Context(), signature)
	want, wantErr := m.model.Find(m.f.Context(), signature)
	if got != want || errors.Is(err, storage.ErrNotFound) != (wantErr != nil) || (err == nil) != (wantErr == nil) {
		t.Fatalf("find: %d, %v; want %d, %v", got, err, want, wantErr)
	}
}

func (m *modelled) info(t *rapid.T) {
	got, err := m.f.store.Info(m.f.Context())
	if err != nil {
		t.Fatalf("info: %v", err)
	}
	want, err := m.model.Info(m.f.Context())
	if err != nil {
		t.Fatal(err)
	}
	want.Epoch, want.Bytes = got.Epoch, got.Bytes
	if got != want {
		t.Fatalf("info: %+v, want %+v", got, want)
	}
}

func (m *modelled) reopen(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "stay open") == 0 {
		m.f.reopen()
	}
	m.info(t)
}

func (m *modelled) spend(t *rapid.T) {
	batch := modelSpendings.Draw(t, "spendings")
	if err := m.f.ledger().Spend(m.f.Context(), batch); err != nil {
		t.Fatalf("spend: %v", err)
	}
	if err := m.model.Spend(m.f.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

func (m *modelled) spendings(t *rapid.T) {
	req := storage.SpendingsRequest{Max: rapid.IntRange(0, 20).Draw(t, "max")}
	if rapid.Bool().Draw(t, "from the middle") {
		req.After = &storage.TokenID{byte(rapid.Byte().Draw(t, "after"))}
	}
	got, err := m.f.ledger().Spendings(m.f.Context(), req)
	if err != nil {
		t.Fatalf("spendings: %v", err)
	}
	want, err := m.model.Spendings(m.f.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("spendings: %x, want %x", got, want)
	}
}
