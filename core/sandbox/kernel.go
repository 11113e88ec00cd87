package sandbox

import (
	"os"
	"runtime"

	seccomp "github.com/elastic/go-seccomp-bpf"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// kernelSupport says what the kernel at hand offers.
type kernelSupport struct {
	landlock    int  // the version; 0: none; at most the newest that the library knows
	seccomp     bool // and this package knows its system calls
	ownMounts   bool // a process can have mounts of its own
	countsTasks bool // the kernel can count the tasks of a process apart from others
}

func probeKernel() kernelSupport {
	// It is an error if the kernel has no Landlock, if it is switched off at boot, or if a
	// container forbids it.
	version, err := ll.LandlockGetABIVersion()
	if err != nil {
		version = 0
	}
	known := runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64"
	return kernelSupport{
		landlock: min(version, len(landlockVersions)-1),
		seccomp:  known && seccomp.Supported(),
	}
}

// Missing returns sentences for the operator about the rules of p that this kernel cannot
// enforce; none if it enforces all.
func Missing(p Policy) []string {
	k, can := probeKernel(), probeSystem()
	k.ownMounts = can.attr != nil
	k.countsTasks = can.Cgroup || k.ownMounts && os.Geteuid() != 0 // root is exempt from RLIMIT_NPROC
	return p.listMissing(k)
}

func (p Policy) listMissing(k kernelSupport) (out []string) {
	add := func(when bool, what string) {
		if when {
			out = append(out, what)
		}
	}
	connects := p.connects() || !k.seccomp
	// Sockets that a plugin cannot see it cannot connect to.
	hidden := p.Hide && k.ownMounts && k.seccomp && p.Network != Open
	add(k.landlock == 0, "this kernel has no Landlock: the plugin can read and write all files of the relay's user, the keys of the servers among them (Linux 5.13 has it, unless the list lsm= of the boot parameters leaves it out)")
	add(!k.seccomp, "this kernel has no seccomp filters: the plugin can start processes, send signals to the relay, change modes and owners of its files, and open sockets that Landlock does not know")
	add(k.landlock > 0 && k.landlock < 3, "this kernel cannot keep the plugin from emptying files that it may only read and that belong to the relay's user (Linux 6.2 can)")
	add(k.landlock < 4 && !k.seccomp && p.Network != Open, "this kernel cannot keep the plugin from opening TCP connections (Linux 6.7 can)")
	add(k.landlock < 6 && p.Processes && k.seccomp, "this kernel cannot keep the plugin from sending signals to other processes of the relay's user (Linux 6.12 can)")
	add(k.landlock < 6 && connects, "this kernel cannot keep the plugin from connecting to abstract unix sockets (Linux 6.12 can)")
	add(k.landlock < 9 && connects && hidden, "this kernel cannot keep the plugin from connecting to unix sockets in /dev and /etc, if there are any that the relay's user may reach (a Linux with version 9 of Landlock can)")
	add(k.landlock < 9 && connects && !hidden, "this kernel cannot keep the plugin from connecting to unix sockets of other programs that the relay's user may reach (a Linux with version 9 of Landlock can)")
	add(p.Hide && !k.ownMounts, "this system does not let the relay give the plugin mounts of its own: it can learn by stat whether files exist whose names it guesses, how long they are and when they change, the stores of other servers among them (permit user namespaces to the relay: RestrictNamespaces= of systemd, user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)")
	add(p.Hide && !k.countsTasks, "this system cannot limit the threads of the plugin by themselves: the relay counts them each second, and until then they may use up what the user or TasksMax of systemd permits (Delegate=pids of systemd lets the relay do that, or user namespaces)")
	return out
}
