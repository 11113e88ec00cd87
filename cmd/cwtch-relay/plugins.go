package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// builtInPlugins are the plugins that come with the relay.
func builtInPlugins() []plugin.Plugin {
	return []plugin.Plugin{bolt.Plugin(), sqlite.Plugin()}
}

func builtInDescriptions() (out []plugin.Description) {
	for _, p := range builtInPlugins() {
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
	for _, p := range builtInPlugins() {
		if d := p.Describe(); string(d.Kind) == args[0] && d.Name == args[1] {
			os.Args = slices.Delete(os.Args, 1, 4) // what follows is for the plugin, as "debug"
			plugin.Serve(p)
			return nil
		}
	}
	return usageError{fmt.Sprintf("no built-in %s plugin %q", args[0], args[1])}
}

// loaded is a configuration with the plugins that it uses.
type loaded struct {
	*config.Config
	path string
	used programs
}

// configFault is an error of a configuration that cannot be used, whoever found it.
type configFault struct{ error }

func (e configFault) Unwrap() error { return e.error }

// loadConfig reads a configuration. What stands in the block of a plugin is for the
// plugin to judge, and what tor may be told for the room of tor.
func loadConfig(ctx context.Context, path string) (*loaded, error) {
	return loadWith(ctx, path, false)
}

// loadTolerant is load for a relay, which runs what can run; see
// [config.Plugins.KeepFaults].
func loadTolerant(ctx context.Context, path string) (*loaded, error) {
	return loadWith(ctx, path, true)
}

func loadWith(ctx context.Context, path string, keepFaults bool) (*loaded, error) {
	used := programs{}
	plugins := used.configPlugins(ctx)
	plugins.KeepFaults = keepFaults
	cfg, err := config.Load(path, plugins)
	if err != nil {
		return nil, configFault{err}
	}
	if t := cfg.Network.Tor; t != nil {
		if err := onion.CheckTorrc(t.Torrc); err != nil {
			return nil, configFault{fmt.Errorf("%s: torrc: %w", cfg.Network.Range, err)}
		}
	}
	return &loaded{cfg, path, used}, nil
}

// programs has the plugins of one configuration as they are found, so that each is
// asked once what it is. The key is the kind and the name.
type programs map[string]*catalog.Entry

// configPlugins is what a configuration is read with.
func (s programs) configPlugins(ctx context.Context) config.Plugins {
	return config.Plugins{
		BuiltIn: builtInDescriptions(),
		Describe: func(x config.External) (plugin.Description, error) {
			entry, err := s.findProgram(x.Kind, x.Name, &x)
			if err != nil {
				return plugin.Description{}, err
			}
			return entry.Describe(ctx)
		},
		Validate: func(_ config.Server, use config.PluginConfig) error { return s.validateUse(ctx, use) },
	}
}

// findProgram finds a built-in plugin, or the external one that x declares.
func (s programs) findProgram(kind plugin.Kind, name string, x *config.External) (*catalog.Entry, error) {
	key := string(kind) + "/" + name
	if entry, ok := s[key]; ok {
		return entry, nil
	}
	c := catalog.Config{Builtin: builtInPlugins(), Self: []string{pluginMode}, Logger: slog.New(slog.DiscardHandler)}
	if x != nil {
		c.External = []catalog.External{{
			Kind: x.Kind, Name: x.Name, Path: x.Path, Args: x.Args, Env: x.Env, Dev: x.Dev, Checksum: x.Checksum,
			Sandbox: policyOf(x),
		}}
	}
	all, err := catalog.New(c)
	if err != nil {
		return nil, err
	}
	entry, err := all.Lookup(kind, name)
	if err == nil {
		s[key] = entry
	}
	return entry, err
}

// validateUse asks a plugin for faults that its schema cannot express: a built-in
// one here, an external one in a process that is started for that, since the
// code of others runs in processes of its own only.
func (s programs) validateUse(ctx context.Context, use config.PluginConfig) error {
	entry, err := s.findProgram(use.Kind, use.Name, use.External)
	if err != nil {
		return err
	}
	value, err := use.Schema.Decode(use.Msgpack)
	if err != nil {
		return err
	}
	for _, at := range use.Schema.ListenAddresses(value) {
		if err := pluginproc.CheckListen(at, listensAnywhere(use.External)); err != nil {
			return err
		}
	}
	p, ok := entry.Builtin()
	if !ok {
		return validateExternal(ctx, entry, use)
	}
	if p.Validate == nil {
		return nil
	}
	cfg, err := plugin.NewConfig(use.Schema, value, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return p.Validate(cfg)
}

func validateExternal(ctx context.Context, entry *catalog.Entry, use config.PluginConfig) error {
	command, err := entry.Command()
	if err != nil {
		return err
	}
	if policy := policyOf(use.External); policy != nil {
		policy.Network = sandbox.None // there is nothing yet to connect to
		confined, err := sandbox.Wrap(command, *policy)
		if err != nil {
			command.File.Close()
			return err
		}
		command = confined
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: command, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer process.Kill()
	ctx, cancel := context.WithTimeoutCause(ctx, host.DescribeTimeout, fmt.Errorf("no answer within %v", host.DescribeTimeout))
	defer cancel()
	return process.Explain(process.Client().Validate(ctx, use.Msgpack))
}

// policyOf is what the operator grants to a plugin; nil when it is not to be
// confined.
func policyOf(x *config.External) *sandbox.Policy {
	p := &sandbox.Policy{Hide: true}
	if x == nil {
		return p
	}
	if x.Sandbox.Off {
		return nil
	}
	if x.Sandbox.Network {
		p.Network = sandbox.Open
	}
	p.Read, p.Processes = x.Sandbox.Read, x.Sandbox.Processes
	p.Memory, p.Files, p.Tasks = x.Sandbox.Memory, x.Sandbox.Files, x.Sandbox.Tasks
	return p
}

// listensAnywhere reports whether the operator lets strangers reach the listeners of
// a plugin.
func listensAnywhere(x *config.External) bool {
	return x != nil && (x.Sandbox.Off || x.Sandbox.Network || x.Sandbox.Listen)
}

func (l *loaded) pluginConfig(use *config.PluginConfig) (manager.PluginConfig, error) {
	if use.Fault != nil {
		return manager.PluginConfig{
			Config:   supervise.Config{Kind: use.Kind, Name: use.Name, Sandbox: policyOf(use.External)},
			Instance: use.Instance, Program: programOptions(use.External), Where: use.Range.String(), Fault: use.Fault,
		}, nil
	}
	entry, err := l.used.findProgram(use.Kind, use.Name, use.External)
	if err != nil {
		return manager.PluginConfig{}, err
	}
	value, err := use.Schema.Decode(use.Msgpack)
	if err != nil {
		return manager.PluginConfig{}, err
	}
	return manager.PluginConfig{
		Config: supervise.Config{
			Kind:     entry.Kind,
			Name:     entry.Name,
			Command:  entry.Command,
			Checksum: entry.Checksum(),
			Value:    use.Msgpack,
			Sandbox:  policyOf(use.External),
			Listen:   use.Schema.ListenAddresses(value),

			ListenAnywhere: listensAnywhere(use.External),
			// Strangers may be why it ends, and no operator may be at hand.
			RetryForever: use.Kind == plugin.KindStorage && use.External == nil,
		},
		Instance: use.Instance,
		Program:  programOptions(use.External),
		Schema:   use.Schema,
		Where:    use.Range.String(),
	}, nil
}

// attachDebugged has the uses of plugins that were started by hand connect to those
// processes, each of which can serve one use.
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
			return hinted{fmt.Errorf("%s: %s is attached and used more than once", use.Where, name), "use it in one block while it is attached"}
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

// programOptions has what a plugin is started with, by option. Where no checksum says
// which file that is, as while its author builds it anew, the file itself does.
func programOptions(x *config.External) map[string]string {
	if x == nil {
		return nil
	}
	p := map[string]string{
		"path":     x.Path,
		"checksum": strings.ToLower(x.Checksum),
		"args":     fmt.Sprintf("%q", x.Args),
		"env":      fmt.Sprintf("%q", x.Env),
		"dev":      fmt.Sprint(x.Dev),
		"sandbox":  fmt.Sprintf("%+v", x.Sandbox),
	}
	if info, err := os.Stat(x.Path); err == nil && x.Checksum == "" {
		p["file"] = fmt.Sprint(info.Size(), info.ModTime())
	}
	return p
}

// logWarnings tells of what the operator has switched off, at every start. What the
// kernel cannot enforce of a sandbox is for the supervisor to say.
func (l *loaded) logWarnings(log *slog.Logger) {
	for _, x := range l.Plugins {
		if x.Dev && x.Checksum == "" {
			log.Warn("this plugin is started whatever its checksum: whoever can write its file can read and change what the plugin can",
				"plugin", string(x.Kind)+"/"+x.Name, "path", x.Path)
		}
	}
}

// explainError points into the configuration where a plugin refused its part of it.
func (l *loaded) explainError(err error) error {
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
