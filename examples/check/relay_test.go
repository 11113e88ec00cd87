package check_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// patience limits every wait of a test.
const patience = time.Minute

type relayKey struct{}

// relay is the last relay that a script has started.
type relay struct {
	cmd         *exec.Cmd
	stdout, log *output
}

func (o *outside) startRelay(ts *testscript.TestScript, args []string) {
	r := ts.Value(relayKey{}).(*relay)
	*r = relay{exec.Command(filepath.Join(o.bin, "cwtch-relay"), args...), newOutput(), newOutput()}
	r.cmd.Dir = ts.MkAbs(".")
	r.cmd.Env = append(os.Environ(), "TMPDIR="+ts.Getenv("TMPDIR"))
	r.cmd.Stdout, r.cmd.Stderr = r.stdout, r.log
	ts.Check(r.cmd.Start())
	cmd, stdout, log := r.cmd, r.stdout, r.log // r may be the next relay by then
	go func() {
		cmd.Wait() // the result is in cmd.ProcessState
		close(stdout.ended)
		close(log.ended)
	}()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-log.ended
	})
	if !r.stdout.await(`server:\S+`) {
		ts.Fatalf("the relay announced nothing:\n%s", r.log)
	}
}

func awaitLog(ts *testscript.TestScript, args []string) {
	if r := ts.Value(relayKey{}).(*relay); !r.log.await(args[0]) {
		ts.Fatalf("the relay does not log %q:\n%s", args[0], r.log)
	}
}

func endRelay(ts *testscript.TestScript, args []string) {
	r := ts.Value(relayKey{}).(*relay)
	signal := unix.SignalNum("SIG" + args[0])
	ts.Check(r.cmd.Process.Signal(signal))
	select {
	case <-r.log.ended:
	case <-time.After(patience):
		ts.Fatalf("the relay does not end:\n%s", r.log)
	}
	ts.Logf("%s", r.log)
	state := r.cmd.ProcessState
	if killed := state.Sys().(syscall.WaitStatus).Signal() == signal; !killed && !state.Success() {
		ts.Fatalf("the relay ended with %v", state)
	}
}

// output collects what a process writes.
type output struct {
	ended chan struct{} // closed with the process

	mu    sync.Mutex
	text  []byte
	grown chan struct{} // closed, and replaced, with every change
}

func newOutput() *output { return &output{ended: make(chan struct{}), grown: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = append(o.text, b...)
	close(o.grown)
	o.grown = make(chan struct{})
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// await waits until the output matches a pattern, and reports whether it does.
func (o *output) await(pattern string) bool {
	re := regexp.MustCompile(pattern)
	for deadline := time.After(patience); ; {
		o.mu.Lock()
		found, grown := re.Match(o.text), o.grown
		o.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-grown:
		case <-o.ended:
			return re.MatchString(o.String())
		case <-deadline:
			return false
		}
	}
}
