package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// lifelineFD is the descriptor of the lifeline if there are no listeners, which come
// before it; see pluginproc.Launcher.
const lifelineFD = 3

// Main is the first line of main, and of TestMain, in programs that call Wrap. In a
// process that was started as the launcher of a plugin it confines the process, executes
// the plugin and never returns. In any other it does nothing.
func Main() {
	mainRan.Store(true)
	if len(os.Args) < 2 || os.Args[1] != launcherMode {
		return
	}
	// Seccomp filters and the death signal belong to the thread that executes.
	runtime.LockOSThread()
	err := launchPlugin(os.Args[2:])
	writeStartError(err)
	if pluginproc.IsPermanent(err) {
		os.Exit(pluginproc.NotExecutable)
	}
	os.Exit(1)
}

// writeStartError writes an error in the form of a plugin's log, so that it becomes the
// reason why the plugin did not start.
func writeStartError(err error) {
	line, _ := json.Marshal(map[string]string{"@level": "error", "@message": "sandbox: " + err.Error()})
	os.Stderr.Write(append(line, '\n')) //nolint:errcheck // there is nobody else to tell
}

// launchPlugin executes a plugin. args are the policy, "--", and the plugin's path with
// its arguments. It returns only if it fails.
func launchPlugin(args []string) error {
	if len(args) == 2 && args[0] == probeMode {
		err := answerProbe(args[1])
		if err == nil {
			os.Exit(0)
		}
		return err
	}
	if len(args) < 3 || args[1] != "--" {
		return errors.New("not started by the relay")
	}
	var o launchOrder
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	o.Policy = o.mapPaths(unescapePath)
	listeners, err := countListeners(o)
	if err != nil {
		return err
	}
	argv := args[2:]
	path, own := argv[0], o.Keep+listeners
	if o.OpenFile {
		path, own = fmt.Sprintf("/proc/self/fd/%d", own), own+1
	}
	if err := closeFrom(own); err != nil {
		return err
	}
	if err := confineSelf(o, path); err != nil {
		return err
	}
	if err := unix.Exec(path, argv, os.Environ()); err != nil {
		return fmt.Errorf("execute %s: %w", argv[0], pluginproc.ExplainExec(path, err))
	}
	return nil
}

// countListeners returns how many listeners the plugin gets, and sets LISTEN_PID to this
// process, which they are for (sd_listen_fds(3)). A program that is not a plugin gets
// none, whatever the relay itself was started with.
func countListeners(o launchOrder) (int, error) {
	text := os.Getenv("LISTEN_FDS")
	if text == "" || o.Keep <= lifelineFD {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("LISTEN_FDS is %.20q, not a number of listeners", text)
	}
	return n, os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
}

// closeFrom keeps descriptors from the plugin: that of the launcher's own file, and those
// that the relay itself was started with.
func closeFrom(first int) error {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open files: %w", err)
	}
	for _, f := range files {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// confineSelf restricts this thread for good. The order matters: each step needs what a
// later one forbids.
func confineSelf(o launchOrder, plugin string) error {
	k, p := probeKernel(), o.Policy
	if err := dieWithRelay(); err != nil {
		return err
	}
	if p.Hide {
		if err := checkOwnMounts(o); err != nil {
			return err
		}
	}
	if err := o.User.restoreIDs(); err != nil {
		return err
	}
	files, err := makePathRules(p, plugin, k.landlock)
	if err != nil {
		return err
	}
	if o.Cgroup {
		joinCgroup(p.Tasks + taskMargin) //nolint:errcheck // the relay watches it in any case
	}
	if p.Hide {
		// A child of the plugin is another process in /proc.
		if err := coverMounts(files.paths, !o.Processes); err != nil {
			return err
		}
	}
	if p.DirName() != p.Dir {
		if err := os.Chdir(p.Dir); err != nil {
			return fmt.Errorf("go to the plugin's directory: %w", err)
		}
	}
	if err := dropPrivileges(); err != nil {
		return err
	}
	if k.landlock > 0 {
		if err := files.restrictSelf(); err != nil {
			return err
		}
	}
	if err := setLimits(o); err != nil {
		return err
	}
	if k.seccomp {
		return filterCalls(p, k)
	}
	return nil
}

// checkOwnMounts returns an error if the launcher shares the mounts of the relay.
func checkOwnMounts(o launchOrder) error {
	mounts, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return fmt.Errorf("find own mounts: %w", err)
	}
	if mounts == o.Mounts {
		return errors.New("the launcher shares the mounts of the relay: it was started without the attributes that it needs")
	}
	return nil
}

// dieWithRelay makes sure that the plugin dies with the relay. The host asked for that
// signal for the main thread, which does not survive when another thread executes
// (prctl(2), PR_SET_PDEATHSIG).
func dieWithRelay() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to die with the relay: %w", err)
	}
	return nil
}
