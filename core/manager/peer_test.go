package manager

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// envAsk has the test binary ask the relay on a data directory for its status.
const envAsk = "TEST_ASK"

func askAsChild(dataDir string) {
	_, err := AskStatus(context.Background(), dataDir)
	if err != nil {
		os.Stdout.WriteString(err.Error())
		return
	}
	os.Stdout.WriteString("told")
}

// A plugin, which has a process group of its own, and every process in that group get no
// answer. The operator gets one.
func TestPluginsAreNotAnswered(t *testing.T) {
	dir, err := claimDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.releaseDir()
	var log strings.Builder
	m := newIdleManager(t)
	m.log = slog.New(slog.NewTextHandler(&log, nil))
	ln, err := dir.listenControl()
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	m.wg.Go(func() { m.serveControl(ctx, ln) })
	ask := func(group bool, path string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Env = []string{envAsk + "=" + dir.path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
		out, err := cmd.Output()
		if err != nil {
			t.Error(err)
		}
		return string(out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	operator, plugin, child := ask(false, self), ask(true, self), ask(true, "/bin/sh", "-c", self+"; true")
	end()
	m.wg.Wait()
	if operator != "told" {
		t.Errorf("the operator got %q", operator)
	}
	if plugin == "told" || child == "told" || strings.Count(log.String(), errAskedByPlugin.Error()) != 1 {
		t.Errorf("a plugin got %q, its child %q; the log has %s", plugin, child, &log)
	}
	if parentOf(os.Getpid()) != os.Getppid() || parentOf(1<<30) != 0 {
		t.Error("parents are not found")
	}
}
