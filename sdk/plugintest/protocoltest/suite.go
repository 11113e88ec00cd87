// Package protocoltest checks what surrounds the calls of a kind: the handshake,
// the certificates, the life from Configure to the end of the process. It is for
// plugins of every kind, and above all for those that are not written in Go, for which
// no library does it. docs/plugin-protocol.md has the sentences.
//
//	protocoltest.Run(t, protocoltest.Opener{Command: func(dir string) (pluginproc.Command, error) {
//		return pluginproc.Command{Path: "/proc/self/exe"}, nil
//	}})
//
// What a process is not asked to do, as in a plugin that was started by hand, is
// skipped.
package protocoltest

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// Opener says how to reach the plugin that is to be checked.
type Opener struct {
	// Command says how to start the plugin as one whose own directory is dir, or as
	// one that is only asked what it is when dir is empty. It is called for each process.
	Command func(dir string) (pluginproc.Command, error)
	// Attach, where set, is a process that somebody started by hand, to connect to in
	// place of starting one.
	Attach *pluginproc.AttachConfig
	// Tracer, where set, is told of every call.
	Tracer pluginproc.Tracer
	// Config is a configuration that the plugin takes, as [plugin.Schema.Value] has it.
	Config map[string]any
	// Invalid, where set, is one that keeps the schema and that Validate must refuse.
	Invalid map[string]any
}

// check proves one line of the checklist in docs/plugin-protocol.md.
type check struct {
	name     string
	sentence string
	run      func(*fixture)
}

// Checks are the lines of the checklist that can be checked from outside.
func Checks(o Opener) (checks []plugintest.Check) {
	for _, list := range [][]check{handshakeChecks, configureChecks, callChecks, busyChecks, endChecks} {
		for _, c := range list {
			checks = append(checks, plugintest.Check{Name: c.name, Contract: c.sentence, Run: func(tb testing.TB) {
				c.run(newFixture(tb, o))
			}})
		}
	}
	return checks
}

// Run runs the [Checks], each in a subtest that quotes its line when it fails.
func Run(t *testing.T, o Opener) { plugintest.RunTests(t, Checks(o)) }

// process is what a check can ask of a plugin, however it came to run.
type process interface {
	Client() *host.Client
	PID() int
	Exited() <-chan struct{}
	ExitReason() string
	Stop(context.Context)
	Kill()
}

// fixture is a plugin and what a check does with it.
type fixture struct {
	testing.TB
	opener Opener
	root   string // that the plugin may write in
	kind   kind

	description plugin.Description
	config      []byte
	listeners   []pluginproc.Listener

	mu    sync.Mutex
	asked map[process]bool // to end

	log logged
}

// logged is what the plugin logged.
type logged struct {
	mu   sync.Mutex
	text []byte
}

func (l *logged) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, text...)
	return len(text), nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func newFixture(tb testing.TB, o Opener) *fixture {
	return &fixture{TB: tb, opener: o, root: tb.TempDir(), asked: make(map[process]bool)}
}

// dir makes a directory for a plugin.
func (f *fixture) dir(name string) string {
	f.Helper()
	dir := filepath.Join(f.root, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.Fatalf("make a directory: %v", err)
	}
	return dir
}

// onlyProcess skips what cannot be asked of a plugin that was started by hand.
func (f *fixture) onlyProcess() {
	if f.opener.Attach != nil {
		f.Skip("the plugin was started by hand: it has no handshake, TLS or lifeline, and is not ended from here")
	}
}

// begin starts the plugin and asks it what it is.
func (f *fixture) begin() process {
	f.Helper()
	return f.beginWith(pluginproc.StartConfig{}, f.root)
}

// beginWith does so with something in the start that is not as usual.
func (f *fixture) beginWith(cfg pluginproc.StartConfig, dir string) process {
	f.Helper()
	if dir != "" {
		cfg.Listeners = f.listeners
	}
	p := f.start(cfg, dir)
	f.describe(p)
	if dir == "" || len(f.listeners) > 0 || !f.listen() {
		return p
	}
	f.end(p) // listeners are passed on at the start
	cfg.Listeners = f.listeners
	p = f.start(cfg, dir)
	f.describe(p)
	return p
}

func (f *fixture) start(cfg pluginproc.StartConfig, dir string) process {
	f.Helper()
	var p process
	var err error
	if f.opener.Attach != nil {
		attach := *f.opener.Attach
		attach.Tracer = f.opener.Tracer
		p, err = pluginproc.Attach(f.Context(), attach)
	} else if cfg.Command, err = f.opener.Command(dir); err == nil {
		log := slog.NewTextHandler(io.MultiWriter(f.Output(), &f.log), &slog.HandlerOptions{Level: slog.LevelDebug})
		cfg.Logger, cfg.Tracer = slog.New(log), f.opener.Tracer
		p, err = pluginproc.Start(f.Context(), cfg)
	}
	if err != nil {
		f.Fatalf("start: %v", err)
	}
	f.Cleanup(func() { f.end(p) })
	return p
}

// end ends a process that is no longer needed. One that has ended by itself has
// failed the check.
func (f *fixture) end(p process) {
	f.Helper()
	f.mu.Lock()
	asked := f.asked[p]
	f.asked[p] = true
	f.mu.Unlock()
	if asked {
		p.Kill()
		return
	}
	if f.opener.Attach != nil { // it is to be ready for the next
		ctx, cancel := context.WithTimeout(context.Background(), host.EndTimeout)
		defer cancel()
		if err := p.Client().Shutdown(ctx); err != nil {
			f.Errorf("%v", err)
		}
	} else if reason, ended := p.(*pluginproc.Process).Ended(f.Failed()); ended {
		f.Errorf("the process ended: %s", reason)
	}
	p.Kill()
}

// expectEnd tells that the check ends the process itself.
func (f *fixture) expectEnd(p process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[p] = true
}

// describe asks the plugin what it is, and makes the configuration for it.
func (f *fixture) describe(p process) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
	defer cancel()
	d, err := p.Client().Describe(ctx)
	if err != nil {
		f.Fatalf("%v", err)
	}
	f.description, f.kind, f.config = d, kindOf(d.Kind), f.encode(d, f.opener.Config)
	f.kind.prepare(p.Client())
}

// encode does what a relay does with a configuration.
func (f *fixture) encode(d plugin.Description, config map[string]any) []byte {
	f.Helper()
	v, err := d.Schema.Value(config)
	if err != nil {
		f.Fatalf("%v", err)
	}
	v, faults := d.Schema.Complete(v)
	if len(faults) > 0 {
		f.Fatalf("the configuration does not keep the schema: %v", faults)
	}
	data, err := d.Schema.Encode(v)
	if err != nil {
		f.Fatalf("%v", err)
	}
	return data
}

// listen opens the listeners of the configuration, of which all processes of a check get the same.
func (f *fixture) listen() bool {
	f.Helper()
	v, err := f.description.Schema.Value(f.opener.Config)
	if err != nil {
		f.Fatalf("%v", err)
	}
	v, faults := f.description.Schema.Complete(v)
	if len(faults) > 0 {
		f.Fatalf("the configuration does not keep the schema: %v", faults)
	}
	addresses := f.description.Schema.ListenAddresses(v)
	if len(addresses) == 0 || f.opener.Attach != nil {
		return false
	}
	for _, at := range addresses {
		l, err := pluginproc.Listen(f.Context(), at, false)
		if err != nil {
			f.Fatalf("%v", err)
		}
		f.Cleanup(l.Close)
		f.listeners = append(f.listeners, l)
	}
	return true
}

// open starts the plugin and configures it in a directory.
func (f *fixture) open(dir string) process {
	f.Helper()
	p := f.begin()
	f.configure(p, dir)
	return p
}

// configure must succeed.
func (f *fixture) configure(p process, dir string) {
	f.Helper()
	if err := f.tryConfigure(p, f.config, dir); err != nil {
		f.Fatalf("%v", err)
	}
}

func (f *fixture) tryConfigure(p process, config []byte, dir string) error {
	ctx, cancel := context.WithTimeout(f.Context(), host.ConfigureTimeout)
	defer cancel()
	return p.Client().Configure(ctx, config, dir)
}

// serves checks that a call of the kind is answered.
func (f *fixture) serves(p process) {
	f.Helper()
	if err := f.kind.call(f.Context()); err != nil {
		f.Fatalf("a call is not served: %v", err)
	}
}

// refuses checks that a call of the kind is UNAVAILABLE, by an answer of the process.
func (f *fixture) refuses(p process, when string) {
	f.Helper()
	switch err := f.kind.call(f.Context()); {
	case err == nil:
		f.Errorf("%s a call was served", when)
	case !f.kind.unavailable(err):
		f.Errorf("%s a call fails with %v, want UNAVAILABLE", when, err)
	}
	f.lives(p)
}

// lives checks that the process is there.
func (f *fixture) lives(p process) {
	f.Helper()
	select {
	case <-p.Exited():
		f.Fatalf("the process ended")
	default:
	}
}

// health asks how the plugin is, with the patience of a relay.
func (f *fixture) health(p process) (host.Health, time.Duration, error) {
	ctx, cancel := context.WithTimeout(f.Context(), host.HealthTimeout)
	defer cancel()
	begin := time.Now()
	h, err := p.Client().Health(ctx)
	return h, time.Since(begin), err
}

// within waits for done, and tells whether it came in time.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// umaskTurn is held by who changes the umask, which is one for the process.
var umaskTurn sync.Mutex

// withUmask runs do with another umask, which processes inherit.
func withUmask(mask int, do func()) {
	umaskTurn.Lock()
	defer umaskTurn.Unlock()
	before := syscall.Umask(mask)
	defer syscall.Umask(before)
	do()
}
