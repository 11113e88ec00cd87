package main

import (
	"context"
	"fmt"
	"io"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
)

// sumPlugin prints the line that an operator pastes into a plugin block.
func sumPlugin(_ context.Context, args []string, stdout, _ io.Writer) error {
	f := command.NewFlags()
	named, err := f.ParseArgs(args, "PATH")
	if err != nil {
		return err
	}
	path, err := command.CheckPath(named[0])
	if err != nil {
		return err
	}
	sum, err := catalog.Sum(path)
	if err != nil {
		return err
	}
	if f.JSON {
		return command.PrintJSON(stdout, map[string]string{"path": path, "checksum": sum})
	}
	_, err = fmt.Fprintf(stdout, "checksum = %q\n", sum)
	return err
}
