package sandbox

import (
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// rulesOf are the rules for the process pid, of which the first that matches
// counts. Those that look at arguments come first: the kernel remembers which
// calls pass whatever their arguments, and runs the filter for the others.
func rulesOf(p Policy, k kernel, pid int, root bool) []seccomp.SyscallGroup {
	deny := slices.Clone(forbidden)
	if p.Network != Open {
		deny = append(deny, "connect")
	}
	if !p.Processes {
		deny = append(deny, "fork", "vfork", "tkill")
	}
	if root {
		deny = slices.Concat(deny, byFile, []string{"utimensat"})
	}
	if p.Modes {
		deny = slices.DeleteFunc(deny, func(call string) bool { return call == "chmod" || call == "fchmodat" })
	}
	if k.landlock < 3 {
		deny = append(deny, "truncate")
	}
	rules := []seccomp.SyscallGroup{
		denyIf(denySockets(p.Network)),
		denyIf(denyProcesses(p.Processes, uint64(pid))),
		denyIf(denyOthers(uint64(pid))),
		denyIf(denyClocks),
		denyIf(denyIoctls(p.Network)),
		{Action: noSuchCall, Names: absent},
		{Action: seccomp.ActionErrno, Names: deny}, // EPERM
	}
	if p.Modes {
		rules = append(rules, denyIf(modes))
	}
	return rules
}

func denyIf(calls []seccomp.NameWithConditions) seccomp.SyscallGroup {
	return seccomp.SyscallGroup{Action: seccomp.ActionErrno, NamesWithCondtions: calls}
}

// matchCall matches a call of which all conditions hold.
func matchCall(call string, conditions ...seccomp.Condition) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{Name: call, Conditions: conditions}
}

// The conditions compare the 64 bits of a register. Where the kernel takes 32
// of them, a plugin may put anything into the others: not and has then match too
// often, which is harmless, and exactly looks at the 32 alone.

func argNot(arg uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: arg, Operation: seccomp.NotEqual, Value: value}
}

func argHasAny(arg uint32, anyOf uint64) seccomp.Condition {
	return seccomp.Condition{Argument: arg, Operation: seccomp.BitsSet, Value: anyOf}
}

func argLacksAny(arg uint32, allOf uint64) seccomp.Condition {
	return seccomp.Condition{Argument: arg, Operation: seccomp.BitsNotSet, Value: allOf}
}

// exactly: the lower half of the argument is value, in the bits of mask.
func argEquals(arg, value, mask uint32) []seccomp.Condition {
	conditions := []seccomp.Condition{argLacksAny(arg, uint64(mask&^value))}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if value&bit != 0 {
			conditions = append(conditions, argHasAny(arg, uint64(bit)))
		}
	}
	return conditions
}

const all32 = 1<<32 - 1

// Bits of the second argument of socket(2) beside a stream.
const noStream = ^uint64(unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC)

// sockets: which ones may be made, and no connection but by connect(2). Without a
// grant there are none of the network, so none to bind(2): the filter cannot see
// the address. A listener that was passed on keeps its port when it is shut down,
// and cannot be bound again.
// Datagrams between unix sockets need none, and would reach the journal and
// other daemons.
func denySockets(n Network) []seccomp.NameWithConditions {
	family := []seccomp.Condition{argNot(0, unix.AF_UNIX)}
	if n == Open { // AF_NETLINK has the addresses of the host, to choose one
		family = append(family, argNot(0, unix.AF_INET), argNot(0, unix.AF_INET6), argNot(0, unix.AF_NETLINK))
	}
	out := []seccomp.NameWithConditions{
		matchCall("socket", family...),
		matchCall("socketpair", argNot(0, unix.AF_UNIX)),
		matchCall("socketpair", argHasAny(1, noStream)),
		matchCall("socketpair", argLacksAny(1, unix.SOCK_STREAM)),
	}
	if n == Open {
		return out
	}
	return append(out,
		matchCall("socket", argHasAny(1, noStream)),
		matchCall("socket", argLacksAny(1, unix.SOCK_STREAM)),
		// These connect as they send. A listener that was passed on, shut down, could.
		matchCall("sendto", argHasAny(3, unix.MSG_FASTOPEN)),
		matchCall("sendmsg", argHasAny(2, unix.MSG_FASTOPEN)),
		matchCall("sendmmsg", argHasAny(3, unix.MSG_FASTOPEN)),
	)
}

// Flags of clone(2) that no child gets: namespaces of its own, and the relay as
// its parent.
const noClone = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PARENT

// shared are the bits of a mode that give rights to others, or more than one's own by
// set-user-ID.
const shared = 0o7077

// modes: none of those.
var modes = []seccomp.NameWithConditions{
	matchCall("chmod", argHasAny(1, shared)),
	matchCall("fchmodat", argHasAny(2, shared)),
}

// processes: threads always, children and signals to them with a grant.
// Without, a signal may go to the plugin itself, which is what abort(3) and the
// scheduler of Go do. With, Landlock keeps signals inside.
func denyProcesses(granted bool, self uint64) []seccomp.NameWithConditions {
	out := []seccomp.NameWithConditions{matchCall("clone", argHasAny(0, noClone))}
	if granted {
		return out
	}
	return append(out,
		matchCall("clone", argLacksAny(0, unix.CLONE_THREAD)),
		matchCall("kill", argNot(0, self)),
		matchCall("tgkill", argNot(0, self)),
		matchCall("rt_sigqueueinfo", argNot(0, self)),
		matchCall("rt_tgsigqueueinfo", argNot(0, self)),
	)
}

// others: what a process may do to others of the same user, and to its own end
// with the relay.
func denyOthers(self uint64) []seccomp.NameWithConditions {
	out := []seccomp.NameWithConditions{
		matchCall("prlimit64", argNot(0, 0), argNot(0, self)),
		matchCall("setpriority", argNot(0, unix.PRIO_PROCESS)),
		matchCall("setpriority", argNot(1, 0)),
		// by path; without one it is the time of an open file
		matchCall("utimensat", argNot(1, 0)),
		matchCall("prctl", append(argEquals(0, unix.PR_SET_PDEATHSIG, all32), argNot(1, uint64(unix.SIGKILL)))...),
	}
	for _, call := range []string{"sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"} {
		out = append(out, matchCall(call, argNot(0, 0), argNot(0, self)))
	}
	// A file can send signals to whom it is made to belong to.
	for _, command := range []uint32{unix.F_SETOWN, unix.F_SETOWN_EX, unix.F_SETSIG} {
		out = append(out, matchCall("fcntl", argEquals(1, command, all32)...))
	}
	return out
}

// clocks: none of another process by its number, which tells everybody how much
// processor time the relay has used, and so the microsecond of each post. The sign
// bit is that of clocks by number, and the bit of 4 that of threads, which are the
// process's own; see clock_getcpuclockid(3).
var denyClocks = []seccomp.NameWithConditions{
	matchCall("clock_gettime", argHasAny(0, 1<<31), argLacksAny(0, 4)),
	matchCall("clock_getres", argHasAny(0, 1<<31), argLacksAny(0, 4)),
	matchCall("clock_nanosleep", argHasAny(0, 1<<31), argLacksAny(0, 4)),
	matchCall("timer_create", argHasAny(0, 1<<31), argLacksAny(0, 4)),
}

// Numbers of ioctl(2), asm-generic/ioctls.h and asm-generic/sockios.h.
const (
	fioSetOwn   = 0x8901
	sioSetGroup = 0x8902
	ttyInput    = 0x5412 // TIOCSTI
	ttyLinux    = 0x541C
)

// ioctls: none that types into a terminal, or sends signals by a socket. Those of
// sockets, 0x89.., also tell the addresses of the host, with a unix socket as
// well.
func denyIoctls(n Network) []seccomp.NameWithConditions {
	out := []seccomp.NameWithConditions{
		matchCall("ioctl", argEquals(1, ttyInput, all32)...),
		matchCall("ioctl", argEquals(1, ttyLinux, all32)...),
	}
	if n != Open {
		return append(out, matchCall("ioctl", argEquals(1, 0x8900, all32&^0xFF)...))
	}
	return append(out,
		matchCall("ioctl", argEquals(1, fioSetOwn, all32)...),
		matchCall("ioctl", argEquals(1, sioSetGroup, all32)...),
	)
}
