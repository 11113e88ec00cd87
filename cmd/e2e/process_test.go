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

// process is a program that runs in the background.
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

// wait returns the exit status; -1 is that of a process that was killed.
func (p *process) wait() (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("process %d does not end; it said:\n%s", p.pid(), p.log.String())
	}
}

// kill ends the process at once, if it has not ended yet.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// terminate asks the process to end and checks that it does so in good order.
func (p *process) terminate() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	status, err := p.wait()
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d after SIGTERM:\n%s", status, p.log.String())
	}
	return err
}

// raced returns what the race detector had to say, if anything.
func (p *process) raced() error {
	if text := p.log.String(); strings.Contains(text, "DATA RACE") {
		return errors.New(text)
	}
	return nil
}

// output is what a process writes.
type output struct {
	mu     sync.Mutex
	text   []byte
	closed bool
	grown  chan struct{} // closed with every change; nil while nobody waits
}

func (o *output) Write(b []byte) (int, error) {
	o.change(func() { o.text = append(o.text, b...) })
	return len(b), nil
}

func (o *output) close() { o.change(func() { o.closed = true }) }

func (o *output) change(f func()) {
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

// await returns the first match of a regular expression once there is one.
func (o *output) await(pattern string) (string, error) { return o.awaitFrom(0, pattern) }

// awaitFrom is await for what comes after the first bytes.
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

// other is a process that is not ours to wait for. It holds a pidfd, so that it
// is this process whatever becomes of the number.
type other struct {
	pid  int
	name string // and arguments
	fd   int
}

// descendants finds the processes that pid has started, and they in turn. The
// caller closes them.
func descendants(pid int) ([]*other, error) {
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
	var found []*other
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

// awaitStopped waits until all threads of a process have taken notice of a
// SIGSTOP, which they do one by one, some time after kill has returned.
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

func openProcess(pid int) (*other, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return &other{pid, strings.ReplaceAll(string(name), "\x00", " "), fd}, nil
}

func (o *other) kill() error { return unix.PidfdSendSignal(o.fd, unix.SIGKILL, nil, 0) }

func (o *other) close() { unix.Close(o.fd) }

// gone waits until the process has ended.
func (o *other) gone(ctx context.Context) error {
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

// nothingLeft checks that no process is left of those that these tests have
// started, directly or not. The process of the tests has taken over those whose
// parents have ended, see testMain. They may need a moment to notice that.
func nothingLeft() error {
	left, err := descendants(os.Getpid())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, o := range left {
		err = errors.Join(err, o.gone(ctx))
		o.close()
	}
	return err
}

// lastLines cuts a text to its last n lines.
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
