package sandbox

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// forbidden are the system calls that no plugin needs. Each would let it reach
// other processes of the same user, change files that Landlock does not look
// at, use memory that no limit counts, or talk to parts of the kernel that have
// been a way out before.
var forbidden = []string{
	// other processes
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "get_robust_list",
	"pidfd_open", "pidfd_getfd", "pidfd_send_signal", "move_pages", "migrate_pages", "ioprio_set",
	// out of its process group, in which it is killed
	"setsid", "setpgid",
	// by path, and so of any file of this user
	"chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes", "futimesat",
	"setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat",
	"name_to_handle_at", "open_by_handle_at",
	// when others use their files
	"inotify_init", "inotify_init1", "inotify_add_watch", "fanotify_init", "fanotify_mark",
	// memory that belongs to no process
	"memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "msgctl",
	"semget", "semop", "semtimedop", "semctl", "mq_open", "mq_unlink",
	// other namespaces and mounts
	"unshare", "setns", "chroot", "pivot_root", "mount", "umount2", "mount_setattr", "move_mount", "open_tree", "open_tree_attr",
	"fsopen", "fsconfig", "fsmount", "fspick", "statmount", "listmount",
	// the machine
	"bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "syslog", "personality", "modify_ldt",
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
	"iopl", "ioperm", "acct", "quotactl", "quotactl_fd", "vhangup", "lookup_dcookie", "nfsservctl", "uselib",
	"settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
}

// absent are calls that libraries use only when the kernel has them.
var absent = []string{"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"}

// byFile change a file by its descriptor. They are for those that the plugin
// may write, and also work on those that it may only read: when it
// runs as root, on the programs of the system.
var byFile = []string{"fchmod", "fchown", "fsetxattr", "fremovexattr"}

const noSuchCall = seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)

// filterCalls confines the thread, and what it executes, to the system calls of
// the policy.
func filterCalls(p Policy, k kernel) error {
	code, err := compileFilter(rulesOf(p, k, os.Getpid(), os.Geteuid() == 0))
	if err != nil {
		return fmt.Errorf("make filter of system calls: %w", err)
	}
	raw, err := bpf.Assemble(code)
	if err != nil {
		return fmt.Errorf("make filter of system calls: %w", err)
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}

// compileFilter translates rules for this architecture. The library lets calls of
// other architectures pass, as int 0x80 is on amd64: here they end the process.
// Calls newer than its tables do not exist.
func compileFilter(rules []seccomp.SyscallGroup) ([]bpf.Instruction, error) {
	native, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	newest := 0
	for number := range native.SyscallNumbers {
		newest = max(newest, number)
	}
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 4}, // arch of struct seccomp_data, seccomp(2)
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(native.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionKillProcess)},
		loadNumber,
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(newest), SkipFalse: 1},
		bpf.RetConstant{Val: uint32(noSuchCall)},
	}
	for _, g := range rules {
		for _, part := range splitConditions(dropUnknownCalls(g, native)) {
			instructions, err := assembleGroup(part)
			if err != nil {
				return nil, err
			}
			code = append(code, instructions...)
		}
	}
	return append(code, bpf.RetConstant{Val: uint32(seccomp.ActionAllow)}), nil
}

// loadNumber loads the number of the system call, nr of struct seccomp_data.
var loadNumber = bpf.LoadAbsolute{Off: 0, Size: 4}

// splitConditions makes a group of each call with conditions. Within a program the library
// (1.6.0) loads the number of the call only once: when the conditions of one call
// do not hold, it compares the argument that it looked at last with the numbers of
// all calls that follow. So a later rule about the same call would not be found, and
// a process whose own number is that of a forbidden call could not send itself signals.
func splitConditions(g seccomp.SyscallGroup) (out []seccomp.SyscallGroup) {
	if len(g.Names) > 0 {
		out = append(out, seccomp.SyscallGroup{Action: g.Action, Names: g.Names})
	}
	for len(g.NamesWithCondtions) > 0 {
		name := g.NamesWithCondtions[0].Name
		one := seccomp.SyscallGroup{Action: g.Action}
		var others []seccomp.NameWithConditions
		for _, c := range g.NamesWithCondtions {
			if c.Name == name {
				one.NamesWithCondtions = append(one.NamesWithCondtions, c)
			} else {
				others = append(others, c)
			}
		}
		out, g.NamesWithCondtions = append(out, one), others
	}
	return out
}

// assembleGroup returns the instructions for one group, which begin with the number of
// the call, and go on behind the last of them when no rule of the group matches.
func assembleGroup(g seccomp.SyscallGroup) ([]bpf.Instruction, error) {
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{g}}
	code, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	// Before the number it looks at the architecture, and at last it allows the call.
	begin, last := slices.Index(code, bpf.Instruction(loadNumber)), len(code)-1
	if begin < 0 || code[last] != bpf.Instruction(bpf.RetConstant{Val: uint32(seccomp.ActionAllow)}) {
		return nil, errors.New("the library makes programs of another form than it did")
	}
	return code[begin:last], nil
}

// dropUnknownCalls leaves out what this architecture does not have.
func dropUnknownCalls(g seccomp.SyscallGroup, a *arch.Info) seccomp.SyscallGroup {
	out := seccomp.SyscallGroup{Action: g.Action}
	for _, name := range g.Names {
		if _, ok := a.SyscallNames[name]; ok {
			out.Names = append(out.Names, name)
		}
	}
	for _, n := range g.NamesWithCondtions {
		if _, ok := a.SyscallNames[n.Name]; ok {
			out.NamesWithCondtions = append(out.NamesWithCondtions, n)
		}
	}
	return out
}
