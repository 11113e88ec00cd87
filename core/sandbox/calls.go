package sandbox

import (
	"fmt"
	"os"
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
	code, err := filter(rulesOf(p, k, os.Getpid(), os.Geteuid() == 0))
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

// filter translates rules for this architecture. The library lets calls of
// other architectures pass, as int 0x80 is on amd64: here they end the process.
// Calls newer than its tables do not exist.
func filter(rules []seccomp.SyscallGroup) ([]bpf.Instruction, error) {
	native, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow}
	for _, g := range rules {
		if g = known(g, native); len(g.Names)+len(g.NamesWithCondtions) > 0 {
			policy.Syscalls = append(policy.Syscalls, g)
		}
	}
	code, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	newest := 0
	for number := range native.SyscallNumbers {
		newest = max(newest, number)
	}
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 4}, // arch of struct seccomp_data, seccomp(2)
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(native.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(seccomp.ActionKillProcess)},
		bpf.LoadAbsolute{Off: 0, Size: 4}, // nr
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(newest), SkipFalse: 1},
		bpf.RetConstant{Val: uint32(noSuchCall)},
	}, code...), nil
}

// known leaves out what this architecture does not have.
func known(g seccomp.SyscallGroup, a *arch.Info) seccomp.SyscallGroup {
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
