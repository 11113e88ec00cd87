package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/core/sdnotify"
)

// Times of an end.
const (
	// drainTimeout bounds an orderly end: posts under way are committed and answered,
	// plugins close their files, tor withdraws the services.
	drainTimeout = 30 * time.Second
	// flushTimeout is for the last lines of the log.
	flushTimeout = time.Second
)

// maxQueued bounds the bytes that wait for the reader of an output.
const maxQueued = 1 << 20

// started is what serve prints of a server once clients can reach it.
type started struct {
	Server       string         `json:"server"`
	Board        identity.Onion `json:"board"`
	TokenService identity.Onion `json:"token_service"`
	Bundle       string         `json:"bundle"`
}

// daemon is what a running relay has of its process.
type daemon struct {
	config      string // the file
	json        bool
	stdout, log *logwriter.Writer
	service     *sdnotify.Manager
	journal     bool // the log is the journal's
	limited     *loglimit.Handler
}

// runServe runs the servers of a configuration until the first signal, drains, and
// ends at once at the second. Neither waits for who reads its outputs: they are
// written without the relay waiting for that, and it goes on when nobody does.
func runServe(ctx context.Context, args []string, _, _ io.Writer) error {
	f := newFlags()
	if err := f.parseArgs(args); err != nil {
		return err
	}
	// Without this, a closed pipe at a standard descriptor ends the process. Ignored
	// signals would be inherited by tor.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	d := &daemon{
		config: f.config, json: f.JSON, service: sdnotify.FromEnvironment(),
		stdout: logwriter.New(os.Stdout, maxQueued), log: logwriter.New(os.Stderr, maxQueued),
	}
	d.journal = d.service.Journal(os.Stderr)
	slog.SetDefault(slog.New(slog.NewTextHandler(d.log, nil))) // until there is a configuration
	status := report(d.run(ctx), d.stdout, d.reports())
	var closing sync.WaitGroup
	closing.Go(func() { d.stdout.Close(flushTimeout) })
	closing.Go(func() { d.log.Close(flushTimeout) })
	closing.Wait()
	return command.ExitStatus(status)
}

// run runs the relay.
func (d *daemon) run(ctx context.Context) error {
	d.notify(sdnotify.Status("reading the configuration"), sdnotify.Extend(startTimeout))
	cfg, err := loadTolerant(ctx, d.config)
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	level.Set(cfg.Log.Level)
	log := d.newLogger(cfg.Log, level)
	defer d.limited.Flush()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		s := <-signals
		cancel(errStopped)
		log.Info("draining; a second signal ends at once", "signal", s)
		go d.notify("STOPPING=1", sdnotify.Status("draining"), sdnotify.Extend(stopTimeout))
		<-signals
		os.Exit(command.ExitError)
	}()

	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	mc, err := cfg.managerConfig(log)
	if err != nil {
		return err
	}
	mc.Level = level
	mc.Load = func(ctx context.Context) (manager.Config, error) { return loadAgain(ctx, d.config, log) }
	mc.Log, mc.Stdout = d.log, d.stdout
	watched := d.watch(ctx, &mc)
	defer watched()
	cfg.logWarnings(log)
	sandbox.ReserveThreads(reservedThreads)
	m, err := manager.Start(ctx, mc)
	if err != nil {
		if errors.Is(context.Cause(ctx), errStopped) {
			return nil
		}
		return cfg.explainError(err)
	}
	for _, s := range m.Servers() {
		b := s.Bundle
		printStarted(d.stdout, d.json, started{Server: s.Name, Board: b.Board, TokenService: b.TokenService, Bundle: b.String()}) //nolint:errcheck // the status tells what could not be written
	}
	reloadOnSignal(ctx, m, hangups, log)
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer done()
	if err := m.Close(drain); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// reservedThreads are made at the start, for when the system has none to give.
const reservedThreads = 16

var errStopped = errors.New("stopped by a signal")

func printStarted(w io.Writer, asJSON bool, s started) error {
	if asJSON {
		return command.PrintJSON(w, s)
	}
	_, err := fmt.Fprintf(w, "server %s\n  board   %s.onion\n  bundle  %s\n", s.Server, s.Board, s.Bundle)
	return err
}

// reloadOnSignal reloads the configuration with every SIGHUP until ctx ends. What
// comes of it is in the log.
func reloadOnSignal(ctx context.Context, m *manager.Manager, hangups <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-hangups:
			m.Reload(ctx, false) //nolint:errcheck // is in the log
		case <-ctx.Done():
			return
		}
	}
}

// loadAgain reads the configuration of a running relay again. The faults of one
// that is not valid go to the log, whoever asked.
func loadAgain(ctx context.Context, path string, log *slog.Logger) (manager.Config, error) {
	cfg, err := loadTolerant(ctx, path)
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		for _, d := range wrong.Diagnostics {
			log.Error("error in the configuration", "at", d.Range.String(), "error", d.Summary, "hint", d.Hint)
		}
	} else if err != nil {
		log.Error("error in the configuration", "error", err)
	}
	if err != nil {
		return manager.Config{}, err
	}
	cfg.logWarnings(log)
	return cfg.managerConfig(log)
}
