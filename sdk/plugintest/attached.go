package plugintest

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// errOpenTwice skips a check that opens a plugin twice at the same time.
var errOpenTwice = errors.New("the plugin was started by hand and is one process, which this check needs more than one of")

// Attached is a plugin that was started by hand, for example under a debugger. All checks use
// the same process, one after the other. It is not confined, its log cannot be seen, and it is
// never killed. Checks that need more are skipped.
func Attached(name string, at pluginproc.AttachConfig) Transport {
	var inUse atomic.Bool
	return Transport{Name: name, open: func(ctx context.Context, r openRequest) (*Opened, error) {
		if inUse.Swap(true) {
			return nil, errOpenTwice
		}
		o, err := r.attach(ctx, at)
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

func (r openRequest) attach(ctx context.Context, at pluginproc.AttachConfig) (*Opened, error) {
	at.Tracer = r.tracer
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
	if r.host != nil {
		client.ServeHost(r.host)
	}
	o, err := r.configurePlugin(ctx, client, d)
	if err != nil {
		attached.Kill()
		return nil, err
	}
	closing := o.Close
	o.Close = func() error {
		defer attached.Kill() // closes the connection
		return closing()
	}
	return o, nil
}
