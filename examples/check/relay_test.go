package check_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// patience ends a test that waits for something that does not come.
const patience = time.Minute

type relayKey struct{}

// relay is the one that a script runs.
type relay struct {
	cmd    *exec.Cmd
	stdout *announcement
	log    bytes.Buffer // to be read when it has ended
	ended  chan struct{}
}

func (o *outside) serve(ts *testscript.TestScript, args []string) {
	r := ts.Value(relayKey{}).(*relay)
	*r = relay{stdout: &announcement{made: make(chan struct{})}, ended: make(chan struct{})}
	r.cmd = exec.Command(filepath.Join(o.bin, "cwtch-relay"), args...)
	r.cmd.Dir = ts.MkAbs(".")
	r.cmd.Env = os.Environ()
	r.cmd.Stdout, r.cmd.Stderr = r.stdout, &r.log
	ts.Check(r.cmd.Start())
	cmd, ended := r.cmd, r.ended // a script may go on to another one
	go func() {
		cmd.Wait() // the result is in cmd.ProcessState
		close(ended)
	}()
	kill := func() {
		cmd.Process.Kill()
		<-ended
	}
	ts.Defer(kill)
	select {
	case <-r.stdout.made:
		return
	case <-ended:
	case <-time.After(patience):
		kill()
	}
	ts.Fatalf("the relay announced nothing:\n%s", r.log.String())
}

func end(ts *testscript.TestScript, args []string) {
	r := ts.Value(relayKey{}).(*relay)
	if r.cmd == nil {
		ts.Fatalf("no relay was started")
	}
	ts.Check(r.cmd.Process.Signal(unix.SignalNum("SIG" + args[0])))
	select {
	case <-r.ended:
	case <-time.After(patience):
		ts.Fatalf("the relay does not end")
	}
	if state := r.cmd.ProcessState; args[0] == "TERM" && !state.Success() || args[0] == "KILL" && state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		ts.Fatalf("the relay ended with %v:\n%s", state, r.log.String())
	}
	ts.Logf("%s", r.log.String())
}

// announcement is the output of a relay until it has told of a server.
type announcement struct {
	text bytes.Buffer
	made chan struct{}
	once sync.Once
}

func (a *announcement) Write(b []byte) (int, error) {
	a.text.Write(b)
	if bytes.Contains(a.text.Bytes(), []byte("server:")) {
		a.once.Do(func() { close(a.made) })
	}
	return len(b), nil
}
