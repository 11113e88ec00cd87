package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
)

func pluginCommands() *cli.Command {
	author := func(name, args, usage string) *cli.Command {
		return &cli.Command{
			Name: name, ArgsUsage: args, Usage: usage, SkipFlagParsing: true, Action: command.Action(executeAuthors(name)),
			Description: "It executes the cwtch-plugin that lies beside this program. Its flags: cwtch-plugin " + name + " -help",
		}
	}
	return &cli.Command{
		Name: "plugin", Category: categoryPlugins, Usage: "list, examine, test and begin plugins",
		Commands: []*cli.Command{
			{Name: "list", Usage: "list the plugins, and how they are", Flags: withConfig(), Action: command.Action(listPlugins)},
			{
				Name: "describe", ArgsUsage: "PATH|KIND/NAME", Usage: "say what a plugin is, and what its block may hold",
				Description: "PATH is a program, and KIND/NAME a built-in plugin.",
				Flags:       append(command.GrantFlags(), command.JSONFlag()), Action: command.Action(describePlugin),
			},
			{Name: "sum", ArgsUsage: "PATH", Usage: "print the line checksum = … for a plugin block", Flags: []cli.Flag{command.JSONFlag()}, Action: command.Action(sumPlugin)},
			author("test", "PATH|KIND/NAME [flags]", "check that a plugin keeps the protocol and its contract"),
			author("new", "KIND NAME [flags]", "write the first files of a plugin"),
		},
	}
}

// sumPlugin prints the line that an operator pastes into a plugin block.
func sumPlugin(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
	path, err := command.CheckPath(c.Args().First())
	if err != nil {
		return err
	}
	sum, err := catalog.Sum(path)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return command.PrintJSON(stdout, map[string]string{"path": path, "checksum": sum})
	}
	_, err = fmt.Fprintf(stdout, "checksum = %q\n", sum)
	return err
}
