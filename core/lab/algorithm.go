package lab

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Algorithm is a peer-sync plugin that is tried.
type Algorithm struct {
	Name, Version string
	// Label is how the scenario names it; [Run] sets it.
	Label string
	// Converges says that all boards become equal when nothing disturbs it. It is an error if
	// they do not.
	Converges bool
	// Quiet says that no envelope crosses a link when all boards are equal.
	Quiet bool
	// Open opens the plugin of one peer.
	Open func(context.Context, peersync.HostServices) (peersync.Replicator, error)
}

// FromPlugin returns the algorithm of a plugin that is compiled in. It runs without a process.
func FromPlugin(p plugin.Plugin) (*Algorithm, error) {
	if p.PeerSync == nil {
		return nil, fmt.Errorf("%s is no peer-sync plugin", p.Name)
	}
	value, err := p.Schema.Value(nil)
	if err != nil {
		return nil, fmt.Errorf("the plugin %s needs a configuration, which the lab does not have: %w", p.Name, err)
	}
	return &Algorithm{Name: p.Name, Version: p.Version, Converges: true, Quiet: true, Open: func(ctx context.Context, h peersync.HostServices) (peersync.Replicator, error) {
		cfg, err := plugin.NewConfig(p.Schema, value, "", slog.New(slog.DiscardHandler))
		if err != nil {
			return nil, err
		}
		return plugin.OpenPeerSync(ctx, p, cfg, h)
	}}, nil
}

// FromProcess returns the algorithm of a plugin in a program of its own. Each peer has a process
// of it. command returns how to start one, and log gets what they write. All of them have the
// directory dir.
func FromProcess(d plugin.Description, dir string, log *slog.Logger, command func() (pluginproc.Command, error)) (*Algorithm, error) {
	if d.Kind != plugin.KindPeerSync {
		return nil, fmt.Errorf("%s is a %s plugin, and the lab runs peer-sync plugins", d.Name, d.Kind)
	}
	return &Algorithm{Name: d.Name, Version: d.Version, Converges: true, Quiet: true, Open: func(ctx context.Context, h peersync.HostServices) (peersync.Replicator, error) {
		c, err := command()
		if err != nil {
			return nil, err
		}
		process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: c, Logger: log})
		if err != nil {
			return nil, err
		}
		client := process.Client()
		client.ServeHost(h)
		if err := configure(ctx, client, d, dir); err != nil {
			err = process.Explain(err)
			process.Kill()
			return nil, err
		}
		return &processReplicator{client.PeerSync(), process}, nil
	}}, nil
}

// configure gives a plugin the configuration in which nothing is written.
func configure(ctx context.Context, client *host.Client, d plugin.Description, dir string) error {
	value, err := d.Schema.Value(nil)
	if err != nil {
		return err
	}
	value, faults := d.Schema.Complete(value)
	if len(faults) > 0 {
		return faults
	}
	config, err := d.Schema.Encode(value)
	if err != nil {
		return err
	}
	return client.Configure(ctx, config, dir)
}

// processReplicator ends its process when it is closed.
type processReplicator struct {
	peersync.Replicator
	process *pluginproc.Process
}

func (r *processReplicator) Close() error {
	err := r.Replicator.Close()
	ctx, cancel := context.WithTimeout(context.Background(), host.EndTimeout)
	defer cancel()
	r.process.Stop(ctx)
	return r.process.Explain(err)
}
