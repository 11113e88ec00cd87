package main

import (
	"errors"
	"flag"
	"io"
	"os"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/group"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

const listHint = "cwtch-group -help lists the commands"

// usageError is wrong usage of the command line, exit status 2.
type usageError struct{ text, hint string }

func (e usageError) Error() string { return e.text }

func flagError(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err.Error(), listHint + `; a text that begins with a dash goes behind "--"`}
}

// hinted is an error with something to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

// hints says what to do about errors that mean the same wherever they come from.
var hints = []struct {
	err  error
	hint string
}{
	{profile.ErrServerChanged, "ask the operator why the keys changed; to trust the new ones, begin a new profile"},
	{profile.ErrNoServer, "import it first: cwtch-group import-server server:…"},
	{profile.ErrWhichServer, "say which with -server and the beginning of its address; cwtch-group list prints them"},
	{profile.ErrNoGroup, "cwtch-group list prints the names of your groups"},
	{profile.ErrNameTaken, "choose another with -name when joining"},
	{client.ErrRefused, "the server may be out of space or its storage down; the text was not posted, try again later"},
	{token.ErrProof, "the server signs with another key than its bundle has: it may try to mark you; do not use it until its operator explains"},
	{group.ErrTooLong, "split the text"},
	{io.EOF, "the server closed the connection: it may be busy or shutting down, try again later"},
	{io.ErrUnexpectedEOF, "the connection broke, try again"},
	{os.ErrDeadlineExceeded, "the server did not answer in time, try again later"},
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
