package supervise

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// attachable is a plugin that the test starts by hand.
type attachable struct {
	*exec.Cmd
	attach pluginproc.AttachConfig
}

var reattachLine = regexp.MustCompile(pluginproc.EnvReattach + `='(.*)'`)

func startByHand(t *testing.T, mode string) *attachable {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "debug")
	cmd.Env = []string{envMode + "=" + mode, "TMPDIR=" + shortDir(t)}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	match := reattachLine.FindStringSubmatch(line)
	if match == nil {
		t.Fatalf("the plugin printed %q", line)
	}
	all, err := pluginproc.Attachments(match[1])
	if err != nil {
		t.Fatal(err)
	}
	return &attachable{cmd, all["storage/test"]}
}

func TestAttachedPluginIsNotEnded(t *testing.T) {
	byHand := startByHand(t, "good")
	r := startSupervised(t, func(c *setup) {
		withSandbox(c)
		c.Command = func() (pluginproc.Command, error) { panic("started") }
		c.Attach = &byHand.attach
		c.timing.health = 10 * time.Millisecond
	}, "good")
	r.mustBeReady()
	if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil {
		t.Fatal(err)
	}
	if s := r.Status(); !s.Attached || s.Sandbox.On || s.PID != byHand.Process.Pid || s.State != Ready {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(r.log.String(), "started by hand") {
		t.Error("the log does not warn")
	}
	cfg := r.cfg
	cfg.Value = encodeValue(t, map[string]any{"tokens": 3})
	if err := r.Reconfigure(r.ctx(), cfg); err != nil {
		t.Fatal(err)
	}
	if info, err := r.Storage().Info(r.ctx()); err != nil || info.Tokens != 3 {
		t.Errorf("info: %+v, %v", info, err)
	}
	if err := r.Stop(r.ctx()); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(byHand.Process.Pid, 0); err != nil {
		t.Errorf("the process was ended: %v", err)
	}
	// The process waits for the next relay.
	again := startSupervised(t, func(c *setup) { c.Attach = &byHand.attach }, "good")
	again.mustBeReady()
}

// TestAttachedPluginIsGone shows that nothing is started instead of an attached plugin.
func TestAttachedPluginIsGone(t *testing.T) {
	byHand := startByHand(t, "good")
	r := startSupervised(t, func(c *setup) {
		c.Command = func() (pluginproc.Command, error) { panic("started") }
		c.Attach = &byHand.attach
		c.timing.maxFailures = 2
	}, "good")
	r.mustBeReady()
	byHand.Process.Kill()
	s := r.await("failed", func(s Status) bool { return s.State == Failed })
	if s.Restarts != 2 || !strings.Contains(s.LastError, byHand.attach.Socket) {
		t.Errorf("status %+v", s)
	}
}

// TestAttachedPluginMayStandStill shows that an attached plugin at a breakpoint is left
// alone.
func TestAttachedPluginMayStandStill(t *testing.T) {
	byHand := startByHand(t, "good")
	r := startSupervised(t, func(c *setup) {
		c.Attach = &byHand.attach
		c.timing.healthEvery, c.timing.health, c.timing.hang = time.Millisecond, time.Millisecond, time.Millisecond
	}, "good")
	r.mustBeReady()
	byHand.Process.Signal(syscall.SIGSTOP)
	if err := unix.Waitid(unix.P_PID, byHand.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Storage().Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("info of a plugin that stands still: %v", err)
	}
	byHand.Process.Signal(syscall.SIGCONT)
	if _, err := r.Storage().Info(r.ctx()); err != nil || r.Status().Incarnation != 1 {
		t.Errorf("info: %v, status %+v", err, r.Status())
	}
}
