package e2e_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience limits every wait of a test. It is a safety net, not an expected
// duration.
const patience = 3 * time.Minute

// testPlugins names the external plugins of the tests. Each is a directory below
// testdata.
var testPlugins = []string{"agedstore", "badstore", "testfeed", "teststats", "testsync"}

// bin is the directory of the programs under test.
var bin string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "cwtch-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	if err := buildPrograms(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	// No tor that these tests start may touch the public network.
	os.Setenv("CWTCH_RELAY_TOR_TESTING_ONLY", "1")
	// Without this, every program built with the race detector takes a second to end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	// Orphans become children of this process, where they can be found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "adopt orphans:", err)
		return 1
	}
	// Most tests wait most of the time: for a timeout, for Tor, for a process to end.
	flag.Parse()
	flag.Set("test.parallel", "6")
	status := m.Run()
	if err := errors.Join(checkNoProcessLeft(), goleak.Find()); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// buildPrograms builds the programs, with the race detector if the tests have it.
func buildPrograms() error {
	args := []string{"build", "-o", bin + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	args = append(args, "../cwtch-relay", "../cwtch-plugin", "../cwtch-group", "../cwtch-demo", "../cwtch-fault", "../cwtch-attack")
	for _, plugin := range testPlugins {
		args = append(args, "./testdata/"+plugin)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	// The relay refuses a plugin that others can write, and the umask may allow that.
	var errs []error
	for _, plugin := range testPlugins {
		errs = append(errs, os.Chmod(filepath.Join(bin, plugin), 0o755))
	}
	return errors.Join(errs...)
}
