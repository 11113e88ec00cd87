package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// failure is an error as cwtch-group prints it.
type failure struct {
	Error  string `json:"error"`
	Hint   string `json:"hint,omitempty"`
	Status int    `json:"status"` // of the program
}

// failureOf returns what cwtch-group prints about an error, and its exit status.
func failureOf(ctx context.Context, err error) failure {
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return failure{oneLine(usage.text), oneLine(usage.hint), 2}
	case ctx.Err() != nil:
		return failure{"interrupted", "", interruptedStatus(ctx)}
	}
	return failure{oneLine(err.Error()), oneLine(hintFor(err)), 1}
}

// printTo prints the failure, but not an interruption: the person knows of that.
func (f failure) printTo(w io.Writer, asJSON bool) {
	switch {
	case asJSON:
		b, err := json.Marshal(f)
		if err != nil {
			panic(err) // strings and a number always marshal
		}
		fmt.Fprintln(w, escapeJSON(b))
	case f.Status > 2:
	case f.Hint != "":
		fmt.Fprintf(w, "error: %s\nhint: %s\n", f.Error, f.Hint)
	default:
		fmt.Fprintf(w, "error: %s\n", f.Error)
	}
}

// interruption is the cause of a context that a signal ended.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string { return i.signal.String() }

// interruptedStatus returns the exit status that shells expect after a signal.
func interruptedStatus(ctx context.Context) int {
	var i interruption
	if errors.As(context.Cause(ctx), &i) {
		return 128 + int(i.signal)
	}
	return 128 + int(syscall.SIGINT)
}

// wantsJSON reports whether a command line has the flag -json, even if it cannot be
// parsed.
func wantsJSON(args []string) bool {
	for _, arg := range args {
		if arg == "--" {
			return false
		}
		name, value, set := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if name = strings.TrimPrefix(name, "-"); name != "json" || !strings.HasPrefix(arg, "-") {
			continue
		}
		on, err := strconv.ParseBool(value)
		return !set || on || err != nil
	}
	return false
}

const listHint = "cwtch-group -help lists the commands"

// usageError is a mistake in the command line; the exit status is 2.
type usageError struct{ text, hint string }

func (e usageError) Error() string { return e.text }

func flagError(fs *flag.FlagSet, err error) error {
	return usageError{err.Error(), suggest.Flag(fs, err) + listHint + `; a text that begins with a dash goes behind "--"`}
}

// hinted is an error with a hint what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

// hints are for errors that mean the same wherever they come from.
var hints = []struct {
	err  error
	hint string
}{
	{profile.ErrServerChanged, "ask the operator why the keys changed; to trust the new ones, make a new profile"},
	{profile.ErrNoServer, "import it first: cwtch-group import-server server:…"},
	{profile.ErrWhichServer, "choose one with -server and the beginning of its address; cwtch-group list prints the addresses"},
	{profile.ErrNoGroup, "cwtch-group list prints the names of your groups"},
	{profile.ErrNameTaken, "choose another name; cwtch-group list prints the names of your groups"},
	{profile.ErrExists, "cwtch-group list prints what is in it"},
	{onion.ErrNotPublished, "the server is offline or has just been started; try again in a minute"},
	{client.ErrRefused, "the server may be out of space, or its storage may be down; the text was not posted: try again later"},
	{token.ErrProof, "the server signed with another key than the one in its bundle, perhaps to recognize you: do not use it until its operator has explained this"},
	{io.EOF, "the server closed the connection: it may be busy or shutting down; try again later"},
	{io.ErrUnexpectedEOF, "the connection broke: try again"},
	{os.ErrDeadlineExceeded, "the server did not answer in time: try again later"},
}

func hintFor(err error) string {
	var own interface{ Hint() string }
	if errors.As(err, &own) {
		return own.Hint()
	}
	for _, h := range hints {
		if errors.Is(err, h.err) {
			return h.hint
		}
	}
	return ""
}
