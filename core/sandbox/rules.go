package sandbox

import (
	"slices"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"
)

// makeCallRules returns the rules for the process pid. The first rule that matches counts.
// Rules about arguments come first: the kernel remembers which calls pass whatever their
// arguments are, and runs the filter for the others.
func makeCallRules(p Policy, k kernelSupport, pid int, root bool) []seccomp.SyscallGroup {
	deny := slices.Clone(forbiddenCalls)
	if !p.connects() {
		deny = append(deny, "connect")
	}
	if !p.Processes {
		deny = append(deny, "fork", "vfork", "tkill")
	}
	if root {
		deny = slices.Concat(deny, fileChangeCalls, []string{"utimensat"})
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
		{Action: noSuchCall, Names: absentCalls},
		{Action: seccomp.ActionErrno, Names: deny}, // EPERM
	}
	if p.Modes {
		rules = append(rules, denyIf(denyModes))
	}
	return rules
}

// connects reports whether the plugin may call connect(2). With a grant for sockets it has
// no other sockets than unix ones.
func (p Policy) connects() bool { return p.Network == Open || len(p.Sockets) > 0 }

func denyIf(calls []seccomp.NameWithConditions) seccomp.SyscallGroup {
	return seccomp.SyscallGroup{Action: seccomp.ActionErrno, NamesWithCondtions: calls}
}

// matchCall returns a rule that matches a call if all conditions hold.
func matchCall(call string, conditions ...seccomp.Condition) seccomp.NameWithConditions {
	return seccomp.NameWithConditions{Name: call, Conditions: conditions}
}

// The conditions compare the 64 bits of a register. If the kernel uses only 32 of them, a
// plugin may put anything into the others. argNot and argHasAny then match too often,
// which is harmless, and argEquals looks at the 32 alone.

func argNot(arg uint32, value uint64) seccomp.Condition {
	return seccomp.Condition{Argument: arg, Operation: seccomp.NotEqual, Value: value}
}

func argHasAny(arg uint32, anyOf uint64) seccomp.Condition {
	return seccomp.Condition{Argument: arg, Operation: seccomp.BitsSet, Value: anyOf}
}

func argLacksAny(arg uint32, allOf uint64) seccomp.Condition {
	return seccomp.Condition{Argument: arg, Operation: seccomp.BitsNotSet, Value: allOf}
}

// argEquals holds if the lower half of the argument equals value in the bits of mask.
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

// notStreamBits are bits of the second argument of socket(2) that a stream does not have.
const notStreamBits = ^uint64(unix.SOCK_STREAM | unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC)

// denySockets says which sockets cannot be made, and that connect(2) is the only way to
// connect. Without a grant there are no sockets of the network, since the filter cannot
// see to which address bind(2) binds one. A listener that was passed on keeps its port
// when it is shut down, and cannot be bound again. Datagrams between unix sockets need no
// connection, and would reach the journal and other daemons.
func denySockets(n Network) []seccomp.NameWithConditions {
	family := []seccomp.Condition{argNot(0, unix.AF_UNIX)}
	if n == Open { // AF_NETLINK has the addresses of the host, to choose one
		family = append(family, argNot(0, unix.AF_INET), argNot(0, unix.AF_INET6), argNot(0, unix.AF_NETLINK))
	}
	out := []seccomp.NameWithConditions{
		matchCall("socket", family...),
		matchCall("socketpair", argNot(0, unix.AF_UNIX)),
		matchCall("socketpair", argHasAny(1, notStreamBits)),
		matchCall("socketpair", argLacksAny(1, unix.SOCK_STREAM)),
	}
	if n == Open {
		return out
	}
	return append(out,
		matchCall("socket", argHasAny(1, notStreamBits)),
		matchCall("socket", argLacksAny(1, unix.SOCK_STREAM)),
		// These connect as they send, even on a passed listener that was shut down.
		matchCall("sendto", argHasAny(3, unix.MSG_FASTOPEN)),
		matchCall("sendmsg", argHasAny(2, unix.MSG_FASTOPEN)),
		matchCall("sendmmsg", argHasAny(3, unix.MSG_FASTOPEN)),
	)
}

// forbiddenCloneFlags are flags of clone(2) that give a child namespaces of its own, or
// the relay as its parent.
const forbiddenCloneFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_PARENT

// unsafeModeBits are the bits of a mode that give rights to others, or the rights of the
// owner by set-user-ID.
const unsafeModeBits = 0o7077

// denyModes forbids setting those bits.
var denyModes = []seccomp.NameWithConditions{
	matchCall("chmod", argHasAny(1, unsafeModeBits)),
	matchCall("fchmodat", argHasAny(2, unsafeModeBits)),
}

// denyProcesses permits threads always, and children and signals to them with a grant.
// Without it the plugin may only send signals to itself, as abort(3) and the scheduler of
// Go do. With it, Landlock keeps signals inside.
func denyProcesses(granted bool, self uint64) []seccomp.NameWithConditions {
	out := []seccomp.NameWithConditions{matchCall("clone", argHasAny(0, forbiddenCloneFlags))}
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

// denyOthers says what a process cannot do to other processes of the same user, nor to
// its own end with the relay.
func denyOthers(self uint64) []seccomp.NameWithConditions {
	out := []seccomp.NameWithConditions{
		matchCall("prlimit64", argNot(0, 0), argNot(0, self)),
		matchCall("setpriority", argNot(0, unix.PRIO_PROCESS)),
		matchCall("setpriority", argNot(1, 0)),
		// by path; without a path it sets the times of an open file
		matchCall("utimensat", argNot(1, 0)),
		matchCall("prctl", append(argEquals(0, unix.PR_SET_PDEATHSIG, all32), argNot(1, uint64(unix.SIGKILL)))...),
	}
	for _, call := range []string{"sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"} {
		out = append(out, matchCall(call, argNot(0, 0), argNot(0, self)))
	}
	// A file can send signals to the process that it is given to.
	for _, command := range []uint32{unix.F_SETOWN, unix.F_SETOWN_EX, unix.F_SETSIG} {
		out = append(out, matchCall("fcntl", argEquals(1, command, all32)...))
	}
	return out
}

// denyClocks keeps the plugin from the clocks of other processes. By the number of a
// process anybody can read how much processor time the relay has used, and so the
// microsecond of each post. The sign bit marks clocks by number, and the bit of 4 those of
// threads, which are the process's own; see clock_getcpuclockid(3).
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

// denyIoctls forbids ioctls that type into a terminal or send signals by a socket. Those
// of sockets, 0x89.., also tell the addresses of the host, even with a unix socket.
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
