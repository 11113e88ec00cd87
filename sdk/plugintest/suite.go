package plugintest

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Check is one sentence of a contract and the code that proves it. A suite is a list of
// checks, so it can run under go test, see [RunTests], and in any program, see [Evaluate].
type Check struct {
	Name     string
	Contract string // the sentence
	Run      func(testing.TB)
}

// RunTests runs each check as a subtest. A failure quotes the contract.
func RunTests(t *testing.T, checks []Check) {
	for _, c := range checks {
		t.Run(c.Name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the contract says: %s", c.Contract)
				}
			})
			c.Run(t)
		})
	}
}

// Verdict is the outcome of a check.
type Verdict string

const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped" // the plugin does not offer what the check needs
)

// Result is a check that has been run.
type Result struct {
	Check   Check         `json:"-"`
	Verdict Verdict       `json:"verdict"`
	Took    time.Duration `json:"took"`
	Output  []string      `json:"output,omitempty"` // lines that say why it failed or was skipped
	Logged  []string      `json:"logged,omitempty"` // the last lines of the plugin's log, if it failed
}

// Evaluate runs checks one after the other without go test, reports each result, and returns
// how many failed. When ctx ends, no further check begins, and the context of the running one
// ends.
func Evaluate(ctx context.Context, checks []Check, report func(Result)) (failed int) {
	for _, c := range checks {
		if ctx.Err() != nil {
			break
		}
		r := runCheck(ctx, c)
		if r.Verdict == Failed {
			failed++
		}
		report(r)
	}
	return failed
}

func runCheck(ctx context.Context, c Check) Result {
	ctx, cancel := context.WithCancel(ctx)
	tb := &checkTB{name: c.Name, ctx: ctx, cancel: cancel}
	begin := time.Now()
	done := make(chan struct{})
	go func() { // FailNow ends this goroutine
		defer close(done)
		defer tb.endCheck()
		c.Run(tb)
	}()
	<-done
	tb.mu.Lock()
	defer tb.mu.Unlock()
	r := Result{Check: c, Verdict: Passed, Took: time.Since(begin)}
	switch {
	case tb.failed:
		r.Verdict, r.Output, r.Logged = Failed, tb.output, tb.log
	case tb.skipped:
		r.Verdict, r.Output = Skipped, tb.output
	}
	return r
}

// checkTB is a testing.TB outside of go test. The embedded interface is always nil. It only
// provides the unexported method with which package testing keeps others from implementing
// it. Checks must not call methods that change the process, such as Setenv and Chdir.
type checkTB struct {
	testing.TB
	name   string
	ctx    context.Context
	cancel context.CancelFunc

	mu              sync.Mutex
	failed, skipped bool
	output          []string
	log             []string // the last lines of the plugin's log
	cleanups        []func()
}

// endCheck recovers from a panic, which fails the check, and runs the cleanups.
func (b *checkTB) endCheck() {
	if r := recover(); r != nil {
		b.Errorf("panic: %v\n%s", r, debug.Stack())
	}
	b.cancel()
	for {
		b.mu.Lock()
		n := len(b.cleanups)
		if n == 0 {
			b.mu.Unlock()
			return
		}
		cleanup := b.cleanups[n-1]
		b.cleanups = b.cleanups[:n-1]
		b.mu.Unlock()
		b.runCleanup(cleanup)
	}
}

// runCleanup runs one cleanup, which may call FailNow.
func (b *checkTB) runCleanup(cleanup func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			if r := recover(); r != nil {
				b.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		cleanup()
	})
	wg.Wait()
}

func (b *checkTB) Name() string             { return b.name }
func (b *checkTB) Helper()                  {}
func (b *checkTB) Context() context.Context { return b.ctx }

func (b *checkTB) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

func (b *checkTB) TempDir() string {
	dir, err := os.MkdirTemp("", "cwtch-plugin-test-")
	if err != nil {
		b.Fatalf("make a directory for the check: %v", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// maxLogLines bounds the lines of a plugin's log that are kept.
const maxLogLines = 20

// Output returns a writer for the log of a plugin. Each write has one or more lines.
func (b *checkTB) Output() io.Writer { return checkLog{b} }

type checkLog struct{ tb *checkTB }

func (l checkLog) Write(text []byte) (int, error) {
	l.tb.mu.Lock()
	defer l.tb.mu.Unlock()
	l.tb.log = append(l.tb.log, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	l.tb.log = slices.Delete(l.tb.log, 0, max(0, len(l.tb.log)-maxLogLines))
	return len(text), nil
}

func (b *checkTB) noteText(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output = append(b.output, strings.Split(strings.TrimSpace(text), "\n")...)
}

func (b *checkTB) Log(args ...any)            { b.noteText(fmt.Sprintln(args...)) }
func (b *checkTB) Logf(f string, args ...any) { b.noteText(fmt.Sprintf(f, args...)) }
func (b *checkTB) Error(args ...any)          { b.Log(args...); b.Fail() }
func (b *checkTB) Errorf(f string, a ...any)  { b.Logf(f, a...); b.Fail() }
func (b *checkTB) Fatal(args ...any)          { b.Log(args...); b.FailNow() }
func (b *checkTB) Fatalf(f string, a ...any)  { b.Logf(f, a...); b.FailNow() }
func (b *checkTB) Skip(args ...any)           { b.Log(args...); b.SkipNow() }
func (b *checkTB) Skipf(f string, a ...any)   { b.Logf(f, a...); b.SkipNow() }

func (b *checkTB) Fail() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = true
}

func (b *checkTB) FailNow() {
	b.Fail()
	runtime.Goexit()
}

func (b *checkTB) SkipNow() {
	b.mu.Lock()
	b.skipped = true
	b.mu.Unlock()
	runtime.Goexit()
}

func (b *checkTB) Failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

func (b *checkTB) Skipped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.skipped
}
