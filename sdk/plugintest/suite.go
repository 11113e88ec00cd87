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

// Check is one sentence of a contract and the code that proves it. The suites
// beside the interfaces of the kinds are lists of checks, so that they run
// under go test, see [RunTests], and in a program without it, see [Evaluate].
type Check struct {
	Name     string
	Contract string // the sentence, as the comments of the interface have it
	Run      func(testing.TB)
}

// RunTests runs each check as a subtest, which quotes the contract when it
// fails.
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

// Verdict is what came of a check.
type Verdict string

const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped" // it needs what the plugin does not offer
)

// Result is a check that has been run.
type Result struct {
	Check   Check         `json:"-"`
	Verdict Verdict       `json:"verdict"`
	Took    time.Duration `json:"took"`
	Output  []string      `json:"output,omitempty"` // what was wrong, or why it was skipped; one line each
	Logged  []string      `json:"logged,omitempty"` // the last lines of the plugin's log before it failed
}

// Evaluate runs checks one after the other without go test, reports each when
// it is done, and returns how many failed. When ctx ends, no other check begins,
// and the one that is under way ends as well as it can.
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
	tb := &bench{name: c.Name, ctx: ctx, cancel: cancel}
	begin := time.Now()
	done := make(chan struct{})
	go func() { // of its own, for Goexit
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

// bench is a testing.TB outside of go test. The embedded interface, always nil,
// is there for the method by which package testing keeps others from
// implementing it; the methods that touch the process (Setenv, Chdir, and what
// is added later) are not for checks.
type bench struct {
	testing.TB
	name   string
	ctx    context.Context
	cancel context.CancelFunc

	mu              sync.Mutex
	failed, skipped bool
	output          []string
	log             []string // of the plugin, the last lines
	cleanups        []func()
}

// endCheck ends a check: what panicked has failed, and what was opened is closed.
func (b *bench) endCheck() {
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

// runCleanup runs one cleanup, which may end itself with FailNow.
func (b *bench) runCleanup(cleanup func()) {
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

func (b *bench) Name() string             { return b.name }
func (b *bench) Helper()                  {}
func (b *bench) Context() context.Context { return b.ctx }

func (b *bench) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

func (b *bench) TempDir() string {
	dir, err := os.MkdirTemp("", "cwtch-plugin-test-")
	if err != nil {
		b.Fatalf("make a directory for the check: %v", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// maxLog is how many lines of a plugin's log are kept.
const maxLog = 20

// Output takes the log of a plugin, a line or more at a time.
func (b *bench) Output() io.Writer { return logged{b} }

type logged struct{ bench *bench }

func (l logged) Write(text []byte) (int, error) {
	l.bench.mu.Lock()
	defer l.bench.mu.Unlock()
	l.bench.log = append(l.bench.log, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	l.bench.log = slices.Delete(l.bench.log, 0, max(0, len(l.bench.log)-maxLog))
	return len(text), nil
}

func (b *bench) noteText(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output = append(b.output, strings.Split(strings.TrimSpace(text), "\n")...)
}

func (b *bench) Log(args ...any)            { b.noteText(fmt.Sprintln(args...)) }
func (b *bench) Logf(f string, args ...any) { b.noteText(fmt.Sprintf(f, args...)) }
func (b *bench) Error(args ...any)          { b.Log(args...); b.Fail() }
func (b *bench) Errorf(f string, a ...any)  { b.Logf(f, a...); b.Fail() }
func (b *bench) Fatal(args ...any)          { b.Log(args...); b.FailNow() }
func (b *bench) Fatalf(f string, a ...any)  { b.Logf(f, a...); b.FailNow() }
func (b *bench) Skip(args ...any)           { b.Log(args...); b.SkipNow() }
func (b *bench) Skipf(f string, a ...any)   { b.Logf(f, a...); b.SkipNow() }

func (b *bench) Fail() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = true
}

func (b *bench) FailNow() {
	b.Fail()
	runtime.Goexit()
}

func (b *bench) SkipNow() {
	b.mu.Lock()
	b.skipped = true
	b.mu.Unlock()
	runtime.Goexit()
}

func (b *bench) Failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

func (b *bench) Skipped() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.skipped
}
