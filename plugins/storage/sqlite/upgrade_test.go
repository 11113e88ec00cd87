package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// writeFormat1 makes a file of format 1 with more records than one transaction of an upgrade
// copies, and some tokens that paid for what is not there.
func writeFormat1(t *testing.T, path string, records []storage.Record) {
	t.Helper()
	unpackFormat(t, 1, path)
	db := openAsOtherProgram(t, path, "rw")
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	addFormat1(t, tx, records)
	if err := errors.Join(tx.Commit(), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// addFormat1 appends records to a file of format 1, all paid for.
func addFormat1(t *testing.T, tx *sql.Tx, records []storage.Record) {
	t.Helper()
	var last int64
	err := tx.QueryRow("SELECT last FROM meta").Scan(&last)
	for i := 0; err == nil && i < len(records); i++ {
		r := records[i]
		last++
		e := storage.Entry{Seq: storage.Seq(last), ID: r.ID, Born: r.Born, Signature: r.Signature, Ciphertext: r.Ciphertext}
		token := storage.NewTokenID(*r.Nullifier)
		_, err = tx.Exec("INSERT INTO envelopes VALUES (?, ?, ?, ?, ?, ?)", last, r.ID[:], r.Born, checksumOf(&e, 0), r.Signature, r.Ciphertext)
		if err == nil {
			_, err = tx.Exec("INSERT INTO tokens VALUES (?, ?)", token[:], r.ID[:])
		}
	}
	if err == nil {
		_, err = tx.Exec("UPDATE meta SET last = ?, tokens = (SELECT count(*) FROM tokens)", last)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// upgradedPath is the variable that has a process of this test open a file.
const upgradedPath = "SQLITE_TEST_UPGRADE"

// TestUpgradeProcess opens a file for TestUpgradeKilled, in a process of its own.
func TestUpgradeProcess(t *testing.T) {
	path := os.Getenv(upgradedPath)
	if path == "" {
		t.Skip("only runs as the process that TestUpgradeKilled kills")
	}
	s, err := Open(path, Options{MaxWAL: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestUpgradeKilled kills the process that upgrades a file, again and again.
func TestUpgradeKilled(t *testing.T) {
	storefiletest.SkipUnderRace(t)
	records := markedRecords(3000, 5, "")
	for i := range records {
		records[i].Born = storage.Hour(i / 100)
	}
	original := filepath.Join(t.TempDir(), "messages.sqlite")
	writeFormat1(t, original, records)
	data, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	kills := 0
	for round := range 6 {
		path := filepath.Join(t.TempDir(), "messages.sqlite")
		writeFile(t, path, data)
		for tries := 0; ; tries++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20*(tries+1)+rand.IntN(100))*time.Millisecond)
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestUpgradeProcess$")
			cmd.Env = append(os.Environ(), upgradedPath+"="+path)
			out, err := cmd.CombinedOutput()
			ended := ctx.Err() == nil
			cancel()
			if err == nil {
				break
			}
			if ended {
				t.Fatalf("%v\n%s", err, out)
			}
			kills++
		}
		s := mustOpen(t, path, Options{})
		expectUpgraded(t, s, records)
		if round == 0 {
			checkIntegrity(t, s)
		}
		if got := fileNames(t, s); len(got) != 3 {
			t.Errorf("the directory has %q", got)
		}
	}
	t.Logf("%d kills", kills)
}

// expectUpgraded checks that a store has what a file of format 1 had.
func expectUpgraded(t *testing.T, s *Store, records []storage.Record) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil || int(info.Last) != 12+len(records) || int(info.Count) != 12+len(records) || int(info.Tokens) != 9+len(records) {
		t.Fatalf("%+v, %v, want %d envelopes", info, err, 12+len(records))
	}
	for i := 0; i < len(records); i += storage.MaxBatch {
		part := records[i:min(i+storage.MaxBatch, len(records))]
		outcomes, err := s.Append(t.Context(), part[:min(len(part), 100)])
		if err != nil {
			t.Fatal(err)
		}
		for j, o := range outcomes {
			if want := (storage.Outcome{Status: storage.Replayed, Seq: storage.Seq(13 + i + j)}); o != want {
				t.Fatalf("envelope %d: %v, want %v", 12+i+j, o, want)
			}
		}
	}
	for from := storage.Seq(13); from <= info.Last; {
		page, err := s.Log(t.Context(), storage.LogRequest{From: from})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Entries {
			if r := records[from-13]; e.Seq != from || e.ID != r.ID || e.Born != r.Born || !bytes.Equal(e.Signature, r.Signature) || !bytes.Equal(e.Ciphertext, r.Ciphertext) {
				t.Fatalf("entry %d is not what it was", from)
			}
			from++
		}
	}
}

// TestUpgradeAfterOtherRelease has the release before append to a file whose upgrade was begun.
func TestUpgradeAfterOtherRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "messages.sqlite")
	records := markedRecords(100, 5, "")
	writeFormat1(t, path, records[:50])
	s := &Store{path: path, maxWAL: maxWAL}
	if err := s.copyToUpgrade(); err != nil {
		t.Fatal(err)
	}
	db := openAsOtherProgram(t, path, "rw")
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	addFormat1(t, tx, records[50:])
	if err := errors.Join(tx.Commit(), db.Close()); err != nil {
		t.Fatal(err)
	}
	expectUpgraded(t, mustOpen(t, path, Options{}), records)
}

// TestUpgradeIgnoresOtherFile upgrades beside a file that is not the beginning of the new one.
func TestUpgradeIgnoresOtherFile(t *testing.T) {
	for name, data := range map[string][]byte{"nothing": {}, "text": []byte("dear operator\n"), "another store": storeImage(t)} {
		path := filepath.Join(t.TempDir(), "messages.sqlite")
		records := markedRecords(10, 5, "")
		writeFormat1(t, path, records)
		writeFile(t, path+upgradeSuffix, data)
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		expectUpgraded(t, s, records)
		s.Close()
	}
}

// TestUpgradeKeepsDamage upgrades a file with a damaged envelope, which is found when it is
// read, and refuses one that lacks something.
func TestUpgradeKeepsDamage(t *testing.T) {
	for statement, opens := range map[string]bool{
		"UPDATE envelopes SET ciphertext = CAST('another one' AS BLOB) WHERE seq = 3": true,
		"UPDATE envelopes SET checksum = checksum + (1 << 32) WHERE seq = 3":          true,
		"UPDATE envelopes SET id = x'00' WHERE seq = 3":                               false,
		"DELETE FROM envelopes WHERE seq = 3":                                         false,
		"DELETE FROM tokens WHERE token = (SELECT max(token) FROM tokens)":            false,
	} {
		path := filepath.Join(t.TempDir(), "messages.sqlite")
		unpackFormat(t, 1, path)
		execStatement(t, path, statement)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if !opens {
			after, readErr := os.ReadFile(path)
			if !errors.Is(err, storage.ErrCorrupt) || readErr != nil || !bytes.Equal(before, after) {
				t.Errorf("after %s: %v, or the file has changed", statement, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("after %s: %v", statement, err)
			continue
		}
		if _, err := s.Log(t.Context(), storage.LogRequest{}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("log after %s: %v, want ErrCorrupt", statement, err)
		}
		s.Close()
	}
}

// TestUpgradeNeedsRoom upgrades on a disk that has no room for the new file.
func TestUpgradeNeedsRoom(t *testing.T) {
	dir := storefiletest.MountSmallDisk(t)
	path := filepath.Join(dir, "messages.sqlite")
	unpackFormat(t, 1, path)
	filler := storefiletest.FillDisk(t, dir)
	before := storefiletest.ListDir(t, dir)
	_, err := Open(path, Options{})
	if !errors.Is(err, storage.ErrFull) || strings.Contains(fmt.Sprint(err), "\n") {
		t.Errorf("got %v, want ErrFull", err)
	}
	if after := storefiletest.ListDir(t, dir); after != before {
		t.Errorf("Open changed the directory:\n%s\nbefore:\n%s", after, before)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	expectUpgraded(t, mustOpen(t, path, Options{}), nil)
}
