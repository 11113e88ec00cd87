package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// startWith starts the relay with the given outputs, which it closes, and returns
// when all servers are published.
func (h *harness) startWith(stdout, stderr *os.File, env ...string) *exec.Cmd {
	h.Helper()
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	stdout.Close()
	stderr.Close()
	h.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	h.awaitPublished()
	return cmd
}

// awaitPublished waits until the relay reports all its servers as published.
func (h *harness) awaitPublished() {
	h.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := manager.AskStatus(h.ctx, h.path("data"))
		published := err == nil
		for _, s := range st.Servers {
			published = published && s.Relay != nil
		}
		if published {
			return
		}
		select {
		case <-tick.C:
		case <-h.ctx.Done():
			h.Fatalf("no relay answers: %v", err)
		}
	}
}

// awaitExitStatus waits for the end of a process and returns its exit status.
func awaitExitStatus(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatal("the process does not end")
	}
	return cmd.ProcessState.ExitCode()
}

func newPipe(t testing.TB) (from, to *os.File) {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { from.Close() })
	return from, to
}

// newFullPipe returns a pipe that is full.
func newFullPipe(t testing.TB) (from, to *os.File) {
	t.Helper()
	from, to = newPipe(t)
	fd := int(to.Fd()) // Fd makes the file blocking, so call it once
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{4096, 1} {
		var err error
		for err == nil {
			_, err = unix.Write(fd, make([]byte, size))
		}
		if !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	return from, to
}

// TestRelayOutlivesLogReader ends the readers of the relay's outputs, as a restart
// of journald does. The relay serves, reports the loss in its status, and ends with
// status 0.
func TestRelayOutlivesLogReader(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	outFrom, out := newPipe(t)
	logFrom, log := newPipe(t)
	outFrom.Close()
	logFrom.Close()
	relay := h.startWith(out, log)
	if text, err := h.runRelay("reload"); err != nil {
		t.Errorf("reload: %v\n%s", err, text)
	}
	h.mustStore("main", h.newPosts("main", 3, 100))
	st := h.awaitStatus("lines that were lost", func(st manager.Status) bool {
		return st.Log != nil && st.Log.Lost > 0 && st.Stdout != nil && st.Stdout.Lost > 0
	})
	if st.Log.Since.IsZero() || !strings.Contains(st.Log.Reason, "broken pipe") {
		t.Errorf("the status says of the log: %+v", st.Log)
	}
	text, err := h.runRelay("status")
	if err != nil || !regexp.MustCompile(`(?m)^WARNING +the log is not written since .* \(.*broken pipe\), and has lost \d+ lines?$`).MatchString(text) {
		t.Errorf("status: %v\n%s", err, text)
	}
	relay.Process.Signal(syscall.SIGTERM)
	if status := awaitExitStatus(t, relay); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestRelayRunsWithFullOutputs gives the relay full pipes as outputs. It starts,
// serves and ends all the same.
func TestRelayRunsWithFullOutputs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	_, out := newFullPipe(t)
	_, log := newFullPipe(t)
	relay := h.startWith(out, log)
	h.mustStore("main", h.newPosts("main", 3, 100))
	h.awaitStatus("trouble with the log", func(st manager.Status) bool { return st.Log != nil && st.Stdout != nil })
	relay.Process.Signal(syscall.SIGTERM)
	if status := awaitExitStatus(t, relay); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestSecondSignalWithFullOutputs stops a relay whose outputs are full and whose
// plugin does not answer. The second signal ends it.
func TestSecondSignalWithFullOutputs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	_, out := newFullPipe(t)
	_, log := newFullPipe(t)
	relay := h.startWith(out, log)
	stopStorage(t, h.status().Servers[0].Storage.PID)
	relay.Process.Signal(syscall.SIGTERM)
	// The first signal withdraws the services.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for files := []os.DirEntry{nil}; len(files) > 0; <-tick.C {
		if files, _ = os.ReadDir(h.path("net")); h.ctx.Err() != nil {
			t.Fatal("the services are not withdrawn")
		}
	}
	second := time.Now()
	relay.Process.Signal(syscall.SIGTERM)
	if status := awaitExitStatus(t, relay); status != 1 {
		t.Errorf("exit status %d", status)
	}
	if took := time.Since(second); took > 8*time.Second {
		t.Errorf("it took %v, as long as without the second signal", took)
	}
}

// stopStorage stops a plugin with SIGSTOP and waits until it stands still.
func stopStorage(t testing.TB, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := awaitStopped(pid); err != nil {
		t.Fatal(err)
	}
}

// TestBadConfigEndsWithFullLog shows that a failing start ends although nobody reads
// its errors.
func TestBadConfigEndsWithFullLog(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" { nonsense = 1 }`)
	_, out := newFullPipe(t)
	_, log := newFullPipe(t)
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Stdout, cmd.Stderr = out, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	log.Close()
	if status := awaitExitStatus(t, cmd); status != 78 {
		t.Errorf("exit status %d", status)
	}
}

// factCommands lists commands that print facts, for a running relay.
func factCommands(h *harness) map[string]*exec.Cmd {
	config, profile := h.path("server.hcl"), h.path("profile")
	if out, err := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-group"), "init", "-profile", profile).CombinedOutput(); err != nil {
		h.Fatalf("make a profile: %v\n%s", err, out)
	}
	facts := make(map[string]*exec.Cmd)
	for _, line := range []string{
		"cwtch-relay -h", "cwtch-relay help", "cwtch-relay version", "cwtch-relay version -json",
		"cwtch-relay validate -config " + config, "cwtch-relay validate -json -config " + config,
		"cwtch-relay bundle -config " + config, "cwtch-relay status -config " + config,
		"cwtch-relay status -json -config " + config, "cwtch-relay reload -config " + config,
		"cwtch-relay reload -json -dry-run -config " + config, "cwtch-relay plugin list", "cwtch-relay plugin list -json",
		"cwtch-relay plugin describe storage/bolt", "cwtch-relay plugin describe " + filepath.Join(bin, "teststats"),
		"cwtch-relay plugin sum " + filepath.Join(bin, "teststats"),
		"cwtch-relay plugin test -run Close " + filepath.Join(bin, "teststats"),
		"cwtch-group -h", "cwtch-group version", "cwtch-group -json version", "cwtch-group -profile " + profile + " list",
		"teststats describe",
	} {
		words := strings.Fields(line)
		cmd := exec.CommandContext(h.ctx, filepath.Join(bin, words[0]), words[1:]...)
		cmd.WaitDelay = 10 * time.Second
		facts[line] = cmd
	}
	return facts
}

// TestCommandsFailOnFullStdout runs commands whose standard output is a full disk.
func TestCommandsFailOnFullStdout(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	h.start()
	for line, cmd := range factCommands(h) {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &stderr
		cmd.Run()
		full.Close()
		if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: exit status %d\n%s", line, status, stderr.String())
		}
	}
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "status", "-check", "-config", h.path("server.hcl"))
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	cmd.Stdout = full
	if cmd.Run(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("a check that nobody reads: exit status %d", cmd.ProcessState.ExitCode())
	}
	h.stop()
}

// TestCommandsEndOnClosedStdout runs commands whose standard output is closed, as
// head closes it. They end silently, by SIGPIPE.
func TestCommandsEndOnClosedStdout(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	h.start()
	for line, cmd := range factCommands(h) {
		from, to := newPipe(t)
		from.Close()
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = to, &stderr
		cmd.Run()
		to.Close()
		ended := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ended.Signaled() || ended.Signal() != syscall.SIGPIPE || stderr.Len() > 0 {
			t.Errorf("%s: %v\n%s", line, cmd.ProcessState, stderr.String())
		}
	}
	h.stop()
}

// TestCommandsIgnoreClosedStderr runs commands of a member whose standard error is
// closed.
func TestCommandsIgnoreClosedStderr(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	h.start()
	bundle, err := h.runRelay("bundle")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init"}, {"import-server", strings.TrimSpace(bundle)}, {"create", "club"}, {"post", "club", "hello"}, {"read", "club"}} {
		from, to := newPipe(t)
		from.Close()
		cmd := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-group"), append([]string{"-profile", h.path("alice"), "-network", "loopback:" + h.path("net")}, args...)...)
		cmd.Stderr = to
		out, err := cmd.Output()
		to.Close()
		if err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	h.stop()
}

// TestJournalFormat sends the log to the journal: each line begins with its priority
// and has no time. Only the file that the service manager names counts as the
// journal.
func TestJournalFormat(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		h := newHarness(t, `server "main" {}`)
		h.writeFile("server.hcl", `
			network "loopback" { registry = "net" }
			log { format = "`+format+`" }
			server "main" {}
		`)
		from, log := newPipe(t)
		var stat unix.Stat_t
		if err := unix.Fstat(int(log.Fd()), &stat); err != nil {
			t.Fatal(err)
		}
		read := make(chan string)
		go func() {
			var text bytes.Buffer
			text.ReadFrom(from)
			read <- text.String()
		}()
		_, out := newPipe(t)
		relay := h.startWith(out, log, fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
		relay.Process.Signal(syscall.SIGTERM)
		if status := awaitExitStatus(t, relay); status != 0 {
			t.Errorf("exit status %d", status)
		}
		text := <-read
		for line := range strings.Lines(text) {
			if !regexp.MustCompile(`^<[3467]>(level=|\{"level":)`).MatchString(line) || strings.Contains(line, "time") {
				t.Errorf("%s: a line is %q", format, line)
			}
		}
		for _, want := range []string{`<4>.*which hides nothing`, `<6>.*stopped`} {
			if !regexp.MustCompile(want).MatchString(text) {
				t.Errorf("%s: nothing matches %s:\n%s", format, want, text)
			}
		}
	}
}

// TestConfigErrorInTheJournal shows that a configuration error has its priority on
// every line of the journal.
func TestConfigErrorInTheJournal(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" { nonsense = 1 }`)
	log, err := os.Create(h.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(log.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(h.ctx, filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
	cmd.Run()
	text, err := os.ReadFile(h.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	if status := cmd.ProcessState.ExitCode(); status != 78 {
		t.Errorf("exit status %d", status)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "<3>") {
			t.Errorf("a line is %q", line)
		}
	}
	if !strings.Contains(string(text), `<3>error: unknown option "nonsense"`) {
		t.Errorf("the log is\n%s", text)
	}
}

// TestStatusJSONReportsLostLines checks the fields that tell programs about lost log
// lines.
func TestStatusJSONReportsLostLines(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `server "main" {}`)
	_, out := newPipe(t)
	from, log := newPipe(t)
	from.Close()
	h.startWith(out, log)
	h.awaitStatus("trouble", func(st manager.Status) bool { return st.Log != nil && st.Log.Lost > 0 })
	text, err := h.runRelay("status", "-json")
	if err != nil {
		t.Fatal(err)
	}
	var st struct {
		Log struct {
			Lost   uint64
			Since  time.Time
			Reason string
		}
	}
	if err := json.Unmarshal([]byte(text), &st); err != nil || st.Log.Lost == 0 || st.Log.Since.IsZero() || st.Log.Reason == "" {
		t.Errorf("%v:\n%s", err, text)
	}
}

// TestPluginRunsWithClosedStderr attaches a plugin whose standard error is closed.
// It logs, and goes on.
func TestPluginRunsWithClosedStderr(t *testing.T) {
	t.Parallel()
	h := newHarness(t, `
		server "main" {
			stats "teststats" {}
		}
		plugin "stats" "teststats" {
			path = env("TESTSTATS")
			dev  = true
		}
	`)
	from, to := newPipe(t)
	from.Close()
	plugin := exec.Command(filepath.Join(bin, "teststats"), "debug")
	out, err := plugin.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	plugin.Stderr = to
	if err := plugin.Start(); err != nil {
		t.Fatal(err)
	}
	to.Close()
	t.Cleanup(func() {
		plugin.Process.Kill()
		plugin.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", h.path("server.hcl"))
	cmd.Env = append(os.Environ(), "TESTSTATS="+filepath.Join(bin, "teststats"), strings.ReplaceAll(strings.TrimSpace(line), "'", ""))
	relay, err := startRelay(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(relay.kill)
	// The plugin logs each snapshot before it counts as exported.
	st := h.awaitStatus("exported numbers", func(st manager.Status) bool {
		others := st.Servers[0].Others
		return len(others) == 1 && others[0].Snapshots.Exported > 0
	})
	if p := st.Servers[0].Others[0]; p.PID != plugin.Process.Pid || p.Restarts > 0 {
		t.Errorf("the plugin is %+v", p)
	}
	if err := relay.terminate(); err != nil {
		t.Error(err)
	}
}
