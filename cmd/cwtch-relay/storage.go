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
	"path/filepath"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/core/transfer"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// storeTimeout is how long a store may take to open.
const storeTimeout = time.Minute

// copyEnd is one end of a copy.
type copyEnd struct {
	flag   string // from or to
	server config.Server
	store  *supervise.Plugin
}

func (s *copyEnd) String() string {
	return fmt.Sprintf("storage %q of server %q", s.server.Storage.Name, s.server.Name)
}

// runStorageCopy copies what one store holds into another, for an operator who changes
// the configuration afterwards.
func runStorageCopy(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags()
	name := f.String("server", "", "")
	from := f.String("from", "", "")
	to := f.String("to", "", "")
	if err := f.parseArgs(args); err != nil {
		return err
	}
	if *from == "" || *to == "" {
		return command.UsageError{Text: `say what to copy: -from 'server "NAME"' -to 'server "NAME" storage "PLUGIN" { … }'`}
	}
	programs, err := catalog.New(builtInPlugins(), pluginMode)
	if err != nil {
		return err
	}
	plugins := configPlugins(ctx, programs, true) // a fault of another server does not matter
	cfg, stores, err := config.LoadStores(f.config, plugins, *name, config.Text{Name: "-from", Source: *from}, config.Text{Name: "-to", Source: *to})
	if err != nil {
		return err
	}
	c := &copyJob{
		loadedConfig: &loadedConfig{cfg, f.config, programs},
		from:         &copyEnd{flag: "from", server: stores[0]},
		to:           &copyEnd{flag: "to", server: stores[1]},
		stderr:       stderr,
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends at once
	result, err := c.runCopy(ctx)
	if err != nil {
		return c.explainCopy(err)
	}
	if f.JSON {
		return command.PrintJSON(stdout, c.summarizeCopy(result))
	}
	return c.printReport(stdout, result)
}

// copyJob is one run of runStorageCopy.
type copyJob struct {
	*loadedConfig
	from, to *copyEnd
	stderr   io.Writer
}

func (c *copyJob) runCopy(ctx context.Context) (r transfer.Result, err error) {
	if a, b := c.from.server, c.to.server; a.Dir == b.Dir && a.Storage.Name == b.Storage.Name && bytes.Equal(a.Storage.Msgpack, b.Storage.Msgpack) {
		return r, command.UsageError{Text: "-from and -to are one store"}
	}
	release, err := manager.ClaimDataDir(c.DataDir)
	if err != nil {
		return r, command.WithHint(err, "a relay has to be stopped for the length of the copy")
	}
	defer release()
	if files, err := os.ReadDir(manager.StorageDir(c.from.server.Dir)); err != nil || len(files) == 0 {
		return r, fmt.Errorf("there is no %s: %s is missing or empty", c.from, manager.StorageDir(c.from.server.Dir))
	}
	if _, err := manager.LoadOrCreateKeys(c.DataDir, c.to.server.Dir); err != nil { // or no server could start on the copy
		return r, err
	}
	if err := c.openStores(ctx); err != nil {
		return r, errors.Join(err, c.closeStores())
	}
	r, err = transfer.Copy(ctx, transfer.Config{
		From:     c.from.store.Storage(),
		To:       c.to.store.Storage(),
		Dir:      c.to.server.Dir,
		Progress: (&progress{w: c.stderr}).showProgress,
	})
	if err == nil {
		err = c.noteCopy(ctx)
	}
	return r, errors.Join(err, c.closeStores())
}

// noteCopy lets the server use the copy without a warning at its next start.
func (c *copyJob) noteCopy(ctx context.Context) error {
	from, err := c.from.store.Storage().Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the source: %w", err)
	}
	to, err := c.to.store.Storage().Info(ctx)
	if err != nil {
		return fmt.Errorf("look at the copy: %w", err)
	}
	return manager.NoteCopy(c.to.server.Dir, from, to)
}

// openStores starts the processes of both stores, confined as in a relay.
func (c *copyJob) openStores(ctx context.Context) error {
	level := &slog.LevelVar{}
	level.Set(max(c.Log.Level, slog.LevelWarn))
	log := newLogger(c.Log, level, c.stderr)
	c.logWarnings(log)
	for _, s := range []*copyEnd{c.from, c.to} {
		pc, err := c.pluginConfig(&s.server.Storage)
		if err != nil {
			return err
		}
		pc.Dir = manager.StorageDir(s.server.Dir)
		pc.SocketDir = filepath.Join(c.DataDir, "run", s.flag)
		pc.Logger = log.With("side", s.flag)
		s.store = supervise.Start(pc.Config)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, storeTimeout, fmt.Errorf("gave up after %v", storeTimeout))
	defer cancel()
	for _, s := range []*copyEnd{c.from, c.to} {
		if err := s.store.WaitReady(ctx); err != nil {
			return &copyEndError{s, err}
		}
	}
	return nil
}

// closeStores ends both processes in an orderly way.
func (c *copyJob) closeStores() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	var errs []error
	for _, s := range []*copyEnd{c.from, c.to} {
		if s.store == nil {
			continue
		}
		if err := s.store.Stop(ctx); err != nil {
			errs = append(errs, &copyEndError{s, err})
		}
		os.RemoveAll(filepath.Join(c.DataDir, "run", s.flag))
	}
	return errors.Join(errs...)
}

// copyEndError is the error of one end.
type copyEndError struct {
	side *copyEnd
	err  error
}

func (e *copyEndError) Error() string { return fmt.Sprintf("%s: %v", e.side, e.err) }
func (e *copyEndError) Unwrap() error { return e.err }

// explainCopy adds the place of a fault, or how to go on.
func (c *copyJob) explainCopy(err error) error {
	var refused *copyEndError
	var faults plugin.Diagnostics
	switch {
	case errors.As(err, &refused) && errors.As(refused.err, &faults):
		return refused.side.server.Storage.Diagnose(faults)
	case errors.Is(err, context.Canceled), errors.Is(err, storage.ErrUnavailable), errors.Is(err, storage.ErrFull):
		return command.WithHint(err, "the same command goes on where this one stopped")
	}
	return err
}

// progress writes how far a copy is: at most once a second, and at the end of a phase.
type progress struct {
	w    io.Writer
	last time.Time
}

func (p *progress) showProgress(now transfer.Progress) {
	if now.Done < now.Total && time.Since(p.last) < time.Second {
		return
	}
	p.last = time.Now()
	what := [...]string{transfer.Envelopes: "copied %d of %d envelopes", transfer.Tokens: "copied %d of %d spent tokens", transfer.Comparison: "compared %d of %d envelopes and spent tokens"}
	fmt.Fprintf(p.w, what[now.Phase]+"\n", now.Done, now.Total)
}

// copyReport is the JSON of a finished copy.
type copyReport struct {
	From      storePlace      `json:"from"`
	To        storePlace      `json:"to"`
	Envelopes uint64          `json:"envelopes"`
	Tokens    uint64          `json:"tokens"`
	Digest    transfer.Digest `json:"digest"`
	Epoch     string          `json:"epoch"` // of the copy
	Resumed   bool            `json:"resumed"`
	InUse     bool            `json:"in_use"` // the configuration names the copy already
}

type storePlace struct {
	Server  string `json:"server"`
	Storage string `json:"storage"`
	Dir     string `json:"dir"`
}

func (s *copyEnd) place() storePlace {
	return storePlace{s.server.Name, s.server.Storage.Name, manager.StorageDir(s.server.Dir)}
}

func (c *copyJob) summarizeCopy(r transfer.Result) copyReport {
	return copyReport{
		From: c.from.place(), To: c.to.place(), Envelopes: r.Envelopes, Tokens: r.Tokens,
		Digest: r.Digest, Epoch: r.Epoch.String(), Resumed: r.Resumed, InUse: c.inUse(),
	}
}

// inUse reports whether the configuration names the copy already.
func (c *copyJob) inUse() bool {
	for _, s := range c.Servers {
		if s.Name == c.to.server.Name {
			return s.Storage.Name == c.to.server.Storage.Name && bytes.Equal(s.Storage.Msgpack, c.to.server.Storage.Msgpack)
		}
	}
	return false
}

// printReport says what was done and what the operator does next.
func (c *copyJob) printReport(w io.Writer, r transfer.Result) error {
	fmt.Fprintf(w, "copied %s and %s\n", command.CountOf(int(r.Envelopes), "envelope"), command.CountOf(int(r.Tokens), "spent token"))
	fmt.Fprintf(w, "  from    %s\n  to      %s\n  digest  %v, of both\n\nnext:\n", c.from, c.to, r.Digest)
	if c.inUse() {
		fmt.Fprintf(w, "  - server %q of %s uses the copy already: start the relay\n", c.to.server.Name, c.path)
	} else {
		fmt.Fprintf(w, "  - in %s, have server %q use storage %q as you wrote it for -to, and start the relay\n", c.path, c.to.server.Name, c.to.server.Storage.Name)
	}
	if c.from.server.Name != c.to.server.Name {
		fmt.Fprintf(w, "  - server %q keeps its own address and its own keys: those of %q are no part of a copy\n", c.to.server.Name, c.from.server.Name)
	}
	_, err := fmt.Fprintf(w, "  - keep %s, in %s, until you are content with the copy\n"+
		"  - do not go back to it once the relay has run on the copy: posts since then are not in it,\n"+
		"    and the tokens that paid for them could be spent once more\n", c.from, manager.StorageDir(c.from.server.Dir))
	return err
}
