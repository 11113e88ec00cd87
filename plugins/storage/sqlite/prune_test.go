package sqlite

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"testing"
	"time"

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

// TestPrunedBytesAreGone looks for what was removed in the database and in the log of SQLite,
// when Prune has returned.
func TestPrunedBytesAreGone(t *testing.T) {
	const gone, kept = "what will be removed", "what stays in the log"
	for name, mixed := range map[string]bool{"hour by hour": false, "in turn": true} {
		t.Run(name, func(t *testing.T) {
			s := openNewStore(t, Options{})
			var removed []storage.Record
			for range 20 {
				old, recent := markedRecords(20, 5, gone), markedRecords(20, 20, kept)
				batch := append(old, recent...)
				if mixed {
					for i := range old {
						batch[2*i], batch[2*i+1] = old[i], recent[i]
					}
				}
				removed = append(removed, old...)
				if _, err := s.Append(t.Context(), batch); err != nil {
					t.Fatal(err)
				}
			}
			if countInFiles(t, s, gone) == 0 {
				t.Fatal("the files do not have what was appended, so this shows nothing")
			}
			pruneAll(t, s, 10, 37)
			if n := countInFiles(t, s, gone); n > 0 {
				t.Errorf("the files have %d signatures and ciphertexts that were removed", n)
			}
			ids := 0
			for _, r := range removed {
				ids += countInFiles(t, s, string(r.ID[:8]))
			}
			t.Logf("the files have %d ids of %d that were removed", ids, len(removed))
			if countInFiles(t, s, kept) < 400 {
				t.Error("the files have not what stays")
			}
		})
	}
}

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
