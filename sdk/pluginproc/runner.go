package pluginproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// lastOutput is how long what a dead plugin wrote is still read. There is an
// end to it only because a child of the plugin may have escaped with the pipe.
const lastOutput = time.Second

// runner is one process and its group, as go-plugin wants to see it
// (runner.Runner).
type runner struct {
	cmd      *exec.Cmd
	name     string
	sockets  string // the directory where the plugin makes its socket
	stdout   *stdout
	stderr   *os.File
	lifeline *os.File      // the end that the host holds
	child    []*os.File    // the ends that the plugin holds, closed after the start
	exited   chan struct{} // closed when the process has ended

	launched bool // by a Launcher

	abort  context.Context // ends the process when it ends first
	disarm func() bool     // set by Start: from now on abort ends nothing

	mu      sync.Mutex
	started bool
	reaped  bool  // the pid may belong to another process
	err     error // of the process, once exited
}

// newRunner prepares the process of c.
func newRunner(abort context.Context, c Command, listeners []Listener, env []string, sockets string) (*runner, error) {
	r := &runner{abort: abort, name: c.Path, sockets: sockets, exited: make(chan struct{})}
	var pipes [3][2]*os.File
	for i := range pipes {
		from, to, err := os.Pipe()
		if err != nil {
			for _, p := range pipes[:i] {
				p[0].Close()
				p[1].Close()
			}
			return nil, fmt.Errorf("make pipe for plugin: %w", err)
		}
		pipes[i] = [2]*os.File{from, to}
	}
	r.stdout = &stdout{from: pipes[0][0], toLocal: r.PluginToHost}
	r.stderr, r.lifeline = pipes[1][0], pipes[2][1]
	r.child = []*os.File{pipes[0][1], pipes[1][1], pipes[2][0]}
	r.cmd = &exec.Cmd{
		Path:   c.Path,
		Args:   slices.Concat([]string{c.Path}, c.Args),
		Env:    env,
		Dir:    "/",
		Stdin:  nil, // /dev/null; go-plugin would hand over that of the host
		Stdout: pipes[0][1],
		Stderr: pipes[1][1],
	}
	for _, l := range listeners {
		inheritFile(r.cmd, l.File)
	}
	inheritFile(r.cmd, pipes[2][0])
	if c.File != nil {
		r.cmd.Path = inheritFile(r.cmd, c.File)
	}
	if l := c.Launcher; l != nil {
		r.launched = true
		r.cmd.Path = l.Path
		r.cmd.Args = slices.Concat([]string{l.Path}, l.Args, []string{"--"}, r.cmd.Args)
		r.cmd.SysProcAttr = l.Sys
		if l.File != nil {
			r.cmd.Path = inheritFile(r.cmd, l.File)
		}
	}
	return r, nil
}

// inheritFile gives the child one more open file, and the path by which it can
// execute it.
func inheritFile(cmd *exec.Cmd, file *os.File) string {
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	return fmt.Sprintf("/proc/self/fd/%d", firstExtraFile+len(cmd.ExtraFiles)-1)
}

// firstExtraFile is the number that the first of exec.Cmd.ExtraFiles has in the
// child: that of the first listener, or of the lifeline.
const firstExtraFile = 3

// Start starts the process, and a goroutine that ends with it.
func (r *runner) Start(context.Context) error {
	err := spawnInGroup(r.cmd)
	for _, f := range r.child {
		f.Close()
	}
	if err != nil {
		close(r.exited)
		return markPermanent(fmt.Errorf("start plugin: %w", ExplainExec(r.cmd.Path, err)))
	}
	r.mu.Lock()
	r.started = true
	r.mu.Unlock()
	go r.awaitExit()
	r.disarm = context.AfterFunc(r.abort, func() { r.Kill(r.abort) }) //nolint:errcheck // always nil
	return nil
}

// awaitExit waits for the process to end, and ends what it leaves in its group. The
// process is reaped after that, so that the number of the group cannot have
// been given to another one meanwhile.
func (r *runner) awaitExit() {
	awaitExit(r.cmd.Process.Pid)
	r.mu.Lock()
	r.signalGroup()
	r.err = r.cmd.Wait()
	r.reaped = true
	r.mu.Unlock()
	deadline := time.Now().Add(lastOutput)
	for _, output := range []*os.File{r.stdout.from, r.stderr} {
		output.SetReadDeadline(deadline) //nolint:errcheck // all pipes have deadlines
	}
	close(r.exited)
}

// awaitExit returns when the process has ended, and leaves it a zombie.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// signalGroup kills the process and its group. The caller holds r.mu.
func (r *runner) signalGroup() {
	if r.started && !r.reaped {
		unix.Kill(-r.cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // the group may be empty
	}
}

// Kill ends the process and its group at once.
func (r *runner) Kill(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.signalGroup()
	return nil
}

// Wait returns when the process has ended.
func (r *runner) Wait(context.Context) error {
	<-r.exited
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// closeFiles lets go of all files. The process has ended or never started.
func (r *runner) closeFiles() {
	for _, f := range append(r.child, r.stdout.from, r.stderr, r.lifeline) {
		f.Close() // some a second time
	}
}

// Stdout is read by go-plugin for as long as the process lives, for the one line
// of the handshake.
func (r *runner) Stdout() io.ReadCloser { return r.stdout }

func (r *runner) Stderr() io.ReadCloser { return r.stderr }
func (r *runner) Name() string          { return r.name }

func (r *runner) Diagnose(context.Context) string { return "" }

// ID is empty before the start, upon which go-plugin has nothing to kill.
func (r *runner) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		return ""
	}
	return strconv.Itoa(r.cmd.Process.Pid)
}

// PluginToHost checks the address that the plugin wants to be called at. Any
// other than a socket in its own directory would be a way to make the relay,
// which hides behind Tor, open a connection to anywhere.
func (r *runner) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != r.sockets {
		return "", "", &host.ContractError{What: fmt.Sprintf("listens on %.20q %.200q, not on a unix socket in its directory", network, address)}
	}
	return network, address, nil
}

// HostToPlugin is for addresses of the host that a plugin is to call.
func (r *runner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
