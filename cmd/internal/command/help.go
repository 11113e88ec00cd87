package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v3"
)

// categoryOwn is the category of commands about the program itself.
const categoryOwn = "This program"

// lineWidth is the width of help, in characters.
const lineWidth = 80

// HelpCommand is the command that explains the others.
func HelpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", ArgsUsage: "[COMMAND…]", Usage: "explain a command", Category: categoryOwn,
		Action: Action(func(ctx context.Context, c *cli.Command, stdout, _ io.Writer) error {
			about := c.Root()
			for _, name := range c.Args().Slice() {
				sub := about.Command(name)
				if sub == nil {
					return UsageError{Text: fmt.Sprintf("there is no command %q", strings.Join(c.Args().Slice(), " ")), Remedy: about.FullName() + " -help lists the commands"}
				}
				about = sub
			}
			return writeHelp(stdout, about)
		}),
	}
}

// writeHelp explains one command.
func writeHelp(w io.Writer, c *cli.Command) error {
	var b strings.Builder
	for i, line := range synopses(c) {
		fmt.Fprintf(&b, "%s %s\n", []string{"Usage:", "   or:"}[min(i, 1)], line)
	}
	fmt.Fprintf(&b, "\n%s\n", wrapText(toSentence(c.Usage), ""))
	if c.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", wrapText(c.Description, ""))
	}
	if len(c.Commands) > 0 {
		writeCommands(&b, c)
	}
	if flags := flagsOf(c); len(flags) > 0 {
		fmt.Fprint(&b, "\nFlags:\n")
		for _, f := range flags {
			fmt.Fprintf(&b, "  %s\n%s\n", f.synopsis(), wrapText(f.describe(), "        "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeCommands lists all commands below c, one a line.
func writeCommands(b *strings.Builder, c *cli.Command) {
	width := 0
	for _, g := range groupCommands(c) {
		for _, sub := range g.commands {
			width = max(width, len(nameBelow(c, sub)))
		}
	}
	for _, g := range groupCommands(c) {
		fmt.Fprintf(b, "\n%s:\n", cmp.Or(g.name, "Commands"))
		for _, sub := range g.commands {
			fmt.Fprintf(b, "  %-*s  %s\n", width, nameBelow(c, sub), sub.Usage)
		}
	}
	fmt.Fprintf(b, "\n%s COMMAND -help explains one command.\n", c.FullName())
}

// commandGroup is a category of commands that do something.
type commandGroup struct {
	name     string
	commands []*cli.Command
}

// groupCommands returns the commands below c that do something, in the order of the tree.
func groupCommands(c *cli.Command) (groups []commandGroup) {
	for _, sub := range c.Commands {
		if sub.Hidden {
			continue
		}
		i := slices.IndexFunc(groups, func(g commandGroup) bool { return g.name == sub.Category })
		if i < 0 {
			i, groups = len(groups), append(groups, commandGroup{name: sub.Category})
		}
		groups[i].commands = append(groups[i].commands, leavesOf(sub)...)
	}
	return groups
}

// leavesOf returns the commands at and below c that do something.
func leavesOf(c *cli.Command) (leaves []*cli.Command) {
	if len(c.Commands) == 0 || len(c.Flags) > 0 { // a family alone has no flags
		leaves = append(leaves, c)
	}
	for _, sub := range c.Commands {
		if !sub.Hidden {
			leaves = append(leaves, leavesOf(sub)...)
		}
	}
	return leaves
}

// nameBelow is the name of a command without that of the command above it that is known.
func nameBelow(above, c *cli.Command) string {
	return strings.TrimPrefix(c.FullName(), above.FullName()+" ")
}

// synopses are the forms of the command line of a command.
func synopses(c *cli.Command) (lines []string) {
	if len(c.Commands) == 0 {
		parts := []string{c.FullName()}
		if c.ArgsUsage != "" {
			parts = append(parts, c.ArgsUsage)
		}
		if len(flagsOf(c)) > 1 && !c.SkipFlagParsing { // more than -help
			parts = append(parts, "[flags]")
		}
		return []string{strings.Join(parts, " ")}
	}
	if flags := len(c.Flags); flags > 1 || flags == 1 && c != c.Root() { // it does something by itself
		lines = append(lines, c.FullName()+" [flags]")
	}
	return append(lines, c.FullName()+" COMMAND [flags]")
}

// flagText describes a flag of a command.
type flagText struct {
	cli.DocGenerationFlag
	name, value, usage string // value is empty for a switch
}

var placeholder = regexp.MustCompile("`([^`]+)`")

// flagsOf returns the flags of a command in the order of the alphabet, and -help.
func flagsOf(c *cli.Command) (flags []flagText) {
	if c.SkipFlagParsing {
		return nil
	}
	all := slices.Clone(c.Flags)
	if root := c.Root(); c != root {
		all = append(all, helpFlagOf(root)...)
	}
	for _, f := range all {
		doc, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		t := flagText{DocGenerationFlag: doc, name: f.Names()[0], usage: strings.ReplaceAll(doc.GetUsage(), "`", "")}
		if doc.TakesValue() {
			t.value = "VALUE"
			if m := placeholder.FindStringSubmatch(doc.GetUsage()); m != nil {
				t.value = m[1]
			}
		}
		flags = append(flags, t)
	}
	slices.SortFunc(flags, func(a, b flagText) int { return cmp.Compare(a.name, b.name) })
	return flags
}

// helpFlagOf returns the flag of a root that all commands have.
func helpFlagOf(root *cli.Command) []cli.Flag {
	i := slices.IndexFunc(root.Flags, func(f cli.Flag) bool { return f.Names()[0] == "help" })
	if i < 0 {
		return nil
	}
	return root.Flags[i : i+1]
}

// synopsis is the flag as it is typed.
func (f flagText) synopsis() string {
	if f.value == "" {
		return "-" + f.name
	}
	return "-" + f.name + " " + f.value
}

// describe says what the flag does, its type and its default.
func (f flagText) describe() string {
	kind := f.typeName()
	if text := f.defaultText(); text != "" {
		kind += "; default: " + text
	}
	return fmt.Sprintf("%s (%s)", f.usage, kind)
}

func (f flagText) typeName() string {
	switch t := f.DocGenerationFlag.(type) {
	case *cli.BoolFlag:
		return "true or false"
	case *cli.StringSliceFlag:
		return "path, any number of times"
	case *cli.StringFlag:
		if t.TakesFile {
			return "path"
		}
		return "text"
	}
	return "whole number"
}

func (f flagText) defaultText() string {
	if text := f.GetDefaultText(); text != "" {
		return text
	}
	switch t := f.DocGenerationFlag.(type) {
	case *cli.BoolFlag:
		return fmt.Sprint(t.Value)
	case *cli.StringFlag:
		return t.Value
	}
	return ""
}

// toSentence is the short description of a command as a sentence.
func toSentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:] + "."
}

// wrapText breaks paragraphs into lines, with an indent in front of each. Lines that begin with
// a space stay as they are.
func wrapText(text, indent string) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(text, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		if strings.HasPrefix(paragraph, " ") {
			b.WriteString(indent + paragraph)
			continue
		}
		at := 0
		for _, word := range strings.Fields(paragraph) {
			length := utf8.RuneCountInString(word)
			switch {
			case at == 0:
				b.WriteString(indent)
				at = len(indent)
			case at+1+length > lineWidth:
				b.WriteString("\n" + indent)
				at = len(indent)
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += length
		}
	}
	return b.String()
}
