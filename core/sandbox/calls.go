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

// forbiddenCalls are system calls that no plugin needs. Each would let it reach other
// processes of the same user, change files in ways that Landlock does not check, use
// memory that no limit counts, or reach parts of the kernel that have been a way out
// before.
var forbiddenCalls = []string{
	// other processes
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp", "get_robust_list",
	"pidfd_open", "pidfd_getfd", "pidfd_send_signal", "move_pages", "migrate_pages", "ioprio_set",
	// to leave its process group, in which it is killed
	"setsid", "setpgid",
	// changes by path, and so of any file of this user
	"chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes", "futimesat",
	"setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr", "removexattrat",
	"name_to_handle_at", "open_by_handle_at",
	// watching when others use their files
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

// absentCalls are calls that libraries use only when the kernel has them.
var absentCalls = []string{"clone3", "io_uring_setup", "io_uring_enter", "io_uring_register"}

// fileChangeCalls change a file by its descriptor. They also work on files that the
// plugin may only read: for root, those are the programs of the system.
var fileChangeCalls = []string{"fchmod", "fchown", "fsetxattr", "fremovexattr"}

const noSuchCall = seccomp.ActionErrno | seccomp.Action(unix.ENOSYS)

// filterCalls confines the thread, and the programs that it executes, to the system calls
// of the policy.
func filterCalls(p Policy, k kernelSupport) error {
	code, err := compileFilter(makeCallRules(p, k, os.Getpid(), os.Geteuid() == 0))
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

// compileFilter translates rules for this architecture. The library lets calls of other
// architectures pass, such as int 0x80 on amd64; here they end the process. Calls that
// are newer than the library's tables do not exist.
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

// splitConditions makes each call with conditions a group of its own. Within a program
// the library (1.6.0) loads the number of the call only once. When the conditions of one
// call do not hold, it compares the argument that it has loaded last with the numbers of
// all following calls. So it would miss a later rule about the same call, and a process
// with the number of a forbidden call could not send itself signals.
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

// assembleGroup returns the instructions for one group. They begin by loading the number
// of the call, and fall through at the end when no rule of the group matches.
func assembleGroup(g seccomp.SyscallGroup) ([]bpf.Instruction, error) {
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{g}}
	code, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	// The program first checks the architecture, and allows the call at its end.
	begin, last := slices.Index(code, bpf.Instruction(loadNumber)), len(code)-1
	if begin < 0 || code[last] != bpf.Instruction(bpf.RetConstant{Val: uint32(seccomp.ActionAllow)}) {
		return nil, errors.New("the library makes programs of another form than it did")
	}
	return code[begin:last], nil
}

// dropUnknownCalls leaves out calls that this architecture does not have.
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
