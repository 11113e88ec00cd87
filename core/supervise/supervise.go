// Package supervise keeps a plugin running. It starts the process, confines and
// configures it, watches it, starts another when it ends, and stops it in good order.
// It gives the relay a store, an exporter or a replicator that stays the same while
// processes come and go.
//
// # Incarnations
//
// One run of the process under one configuration is an incarnation; they count from 1.
// An incarnation ends when its process ends, does not answer the question about its
// health in time, says that it cannot go on, leaves calls unanswered for a while, or
// takes more memory or threads than it may. The next one starts after a delay that
// doubles up to a bound, and is short again once an incarnation has been ready for a
// while.
//
// The question about health uses the connection of all calls, which is dialled again
// when it breaks. So a process that runs but cannot be reached, for example because
// somebody removed its socket, does not count as healthy.
//
// # Giving up
//
// A plugin that ends too often within a while has failed: no process is started any
// more, calls fail at once, and the status says how often it ended and why. With
// RetryForever it is started again and again instead, and the log says little about
// it. A plugin fails at once if it cannot become ready because of its configuration,
// its binary or its description, unless it was ready with the same configuration
// before. Reconfigure starts a failed plugin again. A plugin whose address to listen
// at is taken has not ended: it is tried until the address is free.
//
// # What a caller sees
//
// A call to a store or a replicator waits for a ready incarnation until its context
// ends. A call to an exporter does not wait, because by then there are newer figures. A
// call that is under way when the incarnation ends fails with [storage.ErrUnavailable].
// Only the caller knows whether it is safe to repeat. OnReady announces every new
// incarnation, which has nothing that the previous one held in memory.
//
// # Attached plugins
//
// The supervisor only connects to a plugin that its author started by hand, perhaps
// under a debugger. It neither confines nor kills that plugin, and does not ask for its
// health, since it may stand at a breakpoint. When the plugin is gone, the supervisor
// tries to connect again.
//
// # What is left of a plugin
//
// Nothing: neither processes nor sockets, however the plugin or the relay ended. Package
// pluginproc says how.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// Config says which plugin to keep running.
type Config struct {
	Kind plugin.Kind
	Name string
	// Command says what to execute. It is called for every process, and is the place
	// to check a binary.
	Command  func() (pluginproc.Command, error)
	Checksum string // shown in the status

	// Value is the configuration, as [plugin.Schema.Encode] gives it.
	Value []byte
	// Dir is the plugin's own directory; it is created, with mode 0700.
	Dir string
	// Inspect opens a store to be looked at as it is, see [storage.Checker]. A plugin
	// that cannot do that fails.
	Inspect bool
	// SocketDir is a directory for the sockets of this plugin alone. It is created, and
	// stale sockets in it are removed. When it is empty, or its path is too long for a
	// socket (64 bytes), a temporary directory takes its place.
	SocketDir string

	// Sandbox confines the processes; nil leaves them unconfined. Dir is filled in. The
	// log warns if it is nil, and of each rule that the kernel cannot enforce. The
	// running program has to call [sandbox.Main] first.
	Sandbox *sandbox.Policy
	// Listen has the addresses at which the plugin is reached. The supervisor opens the
	// listeners and passes them to the processes. Addresses other than loopback need
	// ListenAnywhere.
	Listen         []plugin.ListenAddress
	ListenAnywhere bool
	// Host serves a peer-sync plugin; nil for any other.
	Host peersync.HostServices
	// Attach, if set, is a process that somebody started by hand. The supervisor
	// connects to it and does not start Command. See [pluginproc.Attachments].
	Attach *pluginproc.AttachConfig

	// Logger takes the log of the plugin, and of the supervisor about it.
	Logger *slog.Logger
	// Admit, if set, is called when an incarnation is configured, before anybody else
	// can call it. An error other than [storage.ErrUnavailable] says that it is not
	// what was there before, such as a store that has lost its data. The plugin has
	// failed then, unless tried is set: then the configuration is new, and the plugin
	// goes back to the one that it had.
	Admit func(ctx context.Context, c *host.Client, tried bool) error
	// RetryForever keeps the plugin from failing because it ends often. It is for what a
	// server cannot do without, when strangers may be why it ends.
	RetryForever bool
	// OnReady, if set, is called when an incarnation is ready and can be called. It must
	// not block.
	OnReady func(incarnation int)
}

// timing has the delays, deadlines and limits of a supervisor. A test has its own.
type timing struct {
	start       time.Duration // until the handshake
	configure   time.Duration // until configured
	open        time.Duration // the same of a store
	slowOpen    time.Duration // of a store, until the log says that this takes long
	healthEvery time.Duration // between two questions
	limitsEvery time.Duration // between two looks at memory and threads
	health      time.Duration // until the answer
	hang        time.Duration // calls of one method going unanswered
	step        time.Duration // the same of Compact, Check and Handle
	backoffMin  time.Duration // before the first restart
	backoffMax  time.Duration // before any
	stable      time.Duration // ready this long: the next delay is short
	drain       time.Duration // for calls under way and for closing

	maxFailures   int           // more ends than this, unasked,
	failureWindow time.Duration // within this time, and the plugin has failed
}

var defaultTiming = timing{
	start:         host.StartTimeout,
	configure:     host.ConfigureTimeout,
	open:          host.OpenTimeout,
	slowOpen:      10 * time.Second,
	healthEvery:   5 * time.Second,
	limitsEvery:   time.Second,
	health:        host.HealthTimeout,
	hang:          host.HangTimeout,
	step:          host.StepTimeout,
	backoffMin:    200 * time.Millisecond,
	backoffMax:    30 * time.Second,
	stable:        time.Minute,
	drain:         host.EndTimeout,
	maxFailures:   10,
	failureWindow: 10 * time.Minute,
}

// Plugin is a supervised plugin. Its methods are safe for concurrent use.
type Plugin struct {
	kind    plugin.Kind
	name    string
	timing  timing
	changes chan *change       // asked for, not yet begun
	stop    context.CancelFunc // ends the supervision: no more incarnations
	done    chan struct{}      // closed when the last incarnation is gone

	mu        sync.Mutex
	status    Status
	fault     error           // why the latest incarnation ended; nil when it is ready
	drainCtx  context.Context // of the first Stop; set before stop is called
	forced    bool            // Stop had to kill the last incarnation
	current   *incarnation    // nil unless Ready or Degraded
	lastReady *incarnation    // the latest that was current
	changed   chan struct{}   // closed and replaced with every change above
}

// Start starts to keep a plugin running, and returns at once.
func Start(cfg Config) *Plugin { return startWith(cfg, defaultTiming) }

func startWith(cfg Config, t timing) *Plugin {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plugin{
		kind:    cfg.Kind,
		name:    cfg.Name,
		timing:  t,
		changes: make(chan *change),
		stop:    cancel,
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		status:  Status{Kind: cfg.Kind, Name: cfg.Name, Since: time.Now()},
	}
	go newLoop(p, cfg).run(ctx)
	return p
}

// Status returns the state of the plugin, for the operator.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	if s.PID != 0 {
		s.Memory, _ = sandbox.Memory(s.PID) // 0 when it cannot be read
	}
	return s
}

// WaitReady waits until the plugin is ready. It returns an error when the plugin has
// failed or been stopped, or when ctx ends; the error says why it is not ready. If the
// configuration is the reason, the error is a [plugin.Diagnostics].
func (p *Plugin) WaitReady(ctx context.Context) error {
	_, err := p.awaitReady(ctx)
	return err
}

// WaitTried is WaitReady for a caller that does not wait for a second try: it also
// returns an error when the first one failed and another follows.
func (p *Plugin) WaitTried(ctx context.Context) error {
	for {
		inc, changed, err := p.currentIncarnation()
		switch {
		case inc != nil || err != nil:
			return err
		case p.Status().State == Backoff:
			return p.notReady(errRetrying)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p.notReady(context.Cause(ctx))
		}
	}
}

var errRetrying = errors.New("it is tried again")

// WaitOpened is WaitReady for a caller that waits no longer than patience, unless the plugin
// is being configured by then: a store may need up to [host.OpenTimeout] for that. It
// then waits until that has ended, or until enough is closed.
func (p *Plugin) WaitOpened(ctx context.Context, patience time.Duration, enough <-chan struct{}) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	over, leave := false, (<-chan struct{})(nil)
	for {
		inc, changed, err := p.currentIncarnation()
		if inc != nil || err != nil {
			return err
		}
		if state := p.Status().State; over && state != Configuring && !state.Serving() {
			return p.notReady(fmt.Errorf("gave up after %v", patience))
		}
		select {
		case <-changed:
		case <-timer.C:
			over, leave = true, enough
		case <-leave:
			return p.notReady(errOpening)
		case <-ctx.Done():
			return p.notReady(context.Cause(ctx))
		}
	}
}

var errOpening = errors.New("it is still being opened, and is used as soon as that is done")

// awaitReady waits for an incarnation that can be called.
func (p *Plugin) awaitReady(ctx context.Context) (*incarnation, error) {
	for {
		inc, changed, err := p.currentIncarnation()
		if inc != nil || err != nil {
			return inc, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, p.notReady(context.Cause(ctx))
		}
	}
}

// currentIncarnation returns the incarnation that can be called, or an error when there
// will be none. With neither, changed is closed when it is time to look again.
func (p *Plugin) currentIncarnation() (inc *incarnation, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.current != nil:
		return p.current, nil, nil
	case p.drainCtx != nil:
		return nil, nil, p.nameError(errStopped)
	case p.status.State == Failed:
		return nil, nil, p.nameError(p.fault)
	}
	return nil, p.changed, nil
}

// notReady returns an error that says why the plugin cannot be called; cause is why the
// caller does not wait.
func (p *Plugin) notReady(cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		return fmt.Errorf("%s plugin %q is not ready (%s; last error: %w): %w", p.kind, p.name, p.status.State, p.fault, cause)
	}
	return fmt.Errorf("%s plugin %q is not ready (%s): %w", p.kind, p.name, p.status.State, cause)
}

var (
	errStopped = errors.New("it is stopped")
	errKilled  = errors.New("it did not close in time and was killed")
)

// Stop stops the plugin: no new call begins, those under way are waited for, the
// implementation is closed, and the process is gone when Stop returns. If that takes
// longer than [host.EndTimeout], or ctx ends, the process is killed, and an error says
// so.
func (p *Plugin) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timing.drain)
	defer cancel()
	p.mu.Lock()
	if p.drainCtx == nil {
		p.drainCtx = ctx
	}
	p.mu.Unlock()
	p.stop()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forced {
		return p.nameError(errKilled)
	}
	return nil
}

// nameError says which plugin an error is of.
func (p *Plugin) nameError(err error) error {
	return fmt.Errorf("%s plugin %q: %w", p.kind, p.name, err)
}

// updateStatus changes the status, and what else mu guards, and wakes those who wait for a
// change.
func (p *Plugin) updateStatus(change func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.status.State
	change(&p.status)
	if p.status.State != before {
		p.status.Since = time.Now()
	}
	close(p.changed)
	p.changed = make(chan struct{})
}
