package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a background program that the test has started.
type process struct {
	cmd         *exec.Cmd
	stdout, log output // log is its standard error
	ended       chan struct{}
}

func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.log
	cmd.WaitDelay = 10 * time.Second // should a child hold on to the pipes
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait() // the result is in cmd.ProcessState
		close(p.ended)
		p.stdout.close()
		p.log.close()
	}()
	return p, nil
}

// startRelay starts cwtch-relay and returns when it has announced a server.
func startRelay(cmd *exec.Cmd) (*process, error) {
	p, err := start(cmd)
	if err != nil {
		return nil, err
	}
	if _, err := p.stdout.await(`"?bundle"?:?\s+"?server:\S+`); err != nil {
		p.kill()
		return nil, fmt.Errorf("the relay announced nothing: %w\n%s", err, p.log.String())
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// wait returns the exit status, or -1 for a process that was killed.
func (p *process) wait() (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("process %d does not end; it said:\n%s", p.pid(), p.log.String())
	}
}

// kill kills the process and waits for its end.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// terminate sends SIGTERM and checks that the process ends with status 0.
func (p *process) terminate() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	status, err := p.wait()
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d after SIGTERM:\n%s", status, p.log.String())
	}
	return err
}

// raceReport returns the log as an error if the race detector has found a race.
func (p *process) raceReport() error {
	if text := p.log.String(); strings.Contains(text, "DATA RACE") {
		return errors.New(text)
	}
	return nil
}

// output collects what a process writes.
type output struct {
	mu     sync.Mutex
	text   []byte
	closed bool
	grown  chan struct{} // closed with every change; nil while nobody waits
}

func (o *output) Write(b []byte) (int, error) {
	o.update(func() { o.text = append(o.text, b...) })
	return len(b), nil
}

func (o *output) close() { o.update(func() { o.closed = true }) }

func (o *output) update(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	if o.grown != nil {
		close(o.grown)
		o.grown = nil
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// await waits for the first match of a regular expression and returns it.
func (o *output) await(pattern string) (string, error) { return o.awaitFrom(0, pattern) }

// awaitFrom is await that skips the first begin bytes.
func (o *output) awaitFrom(begin int, pattern string) (string, error) {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return "", err
	}
	deadline := time.After(patience)
	for {
		o.mu.Lock()
		found, closed := re.Find(o.text[min(begin, len(o.text)):]), o.closed
		if o.grown == nil {
			o.grown = make(chan struct{})
		}
		grown := o.grown
		o.mu.Unlock()
		switch {
		case found != nil:
			return string(found), nil
		case closed:
			return "", fmt.Errorf("the process ended and had not said %q", pattern)
		}
		select {
		case <-grown:
		case <-deadline:
			return "", fmt.Errorf("the process does not say %q", pattern)
		}
	}
}

// foreignProcess is a process that the test has not started itself. It holds a
// pidfd, so a reused process number does no harm.
type foreignProcess struct {
	pid  int
	name string // and arguments
	fd   int
}

// descendants finds all children of pid and their children. The caller closes them.
func descendants(pid int) ([]*foreignProcess, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, path := range stats {
		state, parent, err := readStat(path)
		if err != nil || state == "Z" {
			continue // it has ended
		}
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		children[parent] = append(children[parent], child)
	}
	var found []*foreignProcess
	for next := children[pid]; len(next) > 0; next = next[1:] {
		next = append(next, children[next[0]]...)
		if o, err := openProcess(next[0]); err == nil { // or gone meanwhile
			found = append(found, o)
		}
	}
	return found, nil
}

// readStat reads a file of proc_pid_stat(5): "pid (name) state ppid …".
func readStat(path string) (state string, parent int, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err
}

// awaitStopped waits until a SIGSTOP has stopped all threads of a process. They stop
// one by one, some time after kill has returned.
func awaitStopped(pid int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(threads, func(path string) bool {
			state, _, err := readStat(path)
			return err == nil && state != "T"
		}) {
			return nil
		}
	}
	return fmt.Errorf("process %d does not stop", pid)
}

func openProcess(pid int) (*foreignProcess, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return &foreignProcess{pid, strings.ReplaceAll(string(name), "\x00", " "), fd}, nil
}

func (o *foreignProcess) kill() error { return unix.PidfdSendSignal(o.fd, unix.SIGKILL, nil, 0) }

func (o *foreignProcess) close() { unix.Close(o.fd) }

// awaitExit waits for the end of the process.
func (o *foreignProcess) awaitExit(ctx context.Context) error {
	for {
		// A pidfd is readable once its process has ended, pidfd_open(2).
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}, 100)
		switch {
		case n == 1:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("process %d still runs: %s", o.pid, o.name)
		}
	}
}

// checkNoProcessLeft checks that no descendant of the tests still runs. Orphans are
// children of the test process, see testMain. They may need a moment to notice the
// death of their parent.
func checkNoProcessLeft() error {
	left, err := descendants(os.Getpid())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, o := range left {
		err = errors.Join(err, o.awaitExit(ctx))
		o.close()
	}
	return err
}

// lastLines returns the last n lines of a text.
func lastLines(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

func withoutDebug(log string) string {
	var b strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "level=DEBUG") {
			b.WriteString(line)
		}
	}
	return b.String()
}
