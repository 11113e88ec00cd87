package catalog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Program is one plugin as it is executed. Its exported fields do not change.
type Program struct {
	Kind plugin.Kind // empty if it was named on the command line, and so is Name
	Name string
	Path string // absolute; that of the running binary if it is built in
	// Checksum is "sha256:" and 64 hexadecimal digits. It may be empty with Dev,
	// which is for the author of a plugin who builds it every few minutes.
	Checksum string
	Dev      bool
	Args     []string
	Env      []string // "NAME=value", the whole environment
	// Sandbox is what its processes may do; nil leaves them unconfined. The running
	// program has to call [sandbox.Main] first.
	Sandbox *sandbox.Policy
	// ListenAnywhere allows listeners at other than loopback addresses.
	ListenAnywhere bool

	builtin *plugin.Plugin // nil: external
	sum     []byte         // that the file must have; nil: any
	named   string         // the path as it was written on the command line
}

// Named returns the program at a path that a person gave on the command line. It is
// executed without a check of its owner, its mode and its checksum.
func Named(path string, policy *sandbox.Policy) (*Program, error) {
	abs, err := filepath.Abs(path)
	return &Program{Path: abs, Sandbox: policy, named: path}, err
}

// IsBuiltIn reports whether the plugin comes with the relay.
func (p *Program) IsBuiltIn() bool { return p.builtin != nil }

// String names the program in errors.
func (p *Program) String() string {
	if p.named != "" {
		return p.named
	}
	return fmt.Sprintf("%s plugin %q", p.Kind, p.Name)
}

// Fingerprint returns what needs another process when a reload has changed it, by
// option of the plugin block. Without a checksum, for example while an author builds the
// program again and again, size and time of the file stand for its content.
func (p *Program) Fingerprint() map[string]string {
	if p.IsBuiltIn() {
		return nil
	}
	of := map[string]string{
		"path":     p.Path,
		"checksum": strings.ToLower(p.Checksum),
		"args":     fmt.Sprintf("%q", p.Args),
		"env":      fmt.Sprintf("%q", p.Env),
		"dev":      fmt.Sprint(p.Dev),
		"sandbox":  fmt.Sprintf("%+v, listen anywhere: %t", p.Sandbox, p.ListenAnywhere),
	}
	if info, err := os.Stat(p.Path); err == nil && p.Checksum == "" {
		of["file"] = fmt.Sprint(info.Size(), info.ModTime())
	}
	return of
}

// Command returns what to execute for one incarnation, after all the checks and not
// confined. The open file in it belongs to the caller.
func (p *Program) Command() (pluginproc.Command, error) {
	file, err := p.openFile()
	if err != nil {
		return pluginproc.Command{}, err
	}
	return p.commandOf(file), nil
}

// Confined is [Program.Command] in the sandbox, with dir, if it is not empty, as the
// plugin's own directory.
func (p *Program) Confined(dir string) (pluginproc.Command, error) {
	command, err := p.Command()
	if err != nil {
		return pluginproc.Command{}, err
	}
	return confine(command, p.policyIn(dir))
}

func (p *Program) commandOf(file *os.File) pluginproc.Command {
	return pluginproc.Command{Path: p.Path, Args: p.Args, Env: p.Env, File: file}
}

// policyIn is what a process may do whose own directory is dir; nil: everything.
func (p *Program) policyIn(dir string) *sandbox.Policy {
	if p.Sandbox == nil {
		return nil
	}
	policy := *p.Sandbox
	policy.Dir, policy.Hide = dir, true
	return &policy
}

// confine closes the file of the command after an error.
func confine(command pluginproc.Command, policy *sandbox.Policy) (pluginproc.Command, error) {
	if policy == nil {
		return command, nil
	}
	confined, err := sandbox.Wrap(command, *policy)
	if err != nil {
		command.File.Close()
	}
	return confined, err
}

// ask starts the open file, asks it one thing and ends it. The process has no
// directory and no network, whatever is granted: there is nothing yet to work on.
func (p *Program) ask(ctx context.Context, file *os.File, question func(context.Context, *host.Client) error) error {
	policy := p.policyIn("")
	if policy != nil {
		policy.Network = sandbox.None
	}
	command, err := confine(p.commandOf(file), policy)
	if err != nil {
		return err
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: command, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer process.Kill()
	ctx, cancel := context.WithTimeoutCause(ctx, host.DescribeTimeout, fmt.Errorf("no answer within %v", host.DescribeTimeout))
	defer cancel()
	return process.Explain(question(ctx, process.Client()))
}

// Describe asks the plugin what it is.
func (p *Program) Describe(ctx context.Context) (plugin.Description, error) {
	if p.IsBuiltIn() {
		return p.builtin.Describe(), nil
	}
	file, err := p.openFile()
	if err != nil {
		return plugin.Description{}, err
	}
	var d plugin.Description
	err = p.ask(ctx, file, func(ctx context.Context, c *host.Client) (err error) {
		d, err = c.Describe(ctx)
		return err
	})
	switch {
	case err != nil && p.named != "":
		return plugin.Description{}, silentError{fmt.Errorf("%v: %w", p, err)}
	case err != nil:
		return plugin.Description{}, fmt.Errorf("%v: %s does not say what it is: %w; %s asks again", p, p.Path, err, pathname.Command("cwtch-relay", "plugin", "describe", p.Path))
	case p.named == "" && (d.Kind != p.Kind || d.Name != p.Name):
		return plugin.Description{}, fmt.Errorf("%v: %s is the %s plugin %q", p, p.Path, d.Kind, d.Name)
	case p.named != "": // only to be looked at
		return d, nil
	}
	if err := d.CheckContract(); err != nil {
		return plugin.Description{}, fmt.Errorf("%v: %s %w", p, p.Path, err)
	}
	return d, nil
}

// silentError is why a program that was named on the command line does not say what it is.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// Hint says what to try.
func (e silentError) Hint() string {
	return "is it a plugin of cwtch-relay? try -no-sandbox to see whether the sandbox is the cause; -read PATH lets it read there"
}

// Validate asks for faults in a configuration that its schema cannot express: a built-in
// plugin in this process, an external one in a process that is started for it. value is
// the configuration as [plugin.Schema.Encode] gives it.
func (p *Program) Validate(ctx context.Context, s plugin.Schema, value []byte) error {
	decoded, err := s.Decode(value)
	if err != nil {
		return err
	}
	for _, at := range s.ListenAddresses(decoded) {
		if err := pluginproc.CheckListen(at, p.ListenAnywhere); err != nil {
			return err
		}
	}
	if p.IsBuiltIn() {
		cfg, err := plugin.NewConfig(s, decoded, "", slog.New(slog.DiscardHandler))
		if err != nil || p.builtin.Validate == nil {
			return err
		}
		return p.builtin.Validate(cfg)
	}
	file, err := p.openFile()
	if err != nil {
		return err
	}
	return p.ask(ctx, file, func(ctx context.Context, c *host.Client) error { return c.Validate(ctx, value) })
}
