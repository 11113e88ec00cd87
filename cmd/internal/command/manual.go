package command

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
)

// ManualCommand is the command that prints the manual page of a program, for those who make
// packages. The sections are those of the page below the list of commands: a heading, and
// text of paragraphs.
func ManualCommand(sections ...[2]string) *cli.Command {
	return &cli.Command{
		Name: "manual", Hidden: true, Usage: "print the manual page, in the language of man",
		Action: Action(func(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
			return writeManual(stdout, c.Root(), sections)
		}),
	}
}

// writeManual writes the manual page of a program in section 1. It has no date, so that it
// depends on the program alone.
func writeManual(w io.Writer, root *cli.Command, sections [][2]string) error {
	m := &manualPage{}
	m.printMacro(".TH", strings.ToUpper(root.Name), "1", "", root.Name+" "+Version, "User Commands")
	m.printMacro(".SH", "NAME")
	m.printText(root.Name + " - " + root.Usage)
	m.printMacro(".SH", "SYNOPSIS")
	for i, line := range synopses(root) {
		if i > 0 {
			m.printMacro(".br")
		}
		m.printText(line)
	}
	m.printMacro(".SH", "DESCRIPTION")
	m.printParagraphs(root.Description)
	if len(root.Flags) > 1 {
		m.printFlags(flagsOf(root))
	}
	m.printMacro(".SH", "COMMANDS")
	for _, g := range groupCommands(root) {
		m.printMacro(".SS", g.name)
		for _, c := range g.commands {
			m.printCommand(c)
		}
	}
	for _, s := range sections {
		m.printMacro(".SH", s[0])
		m.printParagraphs(s[1])
	}
	_, err := io.WriteString(w, m.b.String())
	return err
}

// manualPage is a page in the macros of man(7).
type manualPage struct{ b strings.Builder }

var roffText = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, `"`, `\(dq`, "`", "", "…", "...")

// printMacro prints a request with its arguments.
func (m *manualPage) printMacro(name string, args ...string) {
	m.b.WriteString(name)
	for _, arg := range args {
		fmt.Fprintf(&m.b, ` "%s"`, roffText.Replace(arg))
	}
	m.b.WriteByte('\n')
}

// printText prints a line of text, which no sign at its beginning makes a request.
func (m *manualPage) printText(text string) {
	text = roffText.Replace(text)
	if strings.HasPrefix(text, ".") {
		text = `\&` + text
	}
	m.b.WriteString(text + "\n")
}

// printParagraphs prints text with empty lines between paragraphs. Lines that begin with a space
// are examples, which stay as they are.
func (m *manualPage) printParagraphs(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			m.printMacro(".PP")
		}
		example := strings.HasPrefix(paragraph, " ")
		if example {
			m.printMacro(".nf")
		}
		for line := range strings.SplitSeq(paragraph, "\n") {
			m.printText(line)
		}
		if example {
			m.printMacro(".fi")
		}
	}
}

func (m *manualPage) printCommand(c *cli.Command) {
	m.printMacro(".TP")
	m.printMacro(".B", nameBelow(c.Root(), c)+" "+c.ArgsUsage)
	m.printText(toSentence(c.Usage))
	if c.Description != "" {
		m.printText(strings.ReplaceAll(c.Description, "\n", " "))
	}
	flags := flagsOf(c)
	if len(flags) > 1 {
		m.printMacro(".RS")
		m.printFlags(flags)
		m.printMacro(".RE")
	}
}

// printFlags prints all flags but -help, which every command has.
func (m *manualPage) printFlags(flags []flagText) {
	for _, f := range flags {
		if f.name == "help" {
			continue
		}
		m.printMacro(".TP")
		m.printMacro(".B", f.synopsis())
		m.printText(f.describe())
	}
}
