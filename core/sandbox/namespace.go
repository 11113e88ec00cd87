package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
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
		if tryLauncher(attr, &a) {
			a.attr = attr
			return a
		}
	}
	tryLauncher(nil, &a)
	return a
})

// mountNamespaces are the ways to make one. Root needs no other privileges than
// it has. Everybody else gets the privilege in a user namespace, and the launcher
// drops it.
func mountNamespaces() []*syscall.SysProcAttr {
	user := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	if os.Geteuid() == 0 {
		return []*syscall.SysProcAttr{{Cloneflags: unix.CLONE_NEWNS}, user}
	}
	return []*syscall.SysProcAttr{user}
}

// tryLauncher starts a launcher that tries to hide files, and to limit its tasks. It
// tells whether the first succeeded, or there was nothing to hide.
func tryLauncher(attr *syscall.SysProcAttr, a *abilities) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	text, err := json.Marshal(probeOrder{Hide: attr != nil, User: userIn(attr)})
	if err != nil {
		return false
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", launcherMode, probeMode, string(text))
	cmd.Env, cmd.Dir, cmd.SysProcAttr = []string{}, "/", attr
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, a)
	}
	CleanUp()
	return err == nil
}

// probeOrder is what a launcher is to try.
type probeOrder struct {
	Hide bool
	User *userIDs
}

// answerProbe does in a launcher what its relay wants to know.
func answerProbe(text string) error {
	var o probeOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if err := o.User.restoreIDs(); err != nil {
		return err
	}
	can := abilities{Cgroup: joinCgroup(DefaultTasks) == nil}
	if o.Hide {
		if err := coverMounts(nil, true); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(can)
}

// userIDs are those that the process of a new user namespace has outside.
type userIDs struct{ UID, GID int }

// userIn returns the user for a process with attr; nil: it keeps its own.
func userIn(attr *syscall.SysProcAttr) *userIDs {
	if attr == nil || attr.Cloneflags&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	return &userIDs{os.Geteuid(), os.Getegid()}
}

// restoreIDs makes the user in this namespace who it is outside. The process does it
// for itself, after execve: the maps of one that was only cloned belong to root, as
// the relay's memory does (see ProtectMemory), and an ordinary user cannot write them.
func (u *userIDs) restoreIDs() error {
	if u == nil {
		return nil
	}
	for _, m := range []struct{ file, text string }{
		{"setgroups", "deny"}, // else the kernel refuses the next one, user_namespaces(7)
		{"gid_map", fmt.Sprintf("%d %[1]d 1", u.GID)},
		{"uid_map", fmt.Sprintf("%d %[1]d 1", u.UID)},
	} {
		if err := os.WriteFile("/proc/self/"+m.file, []byte(m.text), 0); err != nil {
			return fmt.Errorf("keep the user in a namespace: %w", err)
		}
	}
	return nil
}
