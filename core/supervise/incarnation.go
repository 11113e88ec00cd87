package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// incarnation is one run of the plugin under one configuration. With another
// configuration the same process is another incarnation.
type incarnation struct {
	number int
	config *Config
	*process
	hangs    hangDetector
	handling atomic.Pointer[time.Time] // when the Handle under way began; nil: there is none
}

// fatalError is a fault that a new start would meet again.
type fatalError struct {
	error
	always bool // also if the plugin was ready with the same configuration before
}

func (e fatalError) Unwrap() error { return e.error }

// beginIncarnation counts another incarnation, which has no process yet, and shows it in
// the status.
func (l *loop) beginIncarnation(cfg *Config) *incarnation {
	l.lastNumber++
	policy := cfg.sandboxPolicy()
	confinement := Sandbox{On: policy != nil}
	if policy != nil {
		confinement.Missing = sandbox.Missing(*policy)
	}
	l.updateStatus(func(s *Status) {
		s.State, s.Reason = Starting, ""
		s.Incarnation, s.Checksum = l.lastNumber, cfg.Checksum
		s.Attached, s.Sandbox = cfg.Attach != nil, confinement
	})
	return &incarnation{number: l.lastNumber, config: cfg}
}

// describePlugin asks the process which plugin it is.
func (l *loop) describePlugin(ctx context.Context, inc *incarnation) error {
	ctx, cancel := context.WithTimeout(ctx, host.DescribeTimeout)
	defer cancel()
	d, err := inc.process.Client().Describe(ctx)
	if err != nil {
		return inc.endReason(err)
	}
	if d.Kind != l.kind || d.Name != l.name {
		return fatalError{error: fmt.Errorf("the binary is the %s plugin %q", d.Kind, d.Name)}
	}
	if err := d.CheckContract(); err != nil {
		return fatalError{error: fmt.Errorf("the binary %w", err), always: true}
	}
	l.updateStatus(func(s *Status) { s.Version, s.Capabilities = d.Version, d.Capabilities })
	return nil
}

// configureAndAdmit makes the plugin open its implementation, and asks Admit whether
// callers may have that.
func (l *loop) configureAndAdmit(ctx context.Context, inc *incarnation) error {
	l.updateStatus(func(s *Status) { s.State = Configuring })
	if err := l.sendConfig(ctx, inc); err != nil {
		return err
	}
	if inc.config.Admit == nil {
		return nil
	}
	switch err := inc.config.Admit(ctx, inc.process.Client(), inc.config != l.config); {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrUnavailable), ctx.Err() != nil:
		return inc.endReason(err)
	default:
		return fatalError{error: err, always: true}
	}
}

// sendConfig sends the plugin its configuration.
func (l *loop) sendConfig(ctx context.Context, inc *incarnation) error {
	limit := l.timing.configure
	if l.kind == plugin.KindStorage {
		limit = l.timing.open
		slow := time.AfterFunc(l.timing.slowOpen, func() {
			l.log.Warn("the store is still being opened; it may take minutes to take over a file of an earlier release, once", "limit", limit)
		})
		defer slow.Stop()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	dir := inc.config.Dir
	if inc.policy != nil {
		dir = inc.policy.DirName()
	}
	if !utf8.ValidString(dir) {
		return fatalError{error: errors.New("the path of its directory is not UTF-8, so only a plugin in the sandbox can be told of it: confine it, or move data_dir")}
	}
	configure := inc.process.Client().Configure
	if inc.config.Inspect {
		configure = inc.process.Client().Inspect
	}
	err := configure(ctx, inc.config.Value, dir)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), ctx.Err() != nil: // the plugin may notice the deadline first
		return inc.endReason(err)
	case inc.policy != nil && refusedSocket.MatchString(err.Error()):
		err = explainRefusedSocket(err)
	}
	return fatalError{error: err}
}

// checkHealth asks the plugin for its health and shows it. An error is the reason why
// the incarnation has to end.
func (l *loop) checkHealth(ctx context.Context, inc *incarnation) error {
	health, err := l.askHealth(ctx, inc)
	if hang := inc.hangs.findHang(l.timing.hangLimit); hang != nil {
		return hang
	}
	if err != nil {
		return err
	}
	if health.State == host.Failed {
		return fmt.Errorf("the plugin cannot go on: %s", health.Reason)
	}
	if begin := inc.handling.Load(); begin != nil && health.State == host.Ready && time.Since(*begin) >= l.timing.hang {
		health = host.Health{State: host.Degraded, Reason: fmt.Sprintf("a Handle has taken %v already; after %v the process is killed", l.timing.hang, l.timing.step)}
	}
	l.showHealth(health)
	return nil
}

// askHealth asks the plugin for its health. If the connection breaks under the question,
// it asks once more over a new connection.
func (l *loop) askHealth(ctx context.Context, inc *incarnation) (host.Health, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timing.health)
	defer cancel()
	begin := time.Now()
	health, err := inc.process.Client().Health(ctx)
	if errors.Is(err, storage.ErrUnavailable) && ctx.Err() == nil {
		health, err = inc.process.Client().Health(ctx)
	}
	inc.hangs.noteCall(healthMethod, begin, err, false)
	return health, err
}

// showHealth puts the health of a plugin that can be called into the status.
func (l *loop) showHealth(health host.Health) {
	state := Ready
	if health.State == host.Degraded {
		state = Degraded
	}
	if now := l.Status(); now.State == state && now.Reason == health.Reason {
		return
	}
	if state == Degraded {
		l.log.Warn("plugin is degraded", "reason", health.Reason)
	} else {
		l.log.Info("plugin is healthy", "reason", health.Reason)
	}
	l.updateStatus(func(s *Status) { s.State, s.Reason = state, health.Reason })
}
