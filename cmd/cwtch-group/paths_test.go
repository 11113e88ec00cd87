package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestUnexpandedPaths(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	t.Chdir(t.TempDir())
	runWith := func(variables map[string]string, args ...string) (status int, errs string) {
		var out bytes.Buffer
		status = runCommand(t.Context(), args, environment{
			stdin: strings.NewReader(""), stdout: &out, stderr: &out,
			getenv: func(name string) string { return variables[name] },
		})
		return status, out.String()
	}
	refused := func(what string, status int, errs string) {
		t.Helper()
		if status != 2 || !strings.Contains(errs, "which is not expanded here: write /home/ann/x") {
			t.Errorf("%s: status %d, %s", what, status, errs)
		}
	}
	for _, line := range []string{
		"-profile ~/x list", "list -profile=~/x", "list -profile $HOME/x", "list -torrc ~/x",
		"list -network loopback:~/x", "list -tor-control unix:~/x", "list -tor-control-cookie %h/x",
	} {
		status, errs := runWith(nil, strings.Fields(line)...)
		refused(line, status, errs)
	}
	for _, variable := range []string{"CWTCH_GROUP_PROFILE=~/x", "CWTCH_GROUP_TORRC=$HOME/x", "CWTCH_GROUP_NETWORK=loopback:~/x"} {
		name, value, _ := strings.Cut(variable, "=")
		status, errs := runWith(map[string]string{name: value}, "list")
		refused(variable, status, errs)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("made %v, %v", files, err)
	}
}
