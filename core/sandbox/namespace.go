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

// probeMode is the argument after launcherMode that makes the launcher try what only a
// new process can try, and write the result.
const probeMode = "probe"

// probeTimeout bounds one probe.
const probeTimeout = 10 * time.Second

// systemSupport says what the system lets this user do for a new process.
type systemSupport struct {
	// attr makes a process with mounts of its own; nil if that is not possible.
	attr *syscall.SysProcAttr `json:"-"`
	// Cgroup says that the kernel can count its tasks apart from all others.
	Cgroup bool
}

// mainRan says that this program calls Main, so that its binary can be a launcher.
var mainRan atomic.Bool

// probeSystem finds out what the system supports. It does so once, since it has to start
// a process.
var probeSystem = sync.OnceValue(func() (a systemSupport) {
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

// mountNamespaces returns the ways to make a mount namespace. Root has the privilege that
// it takes. Everybody else gets it in a user namespace, and the launcher drops it.
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

// tryLauncher starts a launcher that tries to hide files and to limit its tasks. It
// reports whether files could be hidden; with a nil attr there are none to hide.
func tryLauncher(attr *syscall.SysProcAttr, a *systemSupport) bool {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	text, err := json.Marshal(probeOrder{Hide: attr != nil, User: namespaceUser(attr)})
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

// probeOrder says what a launcher is to try.
type probeOrder struct {
	Hide bool
	User *userIDs
}

// answerProbe tries in a launcher what the relay asks, and writes the answer.
func answerProbe(text string) error {
	var o probeOrder
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if err := o.User.restoreIDs(); err != nil {
		return err
	}
	can := systemSupport{Cgroup: joinCgroup(DefaultTasks) == nil}
	if o.Hide {
		if err := coverMounts(nil, true); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(can)
}

// userIDs are the ids that the process of a new user namespace has outside of it.
type userIDs struct{ UID, GID int }

// namespaceUser returns the ids for a process with attr; nil if attr makes no user
// namespace.
func namespaceUser(attr *syscall.SysProcAttr) *userIDs {
	if attr == nil || attr.Cloneflags&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	return &userIDs{os.Geteuid(), os.Getegid()}
}

// restoreIDs gives the process the same ids in this namespace as outside. The process does
// it itself, after execve: before, its maps belong to root, as the relay's memory does
// (see ProtectMemory), and an ordinary user cannot write them.
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
