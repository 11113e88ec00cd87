package board

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// replicatedBoard is a board that has replicas, its clock and its log.
type replicatedBoard struct {
	*Board
	t   *testing.T
	cfg Config
	now storage.Hour
	log bytes.Buffer
}

func openReplicated(t *testing.T, store storage.Store, path string, now storage.Hour) *replicatedBoard {
	t.Helper()
	r := &replicatedBoard{t: t, now: now}
	r.cfg = Config{
		Store: store, HoursFile: path,
		Now:    func() time.Time { return time.Unix(int64(r.now)*3600, 0) },
		Logger: slog.New(slog.NewTextHandler(&r.log, nil)),
	}
	r.Board = openBoard(t, r.cfg)
	r.SetRoaming(true)
	return r
}

// appendBorn appends envelopes that are born now, and waits until they are shown.
func (r *replicatedBoard) appendBorn(born storage.Hour, numbers ...int) {
	r.t.Helper()
	for _, n := range numbers {
		last := r.End().Seq
		r.Replicate(r.t.Context(), []storage.Record{arrival(envelope(n), born)})
		awaitSeq(r.Board, last+1)
	}
}

// expectStarts compares where replays from envelopes begin.
func (r *replicatedBoard) expectStarts(want map[int]storage.Seq) {
	r.t.Helper()
	for n, seq := range want {
		if got, err := r.Find(r.t.Context(), envelope(n).Signature); err != nil || got != seq {
			r.t.Errorf("a replay from envelope %d begins at %d, %v; want %d", n, got, err, seq)
		}
	}
}

func (r *replicatedBoard) savedRows() (rows []hourRow) {
	r.t.Helper()
	var file hoursFile
	data, err := os.ReadFile(r.cfg.HoursFile)
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return file.Rows
}

const noon = storage.Hour(400_000)

// fillTable returns a board on which envelopes 1, 2 … came every hour since noon, each at the position
// of its number.
func fillTable(t *testing.T, path string, store storage.Store, hours int) *replicatedBoard {
	t.Helper()
	r := openReplicated(t, store, path, noon)
	for n := 1; n <= hours; n++ {
		r.now = noon + storage.Hour(n-1)
		r.appendBorn(r.now, n)
	}
	return r
}

func TestReplayBeginsADayEarlier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hours.json")
	r := fillTable(t, path, storagetest.NewMemory(), 60)
	r.expectStarts(map[int]storage.Seq{1: 1, 20: 1, 25: 1, 26: 2, 40: 16, 60: 36})
	if start, err := r.Find(t.Context(), []byte("unknown")); start != 1 || err != nil {
		t.Errorf("a replay from an unknown envelope begins at %d, %v", start, err)
	}
	r.appendBorn(r.now-10, 61)   // came from a peer after ten hours
	r.appendBorn(r.now-1000, 62) // as its peer says
	r.appendBorn(r.now+1000, 63)
	r.expectStarts(map[int]storage.Seq{61: 26, 62: 12, 63: 36})
	r.SetRoaming(false)
	r.expectStarts(map[int]storage.Seq{20: 20, 61: 61})
}

func TestBoardWithoutReplicasKeepsNoTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hours.json")
	b := openBoard(t, Config{Store: storagetest.NewMemory(), HoursFile: path})
	b.SetRoaming(false)
	for i := range 3 {
		postAndWait(b, i, i)
	}
	awaitSeq(b, 3)
	if got, err := b.Find(t.Context(), envelope(2).Signature); got != 3 || err != nil {
		t.Errorf("found at %d, %v", got, err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("there is a table: %v", err)
	}
	if pages := b.Counts.StorePages.Load(); pages != 0 {
		t.Errorf("%d pages were read", pages)
	}
}

// The end of a process at any moment between the table and the log makes replays begin where they
// did, or earlier.
func TestTableOutlivesItsProcess(t *testing.T) {
	for name, c := range map[string]struct {
		after  func(r *replicatedBoard) // as the process ends
		starts map[int]storage.Seq
	}{
		"both are written": {func(*replicatedBoard) {}, map[int]storage.Seq{26: 2, 40: 16, 41: 17, 42: 18}},
		"the row is written, the envelope is not": {func(r *replicatedBoard) {
			r.now++
			r.noteHour()
		}, map[int]storage.Seq{26: 2, 40: 16, 41: 17, 42: 18}},
		"the last rows are lost": {func(r *replicatedBoard) { // 39 and 40 may have come whenever
			t := &hourTable{path: r.cfg.HoursFile, epoch: r.Epoch(), rows: r.savedRows()[:38]}
			if err := t.writeFile(); err != nil {
				r.t.Fatal(err)
			}
		}, map[int]storage.Seq{26: 2, 39: 14, 40: 14, 41: 17, 42: 18}},
	} {
		t.Run(name, func(t *testing.T) {
			store, path := storagetest.NewMemory(), filepath.Join(t.TempDir(), "hours.json")
			r := fillTable(t, path, store, 40)
			c.after(r)
			r.Close(t.Context())
			r = openReplicated(t, store, path, noon+40)
			r.appendBorn(noon+40, 41)
			r.now++
			r.appendBorn(noon+41, 42)
			r.expectStarts(c.starts)
			if r.log.Len() > 0 {
				t.Errorf("logged: %s", &r.log)
			}
		})
	}
}

// What came while nobody noted hours may have come at any of them.
func TestHoursWithoutATable(t *testing.T) {
	r := fillTable(t, filepath.Join(t.TempDir(), "hours.json"), storagetest.NewMemory(), 40)
	r.SetRoaming(false)
	r.now += 100
	r.appendBorn(r.now, 41)
	r.now += 100
	r.SetRoaming(true)
	r.now++
	r.appendBorn(r.now, 42)
	r.expectStarts(map[int]storage.Seq{41: 16, 42: 40})
	r.now += ReplicationHours
	r.appendBorn(r.now, 43)
	r.expectStarts(map[int]storage.Seq{43: 42})
}

// A table that is of no use is said once, begins anew, and costs clients time alone.
func TestUselessTables(t *testing.T) {
	rewrite := func(change func(*hoursFile)) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			var file hoursFile
			data, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(data, &file)
			}
			if err != nil {
				t.Fatal(err)
			}
			change(&file)
			if data, err = json.Marshal(file); err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		harm func(t *testing.T, path string)
		says string
	}{
		"lost":            {func(t *testing.T, path string) { os.Remove(path) }, "table of hours begins:"},
		"empty":           {func(t *testing.T, path string) { os.WriteFile(path, nil, 0o600) }, "begins anew"},
		"cut":             {func(t *testing.T, path string) { os.Truncate(path, 100) }, "begins anew"},
		"huge":            {func(t *testing.T, path string) { os.Truncate(path, maxHoursFile+1) }, "longer than"},
		"later format":    {rewrite(func(f *hoursFile) { f.Format++ }), "format 2"},
		"no rows":         {rewrite(func(f *hoursFile) { f.Rows = nil }), "0 rows"},
		"too many rows":   {rewrite(func(f *hoursFile) { f.Rows = make([]hourRow, maxHourRows+1) }), "2161 rows"},
		"out of order":    {rewrite(func(f *hoursFile) { slices.Reverse(f.Rows) }), "out of order"},
		"other epoch":     {rewrite(func(f *hoursFile) { f.Epoch = storage.NewEpoch().String() }), "another store"},
		"of a longer log": {rewrite(func(f *hoursFile) { f.Rows = []hourRow{{99, noon, noon}} }), "does not have"},
		"clock was ahead": {rewrite(func(f *hoursFile) { f.Rows[39].Until += 1000 }), "clock"},
	} {
		t.Run(name, func(t *testing.T) {
			store, path := storagetest.NewMemory(), filepath.Join(t.TempDir(), "hours.json")
			fillTable(t, path, store, 40).Close(t.Context())
			c.harm(t, path)
			r := openReplicated(t, store, path, noon+40)
			r.appendBorn(r.now, 41)
			r.expectStarts(map[int]storage.Seq{30: 1, 40: 1, 41: 1})
			if said := r.log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, c.says) {
				t.Errorf("logged: %q", said)
			}
			r.now += ReplicationHours + 1
			r.appendBorn(r.now, 42)
			r.expectStarts(map[int]storage.Seq{40: 1, 41: 1, 42: 42})
		})
	}
}

// A store of which the end was lost, and which an operator has accepted, grows again.
func TestTableOfAStoreThatWasRolledBack(t *testing.T) {
	store, path := storagetest.NewMemory(), filepath.Join(t.TempDir(), "hours.json")
	r := fillTable(t, path, store, 40)
	rows := append(r.savedRows(), hourRow{50, noon + 41, noon + 41}, hourRow{60, noon + 42, noon + 42})
	r.Close(t.Context())
	if err := (&hourTable{path: path, epoch: r.Epoch(), rows: rows}).writeFile(); err != nil {
		t.Fatal(err)
	}
	r = openReplicated(t, store, path, noon+43)
	r.appendBorn(r.now, 41)
	r.expectStarts(map[int]storage.Seq{40: 16, 41: 20})
}

// The hours of a table never fall, whatever the clock does.
func TestTableWhileTheClockJumps(t *testing.T) {
	r := fillTable(t, filepath.Join(t.TempDir(), "hours.json"), storagetest.NewMemory(), 40)
	r.now-- // as when it is set
	r.appendBorn(r.now, 41)
	r.expectStarts(map[int]storage.Seq{40: 16, 41: 15})
	r.now += 5000
	r.appendBorn(r.now, 42)
	if r.log.Len() > 0 {
		t.Errorf("logged: %s", &r.log)
	}
	r.now -= 4999
	r.appendBorn(r.now, 43)
	r.expectStarts(map[int]storage.Seq{40: 1, 42: 1, 43: 1})
	if said := r.log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "clock") {
		t.Errorf("logged: %q", said)
	}
	if rows := r.savedRows(); len(rows) != 1 || rows[0] != (hourRow{43, r.now, r.now}) {
		t.Errorf("the table is %v", rows)
	}
}

func TestTableIsPruned(t *testing.T) {
	store := storagetest.NewMemory()
	r := fillTable(t, filepath.Join(t.TempDir(), "hours.json"), store, 60)
	raiseFloor(t, store, noon+30)
	r.FloorRose()
	r.expectStarts(map[int]storage.Seq{30: 31, 31: 31, 55: 31, 60: 36})
	r.now++
	r.appendBorn(r.now, 61)
	if rows := r.savedRows(); len(rows) != 31 || rows[0].First != 31 {
		t.Errorf("%d rows, from %v", len(rows), rows[0])
	}
}

func TestTableIsBounded(t *testing.T) {
	table := &hourTable{path: filepath.Join(t.TempDir(), "hours.json"), rows: []hourRow{{1, noon, noon}}}
	for i := range 2 * maxHourRows {
		table.noteHour(1<<60+storage.Seq(i), noon+1+storage.Hour(i))
	}
	if err := table.writeFile(); err != nil {
		t.Fatal(err)
	}
	file, err := readHoursFile(table.path)
	if err != nil || len(file.Rows) != maxHourRows {
		t.Fatalf("%d rows, %v", len(file.Rows), err)
	}
	info, err := os.Stat(table.path)
	if err != nil || info.Size() > maxHoursFile/4 {
		t.Errorf("%v bytes, %v", info.Size(), err)
	}
	if got := table.findStart(1<<59, noon); got != 0 {
		t.Errorf("an entry before the table begins at %d", got)
	}
}

// A board that cannot write its table serves, and what it did not write makes replays begin earlier.
func TestTableThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	store, path := storagetest.NewMemory(), filepath.Join(dir, "sub", "hours.json")
	r := fillTable(t, path, store, 40)
	r.expectStarts(map[int]storage.Seq{40: 16})
	if said := r.log.String(); strings.Count(said, "cannot write") != 1 {
		t.Errorf("logged: %q", said)
	}
	r.Close(t.Context())
	r = openReplicated(t, store, path, noon+40)
	r.expectStarts(map[int]storage.Seq{40: 1})
}

// What other relays have appended to a shared store counts from the hour in which it is seen.
func TestTableOfASharedStore(t *testing.T) {
	shared := storagetest.NewMemory()
	r := openReplicated(t, shared, filepath.Join(t.TempDir(), "hours.json"), noon)
	other := openBoard(t, Config{Store: shared})
	for n := 1; n <= 60; n++ {
		hour := noon + storage.Hour(n-1)
		r.appendMu.Lock() // the watcher notes the hour
		r.now = hour
		r.appendMu.Unlock()
		if got := other.Replicate(t.Context(), []storage.Record{arrival(envelope(n), hour)}); len(got) != 1 {
			t.Fatal(got)
		}
		awaitSeq(r.Board, storage.Seq(n))
	}
	r.expectStarts(map[int]storage.Seq{26: 2, 60: 36})
}

// TestCostOfOverlap says what a replay repeats at 1000 envelopes a day.
func TestCostOfOverlap(t *testing.T) {
	const perDay, days = 1000, 4
	own, arrived := &hourTable{rows: []hourRow{{1, noon, noon}}}, uint64(0)
	var most, all uint64
	for i := range storage.Seq(perDay * days) {
		hour := noon + storage.Hour(i*24/perDay)
		own.noteHour(i+1, hour)
		if hour < noon+3*24 {
			continue
		}
		n := uint64(i + 1 - own.findStart(i+1, hour))
		most, all, arrived = max(most, n), all+n, max(arrived, uint64(i+1-own.findStart(i+1, hour-ReplicationHours)))
	}
	if mean := all / perDay; mean < 1000 || most > 1042 || arrived > 2042 {
		t.Errorf("a replay repeats %d envelopes, at most %d, and %d from one that was under way for a day", mean, most, arrived)
	}
	t.Logf("a replay repeats %d envelopes on average and at most %d; %d from one that was under way for a day", all/perDay, most, arrived)
}
