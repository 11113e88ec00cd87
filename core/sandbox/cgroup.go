package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupPrefix begins the names of plugins' cgroups; the number of the process follows.
const cgroupPrefix = "cwtch-plugin-"

// joinCgroup puts this process into a cgroup of its own with at most tasks tasks. That is
// possible for root, and for a user to whom the relay's cgroup was delegated, for example
// by Delegate= of systemd.
func joinCgroup(tasks int) error {
	top, _, unified := ownCgroup()
	if top == "" {
		return errors.New("no cgroup counts tasks")
	}
	if unified {
		// Below a cgroup that has processes only the controllers of threads work.
		if err := writeCgroup(top, "cgroup.subtree_control", "+pids"); err != nil {
			return err
		}
	}
	dir := filepath.Join(top, cgroupPrefix+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	err := writeCgroup(dir, "pids.max", strconv.Itoa(tasks))
	if err == nil {
		err = writeCgroup(dir, "cgroup.procs", "0")
	}
	if errors.Is(err, unix.EOPNOTSUPP) && unified {
		err = writeCgroup(dir, "cgroup.type", "threaded")
		if err == nil {
			err = writeCgroup(dir, "cgroup.procs", "0")
		}
	}
	return err
}

func writeCgroup(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write to cgroup: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("write to cgroup: %w", err)
	}
	return nil
}

// CleanUp removes the cgroups of plugins that have ended.
func CleanUp() {
	top, _, _ := ownCgroup()
	if top == "" {
		return
	}
	dirs, _ := filepath.Glob(filepath.Join(top, cgroupPrefix+"*"))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix))
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			os.Remove(dir)
		}
	}
}

// cgroupRoom returns how many more tasks the limits of this process's cgroup, and of the
// cgroups above, permit.
func cgroupRoom() int {
	dir, mount, _ := ownCgroup()
	room := math.MaxInt32
	for dir != "" && isBelow(mount)(dir) {
		limit, err := readNumber(dir, "pids.max")
		if used, err2 := readNumber(dir, "pids.current"); err == nil && err2 == nil {
			room = min(room, limit-used)
		}
		dir = filepath.Dir(dir)
	}
	return room
}

// readNumber reads a number of a cgroup. A limit that is not set reads "max", which is
// an error.
func readNumber(dir, name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// ownCgroup returns the directory of the cgroup that counts the tasks of this process,
// and where its hierarchy is mounted. Both are empty without a cgroup. unified means
// version 2.
func ownCgroup() (dir, mount string, unified bool) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", "", false
	}
	// "HIERARCHY:CONTROLLERS:PATH", see cgroups(7).
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		counts := slices.Contains(strings.Split(parts[1], ","), "pids")
		if unified = parts[0] == "0"; !unified && !counts {
			continue
		}
		root, at := cgroupMount(unified)
		if at == "" || !isBelow(strings.TrimSuffix(root, "/"))(parts[2]) {
			continue
		}
		dir = filepath.Join(at, strings.TrimPrefix(parts[2], strings.TrimSuffix(root, "/")))
		controllers, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if !unified || slices.Contains(strings.Fields(string(controllers)), "pids") {
			return dir, at, unified
		}
	}
	return "", "", false
}

// cgroupMount returns where the hierarchy that counts tasks is mounted, and which of its
// directories is mounted there.
func cgroupMount(unified bool) (root, at string) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// "ID PARENT DEV ROOT POINT OPTIONS… - TYPE SOURCE SUPEROPTIONS", see proc(5).
		before, after, _ := strings.Cut(lines.Text(), " - ")
		mount, system := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(system) < 3 {
			continue
		}
		if unified && system[0] == "cgroup2" || !unified && system[0] == "cgroup" && slices.Contains(strings.Split(system[2], ","), "pids") {
			return mount[3], mount[4]
		}
	}
	return "", ""
}
