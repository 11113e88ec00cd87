package pluginproc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestExplainExec(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe") // to open it would block
	if err := syscall.Mkfifo(pipe, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		content string
		err     error
		want    string // in the explanation; empty: there is none
	}{
		"no interpreter":        {"#!/nowhere/python3 -Es\n", syscall.ENOENT, "interpreter that cannot be read: stat /nowhere/python3: "},
		"no line feed":          {"#! /nowhere/python3", syscall.ENOENT, "stat /nowhere/python3: "},
		"a pipe for one":        {"#!" + pipe + "\n", syscall.EACCES, ""},
		"an interpreter":        {"#!/bin/sh\n", syscall.EACCES, ""},
		"no name":               {"#!\n/nowhere/python3\n", syscall.ENOENT, ""},
		"a program":             {"\x7fELF /nowhere/python3\n", syscall.ENOENT, ""},
		"no room":               {"#!/nowhere/python3\n", syscall.ENOMEM, ""},
		"a name without an end": {"#!/nowhere/" + strings.Repeat("x", 1<<20), syscall.ENOENT, "stat /nowhere/x"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "plugin")
			if err := os.WriteFile(path, []byte(test.content), 0o700); err != nil {
				t.Fatal(err)
			}
			err := ExplainExec(path, test.err)
			if test.want == "" && err != test.err {
				t.Errorf("got %v, want %v as it is", err, test.err)
			}
			if test.want != "" && (!strings.Contains(err.Error(), test.want) || !IsPermanent(err)) {
				t.Errorf("got %v, want a fault that lasts, with %q", err, test.want)
			}
		})
	}
	if err := ExplainExec("/nowhere/plugin", fs.ErrNotExist); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "interpreter") {
		t.Errorf("no such file: %v", err)
	}
}
