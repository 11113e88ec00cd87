package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
)

// authorsProgram has the commands for authors of plugins. This program has keys in its
// memory, and does not link what only they need.
const authorsProgram = "cwtch-plugin"

// executeAuthors returns the action of a command of authorsProgram: it becomes that program,
// which lies beside this one.
func executeAuthors(name string) command.Func {
	return func(_ context.Context, c *cli.Command, _, _ io.Writer) error {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own binary: %w", err)
		}
		return executeBeside(self, name, c.Args().Slice())
	}
}

// executeBeside returns only after an error.
func executeBeside(self, name string, args []string) error {
	path := filepath.Join(filepath.Dir(self), authorsProgram)
	argv := append([]string{authorsProgram, name}, args...)
	err := fmt.Errorf("execute %s: %w", path, syscall.Exec(path, argv, os.Environ()))
	if errors.Is(err, fs.ErrNotExist) {
		return command.WithHint(err, "plugin "+name+" is a command of "+authorsProgram+`, which "make build" makes: put it beside cwtch-relay, or call it where it is`)
	}
	return err
}
