package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// process is a plugin's process, and what was decided when it was started.
type process struct {
	processHandle
	attached bool            // somebody started it by hand
	image    image           // zero when attached
	policy   *sandbox.Policy // nil: not confined
	watch    sync.WaitGroup  // of its memory and threads; ends with the process

	killReason atomic.Pointer[error] // nil if requestKill was not called
}

// processHandle is a process that package pluginproc has started or attached to.
type processHandle interface {
	Client() *host.Client
	PID() int
	Protocol() int
	Exited() <-chan struct{}
	ExitReason() string
	Stop(context.Context)
	Kill()
}

// startProcess starts a process, or connects to the one that was started by hand.
func (l *loop) startProcess(ctx context.Context, cfg *Config) (*process, error) {
	if err := cfg.prepareDirs(); err != nil {
		return nil, fatalError{error: err}
	}
	p := &process{attached: cfg.Attach != nil, policy: cfg.sandboxPolicy()}
	if p.attached {
		attached, err := pluginproc.Attach(ctx, *cfg.Attach)
		if err != nil {
			return nil, err
		}
		p.processHandle = attached
	} else if err := l.executeCommand(ctx, cfg, p); err != nil {
		return nil, err
	}
	if cfg.Host != nil {
		p.Client().ServeHost(cfg.Host)
	}
	if p.policy != nil {
		p.watch.Go(func() { p.enforceLimits(l.timing.limitsEvery) })
	}
	return p, nil
}

// prepareDirs makes the directories, and removes the sockets of an earlier process.
func (cfg *Config) prepareDirs() error {
	dir, err := filepath.Abs(cfg.Dir)
	if err == nil {
		cfg.Dir = dir
		err = durable.MakeDir(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the plugin's directory: %w", err)
	}
	if cfg.SocketDir == "" {
		return nil
	}
	if err := os.MkdirAll(cfg.SocketDir, 0o700); err != nil {
		return fmt.Errorf("make directory for the plugin's sockets: %w", err)
	}
	if err := os.Chmod(cfg.SocketDir, 0o700); err != nil {
		return fmt.Errorf("protect directory for the plugin's sockets: %w", err)
	}
	entries, err := os.ReadDir(cfg.SocketDir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "plugin-dir") { // go-plugin's name
			err = errors.Join(err, os.RemoveAll(filepath.Join(cfg.SocketDir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove stale sockets: %w", err)
	}
	return nil
}

// sandboxPolicy returns what the plugin may do, or nil when it is not confined.
func (cfg *Config) sandboxPolicy() *sandbox.Policy {
	if cfg.Sandbox == nil || cfg.Attach != nil {
		return nil
	}
	p := *cfg.Sandbox
	p.Dir, p.Hide = cfg.Dir, true
	return &p
}

// executeCommand executes the command of cfg, in a sandbox if p has a policy.
func (l *loop) executeCommand(ctx context.Context, cfg *Config, p *process) error {
	listeners, err := l.openListeners(ctx, cfg)
	if err != nil {
		return err
	}
	command, err := cfg.Command()
	if err != nil {
		return fatalError{error: err}
	}
	if p.image, err = imageOf(command); err == nil && p.policy != nil {
		p.policy.Memory = cmp.Or(p.policy.Memory, sandbox.DefaultMemory)
		p.policy.Tasks = sandbox.TaskLimit(p.policy.Tasks)
		var confined pluginproc.Command
		if confined, err = sandbox.Wrap(command, *p.policy); err == nil {
			command = confined
		}
	}
	if err != nil {
		closeFile(command)
		return fatalError{error: err}
	}
	started, err := pluginproc.Start(ctx, pluginproc.StartConfig{
		Command: command, SocketDir: cfg.SocketDir, Listeners: listeners, Logger: l.pluginLog, Timeout: l.timing.start,
	})
	if errors.As(err, new(*pluginproc.PermanentError)) {
		return fatalError{error: err}
	}
	if err != nil {
		return err
	}
	p.processHandle = started
	return nil
}

func closeFile(command pluginproc.Command) {
	if command.File != nil {
		command.File.Close()
	}
}

// image is what a process executes.
type image struct {
	path string
	args []string
	env  []string
	file os.FileInfo // nil when it is named by its path alone
}

func imageOf(c pluginproc.Command) (image, error) {
	i := image{path: c.Path, args: c.Args, env: c.Env}
	if c.File != nil {
		info, err := c.File.Stat()
		if err != nil {
			return image{}, fmt.Errorf("look at the plugin's binary: %w", err)
		}
		i.file = info
	}
	return i, nil
}

func (i image) sameImage(o image) bool {
	if i.path != o.path || !slices.Equal(i.args, o.args) || !slices.Equal(i.env, o.env) || (i.file == nil) != (o.file == nil) {
		return false
	}
	return i.file == nil || os.SameFile(i.file, o.file) && i.file.Size() == o.file.Size() && i.file.ModTime().Equal(o.file.ModTime())
}

// enforceLimits kills the process when it takes more memory or has more threads than its
// policy allows.
func (p *process) enforceLimits(every time.Duration) {
	for {
		select {
		case <-p.Exited():
			return
		case <-time.After(untilNext(every)):
		}
		used, err := sandbox.UsageOf(p.PID(), p.policy.Processes)
		switch {
		case err != nil:
		case used.Memory > p.policy.Memory:
			p.requestKill(fmt.Errorf("took %d MiB of memory; %s", used.Memory>>20+1, memoryHint(p.policy.Memory)))
		case used.Tasks > p.policy.Tasks:
			p.requestKill(fmt.Errorf("made %d threads; %s", used.Tasks, taskHint(p.policy.Tasks)))
		}
	}
}

// untilNext returns the time until the next multiple of every. All plugins are looked
// at together then, because wake-ups are most of what an idle relay costs.
func untilNext(every time.Duration) time.Duration {
	return time.Until(time.Now().Truncate(every).Add(every))
}

// requestKill kills the process for a reason that its exit does not tell. The first
// reason counts.
func (p *process) requestKill(reason error) {
	if p.killReason.CompareAndSwap(nil, &reason) {
		go p.Kill()
	}
}

// endReason says why the process has ended or has to end: the reason of requestKill, or
// else fault, if there is one, and how the process exited, if it has. fault is the error
// of a call. A call may learn of the end of a process before we do, so if it found the
// plugin unavailable, endReason waits a moment for that end.
func (p *process) endReason(fault error) error {
	if errors.Is(fault, storage.ErrUnavailable) {
		select {
		case <-p.Exited():
		case <-time.After(exitNoticeTime):
		}
	}
	if reason := p.killReason.Load(); reason != nil {
		return *reason
	}
	select {
	case <-p.Exited():
	default:
		return fault
	}
	p.Kill() // reads the rest of its log
	exit := errors.New(p.ExitReason())
	switch said := exit.Error(); {
	case p.policy != nil && outOfMemory.MatchString(said):
		exit = fmt.Errorf("%w (%s)", exit, memoryHint(p.policy.Memory))
	case p.policy != nil && outOfTasks.MatchString(said):
		exit = fmt.Errorf("%w (%s)", exit, taskHint(p.policy.Tasks))
	}
	if fault == nil {
		return exit
	}
	return fmt.Errorf("%w (%w)", fault, exit)
}

// outOfMemory matches what runtimes of several languages say when the limit of their
// process is reached.
var outOfMemory = regexp.MustCompile(`(?i)out of memory|outofmemory|cannot allocate memory|failed to allocate|insufficient memory|heap space|memoryerror|bad_alloc|memory allocation of`)

// memoryHint tells the operator how to allow more than limit.
func memoryHint(limit int64) string {
	return fmt.Sprintf("it may have %s: if it needs more, raise memory in the sandbox block of the plugin", plugin.FormatBytes(limit))
}

// outOfTasks matches what runtimes say when the kernel refuses them a thread.
var outOfTasks = regexp.MustCompile(`(?i)failed to create new OS thread|pthread_create failed|can't start new thread|unable to create (new )?native thread|resource temporarily unavailable`)

// taskHint tells the operator how to allow more than limit.
func taskHint(limit int) string {
	return fmt.Sprintf("it may have %d threads: if it needs more, raise tasks in the sandbox block of the plugin, and the limits of the relay's user and service (ulimit -u, TasksMax)", limit)
}

// killAndCleanUp kills the process and leaves nothing of it.
func (p *process) killAndCleanUp() {
	p.Kill()
	p.watch.Wait()
	if p.policy != nil {
		sandbox.CleanUp()
	}
}
