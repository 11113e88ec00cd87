package check_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// probes are programs that make the calls in the JSON list CALLS and print the
// result of each: the value, or the names of the error.
var probes = map[string]string{
	"Node": `#!/usr/bin/env node
const [os, v8, fs, net, dns, events, child_process] =
  ['os', 'v8', 'fs', 'net', 'dns', 'events', 'child_process'].map((name) => require(name));
(async () => {
  const given = [];
  for (const call of CALLS) {
    try {
      const value = await eval(call);
      given.push([value instanceof Error ? value.code : JSON.stringify(value)]);
    } catch (error) {
      given.push([error.code]);
    }
  }
  require('fs').writeSync(2, 'given: ' + JSON.stringify(given) + ';\n');
  process.exit(1);
})();
`,
	"Python": `#!/usr/bin/python3 -I
import json, multiprocessing, os, pwd, socket, subprocess, sys, tempfile
given = []
for call in CALLS:
    try:
        given.append([repr(eval(call))])
    except Exception as error:
        given.append([kind.__name__ for kind in type(error).__mro__])
print("given: " + json.dumps(given) + ";", file=sys.stderr)
sys.exit(1)
`,
}

// TestOrdinaryCalls makes the calls that docs/plugin-protocol.md lists in the
// sandbox of a plugin, and compares the results with the page.
func TestOrdinaryCalls(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/plugin-protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n### Ordinary calls that fail\n")
	if !found {
		t.Fatal("docs/plugin-protocol.md has no list of calls")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	relay := filepath.Join(t.TempDir(), "cwtch-relay")
	goCommand(t, "build", "-o", relay, root+"/cmd/cwtch-relay")
	for runtime, probe := range probes {
		t.Run(runtime, func(t *testing.T) {
			check := runtimes[strings.ToLower(runtime)]
			if os.Getenv("CI") == "" && exec.Command(check[0], check[1:]...).Run() != nil {
				t.Skipf("there is no %s that is recent enough", runtime)
			}
			calls, results := readCallTable(section, runtime)
			if len(calls) < 10 {
				t.Fatalf("the table of %s has %d calls, and should have more: are they still found?", runtime, len(calls))
			}
			for i, given := range runProbe(t, relay, probe, calls) {
				if !slices.ContainsFunc(given, func(g string) bool { return slices.Contains(results[i], g) }) {
					t.Errorf("%s gives %q, and docs/plugin-protocol.md says %q", calls[i], given, results[i])
				}
			}
		})
	}
}

// readCallTable reads the table of a runtime: its calls, and the possible results of
// each.
func readCallTable(section, runtime string) (calls []string, results [][]string) {
	code := regexp.MustCompile("`([^`]+)`")
	_, table, _ := strings.Cut(section, "\n| "+runtime+" | gives |")
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(row, " | ")
		if !strings.HasPrefix(row, "| `") || len(cells) < 3 {
			continue
		}
		calls = append(calls, code.FindStringSubmatch(cells[0])[1])
		var may []string
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			may = append(may, m[1])
		}
		results = append(results, may)
	}
	return calls, results
}

// runProbe runs a probe as a plugin that is asked to describe itself. The probe ends
// without an answer, and the error quotes its last output.
func runProbe(t *testing.T, relay, probe string, calls []string) (given [][]string) {
	t.Helper()
	list, err := json.Marshal(calls)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(probe, "CALLS", string(list))), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(relay, "plugin", "describe", path).CombinedOutput()
	said := regexp.MustCompile(`given: (.*);`).FindSubmatch(out)
	if err == nil || said == nil {
		t.Fatalf("the probe said nothing: %v\n%s", err, out)
	}
	if err := json.Unmarshal(said[1], &given); err != nil {
		t.Fatalf("%v: %s", err, said[1])
	}
	if len(given) != len(calls) {
		t.Fatalf("%d answers for %d calls: %s", len(given), len(calls), said[1])
	}
	return given
}
