package sqlite

import (
	"bytes"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// markedRecords makes records of one hour, most of them longer than half a page. Each
// signature and ciphertext begins with the marker.
func markedRecords(n int, born storage.Hour, marker string) []storage.Record {
	records := make([]storage.Record, n)
	for i := range records {
		var random [64 + 3000]byte
		rand.Read(random[:])
		signature, ciphertext := append([]byte(marker), random[:64]...), append([]byte(marker), random[64:64+[]int{1000, 2000, 3000, 50, 100}[i%5]]...)
		records[i] = storage.Record{
			ID: storage.NewID(signature, ciphertext), Born: born, Signature: signature, Ciphertext: ciphertext,
			Nullifier: (*storage.Nullifier)(random[:32]),
		}
	}
	return records
}

// countInFiles counts how often something is in the files of an open store.
func countInFiles(t *testing.T, s *Store, what string) (n int) {
	t.Helper()
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(s.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		n += bytes.Count(data, []byte(what))
	}
	return n
}

// pruneAll prunes in transactions of limit envelopes.
func pruneAll(t *testing.T, s *Store, floor storage.Hour, limit int) {
	t.Helper()
	for more := true; more; {
		p, err := s.Prune(t.Context(), storage.PruneRequest{Floor: floor, Max: limit})
		if err != nil {
			t.Fatal(err)
		}
		more = p.More
	}
}

// wipeTest fills a store at random, in a way that its seed decides, and remembers which
// envelopes will be removed.
type wipeTest struct {
	*mathrand.ChaCha8
	store   *Store
	removed []storage.Record
	kept    int
}

const (
	markRemoved, markKept = "what will be removed", "what stays in the log"
	wipeFloor             = storage.Hour(100)
)

// appendRecords appends records of an hour that is drawn, of a size up to most.
func (x *wipeTest) appendRecords(t *testing.T, n, most int, drawHour func() storage.Hour) {
	t.Helper()
	records := make([]storage.Record, n)
	for i := range records {
		born, mark := drawHour(), markKept
		if born < wipeFloor {
			mark = markRemoved
		}
		body := make([]byte, 64+32+x.Uint64()%uint64(most))
		x.Read(body)
		signature, ciphertext := append([]byte(mark), body[:64]...), body[96:]
		for at := 0; at < len(ciphertext); at += 64 { // so that each piece has it
			copy(ciphertext[at:], mark)
		}
		records[i] = storage.Record{
			ID: storage.NewID(signature, ciphertext), Born: born, Signature: signature, Ciphertext: ciphertext,
			Nullifier: (*storage.Nullifier)(body[64:96]),
		}
		if born < wipeFloor {
			x.removed = append(x.removed, records[i])
		} else {
			x.kept++
		}
	}
	if _, err := x.store.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// countRemoved counts what the files have of the envelopes that were removed: their signatures
// and ciphertexts, and their ids.
func (x *wipeTest) countRemoved(t *testing.T) (bodies, ids int) {
	t.Helper()
	gone := make(map[[8]byte]bool)
	for _, r := range x.removed {
		gone[[8]byte(r.ID[:])] = true
	}
	for _, suffix := range []string{"", walSuffix} {
		data, err := os.ReadFile(x.store.path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		for i := range max(len(data), 7) - 7 {
			if gone[[8]byte(data[i:])] {
				ids++
			}
		}
	}
	return countInFiles(t, x.store, markRemoved), ids
}

// TestPrunedBytesAreGone looks for what was removed in the database and in the log of SQLite,
// when a compaction has ended, with stores that were filled and pruned in many ways. Others
// append while the store is pruned and compacted.
func TestPrunedBytesAreGone(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	left := 0
	for seed := range 24 {
		seedBytes := [32]byte{byte(seed)}
		maxWAL := []int64{0, 64 << 10}[seed%2] // the log begins anew all the time, or hardly
		x := &wipeTest{ChaCha8: mathrand.NewChaCha8(seedBytes), store: openNewStore(t, Options{MaxWAL: maxWAL})}
		hour := storage.Hour(0)
		drawHour := []func() storage.Hour{
			func() storage.Hour { return hour },                                   // hour by hour
			func() storage.Hour { return storage.Hour(x.Uint64() % 200) },         // in no order
			func() storage.Hour { return storage.Hour(x.Uint64()%2) * wipeFloor }, // in turn
		}[seed%3]
		most := []int{100, 3000, 12_000}[seed/3%3]
		drawKept := func() storage.Hour { return wipeFloor + storage.Hour(x.Uint64()%50) }
		for range 20 {
			x.appendRecords(t, 40, most, drawHour)
			hour += 10
		}
		for more := true; more; {
			p, err := x.store.Prune(t.Context(), storage.PruneRequest{Floor: wipeFloor, Max: 1 + int(x.Uint64()%60)})
			if err != nil {
				t.Fatal(err)
			}
			more = p.More
			x.appendRecords(t, 1+int(x.Uint64()%5), most, drawKept)
		}
		bodies, ids := x.countRemoved(t)
		left += bodies + ids
		for more := true; more; {
			c, err := x.store.Compact(t.Context(), storage.CompactRequest{Room: 1 << 20, Max: 1 << (13 + x.Uint64()%8)})
			if err != nil {
				t.Fatal(err)
			}
			if more = c.More; more {
				x.appendRecords(t, 1+int(x.Uint64()%3), most, drawKept)
			}
		}
		if bodies, ids := x.countRemoved(t); bodies+ids > 0 {
			t.Errorf("seed %d: the files have %d signatures and ciphertexts and %d ids that were removed", seed, bodies, ids)
		}
		if countInFiles(t, x.store, markKept) < x.kept {
			t.Errorf("seed %d: the files do not have what stays", seed)
		}
		expectUnusedZero(t, x.store)
		checkIntegrity(t, x.store)
		x.store.Close()
	}
	if left == 0 {
		t.Error("nothing that was removed was left before the compactions, so this shows nothing")
	}
	t.Logf("before the compactions the files had %d signatures, ciphertexts and ids that were removed", left)
}

// expectUnusedZero fails if a page of the database has something in unused bytes. What a page is
// it takes from SQLite, and what is unused from the cells of the page.
func expectUnusedZero(t *testing.T, s *Store) {
	t.Helper()
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := openAsOtherProgram(t, s.path, "ro").Query("SELECT pageno, pagetype, unused FROM dbstat")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	pages := 0
	for rows.Next() {
		var n, unused int
		var kind string
		if err := rows.Scan(&n, &kind, &unused); err != nil {
			t.Fatal(err)
		}
		page := data[(n-1)*pageSize:][:pageSize]
		pages++
		if kind == "overflow" {
			if hasBytes(page[pageSize-unused:]) {
				t.Errorf("page %d, %s, has something in its unused bytes", n, kind)
			}
			continue
		}
		got := 0
		for _, part := range unusedParts(page, n == 1) {
			got += len(part)
			if hasBytes(part) {
				t.Errorf("page %d, %s, has something in its unused bytes", n, kind)
			}
		}
		// The heads of free blocks, of 4 bytes, and fragments are unused too.
		if blocks := countFreeBlocks(page, n == 1); got+4*blocks > unused || got+4*blocks+60 < unused {
			t.Errorf("page %d, %s, has %d unused bytes and %d were looked at", n, kind, unused, got)
		}
	}
	if err := rows.Err(); err != nil || pages == 0 {
		t.Fatal(pages, err)
	}
}

func countFreeBlocks(page []byte, first bool) int { return max(len(unusedParts(page, first)), 1) - 1 }

// TestCutLogAfterReader has another program read while envelopes are removed, so that the log
// of SQLite keeps them until it has ended.
func TestCutLogAfterReader(t *testing.T) {
	const gone = "what will be removed"
	s := openNewStore(t, Options{})
	if _, err := s.Append(t.Context(), markedRecords(100, 5, gone)); err != nil {
		t.Fatal(err)
	}
	tx, err := openAsOtherProgram(t, s.path, "ro").Begin()
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if err := tx.QueryRow("SELECT count(*) FROM envelopes").Scan(&count); err != nil {
		t.Fatal(err)
	}
	pruneAll(t, s, 10, 0)
	if countInFiles(t, s, gone) == 0 {
		t.Error("the other program reads nothing")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	s.cutAt = time.Time{} // a moment ago
	if _, err := s.Append(t.Context(), markedRecords(1, 20, "another")); err != nil {
		t.Fatal(err)
	}
	if n := countInFiles(t, s, gone); n > 0 {
		t.Errorf("the files have %d signatures and ciphertexts that were removed", n)
	}
}

// compactAll compacts in steps of some bytes, with room for the least of them.
func compactAll(t *testing.T, s *Store, step int) (moved uint64) {
	t.Helper()
	for more := true; more; {
		c, err := s.Compact(t.Context(), storage.CompactRequest{Room: 1 << 20, Max: step})
		if err != nil {
			t.Fatal(err)
		}
		moved += c.Moved
		more = c.More
	}
	return moved
}

// TestFileShrinks prunes nine tenths of a store.
func TestFileShrinks(t *testing.T) {
	s := openNewStore(t, Options{})
	for hour := range storage.Hour(20) {
		if _, err := s.Append(t.Context(), markedRecords(100, hour, "")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, s.path, Options{})
	before := fileSize(s.path)
	pruneAll(t, s, 18, 64)
	if moved := compactAll(t, s, 1<<18); moved == 0 {
		t.Error("nothing was moved")
	}
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if size := fileSize(s.path); size > before/6 || info.Bytes > uint64(before/6) {
		t.Errorf("the file had %d bytes and has %d", before, size)
	}
	if info.InUse < info.Bytes*9/10 || info.InUse > info.Bytes {
		t.Errorf("%d bytes of %d are in use", info.InUse, info.Bytes)
	}
	checkIntegrity(t, s)
}

// checkIntegrity has SQLite look at all of an open store, and compares its counters with
// its rows.
func checkIntegrity(t *testing.T, s *Store) {
	t.Helper()
	db := openAsOtherProgram(t, s.path, "ro")
	for query, want := range map[string]string{
		"PRAGMA integrity_check": "ok",
		`SELECT count(*) || '' FROM (SELECT born, count(*), sum(length(signature) + length(ciphertext) + 667 * pieces) FROM envelopes GROUP BY born
			EXCEPT SELECT hour, count, bytes FROM hours)`: "0",
		"SELECT count(*) || '' FROM hours WHERE hour NOT IN (SELECT born FROM envelopes)":                          "0",
		"SELECT count(*) || '' FROM pieces LEFT JOIN envelopes ON seq = n >> 3 WHERE coalesce(n & 7 >= pieces, 1)": "0",
		"SELECT (SELECT sum(pieces) FROM envelopes) - (SELECT count(*) FROM pieces) || ''":                         "0",
		"SELECT count(*) || '' FROM signatures WHERE seq NOT IN (SELECT seq FROM envelopes)":                       "0",
		"SELECT (SELECT count(*) FROM envelopes, meta WHERE born >= floor) - count || '' FROM meta":                "0",
		"SELECT (SELECT coalesce(min(seq), 0) FROM envelopes, meta WHERE born >= floor) - first || '' FROM meta":   "0",
		"SELECT (SELECT count(*) FROM tokens) - tokens || '' FROM meta":                                            "0",
	} {
		var got string
		if err := db.QueryRow(query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", query, got, want, err)
		}
	}
}

// TestWrongHours prunes a store whose table hours is wrong.
func TestWrongHours(t *testing.T) {
	for _, statement := range []string{
		"UPDATE hours SET count = count + 1 WHERE hour = 5", "UPDATE hours SET count = count + 100 WHERE hour = 5", "DELETE FROM hours WHERE hour = 5",
	} {
		s := openNewStore(t, Options{})
		if _, err := s.Append(t.Context(), markedRecords(10, 5, "")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		execStatement(t, s.path, statement)
		s = mustOpen(t, s.path, Options{})
		if _, err := s.Prune(t.Context(), storage.PruneRequest{Floor: 10}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("prune after %s: %v, want ErrCorrupt", statement, err)
		}
	}
}
