// Package command is what cwtch-relay and cwtch-plugin have in common at the command
// line: commands of one or two words, their flags, mistakes that come with a hint, and
// exit statuses.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/config"
)

// Command is one of the things that a program does.
type Command struct {
	Name  string // empty: what happens without the name of a command
	Args  string // as usage shows them
	About string
	Run   func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

// Program is a program with several commands.
type Program struct {
	Name     string
	Commands []Command
	Intro    string // what the help says in front of the commands
	Trailer  string // and behind them
}

// Run runs the command that args name. Its error is [flag.ErrHelp] if they ask for help.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if name == "help" {
		return flag.ErrHelp
	}
	var names, family []string // the family has the second words after this name
	for _, c := range p.Commands {
		first, second, _ := strings.Cut(c.Name, " ")
		switch {
		case c.Name == name:
			return c.Run(ctx, args, stdout, stderr)
		case first == name && len(args) > 0 && second == args[0]:
			return c.Run(ctx, args[1:], stdout, stderr)
		case first == name:
			family = append(family, second)
		}
		if c.Name != "" {
			names = append(names, first)
		}
	}
	switch {
	case name == "":
		if _, err := NewFlags().ParseArgs(args); err != nil { // it may ask for help
			return err
		}
		return UsageError{Text: "no command given"}
	case len(family) == 0:
		return UsageError{fmt.Sprintf("unknown command %q", name), suggest.Name("", name, names)}
	case len(args) == 0 || strings.HasPrefix(args[0], "-"):
		return UsageError{Text: fmt.Sprintf("%s is followed by one of: %s", name, strings.Join(family, ", "))}
	}
	return UsageError{fmt.Sprintf("unknown command %q, only: %s", name+" "+args[0], strings.Join(family, ", ")), suggest.Name(name+" ", args[0], family)}
}

// Help describes all commands.
func (p Program) Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", p.Intro)
	for _, c := range p.Commands {
		fmt.Fprintf(&b, "  %s %s\n        %s\n", p.Name, strings.TrimSpace(c.Name+" "+c.Args), c.About)
	}
	fmt.Fprintf(&b, "\n%s\n", p.Trailer)
	return b.String()
}

// UsageError is wrong usage of the command line, exit status 2.
type UsageError struct {
	Text       string
	Suggestion string // the beginning of the hint, see package suggest; may be empty
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

// Report prints what a command said or did wrong, if anything, and returns the exit
// status of the program.
func (p Program) Report(err error, stdout, stderr io.Writer) int {
	var said ExitStatus
	var usage UsageError
	var wrongConfig *config.Error
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, p.Help())
		return 0
	case errors.As(err, &said):
		return int(said)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "error: %s\nhint: %s%s -help lists the commands\n", usage.Text, usage.Suggestion, p.Name)
		return ExitUsage
	case errors.As(err, &wrongConfig):
		fmt.Fprintln(stderr, wrongConfig) // it has its own errors, places and hints
		return ExitConfig
	}
	fmt.Fprintf(stderr, "error: %v\n", err)
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		fmt.Fprintf(stderr, "hint: %s\n", h.Hint())
	}
	return ExitError
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
