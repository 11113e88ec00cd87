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
		"-config ~/x", "-config=~/x", "-config $HOME/x", "-config ${HOME}/x", "-config %h/x",
		"init -dir ~/x", "validate -config ~/x", "status -config ~/x", "reload -config ~/x",
		"bundle -config ~/x", "bundle -config server.hcl -o ~/x",
		"plugin list -config ~/x", "plugin describe ~/x", "plugin sum ~/x", "plugin describe /bin/true -read ~/x",
		"storage copy -from storage -to storage -config ~/x",
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
