package command

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// Flags is a set of flags whose mistakes are a [UsageError].
type Flags struct {
	*flag.FlagSet
	JSON bool // -json
}

// NewFlags has the flag -json alone.
func NewFlags() *Flags {
	f := &Flags{FlagSet: flag.NewFlagSet("", flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.BoolVar(&f.JSON, "json", false, "")
	return f
}

// Path adds a flag that is a path.
func (f *Flags) Path(name string) *string {
	p := new(string)
	pathname.Var(f.FlagSet, p, name, "", "")
	return p
}

// ParseArgs parses arguments, which usage calls names, before, between and behind the
// flags.
func (f *Flags) ParseArgs(args []string, names ...string) (values []string, err error) {
	values, err = f.parseAll(args, len(names))
	if err == nil && len(values) < len(names) {
		return nil, UsageError{Text: "missing: " + names[len(values)]}
	}
	return values, err
}

// ParseList does the same for one argument or more, which usage calls name.
func (f *Flags) ParseList(args []string, name string) (values []string, err error) {
	values, err = f.parseAll(args, len(args))
	if err == nil && len(values) == 0 {
		return nil, UsageError{Text: "missing: " + name}
	}
	return values, err
}

// ParseOptional does the same for one argument that may be left out, and is then empty.
func (f *Flags) ParseOptional(args []string) (value string, err error) {
	values, err := f.parseAll(args, 1)
	if err == nil && len(values) == 1 {
		value = values[0]
	}
	return value, err
}

// parseAll parses flags, and at most so many arguments.
func (f *Flags) parseAll(args []string, most int) (values []string, err error) {
	for {
		switch err := f.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			return nil, err
		case err != nil:
			return nil, UsageError{err.Error(), suggest.Flag(f.FlagSet, err)}
		case f.NArg() == 0:
			return values, nil
		case len(values) == most:
			return nil, UsageError{Text: fmt.Sprintf("unexpected argument %q", f.Arg(0))}
		}
		values = append(values, f.Arg(0))
		args = f.Args()[1:]
	}
}

// CheckPath returns an argument that is a path.
func CheckPath(arg string) (string, error) {
	if err := pathname.Check(arg); err != nil {
		return "", UsageError{Text: err.Error()}
	}
	return arg, nil
}
