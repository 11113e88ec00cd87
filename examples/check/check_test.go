// Package check_test builds, tests and uses every example as somebody outside of
// this repository would: copied to a directory of its own, as a module that gets
// the sdk from a module proxy, with the programs of the relay on the path. It does
// the same with what "cwtch-plugin new" writes for languages other than Go.
package check_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// root is the repository, seen from the directory of this package.
const root = "../.."

// TestExamples runs a script for each example and language. Beside the commands of
// testscript they have
//
//	example NAME       copy an example to a directory of that name; its module does
//	                   not know any more where the repository is
//	serve ARGS...      run "cwtch-relay ARGS..." until it has announced its servers
//	logged REGEXP      wait until the relay has logged that
//	strangers          check that the plugin of the relay answers nobody else
//	end SIGNAL         send TERM or KILL to the relay, and wait until it has ended
//	fromfile VAR FILE  set a variable to what is in a file
//	fetched URL REGEXP wait until a URL shows that
//	build COMMAND...   run a command that may need a registry of packages, with the
//	                   settings and caches of whoever runs the test
//
// and the conditions [python] and [node]: there is one that is recent enough. In CI
// both hold, so that nothing is left out there.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds modules from nothing")
	}
	o := newOutside(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for name, value := range o.env {
				e.Setenv(name, value)
			}
			e.Setenv("PATH", o.bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			// The directory of the script is too long for sockets of plugins.
			sockets, err := os.MkdirTemp("", "cwtch-check-")
			if err != nil {
				return err
			}
			e.Defer(func() { os.RemoveAll(sockets) })
			e.Setenv("TMPDIR", sockets)
			e.Values[relayKey{}] = &relay{}
			return nil
		},
		Condition: func(name string) (bool, error) {
			check, known := runtimes[name]
			if !known {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Getenv("CI") != "" || exec.Command(check[0], check[1:]...).Run() == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"example":   command("NAME", 1, example),
			"serve":     command("ARGS...", -1, o.serve),
			"logged":    command("REGEXP", 1, logged),
			"strangers": command("", 0, strangers),
			"end":       command("SIGNAL", 1, end),
			"fromfile":  command("VAR FILE", 2, fromFile),
			"fetched":   command("URL REGEXP", 2, fetched),
			"build":     command("COMMAND...", -1, build),
		},
	})
}

// command checks the usage of a command in a script; count -1 is any number of
// arguments.
func command(usage string, count int, run func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || count >= 0 && len(args) != count || count < 0 && len(args) == 0 {
			ts.Fatalf("usage: %s", usage)
		}
		run(ts, args)
	}
}

func example(ts *testscript.TestScript, args []string) {
	files, err := tracked("examples/" + args[0])
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("there is no example %q", args[0])
	}
	to := ts.MkAbs(args[0])
	for _, file := range files {
		from := filepath.Join(root, file)
		info, err := os.Stat(from)
		ts.Check(err)
		content, err := os.ReadFile(from)
		ts.Check(err)
		copied := filepath.Join(to, strings.TrimPrefix(file, "examples/"+args[0]))
		ts.Check(os.MkdirAll(filepath.Dir(copied), 0o755))
		ts.Check(os.WriteFile(copied, content, info.Mode().Perm()))
	}
	if mod := filepath.Join(to, "go.mod"); slices.Contains(files, filepath.Join("examples", args[0], "go.mod")) {
		ts.Check(ts.Exec("go", "mod", "edit", "-dropreplace="+module, mod))
	}
}

func fromFile(ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// runtimes are commands that fail where a runtime is missing or too old.
var runtimes = map[string][]string{
	"python": {"/usr/bin/python3", "-c", "import ensurepip, sqlite3, sys; sys.exit(sys.version_info < (3, 11))"},
	"node":   {"sh", "-c", "npm --version && node -e 'process.exitCode = parseInt(process.versions.node) < 20 ? 1 : 0'"},
}

func build(ts *testscript.TestScript, args []string) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.CombinedOutput()
	ts.Logf("%s", out)
	ts.Check(err)
}
