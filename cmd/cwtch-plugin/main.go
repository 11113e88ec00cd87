// Command cwtch-plugin is for authors of plugins: it writes the first files of one, and
// tests one against the contract of its kind.
//
//	cwtch-plugin new KIND NAME      write the first files of a plugin
//	cwtch-plugin test PATH          does it keep the protocol and the contract of its kind?
//	cwtch-plugin version
//
// Facts go to standard output, with -json as JSON; errors and hints go to standard
// error. The exit status is 0, 1 after an error or a check that failed, 2 after wrong
// usage and 78 when the file of -config or -invalid is wrong.
//
// It is a program apart from cwtch-relay, which has the keys of servers and does not
// link test suites; docs/adr/0015-tools-for-authors.md has the reasons. "cwtch-relay
// plugin test" and "plugin new" execute the cwtch-plugin beside them.
package main

import (
	"context"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
)

func main() { command.Execute(runCommand) }

const programName = "cwtch-plugin"

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := command.Run(ctx, program(), args, stdout, stderr)
	return command.Report(programName, err, command.WantsJSON(args), stderr)
}

// program returns all commands, for one run.
func program() *cli.Command {
	return &cli.Command{
		Name:        programName,
		Usage:       "help authors of plugins for cwtch-relay",
		Description: "It writes the first files of a plugin, and tests one against the contract of its kind.",
		Commands: []*cli.Command{
			newCommand(), testCommand(),
			command.HelpCommand(), command.CompletionCommand(), command.VersionCommand(), command.ManualCommand(manualSections...),
		},
	}
}

// manualSections end the manual page.
var manualSections = [][2]string{
	{"EXIT STATUS", "0: all is well.\n\n1: an error, or a check that failed.\n\n2: wrong usage.\n\n78: the file of -config or -invalid is wrong."},
	{"SEE ALSO", "cwtch-relay(1)"},
}
