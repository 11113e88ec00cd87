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
	// taskMargin is how many tasks the kernel lets a plugin have beyond its limit,
	// so that whoever watches it finds out.
	taskMargin = 16
	// taskReserve is how many tasks are left to the relay, where a limit is for it
	// and its plugins together.
	taskReserve = 48
	// minTasks is what the smallest of plugins needs to start.
	minTasks = 24
	// manyTasks is a limit for all programs of a user that they do not reach, so that
	// nobody has to count them.
	manyTasks = 1 << 15
)

// TaskLimit is how many tasks a plugin that may have n of them can have now. It
// is less than n where the limits of the relay's user (ulimit -u) or of its cgroup
// (TasksMax of systemd) have no room for so many beside the reserve of the relay.
func TaskLimit(n int) int {
	if n == 0 {
		n = DefaultTasks
	}
	ofUser, ofCgroup := taskRoom()
	return max(min(n, ofUser-taskReserve-taskMargin, ofCgroup-taskReserve-taskMargin), minTasks)
}

// taskRoom is how many tasks the user and the cgroup of this process may have
// beside those that they have.
func taskRoom() (ofUser, ofCgroup int) {
	ofUser = math.MaxInt32
	if limit := userLimit(); limit < manyTasks {
		ofUser = limit - userTasks()
	}
	return ofUser, cgroupRoom()
}

// userLimit is RLIMIT_NPROC, from which root is exempt.
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

// absoluteLimit is RLIMIT_NPROC for a plugin that has no user namespace, where it
// counts all tasks of the user: what keeps the reserve of the relay, and more than any
// limit of the plugin. It is RLIM_INFINITY where none is needed, or of no effect.
//
// The room of the cgroup is as of now. When other programs of the user begin
// later, the plugin gets less than it could; when they end, it may take from the reserve
// what they leave.
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

// Usage is what a plugin has at a moment.
type Usage struct {
	Memory int64 // see Memory
	Tasks  int   // threads, and those of its children
}

// UsageOf looks at the process of a plugin, and with children at its process group.
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

// processStatus is what counts of /proc/PID/status.
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

// ReserveThreads makes threads that this process keeps. A Go program ends when
// it needs a thread and the kernel refuses one, as it does when plugins or other
// programs of the user have used up a limit for all of them; with idle threads it
// needs none.
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
