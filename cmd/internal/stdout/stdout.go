// Package stdout writes the standard output of a command that prints facts, and has the
// command fail if they could not be written.
package stdout

import (
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
)

// Writer is standard output. It remembers the first error, so that a command need not
// check the errors of printing.
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

// Unread reports whether the reader of the output has ended, as head does when it has
// enough. That is not an error worth a message.
func (w *Writer) Unread() bool { return errors.Is(w.err, syscall.EPIPE) }

// Status returns the exit status of a command that would end with the given status. If the
// output could not be written, it writes a line to stderr and returns 1. If the reader of
// the output has ended, SIGPIPE ends the process, as it does with other commands.
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
