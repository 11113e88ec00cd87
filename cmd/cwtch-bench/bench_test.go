package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Main()
	os.Exit(m.Run())
}

// TestQuick runs the whole bench against a relay that it builds. What it
// measures means nothing; that it measures everything is the test.
func TestQuick(t *testing.T) {
	table, rows := quick(t)
	for _, r := range rows {
		if !strings.Contains(table, r.Text) {
			t.Errorf("the table lacks %q", r.Text)
		}
		// Memory may come out as nothing or less where so little is done.
		if r.Median <= 0 && !strings.Contains(r.Text, "memory") {
			t.Errorf("%s is %v", r.Name, r.Median)
		}
		if (r.Target != nil) != (r.Met != nil) {
			t.Errorf("%s has the target %v and the verdict %v", r.Name, r.Target, r.Met)
		}
	}
	for _, name := range []string{"posts.64.rate", "file", "calm.cpu", "store.sqlite.plain.16.cpu"} {
		if !slices.ContainsFunc(rows, func(r reported) bool { return r.Name == name }) {
			t.Errorf("there is no row %s", name)
		}
	}
}

// TestPart asks for one part, with the other store: nothing else is measured, and
// there are no verdicts.
func TestPart(t *testing.T) {
	table, rows := quick(t, "-only", "fanout", "-storage", "sqlite")
	for _, r := range rows {
		if !strings.HasPrefix(r.Name, "fanout.") || r.Met != nil {
			t.Errorf("there is a row %+v", r)
		}
	}
	if len(rows) != 4 || !strings.Contains(table, "sqlite") || strings.Contains(table, "replay") {
		t.Errorf("%d rows, want 4; the table:\n%s", len(rows), table)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-only", "fanout,fan"}, {"-storage", "bolt2"}, {"more"}} {
		if err := runBench(t.Context(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%q passes", args)
		}
	}
}

// reported is a row as programs see it.
type reported struct {
	Name, Text string
	Median     float64
	Target     map[string]float64
	Met        *bool
}

// quick runs the bench and returns what it reports.
func quick(t *testing.T, args ...string) (table string, rows []reported) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "cwtch-relay")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../cwtch-relay").CombinedOutput(); err != nil {
		t.Fatalf("build the relay: %v\n%s", err, out)
	}
	file := filepath.Join(dir, "figures.json")
	var stdout, stderr bytes.Buffer
	if err := runBench(t.Context(), append([]string{"-quick", "-relay", program, "-dir", dir, "-json", file}, args...), &stdout, &stderr); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	t.Logf("\n%s", stdout.String())
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Rows []reported }
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "cwtch-bench-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return stdout.String(), report.Rows
}

func TestPostSize(t *testing.T) {
	keys, err := identity.LoadOrCreate(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := newPostMaker(keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1000, 4096, 8000} {
		posts, err := m.makePosts(t.Context(), 2, size)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range posts {
			if n := len(p.payload); n > size || n < size-4 {
				t.Errorf("a post of %d bytes has %d", size, n)
			}
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		target target
		value  float64
		met    bool
	}{
		{atLeast(2), 2, true},
		{atLeast(2), 1.9, false},
		{atMost(2), 2, true},
		{atMost(2), 2.1, false},
	} {
		if got := c.target.isMet(c.value); got != c.met {
			t.Errorf("%v is %v by %v", c.target, got, c.value)
		}
	}
	if m := medianOf([]float64{9, 1, 2}); m != 2 {
		t.Errorf("median %v, want 2", m)
	}
	if m := medianOf([]float64{1, 2}); m != 1.5 {
		t.Errorf("median %v, want 1.5", m)
	}
	values := make([]time.Duration, 100)
	for i := range values {
		values[i] = time.Duration(100 - i)
	}
	if p := percentileOf(values, 0.99); p != 99 {
		t.Errorf("p99 of 1 to 100 is %d", p)
	}
	if p := percentileOf(values[:1], 0.5); p != 1 {
		t.Errorf("p50 of one value is %d", p)
	}
}
