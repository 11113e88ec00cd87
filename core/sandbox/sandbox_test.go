package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// hostile is the program below testdata. It is built without the race detector, which
// takes more memory than plugins get.
var hostile *os.File

// hostileEnv hands it over to the tests of an ordinary user.
const hostileEnv = "SANDBOX_TEST_HOSTILE"

const done = "done"

func TestMain(m *testing.M) {
	Main()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case pluginMode:
			plugin.Serve(quiet)
			return
		case protectedMode:
			os.Exit(protectedRelay())
		case crowdedMode:
			os.Exit(crowdedRelay())
		}
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	path := os.Getenv(hostileEnv)
	if path == "" {
		dir, err := os.MkdirTemp("", "sandbox")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "hostile")
		build := exec.Command("go", "build", "-o", path, "./testdata/hostile")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
	}
	var err error
	if hostile, err = os.Open(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer hostile.Close()
	status := m.Run()
	if err := goleak.Find(goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop")); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// newHostileCommand returns the command of the hostile plugin, confined by p, or not at all
// if p is nil.
func newHostileCommand(p *Policy, try string, args ...string) (*exec.Cmd, error) {
	argv := append([]string{"hostile", try}, args...)
	cmd := &exec.Cmd{Path: "/proc/self/fd/4", Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}}
	cmd.ExtraFiles = []*os.File{hostile, hostile, hostile} // at the descriptors of the lifeline, the plugin and the launcher
	if p != nil {
		before, err := launcherArgs(*p)
		if err != nil {
			return nil, err
		}
		cmd.Path = "/proc/self/fd/5"
		if p.Hide {
			cmd.SysProcAttr = probeSystem().attr
		}
		argv = append(before, argv...)
	}
	cmd.Args = argv
	return cmd, nil
}

// launcherArgs returns what Wrap puts before the arguments of a plugin.
func launcherArgs(p Policy) ([]string, error) {
	c, err := Wrap(pluginproc.Command{File: hostile}, p)
	if err != nil {
		return nil, err
	}
	c.Launcher.File.Close()
	return slices.Concat([]string{c.Launcher.Path}, c.Launcher.Args, []string{"--"}), nil
}

// runHostile returns what the plugin prints, and after a failure how it ended.
func runHostile(t *testing.T, p *Policy, try string, args ...string) string {
	t.Helper()
	cmd, err := newHostileCommand(p, try, args...)
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	text := strings.TrimSpace(string(out))
	if err != nil {
		text = strings.TrimSpace(fmt.Sprintf("%s %v %.300s", text, err, stderr.String()))
	}
	return text
}

// targets are files, processes and sockets that the plugin tries to reach.
type targets struct {
	policy Policy
	names  map[string]string
}

func newTargets(t *testing.T, victim string) *targets {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{"own/sub", "keys"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"own/file", "keys/key"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &targets{
		policy: Policy{Dir: filepath.Join(dir, "own")},
		names: map[string]string{
			"DIR":    dir,
			"SELF":   strconv.Itoa(os.Getpid()),
			"VICTIM": victim,
			"TCP":    listenAndAnswer(t, "tcp", "127.0.0.1:0"),
			"UNIX":   listenAndAnswer(t, "unix", filepath.Join(dir, "socket")),
			"HIDDEN": listenAndAnswer(t, "unix", "@"+dir),
			"LOG":    listenForDatagrams(t, "unixgram", filepath.Join(dir, "log")),
			"UDP":    listenForDatagrams(t, "udp", "127.0.0.1:0"),
		},
	}
}

func (s *targets) run(t *testing.T, p *Policy, try []string) string {
	t.Helper()
	args := slices.Clone(try)
	for i := range args {
		args[i] = os.Expand(args[i], func(name string) string { return s.names[name] })
	}
	return runHostile(t, p, args[0], args[1:]...)
}

// startVictim is a process of the same user.
func startVictim(t *testing.T) string {
	t.Helper()
	cmd, err := newHostileCommand(nil, "wait")
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return strconv.Itoa(cmd.Process.Pid)
}

// listenAndAnswer listens, and writes one byte to each client.
func listenAndAnswer(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("x"))
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-stopped })
	return l.Addr().String()
}

func listenForDatagrams(t *testing.T, network, address string) string {
	t.Helper()
	conn, err := net.ListenPacket(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// requireLandlock skips the test if the kernel cannot do what it is about.
func requireLandlock(t *testing.T, version int) {
	t.Helper()
	if k := probeKernel(); k.landlock < version || !k.seccomp {
		t.Skipf("needs version %d of Landlock and seccomp, has %+v", version, k)
	}
}

// Everything here is possible outside and not inside, unless a grant allows it.
func TestBreakingOut(t *testing.T) {
	requireLandlock(t, 3)
	poor := startVictim(t)
	reading := func(path string) func(*targets) {
		return func(s *targets) {
			s.policy.Read = []string{os.Expand(path, func(n string) string { return s.names[n] })}
		}
	}
	processes := func(s *targets) { s.policy.Processes = true }
	open := func(s *targets) { s.policy.Network = Open }
	for _, c := range []struct {
		try   []string
		want  string
		grant func(*targets)
		root  bool // only root can do it outside
	}{
		{try: []string{"read", "$DIR/keys/key"}, want: "EACCES", grant: reading("$DIR/keys")},
		{try: []string{"read", "$DIR/own/../keys/key"}, want: "EACCES", grant: reading("$DIR/keys/key")},
		{try: []string{"list", "$DIR"}, want: "EACCES", grant: reading("$DIR")},
		{try: []string{"list", "/tmp"}, want: "EACCES"},
		{try: []string{"list", "/proc"}, want: "EACCES"},
		{try: []string{"read", "/proc/self/environ"}, want: "EACCES", grant: reading("/proc")},
		{try: []string{"read", "/etc/passwd"}, want: "EACCES", grant: reading("/etc/passwd")},
		{try: []string{"read", "/etc/shadow"}, want: "EACCES", root: true},
		{try: []string{"read", "/proc/$SELF/environ"}, want: "EACCES"},
		{try: []string{"read", "/proc/$SELF/cmdline"}, want: "EACCES", grant: reading("/proc")},
		{try: []string{"read", "/proc/$SELF/maps"}, want: "EACCES"},
		{try: []string{"read", "/proc/net/tcp"}, want: "EACCES"},
		{try: []string{"read", "/proc/self/mountinfo"}, want: "EACCES", grant: reading("/proc")},
		{try: []string{"read", "/proc/self/io"}, want: "EACCES", grant: reading("/proc")},
		{try: []string{"read", "/proc/$SELF/io"}, want: "EACCES"},
		{try: []string{"read", "/proc/diskstats"}, want: "EACCES", grant: reading("/proc")},
		{try: []string{"read", "/proc/self/root/$DIR/keys/key"}, want: "EACCES", grant: reading("$DIR/keys")},
		{try: []string{"list", "/sys/block"}, want: "EACCES", grant: reading("/sys")},
		{try: []string{"list", "/sys/class/net"}, want: "EACCES"},
		{try: []string{"write", "$DIR/new"}, want: "EACCES"},
		{try: []string{"write", "$DIR/keys/key"}, want: "EACCES"},
		{try: []string{"mkdir", "$DIR/new"}, want: "EACCES"},
		{try: []string{"remove", "$DIR/keys/key"}, want: "EACCES"},
		{try: []string{"rename", "$DIR/keys/key", "$DIR/own/key"}, want: "EACCES"},
		{try: []string{"rename", "$DIR/own/file", "$DIR/keys/key"}, want: "EACCES"},
		{try: []string{"link", "$DIR/keys/key", "$DIR/own/key"}, want: "EXDEV"},
		{try: []string{"truncate", "$DIR/keys/key"}, want: "EACCES"},
		{try: []string{"chmod", "$DIR/keys"}, want: "EPERM"},
		{try: []string{"chown", "$DIR/keys"}, want: "EPERM"},
		{try: []string{"chtimes", "$DIR/keys/key"}, want: "EPERM"},
		{try: []string{"setxattr", "$DIR/keys/key"}, want: "EPERM"},
		{try: []string{"chmod open", "/usr/bin/env"}, want: "EPERM", root: true},
		{try: []string{"watch", "$DIR/keys"}, want: "EPERM"},

		{try: []string{"connect", "tcp", "$TCP"}, want: "EPERM", grant: open},
		{try: []string{"connect", "udp", "$UDP"}, want: "EPERM", grant: open},
		{try: []string{"connect", "unix", "$UNIX"}, want: "EPERM"},
		{try: []string{"connect", "unix", "$HIDDEN"}, want: "EPERM"},
		{try: []string{"datagram", "$LOG"}, want: "EPERM"},
		{try: []string{"multipath"}, want: "EPERM"},
		{try: []string{"bind", "0.0.0.0:0"}, want: "EPERM", grant: open},
		{try: []string{"bind", "127.0.0.1:0"}, want: "EPERM", grant: open},
		{try: []string{"bind", "[::]:0"}, want: "EPERM", grant: open},
		{try: []string{"socket", "2", "1"}, want: "EPERM", grant: open},
		{try: []string{"socket", "10", "1"}, want: "EPERM", grant: open},
		{try: []string{"socket", "2", "2"}, want: "EPERM", grant: open},  // UDP
		{try: []string{"socket", "16", "3"}, want: "EPERM", grant: open}, // netlink
		{try: []string{"socket", "1", "2"}, want: "EPERM", grant: open},  // datagrams of unix
		{try: []string{"socket", "17", "3"}, want: "EPERM", root: true},  // packets
		{try: []string{"interfaces"}, want: "EPERM", grant: open},

		{try: []string{"io_uring"}, want: "ENOSYS"},
		{try: []string{"memfd"}, want: "EPERM"},
		{try: []string{"fork"}, want: "EPERM", grant: processes},
		{try: []string{"spawn"}, want: "EPERM", grant: processes},
		{try: []string{"clone3"}, want: "ENOSYS"},
		{try: []string{"new session"}, want: "EPERM"},
		{try: []string{"unshare"}, want: "EPERM", root: true},
		{try: []string{"mount", "$DIR/own"}, want: "EPERM", root: true},
		{try: []string{"setuid"}, want: "EPERM", root: true},

		{try: []string{"signal", "$VICTIM"}, want: "EPERM"},
		{try: []string{"tgkill", "$VICTIM"}, want: "EPERM"},
		{try: []string{"tkill", "$VICTIM"}, want: "EPERM"},
		{try: []string{"pidfd", "$VICTIM"}, want: "EPERM"},
		{try: []string{"clock", "$VICTIM"}, want: "EPERM"},
		{try: []string{"clock", "$SELF"}, want: "EPERM"},
		{try: []string{"ptrace", "$VICTIM"}, want: "EPERM", root: true},
		{try: []string{"prlimit", "$VICTIM"}, want: "EPERM"},
		{try: []string{"priority", "$VICTIM"}, want: "EPERM"},
		{try: []string{"affinity", "$VICTIM"}, want: "EPERM"},
		{try: []string{"set owner", "$VICTIM"}, want: "EPERM"},

		{try: []string{"map", "1073741824"}, want: "ENOMEM", grant: func(s *targets) { s.policy.Memory = 2 << 30 }},
		{try: []string{"files", "2000"}, want: "EMFILE", grant: func(s *targets) { s.policy.Files = 4000 }},
	} {
		t.Run(strings.Join(c.try, " "), func(t *testing.T) {
			t.Parallel()
			if c.root && os.Geteuid() != 0 {
				t.Skip("not possible for an ordinary user")
			}
			s := newTargets(t, poor)
			if got := s.run(t, &s.policy, c.try); got != c.want {
				t.Errorf("inside: %s, want %s", got, c.want)
			}
			if c.grant != nil {
				c.grant(s)
				if got := s.run(t, &s.policy, c.try); got != done {
					t.Errorf("with a grant: %s", got)
				}
			}
			if got := s.run(t, nil, c.try); got != done {
				t.Errorf("the test shows nothing, outside it is: %s", got)
			}
		})
	}
}

// The relay connects to the socket in this directory and empties it. So it takes sockets,
// and nothing that leads elsewhere or has no end.
func TestSocketDirectoryTakesOnlySockets(t *testing.T) {
	requireLandlock(t, 3)
	s := newTargets(t, startVictim(t))
	dir := filepath.Join(s.names["DIR"], "sockets")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/run/x", filepath.Join(s.policy.Dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		try  []string
		want string
	}{
		{[]string{"listen", dir + "/socket"}, done},
		{[]string{"write", dir + "/file"}, done},
		{[]string{"remove", dir + "/file"}, done},
		{[]string{"mkdir", dir + "/deep"}, "EACCES"},
		{[]string{"symlink", "/run/x", dir + "/link"}, "EACCES"},
		{[]string{"rename", s.policy.Dir + "/link", dir + "/link"}, "EACCES"},
		{[]string{"rename", s.policy.Dir + "/sub", dir + "/sub"}, "EACCES"},
	} {
		cmd, err := newHostileCommand(&s.policy, c.try[0], c.try[1:]...)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "PLUGIN_UNIX_SOCKET_DIR="+dir)
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.try, got, err, c.want)
		}
	}
}

// A grant permits no more than it says.
func TestGrantsAreNarrow(t *testing.T) {
	requireLandlock(t, 6)
	poor := startVictim(t)
	for _, c := range []struct {
		grant Policy
		try   []string
		want  string
	}{
		{Policy{Network: Open}, []string{"connect", "unix", "$HIDDEN"}, "EPERM"},
		{Policy{Network: Open}, []string{"socket", "38", "5"}, "EPERM"}, // AF_ALG
		{Policy{Sockets: []string{"/var"}}, []string{"connect", "unix", "$HIDDEN"}, "EPERM"},
		{Policy{Sockets: []string{"/var"}}, []string{"connect", "tcp", "$TCP"}, "EPERM"},
		{Policy{Sockets: []string{"/var"}}, []string{"socket", "2", "1"}, "EPERM"},
		{Policy{Sockets: []string{"/var"}}, []string{"socket", "1", "2"}, "EPERM"}, // datagrams of unix
		{Policy{Sockets: []string{"/var"}}, []string{"datagram", "$LOG"}, "EPERM"},
		{Policy{Sockets: []string{"/etc"}}, []string{"read", "/etc/passwd"}, "EACCES"},
		{Policy{Processes: true}, []string{"signal", "$VICTIM"}, "EPERM"},
		{Policy{Processes: true}, []string{"tkill", "$VICTIM"}, "EPERM"},
		{Policy{Processes: true}, []string{"set owner", "$VICTIM"}, "EPERM"},
		{Policy{Processes: true}, []string{"new session"}, "EPERM"},
		{Policy{Processes: true}, []string{"clone3"}, "ENOSYS"},
		{Policy{Read: []string{"/proc"}}, []string{"read", "/proc/$SELF/environ"}, "EACCES"},
		{Policy{Read: []string{"/tmp"}}, []string{"write", "$DIR/new"}, "EACCES"},
	} {
		t.Run(strings.Join(c.try, " "), func(t *testing.T) {
			t.Parallel()
			s := newTargets(t, poor)
			if got := s.run(t, &c.grant, c.try); got != c.want {
				t.Errorf("%+v: %s, want %s", c.grant, got, c.want)
			}
		})
	}
}

// A plugin can do its work.
func TestPluginCanWorkInside(t *testing.T) {
	for _, try := range [][]string{
		{"read", "$DIR/own/file"},
		{"list", "$DIR/own"},
		{"write", "$DIR/own/new"},
		{"mkdir", "$DIR/own/new"},
		{"remove", "$DIR/own/file"},
		{"rename", "$DIR/own/file", "$DIR/own/sub/file"},
		{"link", "$DIR/own/file", "$DIR/own/sub/file"},
		{"truncate", "$DIR/own/file"},
		{"read", "/etc/ld.so.cache"},
		{"list", "/usr/lib"},
		{"write", "/dev/null"},
		{"map", "268435456"},
		{"fill", "67108864"},
		{"files", "900"},
		{"execute", "/bin/true"},
	} {
		t.Run(strings.Join(try, " "), func(t *testing.T) {
			t.Parallel()
			s := newTargets(t, "")
			if got := s.run(t, &s.policy, try); got != done && !(try[0] == "execute" && got == "") {
				t.Error(got)
			}
		})
	}
}

// A plugin cannot execute what it has written. Only a user other than root can change the
// mode of its own open files.
func TestPluginCannotExecuteWhatItWrote(t *testing.T) {
	requireLandlock(t, 3)
	s := newTargets(t, "")
	program := filepath.Join(s.policy.Dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := runHostile(t, &s.policy, "execute", program); got != "EACCES" {
		t.Errorf("execute: %s", got)
	}
	want := done
	if os.Geteuid() == 0 {
		want = "EPERM"
	}
	if got := runHostile(t, &s.policy, "chmod open", program); got != want {
		t.Errorf("change mode: %s, want %s", got, want)
	}
}

// newCommandWithListener returns the command of the hostile plugin in the sandbox, and a
// listener that it is passed.
func newCommandWithListener(t *testing.T, try string, args ...string) (*exec.Cmd, net.Listener) {
	t.Helper()
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	cmd, err := newHostileCommand(&Policy{}, try, args...)
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = append([]*os.File{file}, cmd.ExtraFiles...)
	cmd.Path = "/proc/self/fd/6"
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=listen")
	return cmd, l
}

// A plugin is reached by a listener that it was passed, which it finds as the libraries of
// systemd do.
func TestPassedListenerAccepts(t *testing.T) {
	cmd, l := newCommandWithListener(t, "serve passed")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var pid string
	if _, err := fmt.Fscanln(out, &pid); err != nil || pid != strconv.Itoa(cmd.Process.Pid) {
		t.Fatalf("LISTEN_PID is %q, %v, want %d", pid, err, cmd.Process.Pid)
	}
	l.Close() // this process does not accept
	conn, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
	if err != nil {
		t.Fatalf("connect to a plugin with a listener: %v", err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// A passed listener leads to no other address and to nobody.
func TestPassedListenerIsNarrow(t *testing.T) {
	requireLandlock(t, 3)
	s := newTargets(t, "")
	for _, c := range []struct {
		try  []string
		want []string
	}{
		{[]string{"bind passed", "0.0.0.0:0"}, []string{"EACCES", "EPERM", "EINVAL"}},
		{[]string{"rebind passed", "0.0.0.0:0"}, []string{"EACCES", "EPERM", "EINVAL"}},
		{[]string{"connect passed", s.names["TCP"]}, []string{"EPERM"}},
		{[]string{"fast open passed", s.names["TCP"]}, []string{"EPERM"}},
		{[]string{"bind", "127.0.0.1:0"}, []string{"EPERM"}},
		{[]string{"bind accepted", "0.0.0.0:0"}, []string{"EACCES", "EPERM", "EINVAL"}},
	} {
		cmd, l := newCommandWithListener(t, c.try[0], c.try[1:]...)
		if c.try[0] == "bind accepted" {
			resetConnection(t, l.Addr().String())
		}
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); !slices.Contains(c.want, got) {
			t.Errorf("%s: %s, %v, want one of %s", c.try, got, err, c.want)
		}
	}
}

// resetConnection makes a connection that is reset before anybody accepts it.
func resetConnection(t *testing.T, address string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(conn.(*net.TCPConn).SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestNoCoreDumps(t *testing.T) {
	s := newTargets(t, "")
	for _, p := range []*Policy{&s.policy, nil} {
		got := runHostile(t, p, "dump core", s.policy.Dir)
		found, _ := filepath.Glob(filepath.Join(s.policy.Dir, "core*"))
		if !strings.Contains(got, "aborted") || p != nil && (len(found) > 0 || strings.Contains(got, "core dumped")) {
			t.Errorf("inside: %v: %s %v", p != nil, got, found)
		}
		if p == nil && !strings.Contains(got, "core dumped") {
			t.Logf("this machine makes no core dumps outside either: %s", got)
		}
	}
}

// A heap that grows too far ends the plugin and nothing else.
func TestMemoryIsBounded(t *testing.T) {
	if got := runHostile(t, &Policy{}, "fill", "1073741824"); !strings.HasPrefix(got, "exit status 2 ") {
		t.Error(got)
	}
	if got := runHostile(t, nil, "fill", "1073741824"); got != done {
		t.Errorf("the test shows nothing: %s", got)
	}
}

func TestForeignCallsEndTheProcess(t *testing.T) {
	requireLandlock(t, 0)
	outside := runHostile(t, nil, "foreign")
	if outside != done {
		t.Skipf("not possible outside: %.80s", outside)
	}
	if got := runHostile(t, &Policy{}, "foreign"); !strings.Contains(got, "bad system call") {
		t.Error(got)
	}
}

// The kernel itself says how a running plugin is confined.
func TestKernelShowsTheConfinement(t *testing.T) {
	cmd, err := newHostileCommand(&Policy{}, "wait")
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	fmt.Fscanln(out, new(string))
	proc := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !bytes.Contains(status, []byte(want+"\n")) {
			t.Errorf("%s is missing", want)
		}
	}
	if os.Geteuid() == 0 && !bytes.Contains(status, []byte("CapBnd:\t0000000000000000\n")) {
		t.Error("the bounding set has capabilities")
	}
	files, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if n, _ := strconv.Atoi(f.Name()); n > lifelineFD+1 {
			if target, _ := os.Readlink(proc + "fd/" + f.Name()); !strings.HasPrefix(target, "anon_inode:") {
				t.Errorf("the plugin has descriptor %d, %s", n, target)
			}
		}
	}
	if memory, err := Memory(cmd.Process.Pid); err != nil || memory < 64<<10 || memory > 64<<20 {
		t.Errorf("memory: %d, %v", memory, err)
	}
}

// A plugin that asks not to be killed with the relay is killed anyway.
func TestPluginDiesWithTheRelay(t *testing.T) {
	before, err := launcherArgs(Policy{})
	if err != nil {
		t.Fatal(err)
	}
	relay, err := newHostileCommand(nil, "relay", append(before[1:], "hostile", "live on")...)
	if err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	relay.Stdout = w
	if err := relay.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	out.SetReadDeadline(time.Now().Add(20 * time.Second))
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil || !strings.Contains(string(line[:n]), "operation not permitted") {
		t.Fatalf("%s, %v", line[:n], err)
	}
	relay.Process.Kill()
	relay.Wait()
	if n, err := out.Read(line); n != 0 || os.IsTimeout(err) {
		t.Errorf("the plugin lives on: %v", err)
	}
}

// All tests again as an ordinary user, which relays should run as.
func TestAllAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the tests run as an ordinary user already")
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Both programs are in directories that this user cannot enter.
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3", "-test.v", "-test.run", "^Test")
	cmd.ExtraFiles = []*os.File{self, hostile}
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp", "HOME=/", hostileEnv+"=/proc/self/fd/4")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestBreakingOut")) {
		t.Errorf("%v\n%s", err, out)
	}
}
