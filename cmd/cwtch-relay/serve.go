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
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
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
	cfg, err := loadTolerant(ctx, f.config)
	if err != nil {
		return err
	}
	level := &slog.LevelVar{}
	level.Set(cfg.Log.Level)
	log := newLogger(cfg.Log, level, stderr)

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

	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	mc, err := cfg.managerConfig(log)
	if err != nil {
		return err
	}
	mc.Level = level
	mc.Load = func(ctx context.Context) (manager.Config, error) { return reloaded(ctx, f.config, log) }
	cfg.warn(log)
	sandbox.ReserveThreads(reservedThreads)
	m, err := manager.Start(ctx, mc)
	if err != nil {
		if errors.Is(context.Cause(ctx), errStopped) {
			return nil
		}
		return cfg.explain(err)
	}
	for _, s := range m.Servers() {
		b := s.Bundle
		if err := announce(stdout, f.json, started{Server: s.Name, Board: b.Board, TokenService: b.TokenService, Bundle: b.String()}); err != nil {
			log.Warn("can not print the bundle", "error", err)
		}
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

func announce(w io.Writer, asJSON bool, s started) error {
	if asJSON {
		return printJSON(w, s)
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

// reloaded reads the configuration of a running relay again. The faults of one
// that is not valid go to the log, whoever asked.
func reloaded(ctx context.Context, path string, log *slog.Logger) (manager.Config, error) {
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
	cfg.warn(log)
	return cfg.managerConfig(log)
}

func newLogger(cfg config.Log, level *slog.LevelVar, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if cfg.JSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (l *loaded) managerConfig(log *slog.Logger) (manager.Config, error) {
	m := manager.Config{
		Path:    l.path,
		DataDir: l.DataDir,
		Version: version,
		Limits:  relay.Limits(l.Limits),
		Logger:  log,
		Network: manager.NetworkConfig{
			Open:     func(ctx context.Context) (onion.Network, error) { return openNetwork(ctx, l.Network, log) },
			Settings: networkSettings(l.Network),
			Where:    l.Network.Range.String(),
		},
		LogLevel:  l.Log.Level,
		LogFormat: logFormat(l.Log),
		Explain:   l.explain,
	}
	for _, s := range l.Servers {
		sc := manager.ServerConfig{Name: s.Name, Dir: s.Dir}
		for use := range s.Plugins() {
			pc, err := l.pluginConfig(use)
			if err != nil {
				return m, fmt.Errorf("server %s: %w", s.Name, err)
			}
			if use.Kind == plugin.KindStorage {
				sc.Storage = pc
			} else {
				sc.Others = append(sc.Others, pc)
			}
		}
		m.Servers = append(m.Servers, sc)
	}
	return m, attach(&m)
}

func logFormat(cfg config.Log) string {
	if cfg.JSON {
		return "json"
	}
	return "text"
}

// networkSettings is different for different settings.
func networkSettings(n config.Network) string {
	if n.Loopback != nil {
		return fmt.Sprintf("loopback %+v", *n.Loopback)
	}
	return fmt.Sprintf("tor %+v", *n.Tor)
}

func openNetwork(ctx context.Context, cfg config.Network, log *slog.Logger) (onion.Network, error) {
	if cfg.Loopback != nil {
		log.Warn("the servers are on the loopback network, which hides nothing and reaches nobody", "registry", cfg.Loopback.Registry)
		return onion.Loopback(cfg.Loopback.Registry)
	}
	t := cfg.Tor
	return onion.StartTor(ctx, onion.TorConfig{
		Path:          t.Path,
		DataDir:       t.DataDir,
		Torrc:         t.Torrc,
		Control:       t.Control,
		ControlUser:   t.ControlUser,
		ControlCookie: t.ControlCookie,
		Logger:        log.With("from", "tor"),
	})
}
