package main

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newProfileDir makes a profile and returns its directory.
func newProfileDir(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "profile")
	if status, _, stderr := runInProfile(t, dir, "init"); status != 0 {
		t.Fatal(stderr)
	}
	return dir
}

// runInProfile runs a command line with a profile.
func runInProfile(t *testing.T, profile string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = runCommand(t.Context(), args, environment{
		stdin: strings.NewReader(""), stdout: &out, stderr: &errs,
		getenv: func(name string) string {
			return map[string]string{"CWTCH_GROUP_PROFILE": profile}[name]
		},
	})
	return status, out.String(), errs.String()
}

func TestExitStatus(t *testing.T) {
	dir := newProfileDir(t)
	for _, c := range []struct {
		args string
		want int
	}{
		{"list", 0},
		{"-help", 0},
		{"help peer", 0},
		{"help peer add", 0},
		{"help peer dance", 2},
		{"help dance", 2},
		{"read club", 1},
		{"join nonsense", 1},
		{"", 2},
		{"dance", 2},
		{"read", 2},
		{"read a b", 2},
		{"read -what club", 2},
		{"-what read club", 2},
		{"follow -n x club", 2},
		{"follow -n -1 club", 2},
	} {
		status, _, stderr := runInProfile(t, dir, strings.Fields(c.args)...)
		if status != c.want {
			t.Errorf("%q: status %d, want %d: %s", c.args, status, c.want, stderr)
		}
		if (status != 0) != strings.HasPrefix(stderr, "error: ") {
			t.Errorf("%q: stderr is %q", c.args, stderr)
		}
	}
}

// The first word of several commands gets the help of all of them, and what they share once.
func TestHelpOfCommandsWithOneFirstWord(t *testing.T) {
	var out bytes.Buffer
	if err := printHelp(&out, []string{"peer"}); err != nil {
		t.Fatal(err)
	}
	for want, n := range map[string]int{"usage: cwtch-group peer ": 4, "usage: cwtch-group peer add \"NAME\"": 1, peerHelp: 1, peerListHelp: 1, "-help prints": 1} {
		if got := strings.Count(out.String(), want); got != n {
			t.Errorf("%d times %q, want %d:\n%s", got, want, n, &out)
		}
	}
}

func TestFlagsStandAnywhere(t *testing.T) {
	for args, want := range map[string][]string{
		"a b":              {"a", "b"},
		"-q a b":           {"a", "b"},
		"a --q b":          {"a", "b"},
		"a b -q":           {"a", "b"},
		"-name x a b -q":   {"a", "b"},
		"a -q -- -b":       {"a", "-b"},
		"-- -q -name":      {"-q", "-name"},
		"a -- b -- -q":     {"a", "b", "--", "-q"},
		"- -q":             {"-"},
		"a -name=-- b":     {"a", "b"},
		"-q --name x -- a": {"a"},
	} {
		fs := newFlagSet()
		fs.Bool("q", false, "")
		fs.String("name", "", "")
		got, err := parseMixed(fs, strings.Fields(args))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", args, got, err, want)
		}
	}
}

// A broken pipe, or a full disk behind a redirection, is an error.
func TestOutputError(t *testing.T) {
	var errs bytes.Buffer
	status := runCommand(t.Context(), []string{"version"}, environment{
		stdin: strings.NewReader(""), stdout: brokenWriter{}, stderr: &errs, getenv: func(string) string { return "" },
	})
	if status != 1 || !strings.Contains(errs.String(), "disk full") {
		t.Errorf("status %d, %s", status, errs.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }
