package supervise

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// withSandbox runs the test plugins in a sandbox from which they can still announce
// themselves.
func withSandbox(c *setup) {
	c.Sandbox = &sandbox.Policy{Network: sandbox.Open, Read: []string{os.TempDir()}}
}

func TestPluginIsConfined(t *testing.T) {
	r := startSupervised(t, withSandbox, "good")
	r.mustBeReady()
	status, err := os.ReadFile(filepath.Join("/proc", r.nextProcess().procDir(), "status"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "NoNewPrivs:\t1") {
		t.Error("the plugin is not confined")
	}
	s := r.Status()
	if !s.Sandbox.On || !slices.Equal(s.Sandbox.Missing, sandbox.Missing(sandbox.Policy{Network: sandbox.Open, Hide: true})) || s.Memory == 0 {
		t.Errorf("status %+v", s)
	}
	if n := strings.Count(r.log.String(), "sandbox of the plugin is incomplete"); n != len(s.Sandbox.Missing) {
		t.Errorf("%d warnings, want %d", n, len(s.Sandbox.Missing))
	}
	if strings.Contains(r.log.String(), "is not confined") {
		t.Error("the log says that the plugin is not confined")
	}
}

func TestUnconfinedPluginIsWarnedOf(t *testing.T) {
	r := startSupervised(t, nil, "good")
	r.mustBeReady()
	if r.Status().Sandbox.On || strings.Count(r.log.String(), "is not confined") != 1 {
		t.Errorf("sandbox %+v", r.Status().Sandbox)
	}
}

func TestAnotherPolicyNeedsAnotherProcess(t *testing.T) {
	r := startSupervised(t, withSandbox, "good")
	r.mustBeReady()
	first := r.nextProcess()
	cfg := r.cfg
	policy := *cfg.Sandbox
	cfg.Sandbox = &policy
	if err := r.Reconfigure(r.ctx(), cfg); err != nil || r.Status().PID != first.pid {
		t.Errorf("the same policy: %v", err)
	}
	policy.Files = 512
	if err := r.Reconfigure(r.ctx(), cfg); err != nil {
		t.Error(err)
	}
	r.mustEnd(first)
	cfg.Sandbox = nil
	if err := r.Reconfigure(r.ctx(), cfg); err != nil || r.Status().Sandbox.On {
		t.Errorf("without a policy: %v", err)
	}
}

func TestInvalidPolicyFails(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.Sandbox = &sandbox.Policy{Read: []string{"relative"}} }, "good")
	if err := r.WaitReady(r.ctx()); err == nil || !strings.Contains(err.Error(), "not absolute") || r.Status().State != Failed {
		t.Errorf("got %v", err)
	}
}

// TestTooMuchMemoryEndsTheProcess shows that memory which the limits of a process do not
// count is watched, and that the reason names the option to raise.
func TestTooMuchMemoryEndsTheProcess(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes more memory than the limit")
	}
	for _, mode := range []string{"hog", "hog shared memory"} {
		t.Run(mode, func(t *testing.T) {
			r := startSupervised(t, func(c *setup) {
				withSandbox(c)
				c.Sandbox.Memory = 256 << 20
				c.timing.limitsEvery = time.Millisecond
				c.timing.healthEvery = time.Hour
			}, mode, "good")
			s := r.await("replaced", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
			for _, want := range []string{"256MiB", "raise memory in the sandbox block"} {
				if !strings.Contains(s.LastError, want) {
					t.Errorf("last error %q, want %q in it", s.LastError, want)
				}
			}
			if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTooManyThreadsEndTheProcess shows that threads are watched, also where the kernel
// does not refuse them.
func TestTooManyThreadsEndTheProcess(t *testing.T) {
	for _, mode := range []string{"threads", "a few threads too many"} {
		t.Run(mode, func(t *testing.T) {
			r := startSupervised(t, func(c *setup) {
				withSandbox(c)
				c.Sandbox.Tasks = fewThreads
				c.timing.limitsEvery = time.Millisecond
				c.timing.healthEvery = time.Hour
			}, mode, "good")
			s := r.await("replaced", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
			for _, want := range []string{"it may have 40 threads", "raise tasks in the sandbox block"} {
				if !strings.Contains(s.LastError, want) {
					t.Errorf("last error %q, want %q in it", s.LastError, want)
				}
			}
			if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestThreadsAreLeftToTheRelay shows that a plugin cannot take all threads of a user who
// may not have many. The relay would end if it were refused one.
func TestThreadsAreLeftToTheRelay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become a user without other programs")
	}
	if raceEnabled {
		t.Skip("the race detector takes more memory than the limit")
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	user := uint32(1<<20 + os.Getpid()) // nobody else
	dir := shortDir(t)
	if err := os.Chown(dir, int(user), int(user)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self} // in a directory that this user cannot enter
	cmd.Env = []string{envMode + "=crowded relay", envDir + "=" + filepath.Join(dir, "own"), "TMPDIR=" + dir}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	for _, want := range []string{"raise tasks in the sandbox block", "serves\n"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%v, %s, want %q in it", err, out, want)
		}
	}
}
