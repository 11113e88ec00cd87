// Package check_test builds, tests and uses every example as an outside author
// would: in a directory of its own, as a module that gets the sdk from a module
// proxy, with the programs of the relay on the path. It does the same with the
// skeletons that "cwtch-plugin new" writes for languages other than Go.
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

// root is the path of the repository from this package.
const root = "../.."

// TestExamples runs a script for each example and language. Beside the commands of
// testscript they have
//
//	example NAME       copy an example to a directory of that name, without the
//	                   path to the repository in its go.mod
//	serve ARGS...      start "cwtch-relay ARGS..." and wait until it has announced its servers
//	logged REGEXP      wait until the log of the relay matches
//	strangers          check that the plugin answers only the relay
//	end SIGNAL         send TERM or KILL to the relay, and wait until it has ended
//	fromfile VAR FILE  set a variable to the content of a file
//	fetched URL REGEXP wait until a page matches
//	build COMMAND...   run a command that may need a package registry, with the
//	                   settings and caches of the user
//
// and the conditions [python], [node] and [postgres], which hold if there is a recent version. In
// CI all of them always hold, so that no script is skipped there.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds modules from nothing")
	}
	o := newOutside(t)
	checkout, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for name, value := range o.env {
				e.Setenv(name, value)
			}
			e.Setenv("PATH", o.bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("RELAY", checkout) // peersync-python builds with files of it
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
			"example":   scriptCommand("NAME", 1, copyExample),
			"serve":     scriptCommand("ARGS...", -1, o.startRelay),
			"logged":    scriptCommand("REGEXP", 1, awaitLog),
			"strangers": scriptCommand("", 0, checkStrangers),
			"end":       scriptCommand("SIGNAL", 1, endRelay),
			"fromfile":  scriptCommand("VAR FILE", 2, fromFile),
			"fetched":   scriptCommand("URL REGEXP", 2, awaitPage),
			"build":     scriptCommand("COMMAND...", -1, runBuild),
		},
	})
}

// scriptCommand wraps a script command with a check of its usage. A count of -1 allows any
// number of arguments.
func scriptCommand(usage string, count int, run func(*testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || count >= 0 && len(args) != count || count < 0 && len(args) == 0 {
			ts.Fatalf("usage: %s", usage)
		}
		run(ts, args)
	}
}

func copyExample(ts *testscript.TestScript, args []string) {
	files, err := trackedFiles("examples/" + args[0])
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

// runtimes are commands that fail if a runtime is missing or too old.
var runtimes = map[string][]string{
	"python":   {"/usr/bin/python3", "-c", "import ensurepip, sqlite3, sys; sys.exit(sys.version_info < (3, 11))"},
	"postgres": {"sh", "-c", "ls /usr/lib/postgresql/*/bin/postgres || command -v postgres"},
	"node":     {"sh", "-c", "npm --version && node -e 'process.exitCode = parseInt(process.versions.node) < 20 ? 1 : 0'"},
}

func runBuild(ts *testscript.TestScript, args []string) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "RELAY="+ts.Getenv("RELAY"))
	out, err := cmd.CombinedOutput()
	ts.Logf("%s", out)
	ts.Check(err)
}
