// Package torproc starts tor processes, for core/onion and its tornet. Nothing else
// in the project does.
//
// # Guarantees
//
//   - A tor dies with the process that started it, also when that is killed.
//   - It reads only the configuration it was given: both torrc files must be named,
//     and the main one must not be empty. Without them tor would read those of the
//     system and join the public network.
//   - With a [sandbox.Policy] it is confined before its first instruction.
//   - Under go test, and wherever the environment sets
//     CWTCH_RELAY_TOR_TESTING_ONLY=1, it cannot join the public network, see
//     [CheckLoopback].
package torproc

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

// Process is a tor that was started.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; read after done
}

// Start runs tor with a command line as [os/exec.Command] takes it, which must
// contain -f FILE and --defaults-torrc FILE. What tor prints goes to output,
// from one goroutine, until Done is closed. A policy that is not nil confines tor;
// the running program has to call [sandbox.Main] first.
//
// An error that wraps [exec.ErrNotFound], or [fs.ErrNotExist] for a path, says
// that there is no tor.
func Start(path string, args []string, policy *sandbox.Policy, output io.Writer) (*Process, error) {
	if err := checkCommand(args); err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	if policy != nil {
		if err := sandbox.Confine(cmd, *policy); err != nil {
			return nil, err
		}
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // pluggable transports are looked up in it
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = sysProcAttr()
	cmd.WaitDelay = time.Second // a transport that tor started may hold its output open
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the thread that forked ends, not the process
		// (go.dev/issue/27505). This goroutine keeps its thread for as long as
		// the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Pid returns the process id of tor.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when tor has ended and was waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells how tor ended: nil for exit status 0. It may be called after Done
// is closed.
func (p *Process) Err() error { return p.err }

// Kill kills tor and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.done
}

// Stop asks tor to end and returns when it has. After grace it kills tor and returns
// an error that says so.
func (p *Process) Stop(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		p.Kill()
		return fmt.Errorf("stop tor: process %d did not end in %v and was killed", p.Pid(), grace)
	}
}
