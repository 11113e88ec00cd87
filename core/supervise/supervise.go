// Package supervise keeps a plugin running: it starts the process, confines
// and configures it, looks after it, starts another when it ends, and ends it in
// good order. It is for the relay, which gets from it a store, an exporter or a
// replicator that stays the same while processes come and go.
//
// # Incarnations
//
// One run of the process under one configuration is an incarnation; they are
// counted from 1. It ends when the process does, when it does not answer a
// question about its health in time, when it says of itself that it cannot go
// on, when calls to it have gone unanswered for a while, or when it takes more
// memory or more threads than it may. The next one starts after a delay that doubles up to a
// bound, and is short again once an incarnation has been ready for a while.
//
// The question about health is a call over the connection that all calls take,
// which is dialled again when it is lost. So a process that runs and cannot be
// reached, as after somebody removed its socket, does not pass for well.
//
// # Giving up
//
// A plugin that ended too often within a while has failed: nothing is started
// any more, calls to it fail at once, and the status says how often it ended and
// why. With RetryForever it is started on and on instead, at the longest delay, while
// the log says little of it. At once, a plugin has failed that could not become ready
// because of its configuration, its binary or its description, unless it was ready
// with the same configuration before. Retry and Reconfigure start it again. A plugin whose
// address to listen at is taken has not ended: it is tried until the address is free.
//
// # What a caller sees
//
// A call to a store or a replicator waits, until its context ends, for an
// incarnation that is ready; one to an exporter does not wait, because by then
// there are newer numbers. One that is under way when the incarnation ends fails
// with [storage.ErrUnavailable]; it is for the caller to repeat it, who alone
// knows whether that is safe. OnReady tells of every new incarnation, with which
// all that the one before held in memory is gone.
//
// # Attached plugins
//
// A plugin that its author started by hand, under a debugger perhaps, is only
// connected to: it is neither confined nor killed, and since it may stand at a
// breakpoint it is not asked how it is. When it is gone, the supervisor tries to
// connect again.
//
// # What is left of a plugin
//
// Nothing: neither processes nor sockets, however it or the relay ended. Package
// host says how.
package supervise

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
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
	// Command says what to execute. It is called for every incarnation, and the
	// place to check a binary.
	Command  func() (pluginproc.Command, error)
	Checksum string // shown in the status

	// Value is the configuration, as [plugin.Schema.Encode] gives it.
	Value []byte
	// Dir is the plugin's own directory; it is created, with mode 0700.
	Dir string
	// SocketDir is a directory for the sockets of this plugin alone; it is
	// created, and stale sockets in it are removed. When it is empty or its path too
	// long for a socket (64 bytes), a temporary directory takes its place.
	SocketDir string

	// Sandbox confines the processes; nil leaves them unconfined. Dir is filled
	// in. What the system cannot enforce of it, and that there is none, is
	// warned of. The running program has to call [sandbox.Main] first.
	Sandbox *sandbox.Policy
	// Listen has the addresses at which the plugin is reached. The listeners are
	// opened here and passed on to its processes, and only with ListenAnywhere at
	// others than loopback addresses.
	Listen         []plugin.ListenAddress
	ListenAnywhere bool
	// Host is for a peer-sync plugin, and nil for any other.
	Host peersync.HostServices
	// Attach, where set, is a process that somebody started by hand, to connect to
	// in place of starting Command. See [pluginproc.Attachments].
	Attach *pluginproc.AttachConfig

	// Logger takes the log of the plugin and what there is to say about it.
	Logger *slog.Logger
	// Admit, where set, is called when an incarnation is configured, before
	// anybody else can call it. An error that is not [storage.ErrUnavailable] means
	// that it is not what was there before, as a store that has lost its data: the
	// plugin has failed. With tried it has not: the configuration is new, and the
	// plugin goes back to the one that it had.
	Admit func(ctx context.Context, c *host.Client, tried bool) error
	// RetryForever keeps the plugin from failing because of how often it ended. It
	// is for what a server cannot do without, when a stranger may have caused the ends.
	RetryForever bool
	// OnReady, where set, is called when an incarnation is ready, after calls to
	// it have become possible. It must not wait for anything.
	OnReady func(incarnation int)

	Timing Timing
}

// Timing has the delays and deadlines of a supervisor; a zero stands for the
// default.
type Timing struct {
	Start       time.Duration // until the handshake, host.StartTimeout
	Configure   time.Duration // until configured, host.ConfigureTimeout
	HealthEvery time.Duration // between two questions, 5 s
	MemoryEvery time.Duration // between two looks at memory and threads, 1 s
	Health      time.Duration // until the answer, host.HealthTimeout
	Hang        time.Duration // calls of one method going unanswered, host.HangTimeout
	BackoffMin  time.Duration // before the first restart, 200 ms
	BackoffMax  time.Duration // before any, 30 s
	Stable      time.Duration // ready this long: the next delay is short, 60 s
	Drain       time.Duration // for calls under way and for closing, host.EndTimeout

	Limit  int           // more ends than this, unasked, 10,
	Window time.Duration // within this time, 10 min, and the plugin has failed
}

func (t Timing) withDefaults() Timing {
	return Timing{
		Start:       cmp.Or(t.Start, host.StartTimeout),
		Configure:   cmp.Or(t.Configure, host.ConfigureTimeout),
		HealthEvery: cmp.Or(t.HealthEvery, 5*time.Second),
		MemoryEvery: cmp.Or(t.MemoryEvery, time.Second),
		Health:      cmp.Or(t.Health, host.HealthTimeout),
		Hang:        cmp.Or(t.Hang, host.HangTimeout),
		BackoffMin:  cmp.Or(t.BackoffMin, 200*time.Millisecond),
		BackoffMax:  cmp.Or(t.BackoffMax, 30*time.Second),
		Stable:      cmp.Or(t.Stable, 60*time.Second),
		Drain:       cmp.Or(t.Drain, host.EndTimeout),
		Limit:       cmp.Or(t.Limit, 10),
		Window:      cmp.Or(t.Window, 10*time.Minute),
	}
}

// Plugin is a supervised plugin. Its methods may be called at the same time from
// several goroutines.
type Plugin struct {
	kind    plugin.Kind
	name    string
	timing  Timing
	onReady func(incarnation int)
	log     *slog.Logger
	muted   atomic.Bool        // log says nothing
	loud    *slog.Logger       // log, also while it says nothing
	printed *slog.Logger       // log, for the lines of the plugin itself
	changes chan *change       // asked for, not yet begun
	stop    context.CancelFunc // ends the supervision: no more incarnations
	done    chan struct{}      // closed when the last incarnation is gone

	mu      sync.Mutex
	status  Status
	failure error           // of the last incarnation; the reason when failed
	drain   context.Context // of the first Stop; set before stop is called
	forced  bool            // the last incarnation had to be killed
	current *incarnation    // nil unless Ready or Degraded
	last    *incarnation    // that was current most lately
	wake    chan struct{}   // to be closed by Retry; nil unless Backoff or Failed
	changed chan struct{}   // closed and replaced with every change above
}

// Start begins to keep a plugin running, and returns at once.
func Start(cfg Config) *Plugin {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plugin{
		kind:    cfg.Kind,
		name:    cfg.Name,
		timing:  cfg.Timing.withDefaults(),
		onReady: cfg.OnReady,
		loud:    cfg.Logger.With("plugin", string(cfg.Kind)+"/"+cfg.Name),
		changes: make(chan *change),
		stop:    cancel,
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		status:  Status{Kind: cfg.Kind, Name: cfg.Name, Since: time.Now()},
	}
	p.log = slog.New(mutable{p.loud.Handler(), &p.muted})
	p.printed = slog.New(loglimit.NewForeign(p.log.Handler()))
	go newCourse(p, cfg).runLoop(ctx)
	return p
}

// Status is the plugin as it is now.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.status
	if s.PID != 0 {
		s.Memory, _ = sandbox.Memory(s.PID) // 0 when it cannot be read
	}
	return s
}

// Changed is closed when the status is no longer what it was at the call.
func (p *Plugin) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// WaitReady returns nil when the plugin is ready, or an error when it has
// failed or been stopped, or when ctx ends; the error says why it is not ready.
// When the reason is in the configuration it is a [plugin.Diagnostics].
func (p *Plugin) WaitReady(ctx context.Context) error {
	_, err := p.awaitReady(ctx)
	return err
}

// WaitTried is WaitReady for who does not wait for a second try: it returns an error
// as well when the first one failed and another follows.
func (p *Plugin) WaitTried(ctx context.Context) error {
	for {
		inc, changed, err := p.currentIncarnation()
		switch {
		case inc != nil || err != nil:
			return err
		case p.Status().State == Backoff:
			return p.notReady(errTryAgain)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return p.notReady(context.Cause(ctx))
		}
	}
}

var errTryAgain = errors.New("it is tried again")

// awaitReady waits for an incarnation that answers calls.
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

// currentIncarnation is the incarnation that answers calls, or an error when waiting for one
// would be in vain. Without both, changed is closed when it is time to look again.
func (p *Plugin) currentIncarnation() (inc *incarnation, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.current != nil:
		return p.current, nil, nil
	case p.drain != nil:
		return nil, nil, fmt.Errorf("%s plugin %q is stopped", p.kind, p.name)
	case p.status.State == Failed:
		return nil, nil, fmt.Errorf("%s plugin %q: %w", p.kind, p.name, p.failure)
	}
	return nil, p.changed, nil
}

// notReady says why nothing answers calls, and cause why nobody waits for it.
func (p *Plugin) notReady(cause error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return fmt.Errorf("%s plugin %q is not ready (%s; last error: %w): %w", p.kind, p.name, p.status.State, p.failure, cause)
	}
	return fmt.Errorf("%s plugin %q is not ready (%s): %w", p.kind, p.name, p.status.State, cause)
}

// Retry starts a plugin that has failed or waits for its next start, at once
// and with its ends so far forgotten. In any other state it does nothing.
func (p *Plugin) Retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake != nil {
		close(p.wake)
		p.wake = nil
	}
}

// errKilled is the answer to a stop that was not followed.
var errKilled = errors.New("did not close in time and was killed")

// Stop ends the plugin: no new call begins, those under way are waited for, the
// implementation is closed, and the process is gone when Stop returns. All
// that takes no longer than Timing.Drain, and after ctx ends the process is
// killed at once; an error says that it was.
func (p *Plugin) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.timing.Drain)
	defer cancel()
	p.mu.Lock()
	if p.drain == nil {
		p.drain = ctx
	}
	p.mu.Unlock()
	p.stop()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.forced {
		return fmt.Errorf("%s plugin %q %w", p.kind, p.name, errKilled)
	}
	return nil
}

// updateStatus changes the status and tells who waits for it.
func (p *Plugin) updateStatus(change func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.updateLocked(change)
}

func (p *Plugin) updateLocked(change func(*Status)) {
	before := p.status.State
	change(&p.status)
	if p.status.State != before {
		p.status.Since = time.Now()
	}
	close(p.changed)
	p.changed = make(chan struct{})
}
