package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/skeleton"
)

// nextSteps lead from the new files to a plugin that passes its tests.
var nextSteps = map[string]string{
	"go":     "go mod tidy && go test ./...",
	"python": "./build.sh",
	"node":   "npm ci --ignore-scripts && npm run build",
}

func newCommand() *cli.Command {
	return &cli.Command{
		Name: "new", ArgsUsage: "KIND NAME", Usage: "write the first files of a plugin",
		Description: "KIND is storage, stats or peersync.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "lang", Value: "go", Usage: "Write the plugin in `go|python|node`."},
			command.PathFlag("dir", "NAME", "Make the directory `DIR` and write into it."),
			&cli.StringFlag{Name: "module", DefaultText: "made of NAME", Usage: "Call the Go module `PATH`."},
			command.PathFlag("sdk", "the released one", "Use the source of this repository in `DIR` as the SDK of a plugin in Go."),
			command.JSONFlag(),
		},
		Action: command.Action(newPlugin),
	}
}

// newPlugin writes the first files of a plugin.
func newPlugin(_ context.Context, c *cli.Command, stdout, _ io.Writer) error {
	dir, module, sdk := c.String("dir"), c.String("module"), c.String("sdk")
	kind := c.Args().First()
	o := skeleton.Options{Language: c.String("lang"), Kind: plugin.Kind(kind), Name: c.Args().Get(1), Module: module, Version: command.Version}
	kinds := skeleton.Kinds(o.Language)
	switch {
	case !slices.Contains(skeleton.Languages(), o.Language):
		return command.UsageError{Text: fmt.Sprintf("there is no skeleton in %q, only in: %s; for other languages read docs/plugin-protocol.md", o.Language, command.Join(skeleton.Languages()))}
	case !slices.Contains(kinds, o.Kind):
		return command.UsageError{Text: fmt.Sprintf("there is no skeleton of a %q plugin in %s, only of: %s", kind, o.Language, command.Join(kinds))}
	case o.Language != "go" && (module != "" || sdk != ""):
		return command.UsageError{Text: "-module and -sdk are for plugins in Go"}
	}
	if sdk != "" {
		var err error
		if o.Replace, err = filepath.Abs(sdk); err != nil {
			return err
		}
	}
	if dir == "" {
		dir = o.Name
	}
	files, err := skeleton.Write(dir, o)
	if errors.As(err, new(*skeleton.NotEmptyError)) {
		return command.WithHint(err, "choose another directory with -dir DIR")
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return command.PrintJSON(stdout, map[string]any{"dir": dir, "files": files})
	}
	_, err = fmt.Fprintf(stdout, "wrote %s: %s\n\nnext:\n  %s\n  %s\nand read README.md there\n",
		dir, strings.Join(files, " "), pathname.Command("cd", dir), nextSteps[o.Language])
	return err
}
