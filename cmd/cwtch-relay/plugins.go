package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// builtins are the plugins that come with the relay.
func builtins() []plugin.Plugin {
	return []plugin.Plugin{bolt.Plugin()}
}

func descriptions() (out []plugin.Description) {
	for _, p := range builtins() {
		out = append(out, p.Describe())
	}
	return out
}

// pluginMode is the command by which the relay's binary becomes a built-in
// plugin. People do not need it, so the help does not list it.
const pluginMode = "plugin-serve"

func servePlugin(args []string) error {
	if len(args) < 2 {
		return usageError{pluginMode + " takes a kind and a name"}
	}
	for _, p := range builtins() {
		if d := p.Describe(); string(d.Kind) == args[0] && d.Name == args[1] {
			plugin.Serve(p)
			return nil
		}
	}
	return usageError{fmt.Sprintf("no built-in %s plugin %q", args[0], args[1])}
}

// load reads a configuration; the schemas of external plugins come from the
// plugins, and what tor may be told is for the room of tor to say.
func load(ctx context.Context, path string) (*config.Config, error) {
	cfg, err := config.Load(path, config.Plugins{
		BuiltIn: descriptions(),
		Describe: func(x config.External) (plugin.Schema, error) {
			entry, err := lookup(x.Kind, x.Name, &x)
			if err != nil {
				return plugin.Schema{}, err
			}
			d, err := entry.Describe(ctx)
			return d.Schema, err
		},
		Validate: validateBuiltin,
	})
	if err != nil {
		return nil, err
	}
	if t := cfg.Network.Tor; t != nil {
		if err := onion.CheckTorrc(t.Torrc); err != nil {
			return nil, fmt.Errorf("%s: torrc: %w", cfg.Network.Range, err)
		}
	}
	return cfg, nil
}

// validateBuiltin asks a built-in plugin for faults that its schema can not
// express. External ones are asked when they start: their code runs in their
// own process only.
func validateBuiltin(s config.Server, used config.PluginConfig) error {
	entry, err := lookup(used.Kind, used.Name, used.External)
	if err != nil {
		return err
	}
	p, ok := entry.Builtin()
	if !ok || p.Validate == nil {
		return nil
	}
	value, err := used.Schema.Decode(used.Msgpack)
	if err != nil {
		return err
	}
	cfg, err := plugin.NewConfig(used.Schema, value, manager.StorageDir(s.Dir), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return p.Validate(cfg)
}

// lookup finds a built-in plugin, or the external one that x declares.
func lookup(kind plugin.Kind, name string, x *config.External) (*catalog.Entry, error) {
	c := catalog.Config{Builtin: builtins(), Self: []string{pluginMode}, Logger: slog.New(slog.DiscardHandler)}
	if x != nil {
		c.External = []catalog.External{{
			Kind: x.Kind, Name: x.Name, Path: x.Path, Args: x.Args, Dev: x.Dev, Checksum: x.Checksum,
		}}
	}
	all, err := catalog.New(c)
	if err != nil {
		return nil, err
	}
	return all.Lookup(kind, name)
}

func serverConfig(s config.Server, log *slog.Logger) (manager.ServerConfig, error) {
	entry, err := lookup(s.Storage.Kind, s.Storage.Name, s.Storage.External)
	if err != nil {
		return manager.ServerConfig{}, fmt.Errorf("server %s: %w", s.Name, err)
	}
	if entry.Unchecked() {
		log.Warn("this plugin is started whatever its checksum: whoever can write its file can read and change what it stores", "server", s.Name, "path", s.Storage.External.Path)
	}
	return manager.ServerConfig{
		Name: s.Name,
		Dir:  s.Dir,
		Storage: supervise.Config{
			Kind:     entry.Kind,
			Name:     entry.Name,
			Command:  entry.Command,
			Checksum: entry.Checksum(),
			Value:    s.Storage.Msgpack,
		},
	}, nil
}

// explain points into the configuration where a plugin refused its part of it.
func explain(cfg *config.Config, err error) error {
	var refused *manager.StorageError
	var faults plugin.Diagnostics
	if !errors.As(err, &refused) || !errors.As(refused.Err, &faults) {
		return err
	}
	for i := range cfg.Servers {
		if s := &cfg.Servers[i]; s.Name == refused.Server {
			return s.Storage.Diagnose(faults)
		}
	}
	return err
}
