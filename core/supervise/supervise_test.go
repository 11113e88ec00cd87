package supervise

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// patience bounds every wait of the tests. Only a test that fails waits so long.
const patience = 2 * time.Minute

// quickTiming returns short delays, and long deadlines for a busy machine.
func quickTiming() timing {
	t := defaultTiming
	t.start, t.health, t.drain = time.Minute, time.Minute, time.Minute
	t.healthEvery = 20 * time.Millisecond
	t.backoffMin, t.backoffMax = time.Millisecond, 20*time.Millisecond
	return t
}

// setup is what a test passes to startWith.
type setup struct {
	Config
	timing timing
}

// stayInBackoff keeps a plugin that has ended from being started again.
func stayInBackoff(c *setup) { c.timing.backoffMin, c.timing.backoffMax = time.Hour, time.Hour }

// supervised is a supervised test plugin, with its log and its processes.
type supervised struct {
	*Plugin
	t         *testing.T
	cfg       Config
	log       *logBuffer
	sockets   string
	processes chan *pluginProcess // of every process that announces itself
}

// pluginProcess is one process, seen through its connection to the test.
type pluginProcess struct {
	pid   int
	lines chan string // lines of the process about itself
	gone  chan struct{}
}

// procDir returns the name of the process in /proc.
func (l *pluginProcess) procDir() string { return strconv.Itoa(l.pid) }

type logBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// startSupervised starts a plugin whose processes behave as modes say. The last mode is that
// of all that follow.
func startSupervised(t *testing.T, change func(*setup), modes ...string) *supervised {
	t.Helper()
	r := &supervised{t: t, log: &logBuffer{}, sockets: shortDir(t), processes: make(chan *pluginProcess, 64)}
	presence := listenPresence(t, r.processes)
	n := 0
	c := setup{timing: quickTiming(), Config: Config{
		Kind:      plugin.KindStorage,
		Name:      "test",
		Dir:       filepath.Join(t.TempDir(), "dir"),
		SocketDir: r.sockets,
		Logger:    slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Command: func() (pluginproc.Command, error) {
			mode := modes[min(n, len(modes)-1)]
			n++
			return pluginproc.Command{Path: "/proc/self/exe", Env: []string{envMode + "=" + mode, envPresence + "=" + presence, "GORACE=atexit_sleep_ms=0"}}, nil
		},
	}}
	if change != nil {
		change(&c)
	}
	r.cfg = c.Config
	r.Plugin = startWith(c.Config, c.timing)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r.Stop(ctx)
		if left, _ := filepath.Glob(filepath.Join(r.sockets, "*")); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// shortDir returns a directory whose path leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func listenPresence(t *testing.T, alive chan<- *pluginProcess) string {
	t.Helper()
	path := filepath.Join(shortDir(t), "p")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				in := bufio.NewScanner(conn)
				in.Scan()
				pid, _ := strconv.Atoi(in.Text())
				life := &pluginProcess{pid: pid, lines: make(chan string, 16), gone: make(chan struct{})}
				alive <- life
				for in.Scan() {
					life.lines <- in.Text()
				}
				close(life.gone)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait() // for every process: a survivor would make the test hang here
	})
	return path
}

func (r *supervised) ctx() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *supervised) mustBeReady() {
	r.t.Helper()
	if err := r.WaitReady(r.ctx()); err != nil {
		r.t.Fatal(err)
	}
}

// reload gives the plugin the configuration that it has, as a reload does.
func (r *supervised) reload() {
	r.t.Helper()
	if err := r.Reconfigure(r.ctx(), r.cfg); err != nil {
		r.t.Fatal(err)
	}
}

// statusChange returns a channel that is closed when the status is no longer what it was.
func (p *Plugin) statusChange() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// await waits until the status is as wanted.
func (r *supervised) await(what string, is func(Status) bool) Status {
	r.t.Helper()
	timeout := time.After(patience)
	for {
		changed := r.statusChange()
		if s := r.Status(); is(s) {
			return s
		}
		select {
		case <-changed:
		case <-timeout:
			r.t.Fatalf("not %s: %+v", what, r.Status())
		}
	}
}

// awaitLog waits until the log has a text.
func (r *supervised) awaitLog(text string) {
	r.t.Helper()
	for ctx := r.ctx(); !strings.Contains(r.log.String(), text); runtime.Gosched() {
		if ctx.Err() != nil {
			r.t.Fatalf("the log does not say %q", text)
		}
	}
}

func (r *supervised) nextProcess() *pluginProcess {
	r.t.Helper()
	select {
	case l := <-r.processes:
		return l
	case <-time.After(patience):
		r.t.Fatal("no process")
		return nil
	}
}

func (r *supervised) mustEnd(l *pluginProcess) {
	r.t.Helper()
	select {
	case <-l.gone:
	case <-time.After(patience):
		r.t.Fatalf("process %d is still there", l.pid)
	}
}

func (r *supervised) mustSay(l *pluginProcess, want string) {
	r.t.Helper()
	select {
	case got := <-l.lines:
		if got != want {
			r.t.Fatalf("process %d said %q, want %q", l.pid, got, want)
		}
	case <-time.After(patience):
		r.t.Fatalf("process %d does not say %q", l.pid, want)
	}
}

func newRecord(n byte) storage.Record {
	sig, body := []byte{'s', n}, []byte{'c', n}
	return storage.Record{ID: storage.NewID(sig, body), Signature: sig, Ciphertext: body}
}

func TestStoreSurvivesIncarnations(t *testing.T) {
	ready := make(chan int, 8)
	r := startSupervised(t, func(c *setup) { c.OnReady = func(n int) { ready <- n } }, "good")
	r.mustBeReady()
	store := r.Storage()
	watcher, ok := storage.As[storage.Watcher](store)
	if !ok {
		t.Fatal("the store cannot watch")
	}
	if outcomes, err := store.Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil || outcomes[0].Seq != 1 {
		t.Fatalf("append: %v, %v", outcomes, err)
	}
	first := r.nextProcess()
	if s := r.Status(); s.State != Ready || s.PID != first.pid || s.Incarnation != 1 || s.Version != "1.2.3" || s.Restarts != 0 {
		t.Errorf("status %+v", s)
	}
	watching := make(chan error, 1)
	go func() {
		_, err := watcher.Watch(r.ctx(), 100)
		watching <- err
	}()
	r.mustSay(first, "watching")
	syscall.Kill(first.pid, syscall.SIGKILL)
	if err := <-watching; !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("watch of a killed plugin: %v", err)
	}
	r.mustEnd(first)
	s := r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
	if s.Restarts != 1 || !strings.Contains(s.LastError, "killed") {
		t.Errorf("status %+v", s)
	}
	// The store in memory is a new one; the Store is the same.
	if info, err := store.Info(r.ctx()); err != nil || info.Last != 0 {
		t.Errorf("info: %v, %v", info, err)
	}
	if a, b := <-ready, <-ready; a != 1 || b != 2 {
		t.Errorf("OnReady was called with %d, %d", a, b)
	}
	second := r.nextProcess()
	if err := r.Stop(r.ctx()); err != nil {
		t.Error(err)
	}
	r.mustEnd(second)
	if _, err := store.Info(r.ctx()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("info of a stopped plugin: %v", err)
	}
	if s := r.Status(); s.State != Stopped || s.PID != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestStatusAsJSON(t *testing.T) {
	r := startSupervised(t, nil, "good")
	r.mustBeReady()
	data, err := json.Marshal(r.Status())
	if err != nil || !bytes.Contains(data, []byte(`"state":"ready"`)) || !bytes.Contains(data, []byte(`"name":"test"`)) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestCallsWaitForAnIncarnation(t *testing.T) {
	r := startSupervised(t, stayInBackoff, "exit")
	r.await("in backoff", func(s Status) bool { return s.State == Backoff })
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.Storage().Info(ctx)
		done <- err
	}()
	enough := errors.New("waited enough")
	cancel(enough)
	if err := <-done; !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, enough) || !strings.Contains(err.Error(), "told to exit") {
		t.Errorf("got %v", err)
	}
}

func TestCrashInACall(t *testing.T) {
	for _, mode := range []string{"crash", "panic"} {
		t.Run(mode, func(t *testing.T) {
			r := startSupervised(t, nil, mode, "good")
			r.mustBeReady()
			store, first := r.Storage(), r.nextProcess()
			if _, err := store.Append(r.ctx(), []storage.Record{newRecord(1)}); err == nil {
				t.Error("append succeeded")
			} else if mode == "crash" && !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("append: %v", err)
			}
			r.mustEnd(first)
			r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
			if _, err := store.Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil {
				t.Error(err)
			}
			if mode == "panic" && !strings.Contains(r.log.String(), "told to panic") {
				t.Error("the log has lost the panic")
			}
		})
	}
}

// TestCallAfterACrash shows that a caller who repeats a call that a crash has cut reaches the
// next incarnation, even before the supervisor has noticed the crash.
func TestCallAfterACrash(t *testing.T) {
	r := startSupervised(t, nil, "crash", "crash", "crash", "good")
	r.mustBeReady()
	store := r.Storage()
	for range 3 {
		if _, err := store.Append(r.ctx(), []storage.Record{newRecord(1)}); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("append: %v", err)
		}
		if _, err := store.Info(r.ctx()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoreThatStaysUnavailable shows that a store which answers only that it is
// unavailable is started again: nothing else would open its file anew.
func TestStoreThatStaysUnavailable(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.hang = 10 * time.Millisecond }, "unavailable", "good")
	r.mustBeReady()
	store := r.Storage()
	for {
		_, err := store.Append(r.ctx(), []storage.Record{newRecord(1)})
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if s := r.Status(); s.Incarnation != 2 {
		t.Errorf("incarnation %d, want 2", s.Incarnation)
	}
}

// TestHangIsCallsOverATime shows that a plugin hangs if no call over a time was answered,
// and not because time has passed since one call.
func TestHangIsCallsOverATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const health, hang = 10 * time.Second, 30 * time.Second
		limits := timing{health: health, hang: hang, step: 4 * hang}.hangLimit
		var h hangDetector
		noteCall := func(method string, took time.Duration, err error) {
			begin := time.Now()
			time.Sleep(took)
			h.noteCall(method, begin, err, false)
		}
		call := func(took time.Duration, err error) { noteCall("info", took, err) }
		hangs := func() bool { return h.findHang(limits) != nil }
		call(2*time.Second, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		if hangs() {
			t.Error("one call with a short deadline is taken for a hang")
		}
		call(2*time.Second, context.Canceled)
		if hangs() {
			t.Error("a caller that lost interest is taken for a hang")
		}
		call(2*time.Second, context.DeadlineExceeded)
		if !hangs() {
			t.Error("nothing came back for an hour and it is no hang")
		}
		call(time.Second, nil)
		if hangs() {
			t.Error("an answer does not end the streak")
		}
		call(hang, context.DeadlineExceeded)
		if !hangs() {
			t.Error("a call that waited long enough is no hang")
		}
		call(0, nil)
		noteCall(healthMethod, health-1, context.DeadlineExceeded)
		if hangs() {
			t.Error("a question about health with a short deadline is taken for a hang")
		}
		noteCall(healthMethod, 1, context.DeadlineExceeded)
		if err := h.findHang(limits); err == nil || err.Error() != "health: no answer within 10s" {
			t.Errorf("a question about health that was not answered in time: %v", err)
		}
		noteCall(healthMethod, 0, nil)
		for _, method := range []string{compactMethod, checkMethod} {
			noteCall(method, 4*hang-1, context.DeadlineExceeded)
			if hangs() {
				t.Errorf("a %s that was given up before its deadline is taken for a hang", method)
			}
			noteCall(method, 1, context.DeadlineExceeded)
			if !hangs() {
				t.Errorf("a %s that missed its deadline is no hang", method)
			}
			noteCall(method, 0, nil)
		}
	})
}

func TestHungCallEndsThePlugin(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.hang = 10 * time.Millisecond }, "hang", "good")
	r.mustBeReady()
	first := r.nextProcess()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Storage().Append(ctx, []storage.Record{newRecord(1)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("append: %v", err)
	}
	r.mustEnd(first)
	s := r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
	if !strings.Contains(s.LastError, "append: no answer within 10ms") {
		t.Errorf("last error: %s", s.LastError)
	}
}

func TestHungProcessIsReplaced(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.health = 50 * time.Millisecond }, "good")
	r.mustBeReady()
	first := r.nextProcess()
	syscall.Kill(first.pid, syscall.SIGSTOP)
	r.mustEnd(first)
	s := r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation >= 2 })
	if !strings.Contains(s.LastError, "no answer within") {
		t.Errorf("last error: %s", s.LastError)
	}
}

func TestBrokenContractIsCorruption(t *testing.T) {
	calls := map[string]func(context.Context, storage.Store) error{
		"count": func(ctx context.Context, s storage.Store) error {
			_, err := s.Append(ctx, []storage.Record{newRecord(1)})
			return err
		},
		"huge": func(ctx context.Context, s storage.Store) error {
			_, err := s.Log(ctx, storage.LogRequest{})
			return err
		},
	}
	for mode, call := range calls {
		t.Run(mode, func(t *testing.T) {
			r := startSupervised(t, nil, mode)
			r.mustBeReady()
			err := call(r.ctx(), r.Storage())
			var broken *host.ContractError
			if !errors.As(err, &broken) || !errors.Is(err, storage.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			if _, err := r.Storage().Info(r.ctx()); err != nil {
				t.Errorf("info: %v", err)
			}
		})
	}
}

func TestErrorsKeepTheirIdentity(t *testing.T) {
	r := startSupervised(t, nil, "full")
	r.mustBeReady()
	_, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)})
	if !errors.Is(err, storage.ErrFull) || !strings.Contains(err.Error(), "write messages.db") {
		t.Errorf("got %v", err)
	}
}

func TestStartsThatFail(t *testing.T) {
	for mode, want := range map[string]string{
		"silent":    "no handshake within",
		"exit":      "told to exit",
		"garbage":   `printed "hello" in place of its handshake line`,
		"protocol":  "chose version 99 of the framing",
		"elsewhere": "not on a unix socket in its directory",
		"deaf":      "its line has come, and nobody answers at the socket",
	} {
		t.Run(mode, func(t *testing.T) {
			r := startSupervised(t, func(c *setup) {
				stayInBackoff(c)
				if mode == "silent" || mode == "deaf" {
					c.timing.start = time.Second
				}
			}, mode)
			s := r.await("in backoff", func(s Status) bool { return s.State == Backoff })
			if s.Restarts != 1 || s.PID != 0 || !strings.Contains(s.LastError, want) {
				t.Errorf("status %+v, want an error with %q", s, want)
			}
			r.mustEnd(r.nextProcess())
		})
	}
}

func TestWaitReadyTellsWhatItWaitsFor(t *testing.T) {
	r := startSupervised(t, stayInBackoff, "exit")
	r.await("in backoff", func(s Status) bool { return s.State == Backoff })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.WaitReady(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "told to exit") {
		t.Errorf("got %v", err)
	}
}

func TestFirstStartThatCannotSucceed(t *testing.T) {
	value := encodeValue(t, map[string]any{"refuse": "That is wrong"})
	for name, test := range map[string]struct {
		mode   string
		change func(*setup)
		want   string
	}{
		"diagnostics": {"good", func(c *setup) { c.Value = value }, "refuse: That is wrong"},
		"locked":      {"locked", nil, "in use by another process"},
		"other name":  {"name", nil, `the binary is the storage plugin "other"`},
		"no binary": {"good", func(c *setup) {
			c.Command = func() (pluginproc.Command, error) { return pluginproc.Command{}, os.ErrNotExist }
		}, "file does not exist"},
		"no directory": {"good", func(c *setup) { c.Dir = "/proc/nothing" }, "make the plugin's directory"},
	} {
		t.Run(name, func(t *testing.T) {
			r := startSupervised(t, test.change, test.mode)
			err := r.WaitReady(r.ctx())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			var diags plugin.Diagnostics
			if errors.As(err, &diags) != (name == "diagnostics") {
				t.Errorf("diagnostics: %v", diags)
			}
			if s := r.Status(); s.State != Failed || !strings.Contains(s.LastError, test.want) {
				t.Errorf("status %+v", s)
			}
			if _, err := r.Storage().Info(r.ctx()); !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("info: %v", err)
			}
		})
	}
}

func TestConfigurationRefusedLaterIsTriedAgain(t *testing.T) {
	r := startSupervised(t, nil, "good", "locked", "locked", "good")
	r.mustBeReady()
	syscall.Kill(r.Status().PID, syscall.SIGKILL)
	s := r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 4 })
	if s.Restarts != 3 || !strings.Contains(s.LastError, "in use by another process") {
		t.Errorf("status %+v", s)
	}
}

func TestStopOfAStubbornPlugin(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.drain = 100 * time.Millisecond }, "stubborn")
	r.mustBeReady()
	life := r.nextProcess()
	if err := r.Stop(r.ctx()); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("stop: %v", err)
	}
	r.mustEnd(life)
}

func TestStopLetsCallsEnd(t *testing.T) {
	r := startSupervised(t, func(c *setup) { c.timing.drain = 100 * time.Millisecond }, "hang")
	r.mustBeReady()
	done := make(chan error, 1)
	store := r.Storage()
	go func() {
		_, err := store.Append(t.Context(), []storage.Record{newRecord(1)})
		done <- err
	}()
	// A hung call is cut when the time for draining is over.
	r.Stop(r.ctx())
	if err := <-done; !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("append: %v", err)
	}
}

func TestStopInEveryState(t *testing.T) {
	for state, mode := range map[State]string{Starting: "silent", Backoff: "exit", Ready: "good", Failed: "locked"} {
		t.Run(state.String(), func(t *testing.T) {
			r := startSupervised(t, stayInBackoff, mode)
			r.await(state.String(), func(s Status) bool { return s.State == state && (state != Starting || s.Incarnation == 1) })
			if err := r.Stop(r.ctx()); err != nil {
				t.Error(err)
			}
			if err := r.Stop(r.ctx()); err != nil {
				t.Errorf("second stop: %v", err)
			}
			if s := r.Status(); s.PID != 0 || s.State != Stopped {
				t.Errorf("status %+v", s)
			}
		})
	}
}

func TestChildrenOfAPluginEndWithIt(t *testing.T) {
	r := startSupervised(t, nil, "fork")
	r.mustBeReady()
	parent, child := r.nextProcess(), r.nextProcess()
	syscall.Kill(parent.pid, syscall.SIGKILL)
	r.mustEnd(parent)
	r.mustEnd(child)
	r.await("ready again", func(s Status) bool { return s.State == Ready && s.Incarnation == 2 })
}

func TestFloodOfLogLines(t *testing.T) {
	for _, mode := range []string{"flood", "print"} {
		t.Run(mode, func(t *testing.T) {
			begin := time.Now()
			r := startSupervised(t, nil, mode)
			r.mustBeReady()
			for range 200 {
				if _, err := r.Storage().Append(r.ctx(), []storage.Record{newRecord(1)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Stop(r.ctx()); err != nil {
				t.Error(err)
			}
			lines := strings.Count(r.log.String(), "\n")
			if limit := 600 + int(300*time.Since(begin).Seconds()); lines > limit {
				t.Errorf("%d lines in the log, want at most %d", lines, limit)
			}
		})
	}
}

func TestNothingSurvivesTheRelay(t *testing.T) {
	r := &supervised{t: t, processes: make(chan *pluginProcess, 8)}
	presence := listenPresence(t, r.processes)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{envMode + "=relay", envPlugin + "=stubborn", envPresence + "=" + presence, envDir + "=" + t.TempDir()}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the relay said %q, %v", line, err)
	}
	relay, plugin := r.nextProcess(), r.nextProcess()
	cmd.Process.Kill()
	r.mustEnd(relay)
	r.mustEnd(plugin)
}

func TestStaleSocketsAreRemoved(t *testing.T) {
	r := startSupervised(t, func(c *setup) {
		if err := os.MkdirAll(filepath.Join(c.SocketDir, "plugin-dir123"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(c.SocketDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}, "good")
	r.mustBeReady()
	if _, err := os.Stat(filepath.Join(r.sockets, "plugin-dir123")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("stale directory: %v", err)
	}
	if info, err := os.Stat(r.sockets); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket directory: %v, %v", info.Mode(), err)
	}
}

func TestLongSocketDirectory(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	r := startSupervised(t, func(c *setup) { c.SocketDir = long }, "good")
	r.mustBeReady()
}

func TestEnvironmentOfAPlugin(t *testing.T) {
	t.Setenv("SECRET_OF_THE_RELAY", "1")
	r := startSupervised(t, nil, "good")
	r.mustBeReady()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.Status().PID))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(env, []byte("SECRET_OF_THE_RELAY")) {
		t.Error("the plugin sees the environment of the relay")
	}
	stdin, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", r.Status().PID))
	if err != nil || stdin != "/dev/null" {
		t.Errorf("standard input is %q, %v", stdin, err)
	}
}
