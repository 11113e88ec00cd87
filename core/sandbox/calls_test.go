package sandbox

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	allow = uint32(seccomp.ActionAllow)
	deny  = uint32(seccomp.ActionErrno) | uint32(unix.EPERM)
	noSys = uint32(noSuchCall)
	kill  = uint32(seccomp.ActionKillProcess)
)

const self = 4711

// filterMachine runs filters as the kernel does.
type filterMachine struct {
	t      *testing.T
	vm     *bpf.VM
	native *arch.Info
}

func newFilterMachine(t *testing.T, p Policy, k kernelSupport, root bool) filterMachine {
	t.Helper()
	native, err := arch.GetInfo("")
	if err != nil {
		t.Skipf("the library of the filter does not know this architecture: %v", err)
	}
	code, err := compileFilter(makeCallRules(p, k, self, root))
	if err != nil {
		t.Fatal(err)
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return filterMachine{t, vm, native}
}

// The filter does not take an argument for the number of a call: it decides by its rules
// whatever the argument is.
func TestArgumentsAreNotNumbers(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		root   bool
	}{
		{Policy{}, false},
		{Policy{}, true},
		{Policy{Network: Open, Modes: true}, false},
		{Policy{Network: Open, Modes: true, Processes: true}, true},
	} {
		m := newFilterMachine(t, c.policy, kernelSupport{landlock: 7}, c.root)
		rules := makeCallRules(c.policy, kernelSupport{landlock: 7}, self, c.root)
		conditional := make(map[string]bool)
		for _, g := range rules {
			for _, n := range dropUnknownCalls(g, m.native).NamesWithCondtions {
				conditional[n.Name] = true
			}
		}
		for name := range conditional {
			for value := range m.native.SyscallNumbers {
				for position := range 4 {
					args := []uint64{self, 0, 0, 0}
					args[position] = uint64(value)
					if got, want := m.call(name, args...), decideByRules(rules, name, args); got != want {
						t.Fatalf("%+v, root: %v: %s%d: %#x, want %#x", c.policy, c.root, name, args, got, want)
					}
				}
			}
		}
	}
}

// decideByRules returns what the rules say of a call, without a program.
func decideByRules(rules []seccomp.SyscallGroup, name string, args []uint64) uint32 {
	holds := func(c seccomp.Condition) bool {
		arg := args[c.Argument]
		switch c.Operation {
		case seccomp.NotEqual:
			return arg != c.Value
		case seccomp.BitsSet:
			return arg&c.Value != 0
		default: // BitsNotSet
			return arg&c.Value == 0
		}
	}
	for _, g := range rules {
		matches := slices.Contains(g.Names, name) || slices.ContainsFunc(g.NamesWithCondtions, func(n seccomp.NameWithConditions) bool {
			return n.Name == name && !slices.ContainsFunc(n.Conditions, func(c seccomp.Condition) bool { return !holds(c) })
		})
		if matches {
			if g.Action == seccomp.ActionErrno {
				return deny
			}
			return uint32(g.Action)
		}
	}
	return allow
}

// In a container the process number may be the number of a forbidden call. The process can
// still send itself the signals of its runtime.
func TestProcessMayHaveTheNumberOfACall(t *testing.T) {
	native, err := arch.GetInfo("")
	if err != nil {
		t.Skipf("there is no filter for this processor: %v", err)
	}
	for pid := range native.SyscallNumbers {
		code, err := compileFilter(makeCallRules(Policy{}, kernelSupport{landlock: 7}, pid, false))
		if err != nil {
			t.Fatal(err)
		}
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatal(err)
		}
		m := filterMachine{t, vm, native}
		for _, name := range []string{"kill", "tgkill", "prlimit64", "sched_setaffinity"} {
			if got := m.call(name, uint64(pid)); got != allow {
				t.Errorf("%s(%d): %#x", name, pid, got)
			}
		}
	}
}

func (m filterMachine) run(id arch.AuditArch, number uint32, args ...uint64) uint32 {
	m.t.Helper()
	// The words are where a little-endian kernel puts them, and each is written
	// as the machine, which is one for packets, reads it.
	words := []uint32{number, uint32(id), 0, 0}
	for i := range 6 {
		var arg uint64
		if i < len(args) {
			arg = args[i]
		}
		words = append(words, uint32(arg), uint32(arg>>32))
	}
	data, _ := binary.Append(nil, binary.BigEndian, words)
	out, err := m.vm.Run(data)
	if err != nil {
		m.t.Fatal(err)
	}
	return uint32(out)
}

func (m filterMachine) call(name string, args ...uint64) uint32 {
	m.t.Helper()
	number, ok := m.native.SyscallNames[name]
	if !ok {
		m.t.Skipf("%s has no %s", m.native.Name, name)
	}
	return m.run(m.native.ID, uint32(number), args...)
}

// Every call that a list names is denied, and every other passes with
// arguments that no rule minds.
func TestEveryForbiddenCallIsDenied(t *testing.T) {
	m := newFilterMachine(t, Policy{}, kernelSupport{landlock: 7}, false)
	plain := map[string][]uint64{
		"socket": {unix.AF_UNIX, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, "socketpair": {unix.AF_UNIX, unix.SOCK_STREAM},
		"clone": {unix.CLONE_THREAD | unix.CLONE_VM}, "kill": {self}, "tgkill": {self}, "rt_sigqueueinfo": {self}, "rt_tgsigqueueinfo": {self},
	}
	denied := slices.Concat(forbiddenCalls, []string{"connect", "fork", "vfork", "tkill"})
	for name := range m.native.SyscallNames {
		want := allow
		switch {
		case slices.Contains(denied, name):
			want = deny
		case slices.Contains(absentCalls, name):
			want = noSys
		}
		if got := m.call(name, plain[name]...); got != want {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
}

func TestCallsDeniedByArgument(t *testing.T) {
	const garbage = 0xdeadbeef << 32
	none, open, children := Policy{}, Policy{Network: Open}, Policy{Processes: true}
	for _, c := range []struct {
		policy Policy
		name   string
		args   []uint64
		want   uint32
	}{
		{none, "socket", []uint64{unix.AF_INET, unix.SOCK_STREAM}, deny},
		{none, "socket", []uint64{unix.AF_INET6, unix.SOCK_STREAM}, deny},
		{none, "socket", []uint64{garbage | unix.AF_INET, unix.SOCK_STREAM}, deny},
		{none, "connect", []uint64{3}, deny},
		{none, "socket", []uint64{unix.AF_NETLINK, unix.SOCK_RAW}, deny},
		{none, "accept4", []uint64{3}, allow},
		{none, "sendmmsg", []uint64{3, 0, 0, unix.MSG_FASTOPEN}, deny},
		{none, "sendmsg", []uint64{3, 0, unix.MSG_FASTOPEN | garbage}, deny},
		{none, "sendmsg", []uint64{3, 0, unix.MSG_NOSIGNAL}, allow},
		{none, "socket", []uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, deny},
		{none, "socket", []uint64{unix.AF_UNIX, unix.SOCK_SEQPACKET}, deny},
		{none, "socket", []uint64{unix.AF_INET, unix.SOCK_STREAM}, deny},
		{none, "socket", []uint64{unix.AF_UNIX | garbage, unix.SOCK_STREAM}, deny},
		{none, "socketpair", []uint64{unix.AF_UNIX, unix.SOCK_DGRAM}, deny},
		{open, "socket", []uint64{unix.AF_INET, unix.SOCK_DGRAM}, allow},
		{open, "socket", []uint64{unix.AF_VSOCK, unix.SOCK_STREAM}, deny},
		{open, "connect", nil, allow},
		{open, "ioctl", []uint64{3, unix.SIOCGIFINDEX}, allow},
		{open, "ioctl", []uint64{3, fioSetOwn | garbage}, deny},
		{none, "ioctl", []uint64{0, unix.TIOCSTI | garbage}, deny},
		{none, "ioctl", []uint64{0, unix.TIOCINQ}, allow},
		{none, "ioctl", []uint64{3, 0x8906}, deny},
		{none, "fcntl", []uint64{3, unix.F_SETOWN_EX | garbage}, deny},
		{none, "fcntl", []uint64{3, unix.F_SETSIG}, deny},
		{none, "fcntl", []uint64{3, unix.F_SETLKW}, allow},
		{none, "fcntl", []uint64{3, unix.F_DUPFD_CLOEXEC}, allow},
		{none, "chmod", []uint64{0, 0o600}, deny},
		{Policy{Modes: true}, "chmod", []uint64{0, 0o700}, allow},
		{Policy{Modes: true}, "chmod", []uint64{0, 0o604}, deny},
		{Policy{Modes: true}, "chmod", []uint64{0, 0o4700 | garbage}, deny},
		{Policy{Modes: true}, "fchmodat", []uint64{0, 0, 0o600}, allow},
		{Policy{Modes: true}, "fchmodat", []uint64{0, 0, 0o640}, deny},
		{Policy{Modes: true}, "fchmodat2", []uint64{0, 0, 0o600}, deny},
		{Policy{Modes: true}, "chown", nil, deny},
		{none, "prctl", []uint64{unix.PR_SET_PDEATHSIG | garbage, 0}, deny},
		{none, "prctl", []uint64{unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL)}, allow},
		{none, "prctl", []uint64{unix.PR_SET_NAME}, allow},
		{none, "prlimit64", []uint64{1}, deny},
		{none, "prlimit64", []uint64{self}, allow},
		{none, "setpriority", []uint64{unix.PRIO_USER}, deny},
		{none, "sched_setaffinity", []uint64{1}, deny},
		{none, "kill", []uint64{^uint64(0)}, deny},
		{none, "kill", []uint64{0}, deny},
		{none, "clone", []uint64{uint64(unix.SIGCHLD)}, deny},
		{none, "clone", []uint64{unix.CLONE_THREAD | unix.CLONE_NEWUSER}, deny},
		{children, "clone", []uint64{uint64(unix.SIGCHLD)}, allow},
		{children, "clone", []uint64{unix.CLONE_NEWUSER}, deny},
		{children, "clone", []uint64{unix.CLONE_PARENT}, deny},
		{children, "clone3", nil, noSys},
		{children, "kill", []uint64{1}, allow}, // for Landlock to decide
		{children, "setsid", nil, deny},
		{none, "utimensat", []uint64{3, 0}, allow},
		{none, "clock_gettime", []uint64{unix.CLOCK_PROCESS_CPUTIME_ID}, allow},
		{none, "clock_gettime", []uint64{clockOf(self, 6)}, allow}, // of a thread of its own
		{none, "clock_gettime", []uint64{clockOf(1, 2)}, deny},
		{none, "clock_gettime", []uint64{all32<<32 | clockOf(1, 0)}, deny},
		{none, "clock_gettime", []uint64{garbage | clockOf(1, 1)}, deny},
		{none, "clock_nanosleep", []uint64{clockOf(1, 2)}, deny},
		{none, "timer_create", []uint64{clockOf(1, 2)}, deny},
		{none, "utimensat", []uint64{3, 4096}, deny},
	} {
		if got := newFilterMachine(t, c.policy, kernelSupport{landlock: 7}, false).call(c.name, c.args...); got != c.want {
			t.Errorf("%+v: %s%x: %#x, want %#x", c.policy, c.name, c.args, got, c.want)
		}
	}
}

// clockOf returns the clock of a process or thread, as <linux/posix-timers.h> numbers them.
func clockOf(pid, kind uint32) uint64 { return uint64(^pid<<3 | kind) }

func TestMoreIsDeniedToRootAndOnOldKernels(t *testing.T) {
	for _, name := range append(fileChangeCalls, "utimensat") {
		if got := newFilterMachine(t, Policy{}, kernelSupport{landlock: 7}, true).call(name); got != deny {
			t.Errorf("%s as root: %#x", name, got)
		}
	}
	if got := newFilterMachine(t, Policy{}, kernelSupport{landlock: 2}, false).call("truncate"); got != deny {
		t.Errorf("truncate where Landlock does not know it: %#x", got)
	}
}

func TestOtherArchitecturesAndNewCallsAreDenied(t *testing.T) {
	m := newFilterMachine(t, Policy{}, kernelSupport{landlock: 7}, false)
	for _, other := range []*arch.Info{arch.I386, arch.ARM, arch.AARCH64, arch.X86_64} {
		if other.ID == m.native.ID {
			continue
		}
		for number := range other.SyscallNumbers {
			if got := m.run(other.ID, uint32(number)); got != kill {
				t.Fatalf("%s: %#x", other.Name, got)
			}
		}
	}
	newest := slices.Max(slices.Collect(maps.Keys(m.native.SyscallNumbers)))
	for _, number := range []uint32{uint32(newest) + 1, 1000, 0x40000000 | 59, 1<<32 - 1} { // the third is of x32
		if got := m.run(m.native.ID, number); got != noSys {
			t.Errorf("call %#x: %#x", number, got)
		}
	}
}

// A misspelt name would be left out silently, like one that this architecture does not
// have.
func TestForbiddenCallsExist(t *testing.T) {
	var names []string
	for _, g := range makeCallRules(Policy{}, kernelSupport{}, self, true) {
		names = append(names, g.Names...)
		for _, n := range g.NamesWithCondtions {
			names = append(names, n.Name)
		}
	}
	for _, name := range names {
		_, amd64 := arch.X86_64.SyscallNames[name]
		_, arm64 := arch.AARCH64.SyscallNames[name]
		if !amd64 && !arm64 {
			t.Errorf("there is no %s", name)
		}
	}
}
