package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
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
				_, err = f.WriteAt(make([]byte, info.Size()-2*pageSize), 2*pageSize)
			}
			return err
		},
		"cut": func(f *os.File) error { return f.Truncate(2 * pageSize) },
	} {
		t.Run(name, func(t *testing.T) {
			s := openNewStore(t, Options{MaxRecent: 16})
			records := storefiletest.RandomRecords(100)
			if _, err := s.Append(t.Context(), records); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(s.path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := harm(f); err != nil {
				t.Fatal(err)
			}
			for name, call := range map[string]func() error{
				"log":    func() error { _, err := s.Log(t.Context(), storage.LogRequest{}); return err },
				"find":   func() error { _, err := s.Find(t.Context(), records[0].Signature); return err },
				"append": func() error { _, err := s.Append(t.Context(), storefiletest.RandomRecords(1)); return err },
				"info":   func() error { _, err := s.Info(t.Context()); return err },
			} {
				if err := call(); !errors.Is(err, storage.ErrCorrupt) || !strings.Contains(err.Error(), s.path) {
					t.Errorf("%s: %v, want ErrCorrupt and the path", name, err)
				}
			}
		})
	}
}

// TestDamagedEnvelope changes one byte of a ciphertext.
func TestDamagedEnvelope(t *testing.T) {
	s := openNewStore(t, Options{})
	records := storefiletest.RandomRecords(3)
	records[1].Ciphertext = []byte("the one and only ciphertext of this kind")
	if _, err := s.Append(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(data), "the one and only", "the one and 0nly")
	if err := os.WriteFile(s.path, []byte(changed), fileMode); err != nil {
		t.Fatal(err)
	}
	page, err := s.Log(t.Context(), storage.LogRequest{Max: 1})
	if err != nil || len(page.Entries) != 1 {
		t.Errorf("log of what is whole: %v", err)
	}
	if _, err := s.Log(t.Context(), storage.LogRequest{}); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("log: %v, want ErrCorrupt", err)
	}
	if _, err := s.Append(t.Context(), storefiletest.RandomRecords(1)); !errors.Is(err, storage.ErrCorrupt) {
		t.Errorf("append to a damaged store: %v, want ErrCorrupt", err)
	}
}

// TestFailedFlush checks that a store is not used on after an error of the disk.
func TestFailedFlush(t *testing.T) {
	s := openNewStore(t, Options{})
	err := s.failTransaction(&fs.PathError{Op: "write", Path: s.path, Err: syscall.EIO}, 0)
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

func TestFullError(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		cause := &fs.PathError{Op: "truncate", Path: "x.db", Err: errno}
		for _, err := range []error{cause, errno, fmt.Errorf("file resize error: %s", cause)} {
			if !errors.Is(fullError(err), storage.ErrFull) {
				t.Errorf("%q is not ErrFull", err)
			}
		}
	}
	for _, err := range []error{syscall.EIO, context.Canceled, errors.New("no space left on device, or so they say")} {
		if fullError(err) != err {
			t.Errorf("%v became %v", err, fullError(err))
		}
	}
	if fullError(nil) != nil {
		t.Error("no error became one")
	}
}
