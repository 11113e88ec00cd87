package sandbox

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// taskMargin is how many tasks the kernel lets a plugin have beyond its limit, so
	// that the code that watches the limit finds out.
	taskMargin = 16
	// taskReserve is how many tasks are left to the relay, where one limit holds for the
	// relay and its plugins together.
	taskReserve = 48
	// minTasks is how many tasks the smallest of plugins needs to start.
	minTasks = 24
	// manyTasks is a limit that all programs of a user together do not reach, so that
	// nobody has to count them.
	manyTasks = 1 << 15
)

// TaskLimit returns how many tasks a plugin that may have n of them can have now. That is
// less than n if the limits of the relay's user (ulimit -u) or of its cgroup (TasksMax of
// systemd) have no room for n beside the reserve of the relay.
func TaskLimit(n int) int {
	if n == 0 {
		n = DefaultTasks
	}
	ofUser, ofCgroup := taskRoom()
	return max(min(n, ofUser-taskReserve-taskMargin, ofCgroup-taskReserve-taskMargin), minTasks)
}

// taskRoom returns how many more tasks the user and the cgroup of this process may have.
func taskRoom() (ofUser, ofCgroup int) {
	ofUser = math.MaxInt32
	if limit := userLimit(); limit < manyTasks {
		ofUser = limit - userTasks()
	}
	return ofUser, cgroupRoom()
}

// userLimit returns RLIMIT_NPROC. Root is exempt from it.
func userLimit() int {
	var l unix.Rlimit
	if os.Geteuid() == 0 || unix.Getrlimit(unix.RLIMIT_NPROC, &l) != nil {
		return math.MaxInt32
	}
	return int(min(l.Cur, math.MaxInt32))
}

// userTasks counts the tasks of this user.
func userTasks() (n int) {
	processes, _ := filepath.Glob("/proc/[0-9]*/status")
	uid := strconv.Itoa(os.Getuid())
	for _, path := range processes {
		var s processStatus
		if s.readFile(path) == nil && s.uid == uid {
			n += s.threads
		}
	}
	return n
}

// absoluteLimit returns RLIMIT_NPROC for a plugin without a user namespace, where it counts
// all tasks of the user. The limit keeps the reserve of the relay and is above any limit of
// the plugin. It is RLIM_INFINITY where none is needed, or of no effect.
//
// The room of the cgroup is its present one. If other programs of the user start later, the
// plugin gets less than it could; if they end, it may take their part from the reserve.
func absoluteLimit() uint64 {
	if os.Geteuid() == 0 {
		return unix.RLIM_INFINITY
	}
	limit := userLimit()
	if room := cgroupRoom(); room < manyTasks {
		limit = min(limit, userTasks()+room)
	}
	if limit >= manyTasks {
		return unix.RLIM_INFINITY
	}
	return uint64(max(limit-taskReserve, 1))
}

// Usage is what a plugin uses at one moment.
type Usage struct {
	Memory int64 // bytes, as the function Memory counts them
	Tasks  int   // threads, including those of its children
}

// UsageOf returns the usage of a process. With children, the tasks are those of its
// process group.
func UsageOf(pid int, children bool) (Usage, error) {
	var s processStatus
	if err := s.readFile(fmt.Sprintf("/proc/%d/status", pid)); err != nil {
		return Usage{}, err
	}
	u := Usage{Memory: s.memory, Tasks: s.threads}
	if children {
		u.Tasks = groupTasks(pid)
	}
	return u, nil
}

// groupTasks counts the tasks of a process group.
func groupTasks(group int) (n int) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if g, err := unix.Getpgid(pid); err != nil || g != group {
			continue
		}
		var s processStatus
		if s.readFile(dir+"/status") == nil {
			n += s.threads
		}
	}
	return n
}

// processStatus is what this package reads of /proc/PID/status.
type processStatus struct {
	memory  int64 // bytes
	threads int
	uid     string
}

func (s *processStatus) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read status of process: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(value)
		var err error
		switch name {
		case "RssAnon", "RssShmem", "VmSwap":
			var n int64
			n, err = strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
			s.memory += n << 10
		case "Threads":
			s.threads, err = strconv.Atoi(value)
		case "Uid":
			s.uid, _, _ = strings.Cut(value, "\t")
		}
		if err != nil {
			return fmt.Errorf("read %s: %s is %q", path, name, value)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read status of process: %w", err)
	}
	return nil
}

// ReserveThreads makes n threads that this process keeps. A Go program ends when it needs a
// thread and the kernel refuses one, which happens when plugins or other programs of the
// user have used up a common limit. With idle threads it needs no new one.
func ReserveThreads(n int) {
	var ready, done sync.WaitGroup
	leave := make(chan struct{})
	ready.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-leave
		})
	}
	ready.Wait()
	close(leave)
	done.Wait()
}
