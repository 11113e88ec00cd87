package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

func TestUnexpandedPaths(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"test ~/x", "test /bin/true -config ~/x", "test /bin/true -invalid ~/x", "test /bin/true -read ~/x",
		"new storage diary -dir ~/x", "new storage diary -sdk ~/x",
	} {
		var out, errs bytes.Buffer
		status := runCommand(context.Background(), strings.Fields(line), &out, &errs)
		if status != 2 || !strings.Contains(errs.String(), "which is not expanded here: write /home/ann/x") {
			t.Errorf("%s: status %d, %s%s", line, status, &out, &errs)
		}
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("made %v, %v", files, err)
	}
}
