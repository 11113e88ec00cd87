package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefile"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func mustInspect(t testing.TB, path string) *inspection {
	t.Helper()
	s, err := Inspect(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s.(*inspection)
}

// checkAll runs all parts of a check.
func checkAll(t testing.TB, s storage.Checker) (faults []storage.Fault) {
	t.Helper()
	done := uint64(0)
	for after := []byte(nil); ; {
		part, err := s.Check(t.Context(), storage.CheckRequest{After: after})
		if err != nil {
			t.Fatal(err)
		}
		faults = append(faults, part.Faults...)
		if part.Done < done || part.Done > part.Total || len(part.Faults) > storage.MaxFaults || len(part.Next) > storage.MaxCheckState {
			t.Fatalf("a part of the check: %d faults, %d of %d bytes after %d", len(part.Faults), part.Done, part.Total, done)
		}
		if after, done = part.Next, part.Done; len(after) == 0 {
			return faults
		}
	}
}

func faultsText(faults []storage.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%s: %s\n", f.Place, f.Text)
	}
	return b.String()
}

// fillForCheck fills a store with some of everything: several hours, firsts, older entries,
// tokens of any kind, entries removed and below the floor, keys in the tree and recent.
func fillForCheck(t testing.TB, s *Store) {
	t.Helper()
	appendBatch := func(records []storage.Record) {
		if _, err := s.Append(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	for hour := storage.Hour(10); hour < 20; hour++ {
		records := figureRecords(60, hour, 700)
		for i := range records {
			records[i].Ciphertext = records[i].Ciphertext[:10*i]
			if i%20 == 0 {
				records[i].Signature, records[i].Nullifier = []byte("a signature"), nil
			}
			records[i].ID = storage.NewID(records[i].Signature, records[i].Ciphertext)
		}
		appendBatch(records)
		again := slices.Clone(records[:7])
		for i := range again {
			again[i].Born--
			again[i].Nullifier = figureRecords(1, 0, 1)[0].Nullifier
		}
		appendBatch(again)
	}
	if err := s.Spend(t.Context(), []storage.SpentToken{{Token: storage.TokenID{5}, ID: storage.ID{7}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 14, Max: 200}); err != nil {
		t.Fatal(err)
	}
}

// TestCheckOfWholeStores finds no fault in whole stores, of any format, and shows what they
// hold as an ordinary start does.
func TestCheckOfWholeStores(t *testing.T) {
	for name, prepare := range map[string]func(path string){
		"empty":     func(path string) { mustOpen(t, path, Options{}).Close() },
		"in memory": func(path string) { s := mustOpen(t, path, Options{}); fillForCheck(t, s); s.Close() },
		"in the tree": func(path string) {
			s := mustOpen(t, path, Options{MaxRecent: 16})
			fillForCheck(t, s)
			s.Close()
		},
		"compacted": func(path string) {
			s := mustOpen(t, path, Options{MaxRecent: 128})
			fillForCheck(t, s)
			compactAll(t, s, 0)
			s.Close()
		},
		"format 1":        func(path string) { unpackTestdata(t, "format1.db.gz", path) },
		"format 1, whole": func(path string) { unpackTestdata(t, "format1-whole.db.gz", path) },
		"format 2":        func(path string) { unpackTestdata(t, "format2.db.gz", path) },
		"format 3":        func(path string) { unpackTestdata(t, "format3.db.gz", path) },
		"format 4":        func(path string) { unpackTestdata(t, "format4.db.gz", path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "messages.db")
			prepare(path)
			before := storefiletest.ListDir(t, dir)
			s := mustInspect(t, path)
			if faults := checkAll(t, s); len(faults) > 0 {
				t.Errorf("faults in a whole store:\n%s", faultsText(faults))
			}
			shown := readContent(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if after := storefiletest.ListDir(t, dir); after != before {
				t.Errorf("the directory was changed:\n%s\nbefore:\n%s", after, before)
			}
			opened := readContent(t, mustOpen(t, path, Options{MaxRecent: 64}))
			if !shown.equal(&opened) {
				t.Errorf("an inspection shows %+v and an ordinary start %+v", shown.info, opened.info)
			}
		})
	}
}

// TestInspectionDescribesAtOnce asks for an Info, which has less time than a large log takes. It
// reads the log up to the first envelope that is shown.
func TestInspectionDescribesAtOnce(t *testing.T) {
	s := openNewStore(t, Options{})
	for hour := range storage.Hour(20) {
		appendAll(t, s, figureRecords(50, hour, 1000))
	}
	if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 4, Max: 1}); err != nil {
		t.Fatal(err)
	}
	want, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	i := mustInspect(t, s.path)
	got, err := i.Info(t.Context())
	want.Bytes, want.InUse = got.Bytes, got.InUse // which a store that is open counts otherwise
	if err != nil || got != want {
		t.Errorf("an inspection says %+v, %v, and the store says %+v", got, err, want)
	}
	if read, all := i.catalog.next, len(i.log.leaves); read > all/3 {
		t.Errorf("%d of %d leaves of the log were read", read, all)
	}
}

// TestInspectionChangesNothing refuses every change, and a store that is open.
func TestInspectionChangesNothing(t *testing.T) {
	s := openNewStore(t, Options{})
	if _, err := Inspect(s.path); !errors.Is(err, storefile.ErrLocked) {
		t.Errorf("inspect a store that is open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	i := mustInspect(t, s.path)
	_, appendErr := i.Append(t.Context(), figureRecords(1, 1, 1))
	_, pruneErr := i.Prune(t.Context(), storage.PruneRequest{})
	for _, err := range []error{appendErr, pruneErr, i.Spend(t.Context(), nil)} {
		if !errors.Is(err, errInspected) {
			t.Errorf("a change: %v", err)
		}
	}
	if _, err := Open(s.path, Options{}); err == nil {
		t.Error("a store that is inspected was opened")
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, s.path, Options{})
}

// TestInspectRefuses opens what is no store at all.
func TestInspectRefuses(t *testing.T) {
	for name, data := range map[string][]byte{"empty": {}, "text": []byte("dear operator\n"), "zeros": make([]byte, 1<<17), "noise": noise(1 << 17)} {
		path := filepath.Join(t.TempDir(), "messages.db")
		writeFile(t, path, data)
		if _, err := Inspect(path); err == nil || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		mustLock(t, path)
	}
	if _, err := Inspect(filepath.Join(t.TempDir(), "messages.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func mustLock(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := storefile.Lock(f); err != nil {
		t.Errorf("the file stayed locked: %v", err)
	}
}

func noise(n int) []byte {
	random := rand.New(rand.NewPCG(3, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

// checkImage makes the file of a store with some of everything, and returns its pages by what
// they hold: "log", "index", "hours", "meta", "root", "free" and "freelist".
func checkImage(t testing.TB) (data []byte, pages map[string][]uint64, content content) {
	t.Helper()
	s := openNewStore(t, Options{MaxRecent: 64})
	fillForCheck(t, s)
	content = readContent(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	i := mustInspect(t, s.path)
	pages = map[string][]uint64{"header": {0, 1}, "root": {i.header.root}, "freelist": {i.header.freelist}}
	for _, tree := range []*bucketTree{i.log, i.index, i.hours, i.meta} {
		for _, leaf := range tree.leaves {
			if tree.inline == nil {
				pages[tree.name] = append(pages[tree.name], leaf.id)
			}
		}
		if tree.inline == nil && tree.root != tree.leaves[0].id {
			pages["above "+tree.name] = append(pages["above "+tree.name], tree.root)
		}
	}
	for id := range i.walker.count {
		if i.free.has(id) {
			pages["free"] = append(pages["free"], id)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	return data, pages, content
}

// TestCheckFindsDamage damages a file in each way, and checks it. What can still be read
// is whole, and nothing of the directory changes.
func TestCheckFindsDamage(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	good, pages, content := checkImage(t)
	other, _, _ := checkImage(t)
	at := func(data []byte, id uint64) []byte { return data[id*pageSize : (id+1)*pageSize] }
	used := func(id uint64) bool { return !slices.Contains(pages["free"], id) }
	check := func(name string, data []byte) {
		t.Helper()
		faults := inspectDamaged(t, name, data, &content)
		if len(faults) == 0 {
			t.Errorf("%s: nothing is found", name)
		}
	}
	for _, where := range []string{"log", "index", "header", "root", "freelist", "above log", "above index"} {
		if len(pages[where]) == 0 {
			t.Fatalf("the file has no pages of %s; it has %v", where, pages)
		}
		for _, id := range pages[where] {
			data := bytes.Clone(good)
			clear(at(data, id))
			check(fmt.Sprintf("zeros in page %d of %s", id, where), data)
			copy(at(data, id), noise(pageSize))
			check(fmt.Sprintf("noise in page %d of %s", id, where), data)
			if id > 1 && !bytes.Equal(at(good, id), at(other, id)) {
				copy(at(data, id), at(other, id))
				check(fmt.Sprintf("a page of another file as page %d of %s", id, where), data)
			}
			copy(at(data, id), at(good, 2+(id+1)%2))
			check(fmt.Sprintf("another page as page %d of %s", id, where), data)
		}
	}
	for _, size := range []int{2 * pageSize, len(good) / 2, len(good) - 1, len(good) / 3 * 2} {
		end := uint64(size) / pageSize
		if slices.ContainsFunc(pages["log"], func(id uint64) bool { return id >= end }) {
			check(fmt.Sprintf("cut to %d bytes", size), good[:size])
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	data := bytes.Clone(good)
	for id := uint64(2); id < uint64(len(good)/pageSize); id++ {
		if used(id) && random.IntN(2) == 0 {
			copy(at(data, id), noise(pageSize))
		}
	}
	check("noise in half of all pages", data)
}

// inspectDamaged checks a damaged file and compares what can be read with what was there.
func inspectDamaged(t *testing.T, name string, data []byte, was *content) []storage.Fault {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "messages.db")
	writeFile(t, path, data)
	before := storefiletest.ListDir(t, dir)
	opened, err := Inspect(path)
	if err != nil {
		mustLock(t, path)
		return []storage.Fault{{Text: err.Error()}}
	}
	s := opened.(*inspection)
	faults := checkAll(t, s)
	shown := readContent(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if after := storefiletest.ListDir(t, dir); after != before {
		t.Errorf("%s: the directory was changed", name)
	}
	entries := make(map[storage.ID]storage.Entry)
	for _, e := range was.log {
		entries[e.ID] = e
	}
	for _, e := range shown.log {
		w, ok := entries[e.ID]
		if s.stateOK && (!ok || w.Seq != e.Seq || !bytes.Equal(w.Ciphertext, e.Ciphertext)) && !strings.Contains(name, "another file") && !strings.Contains(faultsText(faults), "header") {
			t.Errorf("%s: entry %d was not there, or another one", name, e.Seq)
		}
	}
	return faults
}

// TestCheckFindsOneBit flips bits in every part of a file. Those that are not found change
// nothing that the store reads.
func TestCheckFindsOneBit(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	good, pages, content := checkImage(t)
	random := rand.New(rand.NewPCG(5, 6))
	missed := 0
	flip := func(id uint64, offset int) {
		data := bytes.Clone(good)
		data[int(id)*pageSize+offset] ^= 1 << random.IntN(8)
		if faults := inspectDamaged(t, "a bit", data, &content); len(faults) > 0 {
			return
		}
		missed++
		path := filepath.Join(t.TempDir(), "messages.db")
		writeFile(t, path, data)
		s, err := Inspect(path)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		shown := readContent(t, s)
		if len(shown.tokens) == len(content.tokens) {
			shown.tokens = content.tokens // of removed envelopes and second payments; see Check
		}
		if !shown.equal(&content) {
			t.Errorf("a bit in byte %d of page %d is not found, and changes what is read", offset, id)
		}
	}
	for _, where := range []string{"log", "index", "root", "freelist", "above log", "above index", "header"} {
		for range 15 {
			id := pages[where][random.IntN(len(pages[where]))]
			flip(id, random.IntN(pageSize))
			flip(id, random.IntN(512)) // in its header and its elements
		}
	}
	t.Logf("%d flips are not found", missed)
	for _, id := range pages["free"][:3] {
		data := bytes.Clone(good)
		data[id*pageSize+100] ^= 1
		if faults := inspectDamaged(t, "a free page", data, &content); len(faults) > 0 {
			t.Errorf("a bit in a free page: %s", faultsText(faults))
		}
	}
}

// TestLostBranchIsFoundAgain damages the page above the leaves of the log. All entries are
// still read, since their pages are neither used nor free.
func TestLostBranchIsFoundAgain(t *testing.T) {
	good, pages, content := checkImage(t)
	for _, where := range []string{"above log", "above index"} {
		data := bytes.Clone(good)
		id := pages[where][0]
		clear(data[id*pageSize : (id+1)*pageSize])
		path := filepath.Join(t.TempDir(), "messages.db")
		writeFile(t, path, data)
		s := mustInspect(t, path)
		shown := readContent(t, s)
		if !shown.equal(&content) {
			t.Errorf("without the page %s: %d entries, %d tokens; want %d and %d", where, len(shown.log), len(shown.tokens), len(content.log), len(content.tokens))
		}
	}
}

// TestCheckGoesOnOnlyWhereItEnded refuses states that no part has returned.
func TestCheckGoesOnOnlyWhereItEnded(t *testing.T) {
	s := openNewStore(t, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	i := mustInspect(t, s.path)
	for _, after := range [][]byte{{1}, make([]byte, 8), {0, 0, 0, 0, 0, 0, 0, 1}} {
		if _, err := i.Check(t.Context(), storage.CheckRequest{After: after}); err == nil {
			t.Errorf("a check went on after %x", after)
		}
	}
	if _, err := i.Check(t.Context(), storage.CheckRequest{After: make([]byte, storage.MaxCheckState+1)}); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("a state that is too large: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := i.Check(ended, storage.CheckRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
}

// TestFaultsAreBounded adds more faults than a check lists.
func TestFaultsAreBounded(t *testing.T) {
	l := faultList{file: "messages.db"}
	for i := range uint64(5000) {
		l.addPage(i, "is damaged")
		l.addPage(i, "is damaged")
	}
	if len(l.list) != maxListedFaults || l.more != 2*(5000-maxListedFaults) || len(l.take()) != storage.MaxFaults {
		t.Errorf("%d faults are listed, and %d are not", len(l.list), l.more)
	}
}

// FuzzInspect checks and reads the file of a store that was changed in one place.
func FuzzInspect(f *testing.F) {
	good := storeImage(f)
	for page := range len(good) / pageSize {
		f.Add(uint32(page*pageSize+8), []byte{0xff, 0xff})
		f.Add(uint32(page*pageSize+10), []byte{0xff, 0xff, 0xff, 0xff})
		f.Add(uint32(page*pageSize+16), []byte{0, 0, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff})
	}
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		data := bytes.Clone(good)
		copy(data[int(at)%len(data):], patch)
		path := filepath.Join(t.TempDir(), "messages.db")
		writeFile(t, path, data)
		s, err := Inspect(path)
		if err != nil {
			return
		}
		defer s.Close()
		checkAll(t, s.(*inspection))
		readContent(t, s)
	})
}
