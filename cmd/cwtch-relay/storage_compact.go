package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/retention"
)

// runStorageCompact gives the room of what was removed back to the disk, for one server or
// for all: the running relay does it, or the command itself if none runs.
func runStorageCompact(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	f, err := readFlags(c, stderr)
	if err != nil {
		return err
	}
	name := f.String("server")
	dataDir, err := config.DataDir(f.config)
	if err != nil {
		return err
	}
	ctx, stop := endOnSignal(ctx)
	defer stop()
	done, err := askCompact(ctx, dataDir, name, stderr)
	if errors.Is(err, manager.ErrNotRunning) {
		done, err = compactStopped(ctx, f, name, stderr)
	}
	if err != nil {
		return err
	}
	if f.JSON {
		err = command.PrintJSON(stdout, done)
	} else {
		printCompacted(stdout, done)
	}
	failed := 0
	for _, s := range done {
		if s.Error != "" {
			fmt.Fprintf(stderr, "error: server %s: %s\n", s.Server, s.Error)
			failed++
		}
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %s not compacted", failed, command.CountOf(len(done), "store"))
	}
	return err
}

func printCompacted(w io.Writer, done []manager.CompactedStore) {
	for _, s := range done {
		if s.Error == "" {
			fmt.Fprintf(w, "compacted the store of server %s: %s before, %s now, %s written\n", s.Server, formatSize(s.Before), formatSize(s.After), formatSize(s.Moved))
		}
	}
}

// askCompact has the running relay compact stores, and shows how far it is.
func askCompact(ctx context.Context, dataDir, name string, stderr io.Writer) (done []manager.CompactedStore, err error) {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		done, err = manager.AskCompact(ctx, dataDir, name)
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-answered:
			return done, err
		case <-tick.C:
		}
		st, err := manager.AskStatus(ctx, dataDir)
		if err != nil {
			continue // the answer will say why
		}
		for _, s := range st.Servers {
			if s.Retention != nil && s.Retention.Compaction.Running {
				fmt.Fprintf(stderr, "server %s: %s written\n", s.Name, formatSize(s.Retention.Compaction.Moved))
			}
		}
	}
}

// compactStopped compacts stores that no relay uses.
func compactStopped(ctx context.Context, f *flags, name string, stderr io.Writer) ([]manager.CompactedStore, error) {
	cfg, err := loadTolerant(ctx, f.config)
	if err != nil {
		return nil, err
	}
	servers := cfg.Servers
	if name != "" {
		server, err := pickServer(cfg.Config, name, f.nextCommand)
		if err != nil {
			return nil, err
		}
		servers = []config.Server{server}
	}
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, os.ErrNotExist) { // claiming would make it
		return nil, fmt.Errorf("no server of %s has a store: there is no %s", f.config, cfg.DataDir)
	}
	release, err := cfg.claimDataDir("compaction, or asked for it again once it has started")
	if err != nil {
		return nil, err
	}
	defer release()
	log := cfg.newStoreLogger(stderr)
	var done []manager.CompactedStore
	for _, server := range servers {
		c := manager.CompactedStore{Server: server.Name}
		s := &openedStore{role: "compact", server: server}
		if c.Compaction, err = cfg.compactStore(ctx, s, log, stderr); err != nil {
			if located, ok := locateFaults(err); ok {
				err = located
			}
			c.Error = err.Error()
		}
		done = append(done, c)
		if ctx.Err() != nil {
			break
		}
	}
	return done, nil
}

// compactStore compacts one store that no relay uses.
func (l *loadedConfig) compactStore(ctx context.Context, s *openedStore, log *slog.Logger, stderr io.Writer) (c retention.Compaction, err error) {
	if s.server.Storage.Fault != nil {
		return c, s.server.Storage.Fault
	}
	if err := s.checkPresent(); err != nil {
		return c, err
	}
	disk, err := retention.ReadDisk(s.dir())
	if err != nil {
		return c, err
	}
	if err := l.openStore(ctx, s, log); err != nil {
		return c, errors.Join(err, l.closeStores(s))
	}
	last := time.Now()
	c, err = retention.CompactStore(ctx, s.store.Storage(), s.server.Retention, disk, func(written uint64) {
		if time.Since(last) >= time.Second {
			last = time.Now()
			fmt.Fprintf(stderr, "server %s: %s written\n", s.server.Name, formatSize(written))
		}
	})
	return c, errors.Join(err, l.closeStores(s))
}
