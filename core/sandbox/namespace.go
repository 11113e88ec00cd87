package sandbox

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeMode is the argument after mode by which the launcher tries what only a
// new process can try, and tells the relay.
const probeMode = "probe"

// probeTimeout bounds that.
const probeTimeout = 10 * time.Second

// abilities are what the system lets this user do for a new process.
type abilities struct {
	// attr makes a process with mounts of its own; nil: not possible.
	attr *syscall.SysProcAttr `json:"-"`
	// Cgroup: its tasks can be counted by the kernel apart from all others.
	Cgroup bool
}

// mainRan: the binary becomes a launcher when it is executed.
var mainRan atomic.Bool

// able finds out once, since it costs the start of a process.
var able = sync.OnceValue(func() (a abilities) {
	if !mainRan.Load() {
		return a // this program would run anew in place of the launcher
	}
	for _, attr := range mountNamespaces() {
		if try(attr, &a) {
			a.attr = attr
			return a
		}
	}
	try(nil, &a)
	return a
})

// mountNamespaces are the ways to make one. Root needs no other privileges than
// it has. Everybody else gets the privilege in a user namespace in which all users
// are who they are outside, and the launcher drops it.
func mountNamespaces() []*syscall.SysProcAttr {
	user := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	if os.Geteuid() == 0 {
		return []*syscall.SysProcAttr{{Cloneflags: unix.CLONE_NEWNS}, user}
	}
	return []*syscall.SysProcAttr{user}
}

// try starts a launcher that tries to hide files, and to limit its tasks. It
// tells whether the first succeeded, or there was nothing to hide.
func try(attr *syscall.SysProcAttr, a *abilities) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", mode, probeMode)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{}, "/", attr
	if attr == nil {
		cmd.Args = append(cmd.Args, "visible")
	}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, a)
	}
	CleanUp()
	return err == nil
}

// answerProbe does in a launcher what its relay wants to know.
func answerProbe(visible bool) error {
	can := abilities{Cgroup: joinCgroup(DefaultTasks) == nil}
	if !visible {
		if err := hide(nil, true); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(can)
}
