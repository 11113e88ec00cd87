// Package protocoltest checks how a plugin keeps the protocol around the calls of its kind:
// the handshake, the certificates, and its life from Configure to the end of the process. It
// works for all kinds, and helps most with plugins in other languages than Go, for which no
// library does this. Every check proves a line of the checklist in docs/plugin-protocol.md.
//
//	protocoltest.Run(t, protocoltest.Opener{Command: func(dir string) (pluginproc.Command, error) {
//		return pluginproc.Command{Path: "/proc/self/exe"}, nil
//	}})
//
// Checks that need a process of their own are skipped for a plugin that was started by hand.
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

	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
)

// Opener says how to reach the plugin under test.
type Opener struct {
	// Command returns the program to start for each process. dir is the plugin's own
	// directory, or empty if the plugin is only asked for its description.
	Command func(dir string) (pluginproc.Command, error)
	// Attach, when set, is a process that was started by hand. It replaces Command.
	Attach *pluginproc.AttachConfig
	// Tracer, when set, receives a line for every call.
	Tracer pluginproc.Tracer
	// Config is a valid configuration in the form of [plugin.Schema.Value].
	Config map[string]any
	// Invalid, when set, is a configuration that matches the schema, but that the plugin
	// has to refuse.
	Invalid map[string]any
}

// check proves one line of the checklist in docs/plugin-protocol.md.
type check struct {
	name     string
	sentence string
	run      func(*fixture)
}

// Checks returns one check for every line of the checklist that can be checked from outside.
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

// Run runs each of the [Checks] in a subtest. A failure quotes the line of the checklist.
func Run(t *testing.T, o Opener) { plugintest.RunTests(t, Checks(o)) }

// process is a [pluginproc.Process] or a [pluginproc.Attached].
type process interface {
	Client() *host.Client
	PID() int
	Exited() <-chan struct{}
	ExitReason() string
	Stop(context.Context)
	Kill()
}

// fixture is the plugin under test in one check.
type fixture struct {
	testing.TB
	opener Opener
	root   string // the plugin may write below it
	kind   kind

	description plugin.Description
	config      []byte
	listeners   []pluginproc.Listener

	mu          sync.Mutex
	endExpected map[process]bool

	log logBuffer // what the plugin logged
}

type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (l *logBuffer) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, text...)
	return len(text), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func newFixture(tb testing.TB, o Opener) *fixture {
	return &fixture{TB: tb, opener: o, root: tb.TempDir(), endExpected: make(map[process]bool)}
}

// makeDir makes a directory below root.
func (f *fixture) makeDir(name string) string {
	f.Helper()
	dir := filepath.Join(f.root, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.Fatalf("make a directory: %v", err)
	}
	return dir
}

// skipIfAttached skips a check that needs a process of its own.
func (f *fixture) skipIfAttached() {
	if f.opener.Attach != nil {
		f.Skip("the plugin was started by hand: it has no handshake, TLS or lifeline, and is not ended from here")
	}
}

// startAndDescribe starts the plugin and asks for its description.
func (f *fixture) startAndDescribe() process {
	f.Helper()
	return f.startAndDescribeWith(pluginproc.StartConfig{}, f.root)
}

// startAndDescribeWith does the same with another configuration of the start.
func (f *fixture) startAndDescribeWith(cfg pluginproc.StartConfig, dir string) process {
	f.Helper()
	if dir != "" {
		cfg.Listeners = f.listeners
	}
	p := f.startPlugin(cfg, dir)
	f.describePlugin(p)
	if dir == "" || len(f.listeners) > 0 || !f.openListeners() {
		return p
	}
	f.endPlugin(p) // it has to be started with its listeners
	cfg.Listeners = f.listeners
	p = f.startPlugin(cfg, dir)
	f.describePlugin(p)
	return p
}

func (f *fixture) startPlugin(cfg pluginproc.StartConfig, dir string) process {
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
	f.Cleanup(func() { f.endPlugin(p) })
	return p
}

// endPlugin ends a process. The check fails if the process has ended by itself.
func (f *fixture) endPlugin(p process) {
	f.Helper()
	f.mu.Lock()
	expected := f.endExpected[p]
	f.endExpected[p] = true
	f.mu.Unlock()
	if expected {
		p.Kill()
		return
	}
	if f.opener.Attach != nil { // the next check uses the same process
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

// expectEnd announces that the check itself ends the process.
func (f *fixture) expectEnd(p process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.endExpected[p] = true
}

// describePlugin asks for the description and encodes the configuration.
func (f *fixture) describePlugin(p process) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), host.DescribeTimeout)
	defer cancel()
	d, err := p.Client().Describe(ctx)
	if err != nil {
		f.Fatalf("%v", err)
	}
	f.description, f.kind, f.config = d, newKind(d.Kind), f.encodeConfig(d.Schema, f.opener.Config)
	f.kind.prepare(p.Client())
}

// completeConfig fills in the defaults of a configuration, as a relay does.
func (f *fixture) completeConfig(s plugin.Schema, config map[string]any) cty.Value {
	f.Helper()
	v, err := s.Value(config)
	if err != nil {
		f.Fatalf("%v", err)
	}
	v, diags := s.Complete(v)
	if len(diags) > 0 {
		f.Fatalf("the configuration does not match the schema: %v", diags)
	}
	return v
}

func (f *fixture) encodeConfig(s plugin.Schema, config map[string]any) []byte {
	f.Helper()
	data, err := s.Encode(f.completeConfig(s, config))
	if err != nil {
		f.Fatalf("%v", err)
	}
	return data
}

// openListeners opens the listeners of the configuration for all processes of a check. It
// reports whether there are any.
func (f *fixture) openListeners() bool {
	f.Helper()
	schema := f.description.Schema
	addresses := schema.ListenAddresses(f.completeConfig(schema, f.opener.Config))
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

// openPlugin starts the plugin and configures it with a directory.
func (f *fixture) openPlugin(dir string) process {
	f.Helper()
	p := f.startAndDescribe()
	f.configurePlugin(p, dir)
	return p
}

func (f *fixture) configurePlugin(p process, dir string) {
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

// requireServing fails the check unless the plugin answers a call of its kind.
func (f *fixture) requireServing(p process) {
	f.Helper()
	if err := f.kind.smallCall(f.Context()); err != nil {
		f.Fatalf("a call is not served: %v", err)
	}
}

// expectUnavailable expects a living process to answer a call of its kind with UNAVAILABLE.
func (f *fixture) expectUnavailable(p process, when string) {
	f.Helper()
	switch err := f.kind.smallCall(f.Context()); {
	case err == nil:
		f.Errorf("%s a call was served", when)
	case !f.kind.isUnavailable(err):
		f.Errorf("%s a call fails with %v, want UNAVAILABLE", when, err)
	}
	f.requireAlive(p)
}

// requireAlive fails the check if the process has ended.
func (f *fixture) requireAlive(p process) {
	f.Helper()
	select {
	case <-p.Exited():
		f.Fatalf("the process ended")
	default:
	}
}

// askHealth asks for the health with the deadline of a relay.
func (f *fixture) askHealth(p process) (host.Health, time.Duration, error) {
	ctx, cancel := context.WithTimeout(f.Context(), host.HealthTimeout)
	defer cancel()
	begin := time.Now()
	h, err := p.Client().Health(ctx)
	return h, time.Since(begin), err
}

// waitFor reports whether done is closed within d.
func waitFor(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// umaskMu guards the umask, which belongs to the whole process.
var umaskMu sync.Mutex

// withUmask runs do with another umask, which the processes started by it inherit.
func withUmask(mask int, do func()) {
	umaskMu.Lock()
	defer umaskMu.Unlock()
	before := syscall.Umask(mask)
	defer syscall.Umask(before)
	do()
}
