// Package catalog knows which plugins there are and what to execute for each.
// It is for the wiring of a relay.
//
// Built-in plugins are compiled into the relay's own binary, and yet run as
// processes of their own: the catalog has the running binary executed once more,
// with arguments that tell it to be the plugin. External plugins are binaries
// of others, which the operator names with path and checksum.
//
// # What is checked of an external plugin
//
// Before every start: that the file, every directory above it up to the root
// and every symbolic link on the way belong to root or the user of the relay and
// can be replaced by nobody else, and that the content has the checksum of the
// configuration. What is executed is the very file that was opened and read for
// that, whatever its path leads to by then. The checksum of a script covers the
// script alone, not its interpreter nor what it imports.
// docs/adr/0007-catalog.md has the reasons.
package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Config says what is in a catalog.
type Config struct {
	Builtin []plugin.Plugin
	// Self are the arguments that make the relay's binary a built-in plugin,
	// when the kind and the name follow: {"plugin-serve"}.
	Self     []string
	External []External
	Logger   *slog.Logger // for what plugins say while they are asked to describe themselves
}

// External is a plugin that does not come with the relay.
type External struct {
	Kind plugin.Kind
	Name string
	Path string // absolute
	// Checksum is "sha256:" and 64 hexadecimal digits. It may be empty with Dev,
	// which is for the author of a plugin who builds it every few minutes.
	Checksum string
	Dev      bool
	Args     []string
	Env      []string // "NAME=value", the whole environment
	// Sandbox confines the process that is started to ask the plugin something,
	// where it needs no directory and no network; nil leaves it unconfined. The
	// running program has to call [sandbox.Main] first.
	Sandbox *sandbox.Policy
}

// Catalog finds plugins by kind and name. It is safe for concurrent use.
type Catalog struct {
	entries []*Entry
}

// New makes a catalog. It looks at the form of what it is given, not at any
// file.
func New(cfg Config) (*Catalog, error) {
	c := &Catalog{}
	for _, p := range cfg.Builtin {
		d := p.Describe()
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("built-in %w", err)
		}
		args := slices.Concat(cfg.Self, []string{string(d.Kind), d.Name})
		if err := c.addEntry(&Entry{Kind: d.Kind, Name: d.Name, builtin: &p, args: args}); err != nil {
			return nil, err
		}
	}
	for _, x := range cfg.External {
		sum, err := x.parseChecksum()
		if err != nil {
			return nil, err
		}
		e := &Entry{Kind: x.Kind, Name: x.Name, external: &x, sum: sum, args: x.Args, logger: cfg.Logger}
		if err := c.addEntry(e); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *Catalog) addEntry(e *Entry) error {
	if c.findEntry(e.Kind, e.Name) != nil {
		return fmt.Errorf("there are two %s plugins %q", e.Kind, e.Name)
	}
	c.entries = append(c.entries, e)
	return nil
}

func (c *Catalog) findEntry(kind plugin.Kind, name string) *Entry {
	i := slices.IndexFunc(c.entries, func(e *Entry) bool { return e.Kind == kind && e.Name == name })
	if i < 0 {
		return nil
	}
	return c.entries[i]
}

// Lookup finds a plugin. The error of an unknown one tells which there are.
func (c *Catalog) Lookup(kind plugin.Kind, name string) (*Entry, error) {
	if e := c.findEntry(kind, name); e != nil {
		return e, nil
	}
	var known []string
	for _, e := range c.entries {
		if e.Kind == kind {
			known = append(known, fmt.Sprintf("%q", e.Name))
		}
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("there is no %s plugin %q, nor any other of that kind", kind, name)
	}
	return nil, fmt.Errorf("there is no %s plugin %q, only %s", kind, name, strings.Join(known, ", "))
}

// Entry is one plugin of a catalog.
type Entry struct {
	Kind plugin.Kind
	Name string

	builtin  *plugin.Plugin // nil: external
	external *External
	sum      []byte // that the file must have; nil: any
	args     []string
	logger   *slog.Logger

	mu        sync.Mutex
	described map[string]plugin.Description // by checksum of the file
}

// Builtin is the plugin itself where it is a built-in one, for the process that
// is to be it.
func (e *Entry) Builtin() (plugin.Plugin, bool) {
	if e.builtin == nil {
		return plugin.Plugin{}, false
	}
	return *e.builtin, true
}

// Checksum is what the operator demands of an external plugin, or empty.
func (e *Entry) Checksum() string {
	if e.external == nil {
		return ""
	}
	return e.external.Checksum
}

// Command gives what to execute for one incarnation, after all the checks. The
// open file in it belongs to the caller.
func (e *Entry) Command() (pluginproc.Command, error) {
	if e.builtin != nil {
		return e.ownCommand()
	}
	file, _, err := e.external.openVerified(e.sum)
	if err != nil {
		return pluginproc.Command{}, err
	}
	return pluginproc.Command{Path: e.external.Path, Args: e.args, Env: e.external.Env, File: file}, nil
}

// ownCommand executes the file of the running binary, also when an upgrade has put
// another one in its place.
func (e *Entry) ownCommand() (pluginproc.Command, error) {
	path, err := os.Executable()
	if err != nil {
		return pluginproc.Command{}, fmt.Errorf("find own binary: %w", err)
	}
	file, err := os.Open("/proc/self/exe")
	if err != nil {
		return pluginproc.Command{}, fmt.Errorf("open own binary: %w", err)
	}
	return pluginproc.Command{Path: path, Args: e.args, File: file}, nil
}

// Describe gives the description of the plugin. An external one is started for
// that, once for every content of its file.
func (e *Entry) Describe(ctx context.Context) (plugin.Description, error) {
	if e.builtin != nil {
		return e.builtin.Describe(), nil
	}
	file, sum, err := e.external.openVerified(e.sum)
	if err != nil {
		return plugin.Description{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if d, ok := e.described[string(sum)]; ok {
		file.Close()
		return d, nil
	}
	d, err := e.askDescription(ctx, file)
	if err != nil {
		return plugin.Description{}, fmt.Errorf("%v: %s does not say what it is: %w; %s asks again", e.external, e.external.Path, err, pathname.Command("cwtch-relay", "plugin", "describe", e.external.Path))
	}
	if d.Kind != e.Kind || d.Name != e.Name {
		return plugin.Description{}, fmt.Errorf("%v: %s is the %s plugin %q", e.external, e.external.Path, d.Kind, d.Name)
	}
	if e.described == nil {
		e.described = make(map[string]plugin.Description)
	}
	e.described[string(sum)] = d
	return d, nil
}

// askDescription starts the plugin for its description alone. The file is closed.
func (e *Entry) askDescription(ctx context.Context, file *os.File) (plugin.Description, error) {
	command := pluginproc.Command{Path: e.external.Path, Args: e.args, Env: e.external.Env, File: file}
	if e.external.Sandbox != nil {
		policy := *e.external.Sandbox
		policy.Dir, policy.Network, policy.Hide = "", sandbox.None, true
		confined, err := sandbox.Wrap(command, policy)
		if err != nil {
			file.Close()
			return plugin.Description{}, err
		}
		command = confined
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{
		Command: command,
		Logger:  e.logger.With("plugin", string(e.Kind)+"/"+e.Name),
	})
	if err != nil {
		return plugin.Description{}, err
	}
	defer process.Kill()
	ctx, cancel := context.WithTimeoutCause(ctx, host.DescribeTimeout, fmt.Errorf("no answer within %v", host.DescribeTimeout))
	defer cancel()
	d, err := process.Client().Describe(ctx)
	return d, process.Explain(err)
}
