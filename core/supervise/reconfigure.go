package supervise

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
)

// change is a wish for another configuration.
type change struct {
	ctx    context.Context // of who wishes
	to     Config
	answer chan error // has room for one
}

// Reconfigure gives the plugin another configuration, and returns nil when it is
// ready with it. Of cfg, which is for the same kind and name, Command, Checksum,
// Value, Sandbox, Listen, ListenAnywhere and RetryForever count; the rest is as it
// was at Start.
//
// When nothing has changed nothing happens to a plugin that is ready. When only
// Value has, and what is to be executed is what runs, the process is configured
// again; otherwise it ends in good order and another one is started. Calls wait
// meanwhile. OnReady is called in both cases, since what the plugin opens may be
// something else.
//
// The new configuration is tried once. When that fails, or ctx ends, the plugin
// goes back to the one that it had, and the error says what was wrong; it is a
// [plugin.Diagnostics] when the reason is in the configuration. A plugin that
// has failed, or waits for its next start, is started at once, whatever changed.
func (p *Plugin) Reconfigure(ctx context.Context, cfg Config) error {
	if cfg.Kind != p.kind || cfg.Name != p.name {
		return fmt.Errorf("%s plugin %q cannot become the %s plugin %q", p.kind, p.name, cfg.Kind, cfg.Name)
	}
	wish := &change{ctx: ctx, to: cfg, answer: make(chan error, 1)}
	select {
	case p.changes <- wish:
	case <-ctx.Done():
		return p.notReady(context.Cause(ctx))
	case <-p.done:
		return fmt.Errorf("%s plugin %q is stopped", p.kind, p.name)
	}
	if err := <-wish.answer; err != nil {
		return fmt.Errorf("%s plugin %q: %w", p.kind, p.name, err)
	}
	return nil
}

// applyTo is s as the change makes it.
func (wish *change) applyTo(s *setting) *setting {
	next := &setting{Config: s.Config}
	next.Command, next.Checksum = wish.to.Command, wish.to.Checksum
	next.Value, next.Sandbox = wish.to.Value, wish.to.Sandbox
	next.RetryForever = wish.to.RetryForever
	next.Listen, next.ListenAnywhere = wish.to.Listen, wish.to.ListenAnywhere
	return next
}

// isRunning tells whether inc is what would be started for s, its Value apart. A
// process gets its listeners only when it is executed.
func (inc *incarnation) isRunning(s *setting) (bool, error) {
	if inc.attached {
		return true, nil
	}
	command, err := s.Command()
	if err != nil {
		return false, err
	}
	defer closeFile(command)
	image, err := imageOf(command)
	return err == nil && image.sameImage(inc.image) && reflect.DeepEqual(s.Sandbox, inc.sandbox) && reflect.DeepEqual(s.Listen, inc.listen), err
}

// reopenIncarnation makes the change to a running process, which makes another incarnation
// of it. After an error the process is of no more use.
func (c *loop) reopenIncarnation(ctx context.Context, wish *change, inc *incarnation, s *setting) (*incarnation, error) {
	if bytes.Equal(s.Value, c.setting.Value) {
		s.proven = true
		c.setting = s
		return inc, nil
	}
	ctx, cancel := eitherDone(ctx, wish.ctx)
	defer cancel()
	c.withdrawIncarnation()
	next := &incarnation{number: c.countIncarnation(s), run: inc.run}
	err := c.configureProcess(ctx, next, s)
	if err == nil {
		err = c.admitIncarnation(ctx, next, s) // it may have opened something else
	}
	if err != nil {
		c.revertChange(err)
		return inc, err
	}
	c.setting = s
	c.publishIncarnation(next)
	c.log.Info("plugin reconfigured", "incarnation", next.number, "pid", next.process.PID())
	return next, nil
}

// adoptChange makes the change by starting a process, when none is running. Without
// success there is no incarnation.
func (c *loop) adoptChange(ctx context.Context, wish *change) *incarnation {
	c.ends.resetFailures()
	c.unmuteLog()
	ctx, cancel := eitherDone(ctx, wish.ctx)
	defer cancel()
	next := wish.applyTo(c.setting)
	inc, err := c.launchIncarnation(ctx, next)
	if err != nil {
		c.revertChange(err)
	} else {
		c.setting = next
		c.warnUnconfined(next)
	}
	wish.answer <- err
	return inc
}

// revertChange says why the setting remains what it was.
func (c *loop) revertChange(err error) {
	c.log.Error("plugin could not be reconfigured, and goes back to what it was", "error", err)
}

// eitherDone ends with the first of two contexts, for the reason of that one.
func eitherDone(a, b context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(a)
	stop := context.AfterFunc(b, func() { cancel(context.Cause(b)) })
	return ctx, func() { stop(); cancel(nil) }
}
