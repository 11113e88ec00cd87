package plugintest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// errInUse skips a check that opens a plugin twice at once, as for two relays.
var errInUse = errors.New("the plugin was started by hand and is one process, which this check needs more than one of")

// Attached is a plugin that somebody started by hand, under a debugger perhaps: the
// one process, for one check after the other. It is not confined, its log is not seen,
// and it is never killed. What it lacks for a check is a reason to skip that.
func Attached(name string, at pluginproc.AttachConfig) Transport {
	var inUse atomic.Bool
	return Transport{Name: name, open: func(ctx context.Context, t target) (*Opened, error) {
		if inUse.Swap(true) {
			return nil, errInUse
		}
		o, err := t.attach(ctx, at)
		if err != nil {
			inUse.Store(false)
			return nil, err
		}
		closing := o.Close
		o.Close = func() error {
			defer inUse.Store(false)
			return closing()
		}
		return o, nil
	}}
}

func (t target) attach(ctx context.Context, at pluginproc.AttachConfig) (*Opened, error) {
	at.Tracer = t.tracer
	attached, err := pluginproc.Attach(ctx, at)
	if err != nil {
		return nil, err
	}
	client := attached.Client()
	d, err := client.Describe(ctx)
	if err != nil {
		attached.Kill()
		return nil, err
	}
	if t.host != nil {
		client.ServeHost(t.host)
	}
	o, err := t.configurePlugin(ctx, client, d)
	if err != nil {
		attached.Kill()
		return nil, err
	}
	closing := o.Close
	o.Close = func() error {
		defer attached.Kill() // of the connection
		return closing()
	}
	return o, nil
}
