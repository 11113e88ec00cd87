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
	Name string // "direct", "grpc", "process", or the name given to External or Attached
	open func(context.Context, openRequest) (*Opened, error)

	tracer pluginproc.Tracer
}

// openRequest says what to open.
type openRequest struct {
	dir     string
	config  map[string]any
	inspect bool                  // open a store for inspection
	host    peersync.HostServices // nil unless it is a peersync plugin
	log     *slog.Logger
	tracer  pluginproc.Tracer
}

// Transports returns the three transports for p.
func Transports(tb testing.TB, p plugin.Plugin) []Transport {
	tb.Helper()
	d := p.Describe()
	if err := d.Validate(); err != nil {
		tb.Fatal(err)
	}
	return []Transport{
		{Name: "direct", open: func(ctx context.Context, r openRequest) (*Opened, error) { return openDirect(ctx, p, r) }},
		{Name: "grpc", open: func(ctx context.Context, r openRequest) (*Opened, error) { return openGRPC(ctx, p, r) }},
		{Name: "process", open: func(ctx context.Context, r openRequest) (*Opened, error) {
			self := func() (pluginproc.Command, error) { return pluginproc.Command{Path: "/proc/self/exe"}, nil }
			return openProcess(ctx, self, r, new(stopper), func(found plugin.Description) error {
				if found.Kind != d.Kind || found.Name != d.Name {
					return fmt.Errorf("the test binary is the %s plugin %q, not the %s plugin %q: TestMain must call plugintest.Main",
						found.Kind, found.Name, d.Kind, d.Name)
				}
				return nil
			})
		}},
	}
}

// External is a plugin of any kind in a program of its own, in any language. command returns
// how to start it with the directory dir. It is called for every start, because a start
// closes an open file in the command.
func External(name string, command func(dir string) (pluginproc.Command, error)) Transport {
	end := new(stopper)
	return Transport{Name: name, open: func(ctx context.Context, r openRequest) (*Opened, error) {
		return openProcess(ctx, func() (pluginproc.Command, error) { return command(r.dir) }, r, end, func(plugin.Description) error { return nil })
	}}
}

// Traced returns a transport whose processes have their calls traced.
func (t Transport) Traced(tracer pluginproc.Tracer) Transport {
	t.tracer = tracer
	return t
}

// Open opens a storage or stats plugin in the absolute directory dir, with a configuration for
// [plugin.Schema.Value]. It may be called again for the same directory after Close or Kill. An
// implementation that is still open at the end of the test is closed.
func (t Transport) Open(tb testing.TB, dir string, config map[string]any) (*Opened, error) {
	return t.OpenPeerSync(tb, dir, config, nil)
}

// OpenPeerSync does the same for a peersync plugin, whose host is h.
func (t Transport) OpenPeerSync(tb testing.TB, dir string, config map[string]any, h peersync.HostServices) (*Opened, error) {
	return t.openWith(tb, openRequest{dir: dir, config: config, host: h})
}

// Inspect opens a storage plugin as Open does, but for inspection; see [storage.Checker].
func (t Transport) Inspect(tb testing.TB, dir string, config map[string]any) (*Opened, error) {
	return t.openWith(tb, openRequest{dir: dir, config: config, inspect: true})
}

func (t Transport) openWith(tb testing.TB, r openRequest) (*Opened, error) {
	r.log = slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.tracer = t.tracer
	o, err := t.open(tb.Context(), r)
	if errors.Is(err, errOpenTwice) {
		tb.Skip(err.Error())
	}
	if err != nil {
		return nil, err
	}
	o.closeOnce()
	tb.Cleanup(func() {
		if o.process != nil && !o.done {
			if reason, ended := o.process.Ended(tb.Failed()); ended {
				o.done = true
				tb.Errorf("the process ended: %s", reason)
			}
		}
		if err := o.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return o, nil
}

func openDirect(ctx context.Context, p plugin.Plugin, r openRequest) (*Opened, error) {
	v, err := p.Schema.Value(r.config)
	if err != nil {
		return nil, err
	}
	cfg, err := plugin.NewConfig(p.Schema, v, r.dir, r.log)
	if err == nil && p.Validate != nil {
		err = p.Validate(cfg)
	}
	if err != nil {
		return nil, err
	}
	cfg.Inspect = r.inspect
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
		if o.Replicator, err = plugin.OpenPeerSync(ctx, p, cfg, r.host); err == nil {
			o.Close = o.Replicator.Close
		}
	}
	if err != nil {
		return nil, err
	}
	return &o, nil
}

// openProcess opens a plugin in a process of its own, if its description passes.
func openProcess(ctx context.Context, command func() (pluginproc.Command, error), r openRequest, end *stopper, check func(plugin.Description) error) (*Opened, error) {
	process, d, err := r.startProcess(ctx, command, nil)
	if err != nil {
		return nil, err
	}
	listeners, err := r.openListeners(ctx, d)
	if err == nil {
		err = check(d)
	}
	if err == nil && len(listeners) > 0 { // a process gets its listeners when it starts
		process.Kill()
		process, d, err = r.startProcess(ctx, command, listeners)
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
	if r.host != nil {
		process.Client().ServeHost(r.host)
	}
	o, err := r.configurePlugin(ctx, process.Client(), d)
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

// stopper stops processes. After one that ignored its lifeline, it no longer waits for
// others: a check of its own requires that they end.
type stopper struct{ lifelineIgnored atomic.Bool }

func (e *stopper) stop(p *pluginproc.Process) {
	timeout := host.EndTimeout
	if e.lifelineIgnored.Load() {
		timeout = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	p.Stop(ctx)
	if ctx.Err() != nil {
		e.lifelineIgnored.Store(true)
	}
}

// startProcess starts the process and asks for its description.
func (r openRequest) startProcess(ctx context.Context, command func() (pluginproc.Command, error), listeners []pluginproc.Listener) (*pluginproc.Process, plugin.Description, error) {
	c, err := command()
	if err != nil {
		return nil, plugin.Description{}, err
	}
	process, err := pluginproc.Start(ctx, pluginproc.StartConfig{Command: c, Listeners: listeners, Logger: r.log, Tracer: r.tracer})
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

// openListeners opens the listeners of the configuration. configurePlugin reports its faults.
func (r openRequest) openListeners(ctx context.Context, d plugin.Description) (out []pluginproc.Listener, err error) {
	v, err := d.Schema.Value(r.config)
	if err != nil {
		return nil, nil //nolint:nilerr // configurePlugin reports it
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

// configurePlugin configures a plugin as a relay does.
func (r openRequest) configurePlugin(ctx context.Context, client *host.Client, d plugin.Description) (*Opened, error) {
	v, err := d.Schema.Value(r.config)
	if err != nil {
		return nil, err
	}
	v, faults := d.Schema.Complete(v)
	if len(faults) > 0 {
		return nil, faults
	}
	config, err := d.Schema.Encode(v)
	if err != nil {
		return nil, err
	}
	configure := client.Configure
	if r.inspect {
		configure = client.Inspect
	}
	if err := configure(ctx, config, r.dir); err != nil {
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
