package logwriter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is an output that can be closed to writers for a while.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	full chan struct{} // writes wait until it is closed; nil: they do not
	err  error
	most int // bytes that one write takes before err; 0: none
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	full := o.full
	o.mu.Unlock()
	if full != nil {
		<-full
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		o.text.Write(p[:min(o.most, len(p))])
		return min(o.most, len(p)), o.err
	}
	return o.text.Write(p)
}

func (o *output) set(full chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.full, o.err = full, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func tellInto(w *Writer) {
	w.SetNotice(func(t Trouble) { fmt.Fprintf(w, "%d lost: %s\n", t.Lost, t.Reason) })
}

// TestWritesInOrder shows that every line is written, in the order of the calls.
func TestWritesInOrder(t *testing.T) {
	var out output
	w := New(&out, 1<<20)
	var want strings.Builder
	for i := range 1000 {
		fmt.Fprintf(w, "line %d\n", i)
		fmt.Fprintf(&want, "line %d\n", i)
	}
	w.Close(time.Minute)
	if out.String() != want.String() {
		t.Errorf("%d bytes were written, not %d", len(out.String()), want.Len())
	}
	if trouble := w.Trouble(); trouble != nil {
		t.Errorf("there is trouble: %+v", trouble)
	}
}

// TestStalledOutput shows that lines are dropped and counted while the output takes
// nothing, in bounded memory, and that the log says so afterwards.
func TestStalledOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		out := output{full: open}
		const limit = 1000
		w := New(&out, limit)
		tellInto(w)
		fmt.Fprintln(w, "first")
		synctest.Wait() // the goroutine is writing it
		begin := time.Now()
		time.Sleep(2 * stalledAfter)
		if trouble := w.Trouble(); trouble == nil || !trouble.Since.Equal(begin) || trouble.Lost != 0 {
			t.Errorf("the trouble is %+v before anything is lost", trouble)
		}
		const lines = 10_000
		for i := range lines {
			fmt.Fprintf(w, "line %4d\n", i)
		}
		w.mu.Lock()
		held := len(w.queue) + w.writing
		w.mu.Unlock()
		if held > limit {
			t.Errorf("%d bytes are held", held)
		}
		lost := w.Lost()
		if lost < lines-limit/10 || lost >= lines {
			t.Errorf("%d of %d lines were lost", lost, lines)
		}
		if trouble := w.Trouble(); trouble == nil || trouble.Lost != lost || !trouble.Since.Equal(begin) {
			t.Errorf("the trouble is %+v", trouble)
		}
		close(open)
		w.Close(time.Minute)
		text := out.String()
		if n := uint64(strings.Count(text, "line ")); n != lines-lost {
			t.Errorf("%d lines were written, %d lost", n, lost)
		}
		if want := fmt.Sprintf("%d lost: %v\n", lost, errStalled); !strings.HasSuffix(text, want) {
			t.Errorf("the log does not say how many were lost: %q", text[len(text)-100:])
		}
		if trouble := w.Trouble(); trouble == nil || trouble.Lost != lost || !trouble.Since.IsZero() {
			t.Errorf("the trouble is over, and is %+v", trouble)
		}
	})
}

// TestCloseIsBounded shows that the end waits for an output no longer than it says.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		w := New(&output{full: open}, 1000)
		fmt.Fprintln(w, "never read")
		begin := time.Now()
		w.Close(time.Second)
		if took := time.Since(begin); took != time.Second {
			t.Errorf("the end took %v", took)
		}
		fmt.Fprintln(w, "too late")
		if w.Lost() != 1 {
			t.Errorf("%d lines were lost", w.Lost())
		}
		close(open)
	})
}

// TestFailedWrites shows that lines that could not be written are counted, that a
// torn line is ended, and that the log says so once it can.
func TestFailedWrites(t *testing.T) {
	var out output
	w := New(&out, 1000)
	tellInto(w)
	out.set(nil, syscall.ENOSPC)
	out.most = 3
	fmt.Fprintln(w, "torn")
	await(t, func() bool { return w.Lost() == 1 })
	out.most = 0
	fmt.Fprint(w, "one\ntwo\n")
	await(t, func() bool { return w.Lost() == 3 })
	if trouble := w.Trouble(); trouble.Since.IsZero() || trouble.Reason != syscall.ENOSPC.Error() {
		t.Errorf("the trouble is %+v", trouble)
	}
	out.set(nil, nil)
	fmt.Fprintln(w, "again")
	w.Close(time.Minute)
	if want := "tor\nagain\n3 lost: no space left on device\n"; out.String() != want {
		t.Errorf("written: %q", out.String())
	}
}

// TestNobodyReads shows the same for a pipe whose other end is closed.
func TestNobodyReads(t *testing.T) {
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	w := New(to, 1000)
	from.Close()
	fmt.Fprintln(w, "line")
	w.Close(time.Minute)
	if trouble := w.Trouble(); trouble == nil || trouble.Lost != 1 || !strings.Contains(trouble.Reason, syscall.EPIPE.Error()) {
		t.Errorf("the trouble is %+v", trouble)
	}
}

// TestNonBlockingOutput shows that an output that another process has made
// non-blocking loses nothing.
func TestNonBlockingOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &output{err: syscall.EAGAIN, most: 2}
		w := New(out, 1000)
		fmt.Fprintln(w, "a line")
		synctest.Wait()
		out.set(nil, nil)
		w.Close(time.Minute)
		if out.String() != "a line\n" || w.Trouble() != nil {
			t.Errorf("written: %q, trouble: %+v", out.String(), w.Trouble())
		}
	})
}

// TestNilWriter shows that there is no trouble where there is no writer.
func TestNilWriter(t *testing.T) {
	if trouble := (*Writer)(nil).Trouble(); trouble != nil {
		t.Error(errors.New(trouble.Reason))
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}
