package command

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/suggest"
)

// The library would add a flag -help of its own to each command, and take what follows it for the
// name of a command. The root of a program has one instead, see [Run].
func init() { cli.HelpFlag = nil }

// Func is what a command does. Its flags and arguments are those of c.
type Func func(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error

// Action returns the action of a command that does run. It checks the number of arguments
// against the ArgsUsage of the command: NAME is required, [NAME] is not, and FILE… stands for
// one or more.
func Action(run Func) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) error {
		root := c.Root()
		if c.Bool("help") {
			return writeHelp(root.Writer, c)
		}
		if err := checkArguments(c); err != nil {
			return c.OnUsageError(ctx, c, err, c != root)
		}
		err := run(ctx, c, root.Writer, root.ErrWriter)
		if usage, ok := err.(UsageError); ok { //nolint:errorlint // a wrapped one keeps what is around it
			return explainUsage(c, usage)
		}
		return err
	}
}

// Run runs the command of a tree that args name. The tree is made for one run.
func Run(ctx context.Context, root *cli.Command, args []string, stdout, stderr io.Writer) error {
	root.Writer, root.ErrWriter = stdout, stderr
	root.ExitErrHandler = func(context.Context, *cli.Command, error) {} // Report reports, and nobody else
	root.Flags = append(root.Flags, &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "Show this help."})
	root.HideHelp = true
	prepareCommand(root)
	if len(args) > 0 && args[0] == completeName {
		return completeWords(ctx, root, args[1:], stdout)
	}
	return root.Run(ctx, append([]string{root.Name}, args...))
}

// prepareCommand sets what holds for every command of a tree.
func prepareCommand(c *cli.Command) {
	c.DisableSliceFlagSeparator = true // a comma may be part of a path
	if c.OnUsageError == nil {
		c.OnUsageError = ConvertUsageError
	}
	if len(c.Commands) > 0 {
		// What follows the name of a command belongs to it, even if there is none of this name.
		one := 1
		c.StopOnNthArg = &one
	}
	if c.Action == nil {
		c.Action = Action(refuseAlone)
	}
	for _, sub := range c.Commands {
		prepareCommand(sub)
	}
}

// refuseAlone is the action of a command that only has others below it.
func refuseAlone(_ context.Context, c *cli.Command, _, _ io.Writer) error {
	return describeChoices(c)
}

// ConvertUsageError returns a [UsageError] for a mistake that the library has found.
func ConvertUsageError(_ context.Context, c *cli.Command, err error, _ bool) error {
	if c.Bool("help") {
		return writeHelp(c.Root().Writer, c)
	}
	if usage, ok := err.(UsageError); ok { //nolint:errorlint // of checkArguments
		return explainUsage(c, usage)
	}
	if len(c.Commands) > 0 && len(c.Flags) == 0 {
		return describeChoices(c)
	}
	known := []string{"help"}
	for _, f := range c.Flags {
		known = append(known, f.Names()...)
	}
	text := err.Error()
	if about, ok := strings.CutSuffix(text, ": parse error"); ok { // the library has no better words
		text = about + ": it has to be true or false"
	} else if about, _, ok := strings.Cut(text, ": strconv."); ok {
		text = about + ": it has to be a whole number that is not too large"
	}
	return explainUsage(c, UsageError{Text: text, Suggestion: suggest.FlagName(err, known)})
}

// explainUsage says in the hint where the usage of a command is explained.
func explainUsage(c *cli.Command, u UsageError) UsageError {
	switch {
	case u.Remedy != "":
	case len(c.Commands) > 0:
		u.Remedy = c.FullName() + " -help lists the commands"
	default:
		u.Remedy = c.FullName() + " -help explains the command"
	}
	return u
}

// checkArguments returns an error unless a command has as many arguments as it takes.
func checkArguments(c *cli.Command) error {
	for _, above := range c.Lineage()[1:] {
		for _, f := range above.Flags {
			if f.IsSet() && f.Names()[0] != "help" {
				return UsageError{Text: fmt.Sprintf("-%s stands in front of the command %q, and belongs behind it", f.Names()[0], c.Name)}
			}
		}
	}
	args := c.Args().Slice()
	switch {
	case c.SkipFlagParsing:
		return nil
	case len(c.Commands) > 0:
		if len(args) > 0 {
			return describeChoices(c)
		}
		return nil
	}
	names := strings.Fields(c.ArgsUsage)
	for i, name := range names {
		if i >= len(args) && !strings.HasPrefix(name, "[") {
			return UsageError{Text: "missing: " + strings.TrimSuffix(name, "…")}
		}
	}
	if most := len(names); len(args) > most && !strings.Contains(c.ArgsUsage, "…") {
		return UsageError{Text: fmt.Sprintf("unexpected argument %q", args[most]), Suggestion: suggestValue(c, args[most])}
	}
	return nil
}

// suggestValue helps somebody who has written a flag that is true or false in two words.
func suggestValue(c *cli.Command, arg string) string {
	if arg != "true" && arg != "false" {
		return ""
	}
	for _, f := range c.Flags {
		if b, ok := f.(*cli.BoolFlag); ok && b.IsSet() {
			return fmt.Sprintf("Did you mean -%s=%s? ", b.Names()[0], arg)
		}
	}
	return ""
}

// describeChoices is the error of a command line that names no command, or one that is not
// there.
func describeChoices(c *cli.Command) UsageError {
	var names []string
	for _, sub := range c.Commands {
		if !sub.Hidden {
			names = append(names, sub.Name)
		}
	}
	_, family, isFamily := strings.Cut(c.FullName(), " ")
	u := UsageError{Remedy: c.FullName() + " -help lists the commands"}
	switch name := c.Args().First(); {
	case !isFamily && name == "":
		u.Text = "no command given"
	case !isFamily:
		u.Text, u.Suggestion = fmt.Sprintf("unknown command %q", name), suggest.Name("", name, names)
	case name == "" || slices.Contains(names, name):
		u.Text = fmt.Sprintf("%s is followed by one of: %s", family, strings.Join(names, ", "))
	default:
		u.Text = fmt.Sprintf("unknown command %q, only: %s", family+" "+name, strings.Join(names, ", "))
		u.Suggestion = suggest.Name(family+" ", name, names)
	}
	return u
}
