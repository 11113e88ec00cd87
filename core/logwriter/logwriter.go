// Package logwriter writes lines to an output that nobody may be reading, and never makes
// its caller wait.
//
// A log goes to a pipe, and the program at the other end can end, hang or fall behind.
// A daemon that waits for that program stops with it. So a Writer queues lines, up to a
// number of bytes, and a goroutine writes them. It drops and counts a line that has no
// room in the queue or cannot be written. Once it can write again, it writes a line that
// says how many were lost.
//
// It does not set O_NONBLOCK, which would change the output for every process that
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
	// stalledAfter is how long a write may take before [Writer.Trouble] reports it.
	stalledAfter = 5 * time.Second
	// retryEvery is the time between two tries to write to a full output that another
	// process has made non-blocking.
	retryEvery = 100 * time.Millisecond
)

var (
	errStalled = errors.New("it is full, and nobody reads it")
	errClosed  = errors.New("it is closed")
)

// Trouble tells an operator what is wrong with an output.
type Trouble struct {
	Lost   uint64    `json:"lost"`             // lines since the start
	Since  time.Time `json:"since,omitzero"`   // when writing began to fail; zero if it works now
	Reason string    `json:"reason,omitempty"` // why nothing can be written
}

// Describe returns the trouble in words that follow the name of the output.
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
	out         io.Writer
	limit       int           // bytes
	writeNotice func(Trouble) // writes a line about lost ones
	lineQueued  chan struct{} // holds a signal while there may be something to write
	ended       chan struct{} // closed when the goroutine has ended

	mu            sync.Mutex
	queue         []byte
	writing       int       // bytes that the goroutine is writing
	writeBegan    time.Time // when that write began; zero between writes
	inNotice      bool      // the notice is being written
	lost          uint64    // lines
	reported      uint64    // of them, those that a notice told of
	troubleSince  time.Time // when the trouble began; zero while all is well
	troubleReason error
	closed        bool

	endsMidLine bool // the output ends with a part of a line; the goroutine's
}

// New returns a writer that keeps at most limit bytes. It writes to out in a
// goroutine, which [Writer.Close] ends.
func New(out io.Writer, limit int) *Writer {
	w := &Writer{
		out: out, limit: limit, writeNotice: func(Trouble) {},
		lineQueued: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go w.writeQueued()
	return w
}

// SetNotice sets the function that writes a line to w about lost lines, once w can write
// again. Without it only [Writer.Trouble] reports them.
func (w *Writer) SetNotice(notice func(Trouble)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeNotice = notice
}

// Write queues p, which is one line or more, or drops it. It neither blocks nor fails.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.inNotice: // a line more, whatever the limit
		w.queue = append(w.queue, p...)
		w.wakeWriter()
	case w.closed:
		w.countLost(p, errClosed)
	case len(w.queue)+w.writing+len(p) > w.limit:
		w.countLost(p, errStalled)
	default:
		w.queue = append(w.queue, p...)
		w.wakeWriter()
	}
	return len(p), nil
}

func (w *Writer) wakeWriter() {
	if w.closed {
		return // the goroutine goes on by itself until the queue is empty
	}
	select {
	case w.lineQueued <- struct{}{}:
	default:
	}
}

// countLost counts lines that are lost; mu is held.
func (w *Writer) countLost(lines []byte, reason error) {
	w.lost += countLines(lines)
	w.troubleReason = reason
	if w.troubleSince.IsZero() {
		w.troubleSince = time.Now()
		if !w.writeBegan.IsZero() {
			w.troubleSince = w.writeBegan
		}
	}
}

// countLines counts lines, the last one even if it has no end.
func countLines(p []byte) uint64 {
	n := bytes.Count(p, []byte{'\n'})
	if len(p) > 0 && p[len(p)-1] != '\n' {
		n++
	}
	return uint64(n)
}

func (w *Writer) writeQueued() {
	defer close(w.ended)
	for range w.lineQueued {
		for lines := w.takeQueue(); len(lines) > 0; lines = w.takeQueue() {
			n, err := w.writeLines(lines)
			if trouble := w.finishWrite(lines[n:], err); trouble != nil {
				w.reportLost(*trouble)
			}
		}
	}
}

// takeQueue returns all queued lines and empties the queue.
func (w *Writer) takeQueue() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := w.queue
	w.queue, w.writing = nil, len(lines)
	if len(lines) == 0 {
		return nil
	}
	w.writeBegan = time.Now()
	return lines
}

// writeLines writes lines. On an error it returns how many bytes it has written.
func (w *Writer) writeLines(lines []byte) (n int, err error) {
	if w.endsMidLine {
		if _, err := w.out.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		w.endsMidLine = false
	}
	for {
		var m int
		m, err = w.out.Write(lines[n:])
		n += m
		if !errors.Is(err, syscall.EAGAIN) {
			w.endsMidLine = n > 0 && lines[n-1] != '\n'
			return n, err
		}
		time.Sleep(retryEvery)
	}
}

// finishWrite notes the result of a write and the lines that it left. It returns the
// trouble to report if lines were lost before it.
func (w *Writer) finishWrite(left []byte, err error) *Trouble {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.writing, w.writeBegan = 0, time.Time{} }()
	if err != nil {
		w.countLost(left, err)
		return nil
	}
	var trouble *Trouble
	if w.lost > w.reported {
		trouble = &Trouble{Lost: w.lost - w.reported, Since: w.troubleSince, Reason: w.troubleReason.Error()}
	}
	w.reported, w.troubleSince, w.troubleReason, w.inNotice = w.lost, time.Time{}, nil, trouble != nil
	return trouble
}

func (w *Writer) reportLost(t Trouble) {
	w.mu.Lock()
	notice := w.writeNotice
	w.mu.Unlock()
	notice(t) // which may call Write
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inNotice = false
}

// Lost returns how many lines were lost since the start.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Trouble tells what is or was wrong with the output. It is nil if nothing is wrong and
// no line was lost.
func (w *Writer) Trouble() *Trouble {
	if w == nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &Trouble{Lost: w.lost, Since: w.troubleSince}
	switch {
	case w.troubleReason != nil:
		t.Reason = w.troubleReason.Error()
	case !w.writeBegan.IsZero() && time.Since(w.writeBegan) > stalledAfter:
		t.Since, t.Reason = w.writeBegan, errStalled.Error()
	case w.lost == 0:
		return nil
	}
	return t
}

// Close waits until everything is written, for at most the timeout. Lines that are
// written to w afterwards are lost.
func (w *Writer) Close(timeout time.Duration) {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lineQueued)
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
	case <-time.After(timeout):
	}
}
