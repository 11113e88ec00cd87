package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
)

// drainTimeout bounds an orderly end: posts under way are committed and answered,
// plugins close their files, tor withdraws the services.
const drainTimeout = 30 * time.Second

// started is what serve prints of a server once clients can reach it.
type started struct {
	Server       string         `json:"server"`
	Board        identity.Onion `json:"board"`
	TokenService identity.Onion `json:"token_service"`
	Bundle       string         `json:"bundle"`
}

// serve runs the servers of a configuration until the first signal, drains, and
// ends at once at the second.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := newFlags(true)
	if err := f.parse(args); err != nil {
		return err
	}
	cfg, err := load(ctx, f.config)
	if err != nil {
		return err
	}
	log := newLogger(cfg.Log, stderr)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() {
		s := <-signals
		log.Info("draining; a second signal ends at once", "signal", s)
		cancel(errStopped)
		<-signals
		os.Exit(1)
	}()

	mc, err := managerConfig(cfg, log)
	if err != nil {
		return err
	}
	m, err := manager.Start(ctx, mc)
	if err != nil {
		if errors.Is(context.Cause(ctx), errStopped) {
			return nil
		}
		return explain(cfg, err)
	}
	for _, s := range m.Servers() {
		b := s.Bundle
		if err := announce(stdout, f.json, started{Server: s.Name, Board: b.Board, TokenService: b.TokenService, Bundle: b.String()}); err != nil {
			log.Warn("can not print the bundle", "error", err)
		}
	}
	<-ctx.Done()
	drain, done := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer done()
	if err := m.Close(drain); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

var errStopped = errors.New("stopped by a signal")

func announce(w io.Writer, asJSON bool, s started) error {
	if asJSON {
		return printJSON(w, s)
	}
	_, err := fmt.Fprintf(w, "server %s\n  board   %s.onion\n  bundle  %s\n", s.Server, s.Board, s.Bundle)
	return err
}

func newLogger(cfg config.Log, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.JSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func managerConfig(cfg *config.Config, log *slog.Logger) (manager.Config, error) {
	m := manager.Config{
		DataDir: cfg.DataDir,
		Version: version,
		Limits:  relay.Limits(cfg.Limits),
		Logger:  log,
		Network: func(ctx context.Context) (onion.Network, error) { return openNetwork(ctx, cfg.Network, log) },
	}
	for _, s := range cfg.Servers {
		sc, err := serverConfig(s, log)
		if err != nil {
			return m, err
		}
		m.Servers = append(m.Servers, sc)
	}
	return m, nil
}

func openNetwork(ctx context.Context, cfg config.Network, log *slog.Logger) (onion.Network, error) {
	if cfg.Loopback != nil {
		log.Warn("the servers are on the loopback network, which hides nothing and reaches nobody", "registry", cfg.Loopback.Registry)
		return onion.Loopback(cfg.Loopback.Registry)
	}
	t := cfg.Tor
	return onion.StartTor(ctx, onion.TorConfig{
		Path:    t.Path,
		DataDir: t.DataDir,
		Torrc:   t.Torrc,
		Control: t.Control,
		Logger:  log.With("from", "tor"),
	})
}
