package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

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

// newPlugin writes the first files of a plugin.
func newPlugin(_ context.Context, args []string, stdout, _ io.Writer) error {
	f := command.NewFlags()
	dir := f.Path("dir")
	module := f.String("module", "", "")
	sdk := f.Path("sdk")
	language := f.String("lang", "go", "")
	named, err := f.ParseArgs(args, "KIND", "NAME")
	if err != nil {
		return err
	}
	o := skeleton.Options{Language: *language, Kind: plugin.Kind(named[0]), Name: named[1], Module: *module, Version: command.Version}
	kinds := skeleton.Kinds(o.Language)
	switch {
	case !slices.Contains(skeleton.Languages(), o.Language):
		return command.UsageError{Text: fmt.Sprintf("there is no skeleton in %q, only in: %s; for other languages read docs/plugin-protocol.md", o.Language, command.Join(skeleton.Languages()))}
	case !slices.Contains(kinds, o.Kind):
		return command.UsageError{Text: fmt.Sprintf("there is no skeleton of a %q plugin in %s, only of: %s", named[0], o.Language, command.Join(kinds))}
	case o.Language != "go" && (*module != "" || *sdk != ""):
		return command.UsageError{Text: "-module and -sdk are for plugins in Go"}
	}
	if *sdk != "" {
		if o.Replace, err = filepath.Abs(*sdk); err != nil {
			return err
		}
	}
	if *dir == "" {
		*dir = o.Name
	}
	files, err := skeleton.Write(*dir, o)
	if errors.As(err, new(*skeleton.NotEmptyError)) {
		return command.WithHint(err, "choose another directory with -dir DIR")
	}
	if err != nil {
		return err
	}
	if f.JSON {
		return command.PrintJSON(stdout, map[string]any{"dir": *dir, "files": files})
	}
	_, err = fmt.Fprintf(stdout, "wrote %s: %s\n\nnext:\n  %s\n  %s\nand read README.md there\n",
		*dir, strings.Join(files, " "), pathname.Command("cd", *dir), nextSteps[o.Language])
	return err
}
