package plugintest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Transport is one way to call an implementation.
type Transport struct {
	Name string // "direct", "grpc", "process", or that of an External
	open func(context.Context, target) (*Opened, error)

	tracer pluginproc.Tracer
}

// target is what is to be opened.
type target struct {
	dir    string
	config map[string]any
	host   peersync.HostServices // of a peersync plugin
	log    *slog.Logger
	tracer pluginproc.Tracer
}

// Transports gives the three ways to call p.
func Transports(tb testing.TB, p plugin.Plugin) []Transport {
	tb.Helper()
	d := p.Describe()
	if err := d.Validate(); err != nil {
		tb.Fatal(err)
	}
	return []Transport{
		{Name: "direct", open: func(ctx context.Context, t target) (*Opened, error) { return openDirect(ctx, p, t) }},
		{Name: "grpc", open: func(ctx context.Context, t target) (*Opened, error) { return openGRPC(ctx, p, t) }},
		{Name: "process", open: func(ctx context.Context, t target) (*Opened, error) {
			self := func() (pluginproc.Command, error) { return pluginproc.Command{Path: "/proc/self/exe"}, nil }
			return openProcess(ctx, self, t, new(ending), func(found plugin.Description) error {
				if found.Kind != d.Kind || found.Name != d.Name {
					return fmt.Errorf("the test binary is the %s plugin %q, not the %s plugin %q: TestMain must call plugintest.Main",
						found.Kind, found.Name, d.Kind, d.Name)
				}
				return nil
			})
		}},
	}
}

// External is a plugin of any kind that is a program of its own, whatever it is
// written in. command says how to start it, as the plugin whose own directory is
// dir, and is asked each time, since an open file in it is used up. The
// configuration is read by the schema that the program describes.
func External(name string, command func(dir string) (pluginproc.Command, error)) Transport {
	end := new(ending)
	return Transport{Name: name, open: func(ctx context.Context, t target) (*Opened, error) {
		return openProcess(ctx, func() (pluginproc.Command, error) { return command(t.dir) }, t, end, func(plugin.Description) error { return nil })
	}}
}

// Traced tells a tracer of every call that goes to a process.
func (t Transport) Traced(tracer pluginproc.Tracer) Transport {
	t.tracer = tracer
	return t
}

// Open opens a storage or stats plugin in dir, which is absolute, with a
// configuration as [plugin.Schema.Value] takes it. It may be called again for the
// same directory once the earlier one is closed or killed. What is open at the end
// of the test is closed then.
func (t Transport) Open(tb testing.TB, dir string, config map[string]any) (*Opened, error) {
	return t.OpenPeerSync(tb, dir, config, nil)
}

// OpenPeerSync does the same for a peersync plugin, to which it gives its host.
func (t Transport) OpenPeerSync(tb testing.TB, dir string, config map[string]any, h peersync.HostServices) (*Opened, error) {
	log := slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	o, err := t.open(tb.Context(), target{dir: dir, config: config, host: h, log: log, tracer: t.tracer})
	if errors.Is(err, errInUse) {
		tb.Skip(err.Error())
	}
	if err != nil {
		return nil, err
	}
	o.closeOnce()
	tb.Cleanup(func() {
		if o.process != nil && !o.over {
			if reason, ended := o.process.Ended(tb.Failed()); ended {
				o.over = true
				tb.Errorf("the process ended: %s", reason)
			}
		}
		if err := o.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return o, nil
}

func openDirect(ctx context.Context, p plugin.Plugin, t target) (*Opened, error) {
	v, err := p.Schema.Value(t.config)
	if err != nil {
		return nil, err
	}
	cfg, err := plugin.NewConfig(p.Schema, v, t.dir, t.log)
	if err == nil && p.Validate != nil {
		err = p.Validate(cfg)
	}
	if err != nil {
		return nil, err
	}
	var o Opened
	switch p.Describe().Kind {
	case plugin.KindStorage:
		if o.Store, err = p.Storage(ctx, cfg); err == nil {
			o.Close = o.Store.Close
		}
	case plugin.KindStats:
		if o.Exporter, err = p.Stats(ctx, cfg); err == nil {
			o.Close = o.Exporter.Close
		}
	case plugin.KindPeerSync:
		if o.Replicator, err = plugin.OpenPeerSync(ctx, p, cfg, t.host); err == nil {
			o.Close = o.Replicator.Close
		}
	}
	if err != nil {
		return nil, err
	}
	return &o, nil
}

// openProcess opens a plugin in a process of its own, if its description passes.
func openProcess(ctx context.Context, command func() (pluginproc.Command, error), t target, end *ending, check func(plugin.Description) error) (*Opened, error) {
	process, d, err := t.startProcess(ctx, command, nil)
	if err != nil {
		return nil, err
	}
	listeners, err := t.openListeners(ctx, d)
	if err == nil {
		err = check(d)
	}
	if err == nil && len(listeners) > 0 { // which a process gets when it is started
		process.Kill()
		process, d, err = t.startProcess(ctx, command, listeners)
	}
	for _, l := range listeners {
		l.Close()
	}
	if err != nil {
		if process != nil {
			process.Kill()
		}
		return nil, err
	}
	if t.host != nil {
		process.Client().ServeHost(t.host)
	}
	o, err := t.configurePlugin(ctx, process.Client(), d)
	if err != nil {
		err = process.Explain(err)
		process.Kill()
		return nil, err
	}
	closing := o.Close
	o.process, o.Kill = process, process.Kill
	o.Close = func() error {
		defer end.stop(process)
		return process.Explain(closing())
	}
	return o, nil
}

// ending ends processes by their lifeline. When one has not followed it, the others
// are not waited for: that they must is for a check of its own.
type ending struct{ ignored atomic.Bool }

func (e *ending) stop(p *pluginproc.Process) {
	patience := host.EndTimeout
	if e.ignored.Load() {
		patience = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.Stop(ctx)
	if ctx.Err() != nil {
		e.ignored.Store(true)
	}
}

// startProcess starts the process, and asks it what it is.
func (t target) startProcess(ctx context.Context, command func() (pluginproc.Command, error), listeners []pluginproc.Listener) (*pluginproc.Process, plugin.Description, error) {
	c, err := command()
	if err != nil {
		return nil, plugin.Description{}, err
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: c, Listeners: listeners, Logger: t.log, Tracer: t.tracer})
	if err != nil {
		return nil, plugin.Description{}, err
	}
	d, err := process.Client().Describe(ctx)
	if err != nil {
		err = process.Explain(err)
		process.Kill()
		return nil, plugin.Description{}, err
	}
	return process, d, nil
}

// openListeners opens the listeners of the configuration. What is wrong with that is
// for configure to say.
func (t target) openListeners(ctx context.Context, d plugin.Description) (out []pluginproc.Listener, err error) {
	v, err := d.Schema.Value(t.config)
	if err != nil {
		return nil, nil //nolint:nilerr // configure says it
	}
	v, faults := d.Schema.Complete(v)
	if len(faults) > 0 {
		return nil, nil
	}
	for _, at := range d.Schema.ListenAddresses(v) {
		l, err := pluginproc.Listen(ctx, at, false)
		if err != nil {
			return out, err
		}
		out = append(out, l)
	}
	return out, nil
}

// configurePlugin configures a plugin on the other side of a connection.
func (t target) configurePlugin(ctx context.Context, client *host.Client, d plugin.Description) (*Opened, error) {
	v, err := d.Schema.Value(t.config)
	if err != nil {
		return nil, err
	}
	v, faults := d.Schema.Complete(v) // as a relay does
	if len(faults) > 0 {
		return nil, faults
	}
	config, err := d.Schema.Encode(v)
	if err != nil {
		return nil, err
	}
	if err := client.Configure(ctx, config, t.dir); err != nil {
		return nil, err
	}
	var o Opened
	switch d.Kind {
	case plugin.KindStorage:
		o.Store = client.Storage()
		o.Close = o.Store.Close
	case plugin.KindStats:
		o.Exporter = client.Stats()
		o.Close = o.Exporter.Close
	case plugin.KindPeerSync:
		o.Replicator = client.PeerSync()
		o.Close = o.Replicator.Close
	}
	return &o, nil
}
