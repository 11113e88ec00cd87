package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// binary is a program that is said to be a plugin. No configuration declares
// it: a person names it on the command line and so takes it as it is.
type binary struct {
	path   string
	kind   plugin.Kind // empty until it has described itself
	grants config.Sandbox
}

// newBinary has flags for what the operator would grant in a sandbox block.
func newBinary(f *flags) *binary {
	b := &binary{}
	f.BoolVar(&b.grants.Off, "no-sandbox", false, "")
	f.BoolVar(&b.grants.Network, "network", false, "")
	f.BoolVar(&b.grants.Processes, "processes", false, "")
	f.Func("read", "", func(path string) error {
		if err := pathname.Check(path); err != nil {
			return err
		}
		abs, err := filepath.Abs(path)
		b.grants.Read = append(b.grants.Read, abs)
		return err
	})
	return b
}

// startCommand starts it as the plugin whose own directory is dir.
func (b *binary) startCommand(dir string) (pluginproc.Command, error) {
	path, err := filepath.Abs(b.path)
	if err != nil {
		return pluginproc.Command{}, err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return pluginproc.Command{}, err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return pluginproc.Command{}, fmt.Errorf("%s is not a program that can be executed", b.path)
	}
	file, err := os.Open(path)
	if err != nil {
		return pluginproc.Command{}, err
	}
	command := pluginproc.Command{Path: path, File: file}
	policy := policyOf(&config.External{Sandbox: b.grants})
	if policy == nil {
		return command, nil
	}
	policy.Dir = dir
	confined, err := sandbox.Wrap(command, *policy)
	if err != nil {
		file.Close()
		return pluginproc.Command{}, err
	}
	return confined, nil
}

// askDescription asks the program what it is, and remembers the kind.
func (b *binary) askDescription(ctx context.Context) (plugin.Description, error) {
	command, err := b.startCommand("")
	if err != nil {
		return plugin.Description{}, err
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: command, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return plugin.Description{}, hinted{fmt.Errorf("%s: %w", b.path, err), "is it a plugin of cwtch-relay? try -no-sandbox to see whether the sandbox is the cause; -read PATH lets it read there"}
	}
	defer process.Kill()
	ctx, cancel := context.WithTimeoutCause(ctx, host.DescribeTimeout, fmt.Errorf("no answer within %v", host.DescribeTimeout))
	defer cancel()
	d, err := process.Client().Describe(ctx)
	if err != nil {
		return plugin.Description{}, fmt.Errorf("%s: %w", b.path, cmp.Or(context.Cause(ctx), process.Explain(err)))
	}
	b.kind = d.Kind
	return d, nil
}
