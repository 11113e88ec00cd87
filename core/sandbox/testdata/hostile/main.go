// Command hostile is a plugin that tries what it should not: its arguments are
// the name of one of the attempts, and what that takes. It prints done, or the
// number of the error. It is its own launcher as well.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

const done = "done"

func main() {
	sandbox.Main()
	// What asks the kernel for a thread of its own gets it before the try.
	runtime.LockOSThread()
	err := attempts[os.Args[1]](os.Args[2:])
	var errno syscall.Errno
	switch {
	case err == nil:
		fmt.Println(done)
	case errors.As(err, &errno):
		fmt.Println(unix.ErrnoName(errno))
	default:
		fmt.Println(err)
	}
}

// attempts are by name; the arguments are those of the test.
var attempts = map[string]func(arg []string) error{
	"read":     func(arg []string) error { _, err := os.ReadFile(arg[0]); return err },
	"list":     func(arg []string) error { _, err := os.ReadDir(arg[0]); return err },
	"write":    func(arg []string) error { return os.WriteFile(arg[0], nil, 0o600) },
	"mkdir":    func(arg []string) error { return os.Mkdir(arg[0], 0o700) },
	"remove":   func(arg []string) error { return os.Remove(arg[0]) },
	"rename":   func(arg []string) error { return os.Rename(arg[0], arg[1]) },
	"link":     func(arg []string) error { return os.Link(arg[0], arg[1]) },
	"truncate": func(arg []string) error { return os.Truncate(arg[0], 0) },
	"chmod":    func(arg []string) error { return os.Chmod(arg[0], 0o777) },
	"chown":    func(arg []string) error { return os.Chown(arg[0], os.Getuid(), os.Getgid()) },
	"chtimes":  func(arg []string) error { return unix.UtimesNanoAt(unix.AT_FDCWD, arg[0], make([]unix.Timespec, 2), 0) },
	"setxattr": func(arg []string) error { return unix.Setxattr(arg[0], "user.x", []byte("y"), 0) },
	"watch": func(arg []string) error {
		fd, err := unix.InotifyInit()
		if err != nil {
			return err
		}
		_, err = unix.InotifyAddWatch(fd, arg[0], unix.IN_ALL_EVENTS)
		return err
	},
	"chmod open": func(arg []string) error {
		f, err := os.Open(arg[0])
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		return f.Chmod(info.Mode().Perm())
	},
	"execute": func(arg []string) error { return unix.Exec(arg[0], arg, nil) },

	"connect": func(arg []string) error { return dialAndRead(arg[0], arg[1]) },
	"datagram": func(arg []string) error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(pair[0], []byte("x"), 0, &unix.SockaddrUnix{Name: arg[0]})
	},
	"bind": func(arg []string) error { _, err := net.Listen("tcp", arg[0]); return err },
	// Of the descriptor 3, a listener.
	"bind passed": func(arg []string) error { return unix.Bind(3, address(arg[0])) },
	"rebind passed": func(arg []string) error {
		if err := unix.Shutdown(3, unix.SHUT_RDWR); err != nil {
			return err
		}
		return unix.Bind(3, address(arg[0]))
	},
	"connect passed": func(arg []string) error {
		return errors.Join(unix.Shutdown(3, unix.SHUT_RDWR), unix.Connect(3, address(arg[0])))
	},
	"fast open passed": func(arg []string) error {
		return errors.Join(unix.Shutdown(3, unix.SHUT_RDWR), unix.Sendto(3, []byte("x"), unix.MSG_FASTOPEN, address(arg[0])))
	},
	"fast open": func(arg []string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, address(arg[0]))
	},
	"multipath": func(arg []string) error {
		const multipath = 262 // IPPROTO_MPTCP
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, multipath)
		return err
	},
	// Of a connection that was accepted and reset, which the kernel lets go of its port.
	"bind accepted": func(arg []string) error {
		conn, _, err := unix.Accept(3)
		if err != nil {
			return err
		}
		if _, err := unix.Read(conn, make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			return fmt.Errorf("not reset: %w", err)
		}
		if err := unix.Bind(conn, address(arg[0])); err != nil {
			return err
		}
		return unix.Listen(conn, 1)
	},
	"symlink": func(arg []string) error { return os.Symlink(arg[0], arg[1]) },
	"listen":  func(arg []string) error { _, err := net.Listen("unix", arg[0]); return err },
	"socket": func(arg []string) error {
		family, _ := strconv.Atoi(arg[0])
		kind, _ := strconv.Atoi(arg[1])
		_, err := unix.Socket(family, kind, 0)
		return err
	},
	"interfaces": func(arg []string) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), 0xFFFF<<32|unix.SIOCGIFINDEX, uintptr(unsafe.Pointer(request)))
		return number(errno)
	},
	"serve passed": func(arg []string) error {
		l, err := net.FileListener(os.NewFile(3, "listen"))
		if err != nil {
			return err
		}
		fmt.Println(os.Getenv("LISTEN_PID"))
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		_, err = conn.Write([]byte("x"))
		return err
	},

	"io_uring": func(arg []string) error {
		var params [120]byte
		return call(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])))
	},
	"memfd": func(arg []string) error { _, err := unix.MemfdCreate("x", 0); return err },
	"fork": func(arg []string) error {
		child, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if child == 0 && errno == 0 {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return number(errno)
	},
	"clone3": func(arg []string) error {
		args := [8]uint64{4: uint64(unix.SIGCHLD)}
		child, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
		if child == 0 && errno == 0 {
			syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return number(errno)
	},
	"spawn": func(arg []string) error { return exec.Command("/bin/true").Run() },
	"new session": func(arg []string) error {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Run()
	},
	"unshare": func(arg []string) error { return unix.Unshare(unix.CLONE_NEWNS) },
	"mount": func(arg []string) error {
		unix.Unshare(unix.CLONE_NEWNS) // so that nobody else sees it
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		return unix.Mount("none", arg[0], "tmpfs", 0, "")
	},
	"setuid": func(arg []string) error { return call(unix.SYS_SETUID, 65534) },

	// arg[0] is the process to be harmed
	"signal": func(arg []string) error { return unix.Kill(pid(arg), 0) },
	"tgkill": func(arg []string) error { return unix.Tgkill(pid(arg), pid(arg), 0) },
	"tkill":  func(arg []string) error { return call(unix.SYS_TKILL, uintptr(pid(arg)), 0) },
	// How much processor time it has used: from it follows when it works.
	"clock": func(arg []string) error {
		var ts unix.Timespec
		return unix.ClockGettime(int32(^pid(arg))<<3|2, &ts)
	},
	"pidfd":  func(arg []string) error { _, err := unix.PidfdOpen(pid(arg), 0); return err },
	"ptrace": func(arg []string) error { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid(arg))) },
	"prlimit": func(arg []string) error {
		return unix.Prlimit(pid(arg), unix.RLIMIT_CPU, &unix.Rlimit{Cur: 1e6, Max: 1e6}, nil)
	},
	"priority": func(arg []string) error { return unix.Setpriority(unix.PRIO_PROCESS, pid(arg), 19) },
	"affinity": func(arg []string) error {
		var all unix.CPUSet
		unix.SchedGetaffinity(0, &all)
		return unix.SchedSetaffinity(pid(arg), &all)
	},
	"set owner": func(arg []string) error {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return call(unix.SYS_FCNTL, uintptr(pair[0]), 0xFFFF<<32|unix.F_SETOWN, uintptr(pid(arg)))
	},

	"map": func(arg []string) error {
		size, _ := strconv.Atoi(arg[0])
		_, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
		return err
	},
	"fill": func(arg []string) error {
		size, _ := strconv.Atoi(arg[0])
		for memory := make([]byte, size); len(memory) > 0; memory = memory[os.Getpagesize():] {
			memory[0] = 1
		}
		return nil
	},
	"stat": func(arg []string) error { _, err := os.Stat(arg[0]); return err },
	// As many threads as there are, which is the end of a program in Go, or processes.
	"threads": func(arg []string) error {
		n, _ := strconv.Atoi(arg[0])
		for range n {
			started := make(chan struct{})
			go func() {
				runtime.LockOSThread()
				close(started)
				select {}
			}()
			<-started
		}
		return nil
	},
	"forks": func(arg []string) error {
		n, _ := strconv.Atoi(arg[0])
		parent := uintptr(os.Getpid())
		for range n {
			child, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if errno != 0 {
				return errno
			}
			if child == 0 {
				syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
				if now, _, _ := syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); now != parent {
					syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0) // it ended before
				}
				syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
		return nil
	},
	"files": func(arg []string) error {
		n, _ := strconv.Atoi(arg[0])
		for range n {
			if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
				return err
			}
		}
		return nil
	},
	"dump core": func(arg []string) error {
		var l unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_CORE, &l)
		l.Cur = l.Max
		if err := errors.Join(unix.Setrlimit(unix.RLIMIT_CORE, &l), os.Chdir(arg[0])); err != nil {
			return err
		}
		var byDefault [4]uint64 // struct sigaction: not the handler of the runtime
		if err := call(unix.SYS_RT_SIGACTION, uintptr(unix.SIGABRT), uintptr(unsafe.Pointer(&byDefault)), 0, 8); err != nil {
			return err
		}
		return unix.Kill(os.Getpid(), unix.SIGABRT)
	},
	// A relay that starts the plugin of these arguments, by way of the launcher.
	"relay": func(arg []string) error {
		self, err := os.Open("/proc/self/exe")
		if err != nil {
			return err
		}
		cmd := exec.Command("/proc/self/exe", arg...)
		cmd.Stdout = os.Stdout
		cmd.ExtraFiles = []*os.File{self, self, self} // at the descriptors of the lifeline, the plugin and the launcher
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
		return unix.Pause()
	},
	"live on": func(arg []string) error {
		err := unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
		fmt.Println(os.Getpid(), err)
		return unix.Pause()
	},
	"wait": func(arg []string) error {
		fmt.Println("here")
		_, err := os.Stdin.Read(make([]byte, 1))
		return err
	},
	"foreign": foreign,
	"clones":  clones,
}

func pid(arg []string) int {
	n, _ := strconv.Atoi(arg[0])
	return n
}

func call(nr uintptr, args ...uintptr) error {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return number(errno)
}

func number(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func address(text string) unix.Sockaddr {
	a, _ := net.ResolveTCPAddr("tcp4", text)
	return &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
}

func dialAndRead(network, address string) error {
	conn, err := net.Dial(network, address)
	if err != nil {
		return err
	}
	if network == "udp" {
		_, err = conn.Write([]byte("x"))
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}
