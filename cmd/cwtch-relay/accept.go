package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
)

// runStorageAccept lets a server that refuses its store go on with it at the next start.
func runStorageAccept(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	name := f.String("server")
	cfg, err := loadTolerant(ctx, f.config)
	if err != nil {
		return err
	}
	server, err := pickServer(cfg.Config, name, f.nextCommand)
	if err != nil {
		return err
	}
	next := f.nextCommand("reload")
	st, err := manager.AskStatus(ctx, cfg.DataDir)
	switch {
	case errors.Is(err, manager.ErrNotRunning):
		release, err := manager.ClaimDataDir(cfg.DataDir)
		if err != nil {
			return err
		}
		defer release()
		next = "start the relay"
	case err != nil:
		return err
	}
	for _, s := range st.Servers {
		if s.Name == server.Name && s.Problem == "" {
			return fmt.Errorf("server %s runs on its store: there is nothing to accept", s.Name)
		}
	}
	known, err := manager.AcceptStore(server.Dir)
	if err != nil {
		return fmt.Errorf("server %s: %w", server.Name, err)
	}
	if f.JSON {
		return command.PrintJSON(stdout, acceptReport{server.Name, known})
	}
	_, err = fmt.Fprintf(stdout, "server %s takes the store that it finds at its next start\nthe store before it had come to envelope %d\nnext: %s\n", server.Name, known.Last, next)
	return err
}

// acceptReport is the JSON of runStorageAccept.
type acceptReport struct {
	Server string `json:"server"`
	manager.LastStore
}
