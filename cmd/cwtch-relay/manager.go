package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/exchange"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// managerConfig returns what to run for the configuration.
func (l *loadedConfig) managerConfig(log *slog.Logger) (manager.Config, error) {
	m := manager.Config{
		Path:    l.path,
		DataDir: l.DataDir,
		Version: command.Version,
		Limits:  l.Limits,
		Logger:  log,
		Network: manager.NetworkConfig{
			Open:     func(ctx context.Context) (onion.Network, error) { return openNetwork(ctx, l.Network, log) },
			Settings: networkSettings(l.Network),
			Dir:      torDir(l.Network),
			Where:    l.Network.Range.String(),
		},
		LogLevel:    l.Log.Level,
		LogFormat:   logFormat(l.Log),
		Explain:     l.explainError,
		Files:       serverFiles(l.path),
		KeepRunning: l.Console != nil,
	}
	if c := l.Console; c != nil {
		m.Console.Settings, m.Console.Where = fmt.Sprintf("%q %v %q", c.Listen, c.Onion, c.OnionClients), c.Range.String()
	}
	for _, s := range l.Servers {
		sc := manager.ServerConfig{
			Name: s.Name, Dir: s.Dir, File: s.File, Description: s.Description, NoAutostart: !s.Autostart,
			Passphrase: []byte(s.Passphrase), Fault: s.Fault, Retention: s.Retention, Roaming: s.Roaming,
			Peers: peerConfigs(s.Peers),
		}
		if s.Fault != nil {
			sc.Storage = faultyStorage(s)
			m.Servers = append(m.Servers, sc)
			continue
		}
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
	return m, attachDebugged(&m)
}

// faultyStorage stands for the plugins of a server whose file cannot be used.
func faultyStorage(s config.Server) manager.PluginConfig {
	return manager.PluginConfig{
		Config:   supervise.Config{Kind: plugin.KindStorage, Name: s.Storage.Name},
		Instance: s.Storage.Instance, Where: s.Range.String(), Fault: s.Fault,
	}
}

// pluginConfig returns what to run for the use of a plugin.
func (l *loadedConfig) pluginConfig(use *config.PluginUse) (manager.PluginConfig, error) {
	p, err := l.catalog.Lookup(use.Kind, use.Name)
	if err != nil {
		return manager.PluginConfig{}, err
	}
	c := manager.PluginConfig{
		Config:      supervise.Config{Kind: p.Kind, Name: p.Name, Sandbox: p.Sandbox},
		Instance:    use.Instance,
		Fingerprint: p.Fingerprint(),
		Where:       use.Range.String(),
		Fault:       use.Fault,
	}
	if use.Fault != nil {
		return c, nil
	}
	c.Command, c.Checksum = p.Command, p.Checksum
	c.Schema, c.Value = use.Schema, use.Msgpack
	c.Listen, c.ListenAnywhere = use.Listen, p.ListenAnywhere
	// Strangers may be why it ends, and no operator may be at hand.
	c.RetryForever = p.Kind == plugin.KindStorage && p.IsBuiltIn()
	return c, nil
}

func peerConfigs(peers []config.Peer) (list []manager.PeerConfig) {
	for _, p := range peers {
		list = append(list, peerConfig(p))
	}
	return list
}

func peerConfig(p config.Peer) manager.PeerConfig {
	return manager.PeerConfig{Where: p.Range.String(), Peer: replica.Peer{
		Name: p.Name, Onion: identity.Onion(p.Onion), Gives: !p.Mirror, Paused: p.Paused,
		Quota: exchange.Quota{EnvelopesPerHour: p.EnvelopesPerHour, BytesPerDay: p.BytesPerDay},
	}}
}

// attachDebugged connects plugins to processes that somebody started by hand. Such a
// process can serve one use.
func attachDebugged(cfg *manager.Config) error {
	attached, err := pluginproc.Attachments(os.Getenv(pluginproc.EnvReattach))
	if err != nil {
		return err
	}
	used := make(map[string]bool)
	one := func(use *manager.PluginConfig) error {
		name := string(use.Kind) + "/" + use.Name
		to, ok := attached[name]
		switch {
		case !ok:
			return nil
		case used[name]:
			return command.WithHint(fmt.Errorf("%s: %s is attached and used more than once", use.Where, name), "use it in one block while it is attached")
		}
		used[name], use.Attach = true, &to
		return nil
	}
	var errs []error
	for i := range cfg.Servers {
		s := &cfg.Servers[i]
		errs = append(errs, one(&s.Storage))
		for j := range s.Others {
			errs = append(errs, one(&s.Others[j]))
		}
	}
	return errors.Join(errs...)
}

func logFormat(cfg config.Log) string {
	if cfg.JSON {
		return "json"
	}
	return "text"
}

// networkSettings is a text that differs when the settings differ.
func networkSettings(n config.Network) string {
	if n.Loopback != nil {
		return fmt.Sprintf("loopback %+v", *n.Loopback)
	}
	return fmt.Sprintf("tor %+v", *n.Tor)
}

// torDir is where the tor that the relay starts keeps its files; empty if it starts none.
func torDir(n config.Network) string {
	if n.Tor == nil || n.Tor.Control != "" {
		return ""
	}
	return n.Tor.DataDir
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
