package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// loadedConfig is a configuration with the programs of its plugins.
type loadedConfig struct {
	*config.Config
	path    string
	catalog *catalog.Catalog
}

// loadConfig reads a configuration, and asks its plugins for faults in their blocks.
func loadConfig(ctx context.Context, path string) (*loadedConfig, error) {
	return loadWith(ctx, path, false)
}

// loadTolerant is loadConfig for a relay, which runs what can run; see
// [config.Plugins.KeepFaults].
func loadTolerant(ctx context.Context, path string) (*loadedConfig, error) {
	return loadWith(ctx, path, true)
}

func loadWith(ctx context.Context, path string, keepFaults bool) (*loadedConfig, error) {
	programs, err := catalog.New(builtInPlugins(), pluginMode)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(path, configPlugins(ctx, programs, keepFaults))
	if err != nil {
		return nil, configFault{err}
	}
	if t := cfg.Network.Tor; t != nil {
		if err := onion.CheckTorrc(t.Torrc); err != nil {
			return nil, configFault{fmt.Errorf("%s: torrc: %w", cfg.Network.Range, err)}
		}
	}
	if err := checkConsoleNetwork(cfg); err != nil {
		return nil, err
	}
	return &loadedConfig{cfg, path, programs}, nil
}

// configPlugins is what the reader of a configuration knows of plugins. It adds the external
// ones to programs.
func configPlugins(ctx context.Context, programs *catalog.Catalog, keepFaults bool) config.Plugins {
	return config.Plugins{
		BuiltIn: builtInDescriptions(),
		Describe: func(x config.External) (plugin.Description, error) {
			p, err := programs.Declare(programOf(x))
			if err != nil {
				return plugin.Description{}, err
			}
			return p.Describe(ctx)
		},
		Validate: func(use config.PluginUse) error {
			p, err := programs.Lookup(use.Kind, use.Name)
			if err != nil {
				return err
			}
			return p.Validate(ctx, use.Schema, use.Msgpack)
		},
		KeepFaults: keepFaults,
	}
}

// programOf returns the program that a plugin block declares.
func programOf(x config.External) catalog.Program {
	p := catalog.Program{
		Kind: x.Kind, Name: x.Name, Path: x.Path, Checksum: x.Checksum, Dev: x.Dev, Args: x.Args, Env: x.Env,
		ListenAnywhere: x.Sandbox.Off || x.Sandbox.Network || x.Sandbox.Listen,
	}
	if x.Sandbox.Off {
		return p
	}
	p.Sandbox = &sandbox.Policy{
		Read: x.Sandbox.Read, Sockets: x.Sandbox.Sockets, Processes: x.Sandbox.Processes,
		Memory: x.Sandbox.Memory, Files: x.Sandbox.Files, Tasks: x.Sandbox.Tasks,
	}
	if x.Sandbox.Network {
		p.Sandbox.Network = sandbox.Open
	}
	return p
}

// requireWork refuses a configuration with which a relay would do nothing.
func (l *loadedConfig) requireWork(next commandLine) error {
	if len(l.Servers) > 0 || l.Console != nil {
		return nil
	}
	return configFault{command.WithHint(fmt.Errorf("%s has no server and no console, so a relay would have nothing to do", l.path),
		"add a server: "+next("server", "add", "NAME")+"; or write console {} into the file, and add servers in the browser")}
}

// logWarnings warns at every start of checks that the operator has switched off, and of files
// that are not used. The supervisor warns of sandboxes.
func (l *loadedConfig) logWarnings(log *slog.Logger) {
	for _, unused := range l.UnusedFiles {
		log.Warn("this file makes no server", "file", unused.File, "error", strings.ReplaceAll(unused.Fault.Error(), "\n", " "))
	}
	for _, x := range l.Plugins {
		if x.Dev && x.Checksum == "" {
			log.Warn("this plugin is started whatever its checksum: whoever can write its file can read and change what the plugin can",
				"plugin", string(x.Kind)+"/"+x.Name, "path", x.Path)
		}
	}
}

// explainError adds the place in the file if a plugin refused its configuration.
func (l *loadedConfig) explainError(err error) error {
	var refused *manager.PluginError
	var faults plugin.Diagnostics
	if !errors.As(err, &refused) || !errors.As(refused.Err, &faults) {
		return err
	}
	i := slices.IndexFunc(l.Servers, func(s config.Server) bool { return s.Name == refused.Server })
	if i < 0 {
		return err
	}
	for use := range l.Servers[i].Plugins() {
		if string(use.Kind)+"/"+use.Instance == refused.Plugin {
			return use.Diagnose(faults)
		}
	}
	return err
}
