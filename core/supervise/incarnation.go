package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// incarnation is one run of the plugin under one configuration.
type incarnation struct {
	number int
	*run
	overdue hangDetector
}

// run is a process with what was decided about it.
type run struct {
	process  process
	attached bool            // it was started by hand
	image    image           // otherwise
	sandbox  *sandbox.Policy // nil: not confined
	tasks    int             // that it may have, when it is confined
	listen   []plugin.ListenAddress
	watches  sync.WaitGroup // that end with the process

	condemn   sync.Once
	condemned chan struct{} // closed when the process has to end for a reason that it does not know
	verdict   error         // that reason
}

// process is a plugin's process, or the connection to one that was started by
// hand.
type process interface {
	Client() *host.Client
	PID() int
	Protocol() int
	Exited() <-chan struct{}
	ExitReason() string
	Stop(context.Context)
	Kill()
}

// requestKill decides that the process has to end.
func (r *run) requestKill(reason error) {
	r.condemn.Do(func() {
		r.verdict = reason
		close(r.condemned)
	})
}

// killedError says why the process has ended or has to.
func (r *run) killedError() error {
	select {
	case <-r.condemned:
		return r.verdict
	default:
	}
	r.process.Kill() // reads the rest of its log
	reason := errors.New(r.process.ExitReason())
	if r.sandbox != nil && outOfMemory.MatchString(reason.Error()) {
		return fmt.Errorf("%w (%s)", reason, memoryHint(r.memoryLimit()))
	}
	if r.sandbox != nil && outOfTasks.MatchString(reason.Error()) {
		return fmt.Errorf("%w (%s)", reason, taskHint(r.tasks))
	}
	return reason
}

// outOfMemory is what runtimes of several languages say when the limit of their
// process is reached.
var outOfMemory = regexp.MustCompile(`(?i)out of memory|outofmemory|cannot allocate memory|failed to allocate|insufficient memory|heap space|memoryerror|bad_alloc|memory allocation of`)

// memoryHint tells how to allow more than limit.
func memoryHint(limit int64) string {
	return fmt.Sprintf("it may have %s: if it needs more, raise memory in the sandbox block of the plugin", plugin.FormatBytes(limit))
}

// outOfTasks is what they say when the kernel refuses them a thread.
var outOfTasks = regexp.MustCompile(`(?i)failed to create new OS thread|pthread_create failed|can't start new thread|unable to create (new )?native thread|resource temporarily unavailable`)

// taskHint tells how to allow more than limit.
func taskHint(limit int) string {
	return fmt.Sprintf("it may have %d threads: if it needs more, raise tasks in the sandbox block of the plugin, and the limits of the relay's user and service (ulimit -u, TasksMax)", limit)
}

// explainFault adds to the error of a call what is known of the process's end, if it
// has ended. A call may learn of that before we do, so it is waited for.
func (r *run) explainFault(err error) error {
	if errors.Is(err, storage.ErrUnavailable) {
		select {
		case <-r.condemned:
		case <-r.process.Exited():
		case <-time.After(settleTime):
		}
	}
	select {
	case <-r.condemned:
		return r.verdict
	case <-r.process.Exited():
		return fmt.Errorf("%w (%w)", err, r.killedError())
	default:
		return err
	}
}

// endProcess leaves nothing of the process.
func (r *run) endProcess() {
	r.process.Kill()
	r.watches.Wait()
	if r.sandbox != nil {
		sandbox.CleanUp()
	}
}

// memoryLimit is the limit of a process in a sandbox, in bytes.
func (r *run) memoryLimit() int64 { return cmp.Or(r.sandbox.Memory, sandbox.DefaultMemory) }

// watchUsage kills the process when it takes more memory or has more threads than
// it may.
func (r *run) watchUsage(every time.Duration) {
	for {
		select {
		case <-r.process.Exited():
			return
		case <-time.After(untilNext(every)):
		}
		used, err := sandbox.UsageOf(r.process.PID(), r.sandbox.Processes)
		switch {
		case err != nil:
			continue
		case used.Memory > r.memoryLimit():
			r.requestKill(fmt.Errorf("took %d MiB of memory; %s", used.Memory>>20+1, memoryHint(r.memoryLimit())))
		case used.Tasks > r.tasks:
			r.requestKill(fmt.Errorf("made %d threads; %s", used.Tasks, taskHint(r.tasks)))
		default:
			continue
		}
		r.process.Kill()
		return
	}
}

// untilNext is the time until the next multiple of every. All plugins are looked
// at then: most of what an idle relay costs is to wake up, and this is one time
// for all of them.
func untilNext(every time.Duration) time.Duration {
	return time.Until(time.Now().Truncate(every).Add(every))
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
