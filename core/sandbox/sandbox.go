// Package sandbox confines the process of a plugin before its first instruction,
// whatever language the plugin is written in. It is for the supervisor of plugins and
// for other code that starts one.
//
// [Wrap] changes a command so that the running binary is executed in place of the
// plugin, as its launcher. [Main], the first line of main, recognises that, restricts
// its own process by what the kernel offers, and executes the plugin in it. A process
// can restrict itself without privileges, and the restrictions last over execve(2) and
// cannot be undone.
//
// # What a plugin can do inside
//
// Read and write in its own directory. Make a socket in the directory for sockets. Read
// and execute its own file, the system's programs and libraries (/usr, /lib, /bin and
// the like), what the operator grants, and the few files of /etc that dynamic linking,
// time zones, locales and TLS need. Make threads. Listen on unix sockets, and accept
// connections at the listeners that it was passed. Everything else needs a grant of the
// [Policy] or is not possible.
//
// # By what
//
//   - no_new_privs, and no capabilities: no program that it executes gains rights;
//   - Landlock: files, and what newer kernels add (TCP, signals, unix sockets);
//   - seccomp: sockets, processes, and all calls by which a process of the same user
//     could reach the relay or get at what Landlock does not check: modes, owners,
//     limits, priorities and clocks of others, watches;
//   - limits on memory, open files, threads and core dumps;
//   - mounts and a cgroup of its own, where the system permits them.
//
// # What remains
//
// A plugin can use the processor's time, and fill the disk as far as its directory and
// that of its socket may. It sees the name of the host. Without Hide it can learn the
// existence, size and times of files whose names it guesses. It can say whatever it
// likes in its answers. docs/adr/0006-sandbox.md and 0012-namespaces-and-tasks.md have
// the reasons. [Missing] says what the kernel at hand cannot enforce.
package sandbox

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Network is what a plugin may do with the network.
type Network int

const (
	None Network = iota // nothing but accept connections at listeners that it was passed
	Open                // open sockets and connections to anywhere
)

// Limits that hold if a policy sets none. With NoLimit and NoFileLimit
// the limits of the relay's process hold.
const (
	DefaultMemory = 512 << 20
	DefaultFiles  = 1024
	// DefaultTasks has room for the runtimes of Go, Node, Python and Java, on a machine
	// with many processors as well.
	DefaultTasks = 256
	NoLimit      = 1 << 40       // of memory
	NoFileLimit  = math.MaxInt32 // more than any kernel gives a process
)

// Policy is what a plugin may do. The zero value is for a plugin without a directory that
// is only asked to describe itself.
type Policy struct {
	// Dir is the plugin's own directory, an absolute path. It has to exist when the
	// plugin starts. If it is empty, the plugin has none.
	Dir string
	// Read are absolute paths of other files and directories that the plugin may read
	// and execute, such as the home of its interpreter or a certificate.
	Read []string
	// Write are absolute paths of directories in which the plugin may do what it may do
	// in Dir. With Open it may also connect to the unix sockets there.
	Write []string
	// Sockets are absolute paths of directories. The plugin may connect to the unix
	// sockets in them, and to no others as far as the kernel can tell them apart; see
	// [Missing]. It sees the names there, and changes nothing. A single socket would not
	// do: the rules belong to the file, and a program that starts anew makes another one.
	Sockets []string
	Network Network
	// Processes allows child processes. They are confined like the plugin and
	// cannot leave its process group.
	Processes bool
	// Modes allows the plugin to change the modes of files by path, but not to give
	// rights to anybody but the owner. Some programs set the modes of their sockets so.
	Modes bool
	// Memory is how much memory of its own the plugin may use, in bytes, as the
	// function Memory counts it. The code that starts the plugin has to watch that. The
	// kernel's own limit, which holds meanwhile, is well above. 0 is DefaultMemory.
	Memory int64
	Files  int // open at a time; 0 is DefaultFiles
	// Tasks is how many threads the plugin may have at a time, including those of child
	// processes. The code that starts the plugin has to watch that too. The kernel's own
	// limit, where there can be one, is a little above. 0 is DefaultTasks.
	Tasks int
	// Hide keeps the plugin from learning that files exist that it may not read. Where
	// the system permits that, the process has to be started with the attributes of
	// [pluginproc.Launcher], and with mounts of its own.
	Hide bool
}

// launcherMode is the argument by which a binary becomes the launcher.
const launcherMode = "plugin-sandbox"

// maxOrderSize bounds the policy as an argument, in bytes. The kernel takes 128 KiB.
const maxOrderSize = 64 << 10

// launchOrder is what the launcher is told.
type launchOrder struct {
	Policy
	OpenFile  bool     // the program is the open file after those that it keeps, not a path
	Keep      int      // descriptors below it are for the program, and its listeners after them
	Mounts    string   // of the relay, which the launcher must not have
	Cgroup    bool     // it can have a cgroup of its own
	User      *userIDs // in a user namespace of its own; nil: it has none
	UserTasks uint64   // limit of all tasks of the user; 0: the limit is for the plugin's own
}

// Wrap returns cmd confined by p. The running program has to call Main first. After an
// error the files of cmd are still the caller's.
func Wrap(cmd pluginproc.Command, p Policy) (pluginproc.Command, error) {
	can := probeSystem()
	p.Hide = p.Hide && can.attr != nil
	text, err := p.encodeOrder(launchOrder{OpenFile: cmd.File != nil, Keep: lifelineFD + 1, Cgroup: can.Cgroup})
	if err != nil {
		return pluginproc.Command{}, fmt.Errorf("confine plugin: %w", err)
	}
	path, err := os.Executable()
	if err != nil {
		return pluginproc.Command{}, fmt.Errorf("confine plugin: find own binary: %w", err)
	}
	self, err := os.Open("/proc/self/exe") // also when an upgrade has put another in its place
	if err != nil {
		return pluginproc.Command{}, fmt.Errorf("confine plugin: open own binary: %w", err)
	}
	cmd.Launcher = &pluginproc.Launcher{Path: path, Args: []string{launcherMode, text}, File: self}
	if p.Hide {
		cmd.Launcher.Sys = can.attr
	}
	return cmd, nil
}

// Confine changes a command that is not a plugin and has not been started, so that it
// runs confined by p with only its standard files open. The running program has to call
// Main first.
func Confine(cmd *exec.Cmd, p Policy) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	if len(cmd.ExtraFiles) > 0 {
		return errors.New("confine program: it cannot be given open files")
	}
	path, err := filepath.Abs(cmd.Path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return err
	}
	p.Hide = false // its starter gives it no mounts of its own
	text, err := p.encodeOrder(launchOrder{Keep: 3})
	if err != nil {
		return fmt.Errorf("confine program: %w", err)
	}
	cmd.Args = append([]string{path, launcherMode, text, "--", path}, cmd.Args[1:]...)
	cmd.Path = "/proc/self/exe" // also when an upgrade has put another in its place
	return nil
}

// encodeOrder fills in o from the policy and returns it as the argument of the launcher.
func (p Policy) encodeOrder(o launchOrder) (string, error) {
	p.Memory = cmp.Or(p.Memory, DefaultMemory)
	p.Files = cmp.Or(p.Files, DefaultFiles)
	p.Tasks = cmp.Or(p.Tasks, DefaultTasks)
	if err := p.validatePolicy(); err != nil {
		return "", err
	}
	o.Policy = p.mapPaths(escapePath)
	var err error
	if o.Mounts, err = os.Readlink("/proc/self/ns/mnt"); err != nil {
		return "", err
	}
	if p.Hide {
		o.User = namespaceUser(probeSystem().attr)
	}
	if o.User == nil {
		o.UserTasks = absoluteLimit()
	}
	text, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	if len(text) > maxOrderSize {
		return "", fmt.Errorf("the paths of its policy take more than %d bytes", maxOrderSize)
	}
	return string(text), nil
}

func (p Policy) validatePolicy() error {
	if p.Memory < 0 || p.Files < 0 || p.Tasks < 0 {
		return fmt.Errorf("negative limit: %d bytes of memory, %d files, %d tasks", p.Memory, p.Files, p.Tasks)
	}
	if p.Network < None || p.Network > Open {
		return fmt.Errorf("unknown network policy %d", p.Network)
	}
	for _, path := range slices.Concat(p.Read, p.Write, p.Sockets) {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("the path %q is not absolute", path)
		}
	}
	if p.Dir == "" {
		return nil
	}
	if !filepath.IsAbs(p.Dir) {
		return fmt.Errorf("the directory %q is not absolute", p.Dir)
	}
	return checkApart(p.Dir)
}

// checkApart refuses a data directory among the programs of the system. Every plugin may
// read those, so the keys beside the directory would not be safe.
func checkApart(dir string) error {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for _, system := range systemDirs {
		if real, err := filepath.EvalSymlinks(system); err == nil {
			system = real
		}
		if strings.HasPrefix(dir+"/", system+"/") {
			return fmt.Errorf("the directory %s is below %s, where every plugin may read: move data_dir to elsewhere, such as /var/lib", dir, system)
		}
	}
	return nil
}
