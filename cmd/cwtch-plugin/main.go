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

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
)

func main() { command.Execute(runCommand) }

func runCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	p := program()
	return p.Report(p.Run(ctx, args, stdout, stderr), stdout, stderr)
}

// program has all commands.
func program() command.Program {
	return command.Program{
		Name:  "cwtch-plugin",
		Intro: "cwtch-plugin is for authors of plugins for cwtch-relay.",
		Commands: []command.Command{
			{Name: "new", Args: "KIND NAME [-lang go|python|node] [-dir DIR] [-module PATH] [-sdk DIR]", About: "write the first files of a plugin", Run: newPlugin},
			{Name: "test", Args: "PATH|KIND/NAME [-config BODY] [-invalid BODY] [-run REGEXP] [-claim CLAIMS] [-trace] [-shows URL|FILE [-prefix TEXT]] [GRANTS] [-json]", About: "does a plugin keep the protocol and the contract of its kind? BODY is a file with what would stand in its block, or, for -invalid, what it has to refuse; CLAIMS are what a peersync plugin promises, of converges,resumes; FILE or URL is where a stats plugin shows its numbers; KIND/NAME is one that $CWTCH_REATTACH_PLUGINS names", Run: testPlugin},
			{Name: "version", Args: "[-json]", About: "print the version", Run: command.PrintVersion("cwtch-plugin")},
		},
		Trailer: command.GrantsHelp,
	}
}
