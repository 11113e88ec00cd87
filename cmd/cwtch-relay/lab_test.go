package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// failedLabSeeds have broken an invariant once.
var failedLabSeeds = []string{}

// TestLabSeeds runs a thousand short and rough simulations of mesh, fewer with the race detector,
// which makes them eight times as slow. A seed that fails is added to failedLabSeeds.
func TestLabSeeds(t *testing.T) {
	seeds := "1000"
	if testing.Short() || raceEnabled {
		seeds = "50"
	}
	runs := [][]string{{"-seed", "1", "-seeds", seeds}}
	for _, seed := range failedLabSeeds {
		runs = append(runs, []string{"-seed", seed, "-seeds", "1"})
	}
	for _, args := range runs {
		t.Log(args)
		args = append([]string{"lab", "run", "../../examples/lab/rough.hcl"}, args...)
		if status := runCommand(t.Context(), args, t.Output(), t.Output()); status != 0 {
			t.Errorf("status %d", status)
		}
	}
}

// TestLabWritesReports runs the command as a person does.
func TestLabWritesReports(t *testing.T) {
	dir := t.TempDir()
	scenario := filepath.Join(dir, "two.hcl")
	text := "duration = \"1h\"\nsettle = \"10m\"\nalgorithms = [\"mesh\", \"flood\"]\npeers \"home\" { count = 2 }\n"
	if err := os.WriteFile(scenario, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	out := filepath.Join(dir, "report")
	if status := runCommand(t.Context(), []string{"lab", "run", scenario, "-o", out}, &stdout, io.Discard); status != 0 {
		t.Fatalf("status %d", status)
	}
	for _, want := range []string{"two\n", "mesh ", "flood "} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &stdout)
		}
	}
	for _, name := range []string{"report.json", "report.html"} {
		if text, err := os.ReadFile(filepath.Join(out, name)); err != nil || !bytes.Contains(text, []byte("mesh")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLabMistakes(t *testing.T) {
	scenario := filepath.Join(t.TempDir(), "bad.hcl")
	if err := os.WriteFile(scenario, []byte("algorithms = [\"mehs\"]\npeers \"home\" {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"missing: FILE":                        nil,
		`there is no peer-sync plugin "mehs"`:  {scenario},
		"bad.hcl line 1, column 14":            {scenario},
		"read configuration: open ./none.hcl:": {"./none.hcl"},
	} {
		var stderr bytes.Buffer
		if status := runCommand(t.Context(), append([]string{"lab", "run"}, args...), io.Discard, &stderr); status == 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: status %d, got %s, want %q", args, status, &stderr, want)
		}
	}
}
