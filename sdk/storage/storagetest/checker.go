package storagetest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var checkerChecks = []check{
	{"Inspect", "a store that was opened for inspection returns what can be read and is whole", checkInspect},
	{"InspectUnchanged", "such a store changes nothing on the disk, not even what an ordinary start would repair or upgrade", checkInspectUnchanged},
	{"InspectNothing", "opening for inspection fails only if nothing at all can be read, and changes nothing", checkInspectNothing},
	{"CheckWhole", "a store that is whole has no faults; together the parts are the whole store", checkCheckWhole},
	{"CheckState", "After is Next of the part before. More than MaxCheckState bytes are ErrTooLarge", checkCheckState},
	{"CheckDamage", "Check returns the faults that it finds: in every page of a file, every record and every index", checkCheckDamage},
	{"FaultTexts", "the texts of a Fault hold no identifiers, signatures, ciphertexts or tokens", checkFaultTexts},
	{"InspectKilled", "a store whose process was killed is whole", checkInspectKilled},
}

// mustInspect closes the store, opens it for inspection and returns it as a Checker. It
// skips the check if the store cannot be opened so.
func (f *fixture) mustInspect() storage.Checker {
	f.Helper()
	f.mustBeInspectable()
	f.closeStore()
	opened, err := f.opener.Inspect(f.TB, f.dir)
	if err != nil {
		f.Fatalf("open for inspection: %v", err)
	}
	f.opened, f.store = opened, opened.Store
	c, ok := storage.As[storage.Checker](f.store)
	if !ok {
		f.Fatal("a store that is open for inspection is no storage.Checker")
	}
	return c
}

func (f *fixture) mustBeInspectable() {
	if f.opener.Inspect == nil {
		f.Skip("the store cannot be opened for inspection, which is optional")
	}
}

// checkParts makes all calls of a check and returns the faults.
func (f *fixture) checkParts(c storage.Checker) (faults []storage.Fault, last storage.Checked) {
	f.Helper()
	var after []byte
	for range 100_000 {
		part, err := c.Check(f.Context(), storage.CheckRequest{After: after})
		switch {
		case err != nil:
			f.Fatalf("check: %v", err)
		case len(part.Faults) > storage.MaxFaults:
			f.Fatalf("one part has %d faults, limit %d", len(part.Faults), storage.MaxFaults)
		case len(part.Next) > storage.MaxCheckState:
			f.Fatalf("the state of a check is %d bytes long, limit %d", len(part.Next), storage.MaxCheckState)
		case part.Done > part.Total || part.Done < last.Done:
			f.Fatalf("%d bytes of %d are verified, after %d in the part before", part.Done, part.Total, last.Done)
		}
		faults, last = append(faults, part.Faults...), part
		if len(part.Next) == 0 {
			return faults, last
		}
		if bytes.Equal(part.Next, after) {
			f.Fatal("the next part of a check begins where this one began")
		}
		after = bytes.Clone(part.Next)
	}
	f.Fatal("a check does not end")
	return nil, storage.Checked{}
}

// fillStore appends, prunes and spends until the store has something of everything, and
// begins a compaction.
func (f *fixture) fillStore() *twin {
	f.Helper()
	w := newTwin(f)
	for range 30 {
		if err := w.tryAppend(w.mixedBatch()); err != nil {
			f.Fatalf("append: %v", err)
		}
	}
	if _, ok := storage.As[storage.Ledger](f.store); ok {
		spendings := newSpendings(20)
		f.mustSpend(spendings...)
		if err := w.model.Spend(f.Context(), spendings); err != nil {
			f.Fatal(err)
		}
	}
	if _, ok := storage.As[storage.Pruner](f.store); ok {
		if err := w.tryPrune(storage.PruneRequest{Floor: w.nextFloor(), Max: 10}); err != nil {
			f.Fatalf("prune: %v", err)
		}
	}
	if _, ok := storage.As[storage.Compactor](f.store); ok {
		if _, err := f.tryCompact(storage.CompactRequest{Room: ampleRoom, Max: storage.MinCompact}); err != nil {
			f.Fatalf("compact: %v", err)
		}
	}
	return w
}

func checkInspect(f *fixture) {
	f.mustBeInspectable()
	w := f.fillStore()
	for range 2 {
		f.mustInspect()
		w.compareReads()
		w.compareOptional()
		for _, e := range w.model.entries() {
			if seq, err := f.store.Find(f.Context(), e.Signature); err != nil || seq > e.Seq {
				f.Errorf("find the signature of entry %d: %d, %v", e.Seq, seq, err)
			}
		}
		f.reopenStore()
		w.compareAll()
	}
}

// filesOf returns the contents of the files of the store.
func (f *fixture) filesOf() map[string]string {
	f.Helper()
	files := make(map[string]string)
	f.walkFiles(func(path string, info os.FileInfo) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		files[path] = info.Mode().String() + " " + string(data)
	})
	return files
}

// expectFiles checks that the files of the store are as they were.
func (f *fixture) expectFiles(before map[string]string) {
	f.Helper()
	after := f.filesOf()
	for path, was := range before {
		switch is, there := after[path]; {
		case !there:
			f.Errorf("%s was removed by an inspection", path)
		case is != was:
			f.Errorf("%s was changed by an inspection", path)
		}
	}
	for path := range after {
		if _, known := before[path]; !known {
			f.Errorf("%s was made by an inspection", path)
		}
	}
}

func checkInspectUnchanged(f *fixture) {
	f.mustBeInspectable()
	w := f.fillStore()
	f.closeStore()
	before := f.filesOf()
	c := f.mustInspect()
	w.compareReads()
	w.compareOptional()
	f.checkParts(c)
	f.expectFiles(before)
	f.closeStore()
	f.expectFiles(before)
	f.reopenStore()
	w.compareAll()
}

func checkInspectNothing(f *fixture) {
	f.mustBeInspectable()
	f.closeStore()
	f.dir = f.TempDir()
	opened, err := f.opener.Inspect(f.TB, f.dir)
	if err != nil {
		f.expectFiles(nil)
		return
	}
	if page, err := opened.Store.Log(f.Context(), storage.LogRequest{}); err != nil || len(page.Entries) > 0 {
		f.Errorf("the log of a store that is not there has %d entries, %v", len(page.Entries), err)
	}
	if err := opened.Close(); err != nil {
		f.Errorf("close: %v", err)
	}
	f.expectFiles(nil)
}

func (f *fixture) expectWhole(c storage.Checker) {
	f.Helper()
	faults, last := f.checkParts(c)
	for _, fault := range faults {
		f.Errorf("a fault of a store that is whole: %s: %s", fault.Place, fault.Text)
	}
	if last.Done != last.Total {
		f.Errorf("a check of a store that is whole ends when %d bytes of %d are verified", last.Done, last.Total)
	}
}

func checkCheckWhole(f *fixture) {
	f.expectWhole(f.mustInspect()) // it is empty
	f.reopenStore()
	w := f.fillStore()
	f.expectWhole(f.mustInspect())
	f.reopenStore()
	w.compareAll()
	if _, ok := storage.As[storage.Pruner](f.store); ok {
		f.pruneAll(storage.Hour(serial.Add(1)), 0)
		f.expectWhole(f.mustInspect())
	}
}

func checkCheckState(f *fixture) {
	f.mustBeInspectable()
	f.mustAppend(newRecords(3, 100)...)
	c := f.mustInspect()
	if _, err := c.Check(f.Context(), storage.CheckRequest{After: make([]byte, storage.MaxCheckState+1)}); !errors.Is(err, storage.ErrTooLarge) {
		f.Errorf("check after a state of %d bytes: %v, want ErrTooLarge", storage.MaxCheckState+1, err)
	}
	first, err := c.Check(f.Context(), storage.CheckRequest{})
	if err != nil {
		f.Fatalf("check: %v", err)
	}
	again, err := c.Check(f.Context(), storage.CheckRequest{After: []byte{}})
	if err != nil || !bytes.Equal(again.Next, first.Next) {
		f.Errorf("the first part, asked for twice, ends at %x and %x, %v", first.Next, again.Next, err)
	}
}

// inspectDamaged damages a new store in each way that its author gave, and opens it for
// inspection.
func (f *fixture) inspectDamaged(look func(name string, w *twin, c storage.Checker)) {
	f.mustBeInspectable()
	if len(f.opener.Damages) == 0 {
		f.Skip("no way to damage the store was given")
	}
	f.closeStore()
	for name, damage := range f.opener.Damages {
		f := newFixture(f.TB, f.opener)
		w := f.fillStore()
		f.closeStore()
		damage(f.TB, f.dir)
		before := f.filesOf()
		look(name, w, f.mustInspect())
		f.closeStore()
		f.expectFiles(before)
	}
}

func checkCheckDamage(f *fixture) {
	f.inspectDamaged(func(name string, w *twin, c storage.Checker) {
		f := w.fixture
		if faults, _ := f.checkParts(c); len(faults) == 0 {
			f.Errorf("%s: no fault was found", name)
		}
		appended := make(map[storage.ID]storage.Record)
		for _, e := range w.model.entries() {
			appended[e.ID] = w.recordAt(e.Seq)
		}
		for _, e := range f.readPrunedLog() {
			if r, ok := appended[e.ID]; !ok || !bytes.Equal(e.Signature, r.Signature) || !bytes.Equal(e.Ciphertext, r.Ciphertext) {
				f.Errorf("%s: the log shows an entry that is not whole", name)
			}
		}
		if index, ok := storage.As[storage.Index](f.store); ok {
			var ids []storage.ID
			for id := range appended {
				if len(ids) < storage.MaxGet {
					ids = append(ids, id)
				}
			}
			entries, err := index.Get(f.Context(), ids)
			if err != nil {
				f.Errorf("%s: get: %v", name, err)
			}
			for _, e := range entries {
				if storage.NewID(e.Signature, e.Ciphertext) != e.ID {
					f.Errorf("%s: get returns an entry that is not whole", name)
				}
			}
		}
	})
}

func checkFaultTexts(f *fixture) {
	f.inspectDamaged(func(name string, w *twin, c storage.Checker) {
		faults, _ := w.checkParts(c)
		var secrets []string
		for _, e := range w.model.log {
			secrets = append(secrets, hex.EncodeToString(e.ID[:4]), string(e.Signature), hex.EncodeToString(e.Signature))
		}
		for _, fault := range faults {
			if fault.Place == "" || fault.Text == "" {
				w.Errorf("%s: a fault says too little: %q, %q", name, fault.Place, fault.Text)
			}
			for _, secret := range secrets {
				if secret != "" && strings.Contains(strings.ToLower(fault.Place+fault.Text), secret) {
					w.Errorf("%s: a fault tells an id or a signature: %q, %q", name, fault.Place, fault.Text)
					return
				}
			}
		}
	})
}

// checkInspectKilled kills the process while it appends, and looks at what it left.
func checkInspectKilled(f *fixture) {
	f.mustBeInspectable()
	if f.opened.Kill == nil {
		f.Skip("the store is no process of its own")
	}
	w := newTwin(f)
	for range killedRounds / 3 {
		cut := w.appendUntilKilled()
		before := f.filesOf()
		c := f.mustInspect()
		if got, without := f.mustInfo(), w.modelInfo(); got.Last != without.Last || got.Tokens != without.Tokens {
			w.applyBatch(cut)
		}
		w.compareReads()
		f.expectWhole(c)
		f.closeStore()
		f.expectFiles(before)
		f.reopenStore()
		w.compareAll()
	}
}
