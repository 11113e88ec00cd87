package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

func storageCommands() *cli.Command {
	one := func() cli.Flag { return serverFlag("Take the store of the server `NAME`.", "the only one") }
	return &cli.Command{
		Name: "storage", Category: categoryStorage, Usage: "check, compact and copy stores",
		Commands: []*cli.Command{
			{Name: "check", Usage: "verify a whole store, and say what is damaged and what to do", Description: "It changes nothing. The relay has to be stopped.",
				Flags: withConfig(one()), Action: command.Action(runStorageCheck)},
			{Name: "compact", Usage: "give the room of what was removed back to the disk", Description: "The running relay does it, if there is one.",
				Flags: withConfig(serverFlag("Compact the store of the server `NAME` only.", "all")), Action: command.Action(runStorageCompact)},
			{
				Name: "copy", Usage: "copy what one store holds into another",
				Description: "A STORE is 'server \"NAME\"', 'server \"NAME\" storage \"PLUGIN\" { … }' or 'storage \"PLUGIN\" { … }'. The relay has to be stopped.",
				Flags: withConfig(
					&cli.StringFlag{Name: "from", Usage: "Copy from `STORE`; required."},
					&cli.StringFlag{Name: "to", Usage: "Copy to `STORE`; required."},
					&cli.BoolFlag{Name: "salvage", Usage: "Copy what is whole of a damaged store."},
					serverFlag("Take what -from and -to leave out from the server `NAME`.", "the only one")),
				Action: command.Action(runStorageCopy),
			},
			{Name: "accept", Usage: "let a server go on with another store than its last", Description: "It is for a server that refuses its store, as not the one it ran on last.",
				Flags: withConfig(serverFlag("Accept the store of the server `NAME`.", "the only one")), Action: command.Action(runStorageAccept)},
		},
	}
}

// storeTimeout is how long a store may take to open, unless it takes over a file of an
// earlier release.
const storeTimeout = time.Minute

// openedStore is a store that a command opens while no relay runs.
type openedStore struct {
	role    string // from or to in a copy, else what the command does
	server  config.Server
	inspect bool
	store   *supervise.Plugin // nil until it is opened
}

func (s *openedStore) String() string {
	return fmt.Sprintf("storage %q of server %q", s.server.Storage.Name, s.server.Name)
}

// dir is the directory of the plugin.
func (s *openedStore) dir() string { return manager.StorageDir(s.server.Dir) }

// checkPresent refuses a store without files, which opening would make.
func (s *openedStore) checkPresent() error {
	files, err := os.ReadDir(s.dir())
	if err == nil && len(files) > 0 {
		return nil
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("look for the %s: %w: run this as the user of the relay", s, err)
	}
	return fmt.Errorf("there is no %s: %s is missing or empty", s, s.dir())
}

// claimDataDir keeps a relay from starting until release is called.
func (l *loadedConfig) claimDataDir(work string) (release func(), err error) {
	release, err = manager.ClaimDataDir(l.DataDir)
	if err != nil {
		return nil, command.WithHint(err, "a relay has to be stopped for the length of the "+work)
	}
	return release, nil
}

// canInspect reports whether the plugin of a store can open it for inspection.
func (l *loadedConfig) canInspect(ctx context.Context, s *openedStore) (bool, error) {
	program, err := l.catalog.Lookup(plugin.KindStorage, s.server.Storage.Name)
	if err != nil {
		return false, err
	}
	description, err := program.Describe(ctx)
	return slices.Contains(description.Capabilities, plugin.Check), err
}

// newStoreLogger returns the log of a command that opens stores, and warns in it of what a
// relay warns of.
func (l *loadedConfig) newStoreLogger(stderr io.Writer) *slog.Logger {
	level := &slog.LevelVar{}
	level.Set(max(l.Log.Level, slog.LevelWarn))
	log := newLogger(l.Log, level, stderr)
	l.logWarnings(log)
	return log
}

// openStore starts the process of a store, confined as in a relay, and waits until it is open.
func (l *loadedConfig) openStore(ctx context.Context, s *openedStore, log *slog.Logger) error {
	pc, err := l.pluginConfig(&s.server.Storage)
	if err != nil {
		return err
	}
	pc.Dir, pc.Inspect = s.dir(), s.inspect
	if !s.inspect { // which writes nothing below data_dir, so the sockets are elsewhere, too
		pc.SocketDir = filepath.Join(l.DataDir, "run", s.role)
	}
	pc.Logger = log.With("side", s.role)
	s.store = supervise.Start(pc.Config)
	if err := s.store.WaitOpened(ctx, storeTimeout, nil); err != nil {
		return &storeError{s, err}
	}
	return nil
}

// closeStores ends the processes of stores in an orderly way.
func (l *loadedConfig) closeStores(stores ...*openedStore) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var errs []error
	for _, s := range stores {
		if s.store == nil {
			continue
		}
		if err := s.store.Stop(ctx); err != nil {
			errs = append(errs, &storeError{s, err})
		}
		if !s.inspect {
			os.RemoveAll(filepath.Join(l.DataDir, "run", s.role))
		}
	}
	return errors.Join(errs...)
}

// storeError is the error of one store.
type storeError struct {
	store *openedStore
	err   error
}

func (e *storeError) Error() string { return fmt.Sprintf("%s: %v", e.store, e.err) }
func (e *storeError) Unwrap() error { return e.err }

// locateFaults returns the error of a plugin that refused its configuration, with the place
// in the file.
func locateFaults(err error) (located error, ok bool) {
	var refused *storeError
	var faults plugin.Diagnostics
	if errors.As(err, &refused) && errors.As(refused.err, &faults) {
		return refused.store.server.Storage.Diagnose(faults), true
	}
	return nil, false
}

// endOnSignal returns a context that SIGTERM or ^C ends. A second signal ends the program at
// once.
func endOnSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// progress writes how far a work is: at most once a second, and at the end of a phase.
type progress struct {
	w    io.Writer
	last time.Time
}

func (p *progress) showProgress(format string, done, total uint64) {
	if done != total && time.Since(p.last) < time.Second {
		return
	}
	p.last = time.Now()
	fmt.Fprintf(p.w, format+"\n", done, total)
}
