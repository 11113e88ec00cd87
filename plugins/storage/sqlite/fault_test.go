package sqlite

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/internal/storefiletest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// TestDamageWhileOpen changes and cuts the file of an open store.
func TestDamageWhileOpen(t *testing.T) {
	for name, harm := range map[string]func(*os.File) error{
		"zeros": func(f *os.File) error {
			info, err := f.Stat()
			if err == nil {
				_, err = f.WriteAt(make([]byte, info.Size()-pageSize), pageSize)
			}
			return err
		},
		"cut": func(f *os.File) error { return f.Truncate(2 * pageSize) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openNewStore(t, Options{})
			records := storefiletest.RandomRecords(100)
			if _, err := s.Append(t.Context(), records); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, s.path, Options{})
			f, err := os.OpenFile(s.path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := harm(f); err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				name string
				call func() error
			}{
				{"log", func() error { _, err := s.Log(t.Context(), storage.LogRequest{}); return err }},
				{"find", func() error { _, err := s.Find(t.Context(), records[0].Signature); return err }},
				{"append", func() error { _, err := s.Append(t.Context(), storefiletest.RandomRecords(1)); return err }},
				{"info", func() error { _, err := s.Info(t.Context()); return err }},
				{"spendings", func() error { _, err := s.SpentTokens(t.Context(), storage.SpentTokensRequest{}); return err }},
			} {
				if err := c.call(); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), s.path) {
					t.Errorf("%s: %v, want ErrCorrupt and the path", c.name, err)
				}
			}
		})
	}
}

// TestDamagedEnvelope changes what the log has of an envelope.
func TestDamagedEnvelope(t *testing.T) {
	for _, statement := range []string{
		"UPDATE envelopes SET ciphertext = CAST('another one' AS BLOB) WHERE seq = 2",
		"UPDATE envelopes SET signature = x'' WHERE seq = 2",
		"UPDATE envelopes SET ciphertext = zeroblob(100000) WHERE seq = 2",
		"UPDATE envelopes SET id = x'00' WHERE seq = 2",
		"UPDATE envelopes SET id = zeroblob(32) WHERE seq = 2",
		"UPDATE envelopes SET born = born + 1 WHERE seq = 2",
		"UPDATE envelopes SET born = -1 WHERE seq = 2",
		"UPDATE envelopes SET checksum = checksum + (1 << 32) WHERE seq = 2",
		"DELETE FROM envelopes WHERE seq = 2",
	} {
		s := openNewStore(t, Options{})
		if _, err := s.Append(t.Context(), storefiletest.RandomRecords(3)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		execStatement(t, s.path, statement)
		s = mustOpen(t, s.path, Options{})
		page, err := s.Log(t.Context(), storage.LogRequest{Max: 1})
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("log of what is whole: %v", err)
		}
		if _, err := s.Log(t.Context(), storage.LogRequest{}); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("log after %s: %v, want ErrCorrupt", statement, err)
		}
		if _, err := s.Append(t.Context(), storefiletest.RandomRecords(1)); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("append to a damaged store: %v, want ErrCorrupt", err)
		}
	}
}

// TestLogThatGoesOnIsCorrupt appends to a store whose log does not end where it says.
func TestLogThatGoesOnIsCorrupt(t *testing.T) {
	s := openNewStore(t, Options{})
	records := storefiletest.RandomRecords(3)
	records[0].Nullifier, records[1].Nullifier, records[2].Nullifier = nil, nil, nil
	if _, err := s.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := s.writer.takeWriteLock(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.advance.ExecContext(t.Context(), 1, 0, 0, 0, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), storefiletest.RandomRecords(1)); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
}

// TestFailedFlush checks that a store is not used on after an error of the disk.
func TestFailedFlush(t *testing.T) {
	s := openNewStore(t, Options{})
	err := s.failTransaction(&fs.PathError{Op: "write", Path: s.path, Err: syscall.EIO}, &meta{})
	if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Append(t.Context(), storefiletest.RandomRecords(1)); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("append after a failed one: %v, want ErrUnavailable", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, s.path, Options{})
	if _, err := again.Append(t.Context(), storefiletest.RandomRecords(1)); err != nil {
		t.Errorf("append to the store opened anew: %v", err)
	}
}

// limitedVariable is the variable that tells the process of TestLimitOfFiles what it is.
const limitedVariable = "SQLITE_TEST_LIMITED"

// TestLimitOfFiles meets the limit of file sizes, which SQLite takes for a broken
// disk, in the file that grows first and in the one that grows when that is copied.
// It does so in a process of its own: go test writes files of its own as well.
func TestLimitOfFiles(t *testing.T) {
	if os.Getenv(limitedVariable) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLimitOfFiles$", "-test.v")
		cmd.Env = append(os.Environ(), limitedVariable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestLimitOfFiles")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	for _, limit := range []uint64{100 << 10, 3 << 20, 6 << 20} {
		s := openNewStore(t, Options{})
		var before syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
		lift := func() { syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }
		t.Cleanup(lift)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: before.Max}); err != nil {
			t.Fatal(err)
		}
		appended := 0
		var err error
		for err == nil && appended < 10_000 {
			if _, err = s.Append(t.Context(), storefiletest.RandomRecords(32)); err == nil {
				appended += 32
			}
		}
		if !errors.Is(err, storage.ErrFull) {
			t.Fatalf("append beyond %d bytes: %v, want ErrFull", limit, err)
		}
		info, err := s.Info(t.Context())
		if err != nil || int(info.Last) != appended {
			t.Errorf("after %d envelopes: %+v, %v", appended, info, err)
		}
		if _, err := s.Log(t.Context(), storage.LogRequest{}); err != nil && appended > 0 {
			t.Errorf("read a full store: %v", err)
		}
		lift()
		if _, err := s.Append(t.Context(), storefiletest.RandomRecords(32)); err != nil {
			t.Errorf("append when there is room again: %v", err)
		}
		if got := fileNames(t, s); len(got) != 3 {
			t.Errorf("the directory has %q", got)
		}
	}
}
