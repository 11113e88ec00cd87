package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// requireMounts skips the test if a process cannot have mounts of its own.
func requireMounts(t *testing.T) {
	t.Helper()
	if probeSystem().attr == nil {
		t.Skip("this system does not let the user make mounts")
	}
}

// With a grant for the sockets in a directory a plugin connects to those, also to one that
// another program has made anew, and to no other one.
func TestOnlyGrantedSocketsAreReached(t *testing.T) {
	requireMounts(t)
	requireLandlock(t, 6)
	s := newTargets(t, "")
	granted, other := filepath.Join(s.names["DIR"], "granted"), filepath.Join(s.names["DIR"], "other")
	for _, dir := range []string{granted, other} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s.names[filepath.Base(dir)] = listenAndAnswer(t, "unix", filepath.Join(dir, "socket"))
	}
	p := s.policy
	p.Hide, p.Sockets = true, []string{granted}
	for _, c := range []struct {
		policy Policy
		try    []string
		want   string
	}{
		{p, []string{"connect", "unix", "$granted"}, done},
		{s.policy, []string{"connect", "unix", "$granted"}, "EPERM"},
		{p, []string{"connect", "unix", "$other"}, "ENOENT"},
		{p, []string{"connect", "unix", "$UNIX"}, "ENOENT"},
		{p, []string{"connect", "unix", "$HIDDEN"}, "EPERM"},
		{p, []string{"connect", "tcp", "$TCP"}, "EPERM"},
		{p, []string{"write", "$DIR/granted/new"}, "EACCES"},
		{p, []string{"remove", "$DIR/granted/socket"}, "EACCES"},
		{p, []string{"listen", "$DIR/granted/new"}, "EACCES"},
	} {
		if got := s.run(t, &c.policy, c.try); got != c.want {
			t.Errorf("%+v, %s: %s, want %s", c.policy.Sockets, c.try, got, c.want)
		}
	}
}

// A plugin does not see what it may not read: it learns nothing about a store whose name
// it guesses. It finds what it may read where it was.
func TestForbiddenFilesAreNotSeen(t *testing.T) {
	requireMounts(t)
	requireLandlock(t, 1)
	s := newTargets(t, "")
	socketDir := filepath.Join(s.names["DIR"], "sockets")
	granted := filepath.Join(s.names["DIR"], "granted")
	link := filepath.Join(s.names["DIR"], "link")
	for _, dir := range []string{socketDir, granted} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("keys", link); err != nil {
		t.Fatal(err)
	}
	hidden := s.policy
	hidden.Hide = true
	reading := hidden
	reading.Read = []string{granted, link, "/proc/meminfo"}
	for _, c := range []struct {
		policy *Policy
		try    []string
		want   string
	}{
		{&hidden, []string{"stat", "$DIR/keys/key"}, "ENOENT"},
		{&hidden, []string{"stat", "$DIR/own/../keys/key"}, "ENOENT"},
		{&hidden, []string{"stat", "$DIR/keys"}, "ENOENT"},
		{&hidden, []string{"stat", "$DIR/socket"}, "ENOENT"},
		{&hidden, []string{"stat", "/proc/$SELF/fd"}, "ENOENT"},
		{&hidden, []string{"stat", "/proc/self/fd"}, done},
		{&hidden, []string{"stat", "/proc/self/root/$DIR/keys/key"}, "ENOENT"},
		{&hidden, []string{"stat", "/proc/self/cwd/$DIR/keys/key"}, "ENOENT"},
		{&hidden, []string{"stat", "/proc/$SELF/root/$DIR/keys/key"}, "ENOENT"},
		{&hidden, []string{"stat", "/proc/diskstats"}, "ENOENT"},
		{&hidden, []string{"stat", "/sys/kernel"}, "ENOENT"},
		{&hidden, []string{"stat", "/sys/class/block"}, "ENOENT"},
		{&hidden, []string{"stat", "/usr/bin"}, done},
		{&hidden, []string{"stat", "$DIR/own/file"}, done},
		{&hidden, []string{"read", "$DIR/own/file"}, done},
		{&hidden, []string{"rename", "$DIR/own/file", "$DIR/own/sub/file"}, done},
		{&hidden, []string{"write", "$DIR/own/file"}, done},
		{&hidden, []string{"write", "$DIR/new"}, "EROFS"},
		{&hidden, []string{"mkdir", "/tmp/new"}, "EROFS"},
		{&hidden, []string{"mount", "/usr"}, "EPERM"},
		{&hidden, []string{"unshare"}, "EPERM"},
		{&hidden, []string{"listen", "$DIR/sockets/s"}, done},
		{&reading, []string{"list", "$DIR/granted"}, done},
		{&reading, []string{"read", "$DIR/link/key"}, done},
		{&reading, []string{"read", "$DIR/keys/key"}, done},
		{&reading, []string{"read", "/proc/meminfo"}, done},
		{&reading, []string{"stat", "$DIR/socket"}, "ENOENT"},
	} {
		args := make([]string, len(c.try))
		for i := range args {
			args[i] = os.Expand(c.try[i], func(name string) string { return s.names[name] })
		}
		cmd, err := newHostileCommand(c.policy, args[0], args[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "PLUGIN_UNIX_SOCKET_DIR="+socketDir)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.try, got, err, c.want)
		}
		if c.want == "ENOENT" {
			if got := runHostile(t, nil, args[0], args[1:]...); got != done {
				t.Errorf("%s: the test shows nothing: %s", c.try, got)
			}
		}
	}
	// What it wrote is the user's, and is where the user wrote it.
	info, err := os.Stat(filepath.Join(s.policy.Dir, "file"))
	if err != nil || info.Size() != 0 {
		t.Fatalf("%v, %v", info, err)
	}
	if left, _ := os.ReadDir(s.names["DIR"]); len(left) != 7 {
		t.Errorf("the directory has %d entries: something was made outside of what hides it", len(left))
	}
}

// A launcher without mounts of its own does not hide the files of the relay.
func TestLauncherRefusesTheMountsOfTheRelay(t *testing.T) {
	requireMounts(t)
	cmd, err := newHostileCommand(&Policy{Hide: true}, "wait")
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = nil
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "shares the mounts of the relay") {
		t.Errorf("%v, %s", err, out)
	}
}

func TestPluginHasMountsOfItsOwn(t *testing.T) {
	requireMounts(t)
	p, err := startPlugin(t, &Policy{Dir: t.TempDir(), Hide: true})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if d, err := p.Client().Describe(t.Context()); err != nil || d.Name != quiet.Name {
		t.Errorf("%+v, %v", d, err)
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", p.PID()))
	ours, _ := os.Readlink("/proc/self/ns/mnt")
	if err == nil && theirs == ours {
		t.Error("the plugin has the mounts of the relay")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "Uid:\t" + strconv.Itoa(os.Getuid())} {
		if !strings.Contains(string(status), want) {
			t.Errorf("%s is missing in\n%s", want, status)
		}
	}
}

// The kernel refuses a plugin more tasks than its policy has, and a little.
func TestKernelBoundsTasks(t *testing.T) {
	if can := probeSystem(); !can.Cgroup && (can.attr == nil || os.Geteuid() == 0) {
		t.Skip("this system cannot limit the tasks of one process")
	}
	defer CleanUp()
	few := Policy{Tasks: 40, Hide: true}
	if got := runHostile(t, &few, "threads", "20"); got != done {
		t.Errorf("within the limit: %s", got)
	}
	if got := runHostile(t, &few, "threads", "80"); !strings.Contains(got, "failed to create new OS thread") {
		t.Errorf("beyond the limit: %s", got)
	}
	few.Processes = true
	if got := runHostile(t, &few, "forks", "80"); got != "EAGAIN" {
		t.Errorf("processes beyond the limit: %s", got)
	}
	for _, try := range []string{"threads", "forks"} {
		if got := runHostile(t, nil, try, "80"); got != done {
			t.Errorf("the test shows nothing: %s", got)
		}
	}
}

// The cgroup of a plugin is removed when the plugin has ended, whoever started it.
func TestCgroupsAreRemoved(t *testing.T) {
	if !probeSystem().Cgroup {
		t.Skip("this system does not let the user make cgroups")
	}
	if got := runHostile(t, &Policy{}, "stat", "/usr"); got != done {
		t.Fatal(got)
	}
	top, _, _ := ownCgroup()
	dirs, _ := filepath.Glob(filepath.Join(top, cgroupPrefix+"*"))
	if len(dirs) == 0 {
		t.Error("there is none to remove")
	}
	// Other tests have plugins meanwhile, and processes get the numbers of former ones.
	var ended []string
	for _, dir := range dirs {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix))
		if err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			ended = append(ended, dir)
		}
	}
	CleanUp()
	for _, dir := range ended {
		pid, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), cgroupPrefix))
		if _, err := os.Stat(dir); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			t.Errorf("the process of %s has ended, and it is still there", dir)
		}
	}
}
