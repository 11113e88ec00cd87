package supervise

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
)

// change asks the loop for another configuration.
type change struct {
	ctx    context.Context // of the caller of Reconfigure
	to     Config
	answer chan error // has room for one
}

// Reconfigure gives the plugin another configuration, and returns nil when it is ready
// with it. cfg is for the same kind and name. Its Command, Checksum, Value, Sandbox,
// Listen, ListenAnywhere and RetryForever count; the rest stays as it was at Start.
//
// If nothing has changed, a ready plugin goes on. If only Value has changed, and Command
// is what runs, the process is configured again; otherwise it ends in good order and
// another one is started. Calls wait meanwhile. OnReady is called in both cases, since
// the plugin may have opened something else.
//
// The new configuration is tried once. If that fails, or ctx ends, the plugin goes back
// to the configuration that it had, and the error says what was wrong; it is a
// [plugin.Diagnostics] if the configuration is the reason. A plugin that has failed, or
// waits for its next start, is started at once, whatever changed.
func (p *Plugin) Reconfigure(ctx context.Context, cfg Config) error {
	if cfg.Kind != p.kind || cfg.Name != p.name {
		return fmt.Errorf("%s plugin %q cannot become the %s plugin %q", p.kind, p.name, cfg.Kind, cfg.Name)
	}
	asked := &change{ctx: ctx, to: cfg, answer: make(chan error, 1)}
	select {
	case p.changes <- asked:
	case <-ctx.Done():
		return p.notReady(context.Cause(ctx))
	case <-p.done:
		return p.nameError(errStopped)
	}
	if err := <-asked.answer; err != nil {
		return p.nameError(err)
	}
	return nil
}

// applyTo returns cfg as the change makes it.
func (asked *change) applyTo(cfg *Config) *Config {
	next, to := *cfg, asked.to
	next.Command, next.Checksum, next.Value = to.Command, to.Checksum, to.Value
	next.Sandbox, next.RetryForever = to.Sandbox, to.RetryForever
	next.Listen, next.ListenAnywhere = to.Listen, to.ListenAnywhere
	return &next
}

// canReconfigure reports whether the process of inc can take the configuration cfg: it runs
// what would be started for cfg, so that at most Value differs. A process gets its listeners
// only when it is executed.
func (inc *incarnation) canReconfigure(cfg *Config) (bool, error) {
	if inc.attached {
		return true, nil
	}
	command, err := cfg.Command()
	if err != nil {
		return false, err
	}
	defer closeFile(command)
	next, err := imageOf(command)
	return err == nil && next.sameImage(inc.image) && reflect.DeepEqual(cfg.Sandbox, inc.config.Sandbox) && reflect.DeepEqual(cfg.Listen, inc.config.Listen), err
}

// reconfigureProcess gives the process of inc the configuration cfg, and returns the incarnation
// that this begins. After an error there is none, and the process is of no more use.
func (l *loop) reconfigureProcess(ctx context.Context, asked *change, inc *incarnation, cfg *Config) (*incarnation, error) {
	if bytes.Equal(cfg.Value, l.config.Value) {
		l.config = cfg
		return inc, nil
	}
	ctx, cancel := eitherDone(ctx, asked.ctx)
	defer cancel()
	l.withdrawIncarnation()
	next := l.beginIncarnation(cfg)
	next.process = inc.process
	if err := l.configureAndAdmit(ctx, next); err != nil {
		l.logRevert(err)
		return nil, err
	}
	l.publishIncarnation(next)
	l.log.Info("plugin reconfigured", "incarnation", next.number, "pid", next.process.PID())
	return next, nil
}

// eitherDone returns a context that ends with the first of two, and with its cause.
func eitherDone(a, b context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(a)
	stop := context.AfterFunc(b, func() { cancel(context.Cause(b)) })
	return ctx, func() { stop(); cancel(nil) }
}
