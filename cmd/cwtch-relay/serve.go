package main

import (
	"bytes"
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

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/core/sdnotify"
)

// Timeouts of a shutdown.
const (
	// drainTimeout bounds an orderly shutdown: the relay commits and answers the posts under
	// way, plugins close their files, tor withdraws the services.
	drainTimeout = 30 * time.Second
	// flushTimeout bounds the writing of the last lines of the log.
	flushTimeout = time.Second
)

// maxQueued bounds the bytes of an output that wait for its reader.
const maxQueued = 1 << 20

// startedServer is what the relay prints of a server once clients can reach it.
type startedServer struct {
	Server       string         `json:"server"`
	Board        identity.Onion `json:"board"`
	TokenService identity.Onion `json:"token_service"`
	Bundle       string         `json:"bundle"`
}

// daemon is the process of a running relay.
type daemon struct {
	config      string // the file
	next        commandLine
	json        bool
	person      person
	stdout, log *logwriter.Writer
	stderr      *questionedLog // under log
	service     *sdnotify.Manager
	journal     bool // the log is the journal's
	limited     *loglimit.Handler
}

// runServe runs the servers of a configuration until the first signal, and then drains. A
// second signal ends it at once. It never waits for the readers of its outputs, and goes
// on without any.
func runServe(ctx context.Context, c *cli.Command, _, _ io.Writer) error {
	var found bytes.Buffer
	f := newFlags(c, &found)
	if err := f.findConfig(&found); err != nil {
		return err
	}
	return serveConfig(ctx, f, person{}, found.String())
}

// person is somebody who has clicked and waits for something to see. Both functions may be nil.
type person struct {
	opened func(address string) // gets an address of the console when that is open
	failed func(error)          // gets why the relay does not run
}

// serveConfig runs the servers of a configuration, and tells the person who has asked for it. The
// notices are the first lines of the log.
func serveConfig(ctx context.Context, f *flags, who person, notices ...string) error {
	// Without this, a closed pipe at a standard descriptor ends the process. signal.Ignore
	// would do too, but tor would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	stderr := new(questionedLog)
	d := &daemon{
		config: f.config, next: f.nextCommand, json: f.JSON, person: who, service: sdnotify.FromEnvironment(),
		stdout: logwriter.New(os.Stdout, maxQueued), stderr: stderr, log: logwriter.New(stderr, maxQueued),
	}
	d.journal = d.service.Journal(os.Stderr)
	for _, line := range notices {
		io.WriteString(d.log, line) // a log that cannot be written is reported elsewhere
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(d.log, nil))) // until there is a configuration
	failure := d.run(ctx)
	status := report(failure, d.json, d.errorOutput())
	var closing sync.WaitGroup
	closing.Go(func() { d.stdout.Close(flushTimeout) })
	closing.Go(func() { d.log.Close(flushTimeout) })
	closing.Wait()
	if failure != nil && who.failed != nil {
		who.failed(failure)
	}
	return command.ExitStatus(status)
}

// run runs the relay.
func (d *daemon) run(ctx context.Context) error {
	d.notify(sdnotify.Status("reading the configuration"), sdnotify.Extend(startTimeout))
	cfg, err := loadTolerant(ctx, d.config)
	if err == nil {
		err = cfg.requireWork(d.next)
	}
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	level.Set(cfg.Log.Level)
	pages, err := openConsole(cfg.Console, d.config, level)
	if err != nil {
		return err
	}
	log := d.newLogger(cfg.Log, level, pages)
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
	mc.Load = func(ctx context.Context) (manager.Config, error) { return reloadConfig(ctx, d.config, log) }
	mc.Log, mc.Stdout = d.log, d.stdout
	mc.OnPublished = d.printPublished
	if pages != nil {
		defer pages.ln.Close()
		mc.OpenConsole = pages.address
		if pages.onion != nil {
			defer pages.onion.Close() //nolint:errcheck // tor ends, and the service with it
			mc.Console.Onion = pages.onion.describe
			mc.Network.Open = pages.onion.adoptNetwork(mc.Network.Open)
		}
	}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode().IsRegular() {
		mc.LogPath = "/proc/self/fd/2"
	}
	ready, watched := d.reportToServiceManager(ctx, &mc)
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
	ready() // also while the network cannot be opened
	if isAttended() {
		go unlockAtTerminal(ctx, m, d.stderr, d.next)
	}
	endConsole := func() {}
	if pages != nil {
		endConsole = pages.serve(ctx, m, cfg.DataDir, log)
		d.announceConsole(pages)
	}
	reloadOnSignal(ctx, m, hangups, log)
	endConsole()
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer done()
	if err := m.Close(drain); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// announceConsole hands an address of the console to who waits for it.
func (d *daemon) announceConsole(pages *consoleServer) {
	if d.person.opened == nil {
		return
	}
	if address, err := pages.address(true); err == nil { // it was just opened
		go d.person.opened(address)
	}
}

// printPublished prints a server that clients can reach.
func (d *daemon) printPublished(s manager.RunningServer) {
	b := s.Bundle
	printStarted(d.stdout, d.json, startedServer{Server: s.Name, Board: b.Board, TokenService: b.TokenService, Bundle: b.String()}) //nolint:errcheck // the status tells what could not be written
}

// reservedThreads are made at the start, in case the system has none to give later.
const reservedThreads = 16

var errStopped = errors.New("stopped by a signal")

func printStarted(w io.Writer, asJSON bool, s startedServer) error {
	if asJSON {
		return command.PrintJSON(w, s)
	}
	_, err := fmt.Fprintf(w, "server %s\n  board   %s.onion\n  bundle  %s\n", s.Server, s.Board, s.Bundle)
	return err
}

// reloadOnSignal reloads the configuration at every SIGHUP until ctx ends. The log has
// the results.
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

// reloadConfig reads the configuration of a running relay again. It logs the faults of an
// invalid one, whether a person or a signal asked.
func reloadConfig(ctx context.Context, path string, log *slog.Logger) (manager.Config, error) {
	cfg, err := loadTolerant(ctx, path)
	if err == nil {
		err = cfg.requireWork((&flags{config: path, given: true}).nextCommand)
	}
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
