// Package supervise keeps a plugin running: it starts the process, configures
// it, looks after it, starts another when it ends, and ends it in good order.
// It is for the relay, which gets from it a store that stays the same while
// processes come and go.
//
// # Incarnations
//
// One run of the process is an incarnation; they are counted from 1. An
// incarnation ends when its process does, when it does not answer a question
// about its health in time, when it says of itself that it can not go on, or when
// calls to it have gone unanswered for a while. The next one starts after a
// delay that doubles up to a bound, and is short again once an incarnation has
// been ready for a while. A plugin that was ready once is started again for ever.
// One that can not become ready because of its configuration, its binary or its
// description has failed, since trying again would not help.
//
// # What a caller of the store sees
//
// A call waits, until its context ends, for an incarnation that is ready. One
// that is under way when the incarnation ends fails with
// [storage.ErrUnavailable]; it is for the caller to repeat it, who alone knows
// whether that is safe.
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
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Config says which plugin to keep running.
type Config struct {
	Kind plugin.Kind
	Name string
	// Command says what to execute. It is called for every incarnation, and the
	// place to check a binary.
	Command  func() (host.Command, error)
	Checksum string // shown in the status

	// Value is the configuration, as [plugin.Schema.Encode] gives it.
	Value []byte
	// Dir is the plugin's own directory; it is created, with mode 0700.
	Dir string
	// SocketDir is a directory for the sockets of this plugin alone; it is
	// created, and stale sockets in it are removed. When it is empty or its path too
	// long for a socket (64 bytes), a temporary directory takes its place.
	SocketDir string

	// Logger takes the log of the plugin and what there is to say about it.
	Logger *slog.Logger
	// OnReady, where set, is called when an incarnation is ready, after calls to
	// it have become possible. It must not wait for anything.
	OnReady func(incarnation int)

	Timing Timing
}

// Timing has the delays and deadlines of a supervisor; a zero stands for the
// default.
type Timing struct {
	Start       time.Duration // until the handshake, 10 s
	Configure   time.Duration // until configured, 60 s
	HealthEvery time.Duration // between two questions, 5 s
	Health      time.Duration // until the answer, 10 s
	Hang        time.Duration // calls of one method going unanswered, 30 s
	BackoffMin  time.Duration // before the first restart, 200 ms
	BackoffMax  time.Duration // before any, 30 s
	Stable      time.Duration // ready this long: the next delay is short, 60 s
	Drain       time.Duration // for calls under way and for closing, 10 s
}

func (t Timing) withDefaults() Timing {
	return Timing{
		Start:       cmp.Or(t.Start, host.StartTimeout),
		Configure:   cmp.Or(t.Configure, 60*time.Second),
		HealthEvery: cmp.Or(t.HealthEvery, 5*time.Second),
		Health:      cmp.Or(t.Health, 10*time.Second),
		Hang:        cmp.Or(t.Hang, 30*time.Second),
		BackoffMin:  cmp.Or(t.BackoffMin, 200*time.Millisecond),
		BackoffMax:  cmp.Or(t.BackoffMax, 30*time.Second),
		Stable:      cmp.Or(t.Stable, 60*time.Second),
		Drain:       cmp.Or(t.Drain, 10*time.Second),
	}
}

// Plugin is a supervised plugin.
type Plugin struct {
	cfg  Config
	log  *slog.Logger
	stop context.CancelFunc // ends the supervision: no more incarnations
	done chan struct{}      // closed when the last incarnation is gone

	mu      sync.Mutex
	status  Status
	failure error           // of the last incarnation; the reason when failed
	drain   context.Context // of the first Stop; set before stop is called
	forced  bool            // the last incarnation had to be killed
	current *incarnation    // nil unless Ready
	changed chan struct{}   // closed and replaced with every change above
}

// Start begins to keep a plugin running, and returns at once.
func Start(cfg Config) *Plugin {
	cfg.Timing = cfg.Timing.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Plugin{
		cfg:     cfg,
		log:     cfg.Logger.With("plugin", string(cfg.Kind)+"/"+cfg.Name),
		stop:    cancel,
		done:    make(chan struct{}),
		changed: make(chan struct{}),
		status:  Status{Kind: cfg.Kind, Name: cfg.Name, Checksum: cfg.Checksum, Since: time.Now()},
	}
	go p.run(ctx)
	return p
}

// Status is the plugin as it is now.
func (p *Plugin) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
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
	_, err := p.ready(ctx)
	return err
}

// ready waits for an incarnation that answers calls.
func (p *Plugin) ready(ctx context.Context) (*incarnation, error) {
	for {
		p.mu.Lock()
		current, changed, state, failure := p.current, p.changed, p.status.State, p.failure
		p.mu.Unlock()
		switch {
		case current != nil:
			return current, nil
		case state == Failed:
			return nil, fmt.Errorf("%s plugin %q: %w", p.cfg.Kind, p.cfg.Name, failure)
		case state.ended():
			return nil, fmt.Errorf("%s plugin %q is %s", p.cfg.Kind, p.cfg.Name, state)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if failure != nil {
				return nil, fmt.Errorf("%s plugin %q is not ready (%s; last error: %w): %w", p.cfg.Kind, p.cfg.Name, state, failure, context.Cause(ctx))
			}
			return nil, fmt.Errorf("%s plugin %q is not ready (%s): %w", p.cfg.Kind, p.cfg.Name, state, context.Cause(ctx))
		}
	}
}

// errKilled is the answer to a stop that was not followed.
var errKilled = errors.New("did not close in time and was killed")

// Stop ends the plugin: no new call begins, those under way are waited for, the
// implementation is closed, and the process is gone when Stop returns. All
// that takes no longer than Timing.Drain, and after ctx ends the process is
// killed at once; an error says that it was.
func (p *Plugin) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timing.Drain)
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
		return fmt.Errorf("%s plugin %q %w", p.cfg.Kind, p.cfg.Name, errKilled)
	}
	return nil
}

// update changes the status and tells who waits for it.
func (p *Plugin) update(change func(*Status)) {
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

func (p *Plugin) setState(s State) { p.update(func(status *Status) { status.State = s }) }
