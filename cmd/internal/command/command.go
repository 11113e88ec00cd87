// Package command is what cwtch-relay and cwtch-plugin have in common at the command
// line: how a tree of commands is run, mistakes that come with a hint, help, completion,
// manual pages, JSON and exit statuses. Each program declares its commands and flags as data of
// github.com/urfave/cli, and everything that describes them is made of that.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/config"
)

// UsageError is wrong usage of the command line, exit status 2.
type UsageError struct {
	Text       string
	Suggestion string // the beginning of the hint, see package suggest; may be empty
	Remedy     string // the rest of the hint; empty: where the commands are listed
}

func (e UsageError) Error() string { return e.Text }

// hinted is an error with something to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
func (h hinted) Hint() string  { return h.hint }

// WithHint is err with something to do about it.
func WithHint(err error, hint string) error { return hinted{err, hint} }

// ExitStatus is the exit status of a command that has said why.
type ExitStatus int

func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// Exit statuses beside 0. That of a wrong configuration, EX_CONFIG of sysexits.h,
// tells a service manager that another try would end the same way.
const (
	ExitError  = 1
	ExitUsage  = 2
	ExitConfig = 78
)

// WantsJSON reports whether a command line asks for JSON. It may be wrong otherwise.
func WantsJSON(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return slices.Contains([]string{"-json", "--json", "-json=true", "--json=true"}, arg)
	})
}

// Report prints what a command of a program did wrong, if anything, and returns the exit
// status: an error and a hint for people, or one JSON object with both.
func Report(program string, err error, asJSON bool, stderr io.Writer) int {
	var said ExitStatus
	var usage UsageError
	var wrongConfig *config.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &said):
		return int(said)
	case errors.As(err, &usage):
		remedy := usage.Remedy
		if remedy == "" {
			remedy = program + " -help lists the commands"
		}
		printError(usage.Text, usage.Suggestion+remedy, asJSON, stderr)
		return ExitUsage
	case errors.As(err, &wrongConfig):
		if asJSON {
			text, hint := summarizeFaults(wrongConfig)
			printError(text, hint, true, stderr)
		} else {
			fmt.Fprintln(stderr, wrongConfig) // it has its own errors, places and hints
		}
		return ExitConfig
	}
	hint := ""
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		hint = h.Hint()
	}
	printError(err.Error(), hint, asJSON, stderr)
	return ExitError
}

// printError prints an error and what to do about it, if that is known.
func printError(text, hint string, asJSON bool, stderr io.Writer) {
	if asJSON {
		json.NewEncoder(stderr).Encode(struct { //nolint:errcheck // as for the other errors
			Error string `json:"error"`
			Hint  string `json:"hint,omitempty"`
		}{text, hint})
		return
	}
	fmt.Fprintf(stderr, "error: %s\n", text)
	if hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", hint)
	}
}

// summarizeFaults has a line for each mistake in a configuration, and one for each hint.
func summarizeFaults(wrong *config.Error) (text, hint string) {
	var texts, hints []string
	for _, d := range wrong.Diagnostics {
		texts = append(texts, fmt.Sprintf("%s line %d, column %d: %s", d.Range.File, d.Range.Line, d.Range.Column, d.Summary))
		if d.Hint != "" {
			hints = append(hints, d.Hint)
		}
	}
	return strings.Join(texts, "\n"), strings.Join(hints, "\n")
}

// PrintJSON prints a value as JSON, indented.
func PrintJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// CountOf is a number and what it counts, in the singular for 1.
func CountOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Join writes values with commas between them; "none" if there are none.
func Join[T any](values []T) string {
	if len(values) == 0 {
		return "none"
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}
