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

// outputGrace bounds how long the output of a dead plugin is still read. Without a bound, an
// escaped child that holds the pipe would keep the reader waiting.
const outputGrace = time.Second

// runner is one process and its group. It implements runner.Runner of go-plugin.
type runner struct {
	cmd        *exec.Cmd
	name       string
	socketDir  string // where the plugin makes its socket
	stdout     *stdout
	stderr     *os.File
	lifeline   *os.File      // the relay's end
	childFiles []*os.File    // the plugin's ends of the pipes, closed after the start
	exited     chan struct{} // closed when the process has ended

	launched bool // by a Launcher

	startCtx context.Context // kills the process when it ends before disarm is called
	disarm   func() bool     // set by Start; reports whether the process is still alive

	mu      sync.Mutex
	started bool
	reaped  bool  // from then on the pid may belong to another process
	err     error // how the process ended, once exited is closed
}

// newRunner prepares the process of c and its pipes.
func newRunner(startCtx context.Context, c Command, listeners []Listener, env []string, sockets string) (*runner, error) {
	r := &runner{startCtx: startCtx, name: c.Path, socketDir: sockets, exited: make(chan struct{})}
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
	r.stdout = &stdout{pipe: pipes[0][0], checkAddress: r.PluginToHost}
	r.stderr, r.lifeline = pipes[1][0], pipes[2][1]
	r.childFiles = []*os.File{pipes[0][1], pipes[1][1], pipes[2][0]}
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

// inheritFile passes an open file on to the child and returns the path at which the child
// can execute it.
func inheritFile(cmd *exec.Cmd, file *os.File) string {
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	return fmt.Sprintf("/proc/self/fd/%d", firstExtraFile+len(cmd.ExtraFiles)-1)
}

// firstExtraFile is the descriptor of the first of exec.Cmd.ExtraFiles in the child: the
// first listener, or else the lifeline.
const firstExtraFile = 3

// Start starts the process and a goroutine that waits for its end.
func (r *runner) Start(context.Context) error {
	err := spawnInGroup(r.cmd)
	for _, f := range r.childFiles {
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
	r.disarm = context.AfterFunc(r.startCtx, func() { r.Kill(r.startCtx) }) //nolint:errcheck // always nil
	return nil
}

// awaitExit waits for the end of the process and kills what it leaves in its group. It reaps
// the process last, so that the kernel cannot have given the group's number away.
func (r *runner) awaitExit() {
	waitUnreaped(r.cmd.Process.Pid)
	r.mu.Lock()
	r.killGroup()
	r.err = r.cmd.Wait()
	r.reaped = true
	r.mu.Unlock()
	deadline := time.Now().Add(outputGrace)
	for _, output := range []*os.File{r.stdout.pipe, r.stderr} {
		output.SetReadDeadline(deadline) //nolint:errcheck // all pipes have deadlines
	}
	close(r.exited)
}

// waitUnreaped waits for the end of a process without reaping it.
func waitUnreaped(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// killGroup kills the process and its group. The caller holds r.mu.
func (r *runner) killGroup() {
	if r.started && !r.reaped {
		unix.Kill(-r.cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck // the group may be empty
	}
}

// Kill kills the process and its group.
func (r *runner) Kill(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killGroup()
	return nil
}

// Wait waits for the end of the process.
func (r *runner) Wait(context.Context) error {
	<-r.exited
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// closeFiles closes the pipes of a process that has ended or never started.
func (r *runner) closeFiles() {
	for _, f := range append(r.childFiles, r.stdout.pipe, r.stderr, r.lifeline) {
		f.Close() // some are closed already
	}
}

// Stdout is read by go-plugin until the process ends, though it needs only one line.
func (r *runner) Stdout() io.ReadCloser { return r.stdout }

func (r *runner) Stderr() io.ReadCloser { return r.stderr }
func (r *runner) Name() string          { return r.name }

func (r *runner) Diagnose(context.Context) string { return "" }

// ID is empty before the start, so that go-plugin kills nothing.
func (r *runner) ID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		return ""
	}
	return strconv.Itoa(r.cmd.Process.Pid)
}

// PluginToHost checks the address that the plugin announces. It must be a socket in the
// plugin's own directory: any other address would let a plugin make the relay, which hides
// behind Tor, connect to anywhere.
func (r *runner) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(filepath.Clean(address)) != r.socketDir {
		return "", "", &host.ContractError{What: fmt.Sprintf("listens on %.20q %.200q, not on a unix socket in its directory", network, address)}
	}
	return network, address, nil
}

// HostToPlugin is unused: a plugin never connects to the relay.
func (r *runner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
