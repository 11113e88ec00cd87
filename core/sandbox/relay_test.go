package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Arguments by which the test binary becomes a relay, as an ordinary user.
const (
	protectedMode = "protected relay"
	crowdedMode   = "crowded relay"
)

// runAsOtherUser runs the test binary in one of the modes above, as a user without other
// programs.
func runAsOtherUser(t *testing.T, mode string, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can become a user without other programs")
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	user := uint32(1<<21 + os.Getpid())
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3", append([]string{mode}, args...)...)
	cmd.ExtraFiles = []*os.File{self, hostile} // in directories that this user cannot enter
	cmd.Env = append(os.Environ(), hostileEnv+"=/proc/self/fd/4")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Sprintf("%s%v: %.1000s", out, err, stderr.String())
	}
	return string(out)
}

// openHostile opens the hostile plugin, as testMain does for tests.
func openHostile() (err error) {
	hostile, err = os.Open(os.Getenv(hostileEnv))
	return err
}

// A relay has closed its memory to others before it starts plugins, so its files in /proc
// belong to root. It can still give plugins mounts and tasks of their own as an ordinary
// user.
func TestRelayWithProtectedMemoryHidesAndCounts(t *testing.T) {
	probe, err := os.CreateTemp("/tmp", "sandbox")
	if err != nil {
		t.Fatal(err)
	}
	probe.Close()
	t.Cleanup(func() { os.Remove(probe.Name()) })
	switch got := runAsOtherUser(t, protectedMode, probe.Name()); {
	case strings.HasPrefix(got, "unprotected: no mounts"):
		t.Skip("this system does not let the user make mounts")
	case got != "ENOENT\nfailed to create new OS thread\n":
		t.Error(got)
	}
}

func protectedRelay() int {
	if !tryLauncher(mountNamespaces()[0], new(systemSupport)) {
		fmt.Println("unprotected: no mounts")
		return 0
	}
	err := ProtectMemory()
	if err == nil {
		err = openHostile()
	}
	if err == nil && probeSystem().attr == nil {
		err = errors.New("no plugin can have mounts of its own")
	}
	for _, args := range [][]string{{"stat", os.Args[2]}, {"threads", "80"}} {
		if err != nil {
			break
		}
		var cmd *exec.Cmd
		if cmd, err = newHostileCommand(&Policy{Hide: true, Tasks: 40}, args[0], args[1:]...); err == nil {
			out, _ := cmd.CombinedOutput()
			const refused = "failed to create new OS thread"
			if bytes.Contains(out, []byte(refused)) {
				out = []byte(refused + "\n")
			}
			os.Stdout.Write(out)
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// Several plugins that make as many threads as they can leave the relay its reserve, also
// where the system permits no user namespace that would count them apart.
func TestHostilePluginsLeaveAReserve(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the hostile plugin makes threads past the runtime of Go on amd64 only")
	}
	if got := runAsOtherUser(t, crowdedMode); !strings.HasSuffix(got, "serves\n") {
		t.Error(got)
	} else {
		t.Log(got)
	}
}

// crowdedRelay starts the plugins, waits until each is refused more threads, and
// then needs nearly all of its reserve itself.
func crowdedRelay() int {
	probeSystem = func() systemSupport { return systemSupport{} }
	const tasks = 200
	err := errors.Join(unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: tasks, Max: tasks}), openHostile())
	var plugins []*exec.Cmd
	var begin []io.Writer
	var outputs []*bufio.Reader
	defer func() {
		for _, cmd := range plugins {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}()
	for range 3 {
		if err != nil {
			break
		}
		var cmd *exec.Cmd
		if cmd, err = newHostileCommand(&Policy{Tasks: TaskLimit(0)}, "clones"); err != nil {
			break
		}
		in, inErr := cmd.StdinPipe()
		out, outErr := cmd.StdoutPipe()
		cmd.Stderr = os.Stdout
		if err = errors.Join(inErr, outErr, cmd.Start()); err != nil {
			break
		}
		plugins, begin, outputs = append(plugins, cmd), append(begin, in), append(outputs, bufio.NewReader(out))
		_, err = outputs[len(outputs)-1].ReadString('\n') // it has begun
	}
	if err == nil {
		_, err = io.MultiWriter(begin...).Write([]byte("x"))
	}
	for _, out := range outputs {
		if err != nil {
			break
		}
		var line string
		line, err = out.ReadString('\n')
		fmt.Printf("a plugin made %s", line)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	useThreads(taskReserve - 12) // the runtime has some of its own
	fmt.Println("serves")
	return 0
}

// useThreads uses n threads at once. A Go program that is refused one aborts.
func useThreads(n int) {
	var held sync.WaitGroup
	for range n {
		held.Add(1)
		go func() {
			runtime.LockOSThread()
			held.Done()
			select {}
		}()
	}
	held.Wait()
}

func TestReservedThreadsStayAndCostLittle(t *testing.T) {
	const n = 16
	before := readUsage(t)
	ReserveThreads(n)
	after := readUsage(t)
	if after.Tasks < n {
		t.Errorf("%d threads, want at least %d", after.Tasks, n)
	}
	t.Logf("%d threads more, %d KiB", after.Tasks-before.Tasks, (after.Memory-before.Memory)>>10)
	if grown := after.Memory - before.Memory; grown > 4<<20 {
		t.Errorf("they took %d bytes", grown)
	}
}

func readUsage(t *testing.T) Usage {
	t.Helper()
	u, err := UsageOf(os.Getpid(), false)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
