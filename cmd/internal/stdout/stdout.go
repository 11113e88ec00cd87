// Package stdout is the standard output of a command that prints facts. A command
// whose facts did not reach anybody has not done what it was asked for.
package stdout

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
)

// Writer is standard output. It remembers the first error, so that a command may
// print without looking at errors.
type Writer struct {
	out io.Writer
	err error
}

// New returns a Writer for out, which is [os.Stdout] of the process.
func New(out io.Writer) *Writer { return &Writer{out: out} }

// Write implements [io.Writer]. After an error it writes nothing more.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.out.Write(p)
	w.err = err
	return n, err
}

// Unread reports whether the reader of the output has ended, as head does when it
// has enough. That is no error, and nobody wants to be told of it.
func (w *Writer) Unread() bool { return errors.Is(w.err, syscall.EPIPE) }

// Status returns the exit status of a command that would end with the given one. It
// is 1, after a line on stderr, if the output could not be written. Where its reader
// has ended, the process ends by SIGPIPE, as others do.
func (w *Writer) Status(status int, stderr io.Writer) int {
	switch {
	case w.err == nil:
		return status
	case w.Unread():
		signal.Reset(syscall.SIGPIPE)
		w.out.Write([]byte{'\n'}) //nolint:errcheck // the signal ends the process, if that is its standard output
		return 128 + int(syscall.SIGPIPE)
	case status == 0:
		fmt.Fprintf(stderr, "error: write standard output: %v\n", w.err)
		return 1
	}
	return status
}
