package command

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"
)

// completions has a script for each shell. A script asks the program for the words that could
// stand at the cursor, with [completeName].
//
//go:embed completions
var completions embed.FS

// completeName is the command that the scripts run. Behind it stand the words of the command
// line so far, the last one of them unfinished.
const completeName = "__complete"

// filesWanted is the answer that has the shell complete names of files.
const filesWanted = ":files"

// CompletionCommand is the command that prints the scripts.
func CompletionCommand() *cli.Command {
	c := &cli.Command{
		Name: "completion", Usage: "print a script that completes command lines", Category: categoryOwn,
		Description: "The packages install these scripts. Without them, have your shell read one:\n\n" +
			"  bash: source <(PROGRAM completion bash)\n  zsh:  source <(PROGRAM completion zsh)\n  fish: PROGRAM completion fish | source",
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		c.Commands = append(c.Commands, &cli.Command{Name: shell, Usage: "print the script for " + shell, Action: Action(printCompletion)})
	}
	return c
}

func printCompletion(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
	script, err := completions.ReadFile("completions/" + c.Name)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, strings.ReplaceAll(string(script), "PROGRAM", c.Root().Name))
	return err
}

// completeWords prints the words that could stand in the place of the last one, each with what it
// means. It prints nothing about mistakes: nobody has finished the line yet.
func completeWords(ctx context.Context, root *cli.Command, words []string, stdout io.Writer) error {
	if len(words) == 0 {
		return nil
	}
	last := words[len(words)-1]
	c, needsValue, literal := root, cli.Flag(nil), false
	for _, word := range words[:len(words)-1] {
		sub := c.Command(word)
		switch {
		case needsValue != nil:
			needsValue.Set("", word) //nolint:errcheck // the line is not finished
			needsValue = nil
		case word == "--":
			literal = true
		case !literal && strings.HasPrefix(word, "-") && word != "-":
			needsValue = readFlag(c, word)
		case sub != nil:
			c = sub
		}
	}
	offer := func(word, about string) {
		switch {
		case !strings.HasPrefix(word, last):
		case about == "":
			fmt.Fprintln(stdout, word)
		default:
			fmt.Fprintf(stdout, "%s\t%s\n", word, about)
		}
	}
	offerOwn := func(own cli.ShellCompleteFunc) {
		var names bytes.Buffer
		c.Writer = &names
		own(ctx, c)
		for name := range strings.Lines(names.String()) {
			offer(strings.TrimSpace(name), "")
		}
	}
	switch {
	case needsValue != nil && needsValue.Names()[0] == "server" && root.ShellComplete != nil:
		offerOwn(root.ShellComplete)
	case needsValue != nil:
		if f, ok := needsValue.(*cli.StringSliceFlag); ok && f.TakesFile {
			fmt.Fprintln(stdout, filesWanted)
		} else if f, ok := needsValue.(*cli.StringFlag); ok && f.TakesFile {
			fmt.Fprintln(stdout, filesWanted)
		}
	case !literal && strings.HasPrefix(last, "-"):
		dashes := last[:min(2, len(last)-len(strings.TrimLeft(last, "-")))] // as many as were typed
		for _, f := range flagsOf(c) {
			offer(dashes+f.name, f.usage)
		}
		if c != root {
			offer(dashes+"help", "Show this help.")
		}
	case len(c.Commands) > 0:
		for _, sub := range c.Commands {
			if !sub.Hidden {
				offer(sub.Name, sub.Usage)
			}
		}
	case c.ShellComplete != nil:
		offerOwn(c.ShellComplete)
	case strings.Contains(c.ArgsUsage, "PATH") || strings.Contains(c.ArgsUsage, "FILE"):
		fmt.Fprintln(stdout, filesWanted)
	}
	return nil
}

// readFlag reads a flag in the midst of a command line. It returns it if the next word is its
// value.
func readFlag(c *cli.Command, word string) cli.Flag {
	name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
	i := slices.IndexFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	f := c.Flags[i]
	if hasValue {
		f.Set("", value) //nolint:errcheck // the line is not finished
		return nil
	}
	if doc, ok := f.(cli.DocGenerationFlag); ok && doc.TakesValue() {
		return f
	}
	return nil
}
