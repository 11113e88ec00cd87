// Package logwriter writes lines to an output that nobody may be reading, and
// never makes the writer of a line wait for it.
//
// A log goes to a pipe, and at the other end of the pipe is a program that can end,
// hang or fall behind. A daemon that waits for that program stops with it. So
// lines are queued, up to a number of bytes, and a goroutine writes them. A line
// for which there is no room, or that cannot be written, is dropped and counted.
// Once lines can be written again, one of them says how many were lost.
//
// The output stays as it is: O_NONBLOCK would change it for every process that
// shares it.
package logwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"
)

const (
	// stalledAfter is how long one write may take before [Writer.Trouble] tells of it.
	stalledAfter = 5 * time.Second
	// retryEvery is between two tries of an output that another process has made
	// non-blocking, and that is full.
	retryEvery = 100 * time.Millisecond
)

var (
	errStalled = errors.New("it is full, and nobody reads it")
	errClosed  = errors.New("it is closed")
)

// Trouble is what an operator has to know of an output.
type Trouble struct {
	Lost   uint64    `json:"lost"`             // lines, since the start
	Since  time.Time `json:"since,omitzero"`   // nothing could be written; zero if it can be now
	Reason string    `json:"reason,omitempty"` // why nothing can be written
}

// Describe is the trouble in words that follow the name of the output.
func (t Trouble) Describe(now time.Time) string {
	lost := fmt.Sprintf("%d lines", t.Lost)
	if t.Lost == 1 {
		lost = "1 line"
	}
	if t.Since.IsZero() {
		return "has lost " + lost
	}
	return fmt.Sprintf("is not written since %s (%s), and has lost %s", now.Sub(t.Since).Round(time.Second), t.Reason, lost)
}

// Writer queues lines for an output. Its methods may be called at the same time
// from several goroutines.
type Writer struct {
	out    io.Writer
	limit  int           // bytes
	notice func(Trouble) // writes a line to tell of lost ones
	wake   chan struct{} // holds a signal while there may be something to write
	ended  chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	queue   []byte
	writing int       // bytes that the goroutine is writing
	begun   time.Time // when that write began; zero between writes
	telling bool      // the notice is being written
	lost    uint64    // lines
	told    uint64    // of them, those that a notice told of
	since   time.Time // when the trouble began; zero while all is well
	reason  error
	closed  bool

	torn bool // the output ends with a part of a line; the goroutine's
}

// New returns a writer that keeps at most limit bytes. It writes to out in a
// goroutine, which [Writer.Close] ends.
func New(out io.Writer, limit int) *Writer {
	w := &Writer{
		out: out, limit: limit, notice: func(Trouble) {},
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go w.run()
	return w
}

// SetNotice sets what writes a line to w once lines can be written again after
// some were lost. Without it nothing but [Writer.Trouble] tells of them.
func (w *Writer) SetNotice(notice func(Trouble)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notice = notice
}

// Write queues p, which is one line or more, or drops it. It does not block, and
// never fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.telling: // a line more, whatever the limit
		w.queue = append(w.queue, p...)
		w.signal()
	case w.closed:
		w.lose(p, errClosed)
	case len(w.queue)+w.writing+len(p) > w.limit:
		w.lose(p, errStalled)
	default:
		w.queue = append(w.queue, p...)
		w.signal()
	}
	return len(p), nil
}

func (w *Writer) signal() {
	if w.closed {
		return // the goroutine looks by itself until nothing is left
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// lose counts lines that are lost; mu is held.
func (w *Writer) lose(lines []byte, reason error) {
	w.lost += countLines(lines)
	w.reason = reason
	if w.since.IsZero() {
		w.since = time.Now()
		if !w.begun.IsZero() {
			w.since = w.begun
		}
	}
}

// countLines counts the last one also when it has no end.
func countLines(p []byte) uint64 {
	n := bytes.Count(p, []byte{'\n'})
	if len(p) > 0 && p[len(p)-1] != '\n' {
		n++
	}
	return uint64(n)
}

func (w *Writer) run() {
	defer close(w.ended)
	for range w.wake {
		for lines := w.take(); len(lines) > 0; lines = w.take() {
			n, err := w.write(lines)
			if trouble := w.wrote(lines[n:], err); trouble != nil {
				w.tell(*trouble)
			}
		}
	}
}

// take takes all that is queued.
func (w *Writer) take() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.queue
	w.queue, w.writing = nil, len(lines)
	if len(lines) == 0 {
		return nil
	}
	w.begun = time.Now()
	return lines
}

// write writes all of lines, or returns how many bytes it has written.
func (w *Writer) write(lines []byte) (n int, err error) {
	if w.torn {
		if _, err := w.out.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		w.torn = false
	}
	for {
		var m int
		m, err = w.out.Write(lines[n:])
		n += m
		if !errors.Is(err, syscall.EAGAIN) {
			w.torn = n > 0 && lines[n-1] != '\n'
			return n, err
		}
		time.Sleep(retryEvery)
	}
}

// wrote notes what became of a write, and what it has not written. It returns
// what is to be told of lines that were lost before it, if any were.
func (w *Writer) wrote(left []byte, err error) *Trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.writing, w.begun = 0, time.Time{} }()
	if err != nil {
		w.lose(left, err)
		return nil
	}
	var trouble *Trouble
	if w.lost > w.told {
		trouble = &Trouble{Lost: w.lost - w.told, Since: w.since, Reason: w.reason.Error()}
	}
	w.told, w.since, w.reason, w.telling = w.lost, time.Time{}, nil, trouble != nil
	return trouble
}

func (w *Writer) tell(t Trouble) {
	w.mu.Lock()
	notice := w.notice
	w.mu.Unlock()
	notice(t) // which may write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.telling = false
}

// Lost returns how many lines were lost since the start.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Trouble tells what is or was wrong with the output; nil if nothing is and no
// line was lost.
func (w *Writer) Trouble() *Trouble {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &Trouble{Lost: w.lost, Since: w.since}
	switch {
	case w.reason != nil:
		t.Reason = w.reason.Error()
	case !w.begun.IsZero() && time.Since(w.begun) > stalledAfter:
		t.Since, t.Reason = w.begun, errStalled.Error()
	case w.lost == 0:
		return nil
	}
	return t
}

// Close waits until everything is written, for at most the timeout. What is
// written to w afterwards is lost.
func (w *Writer) Close(timeout time.Duration) {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.wake)
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-time.After(timeout):
	}
}
