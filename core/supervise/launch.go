package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// launchIncarnation starts an incarnation and brings it to where it is called. When it
// fails nothing is left of it.
func (c *loop) launchIncarnation(ctx context.Context, s *setting) (*incarnation, error) {
	begin := time.Now()
	number := c.countIncarnation(s)
	run, err := c.beginProcess(ctx, s)
	if err != nil {
		return nil, err
	}
	inc := &incarnation{number: number, run: run}
	c.updateStatus(func(s *Status) { s.PID, s.Protocol = run.process.PID(), run.process.Protocol() })
	err = c.introduceProcess(ctx, inc)
	if err == nil {
		err = c.configureProcess(ctx, inc, s)
	}
	if err == nil {
		err = c.admitIncarnation(ctx, inc, s)
	}
	if err != nil {
		c.endIncarnation(inc)
		return nil, err
	}
	c.closeListeners(s.Listen)
	c.publishIncarnation(inc)
	c.log.InfoContext(loglimit.Always(ctx), "plugin ready", "incarnation", number, "pid", inc.process.PID(), "version", c.Status().Version, "took", time.Since(begin).Round(time.Millisecond))
	return inc, nil
}

// countIncarnation begins another incarnation.
func (c *loop) countIncarnation(s *setting) int {
	c.number++
	confinement := s.sandboxStatus()
	c.updateStatus(func(status *Status) {
		status.State, status.Reason = Starting, ""
		status.Incarnation, status.Checksum = c.number, s.Checksum
		status.Attached, status.Sandbox = s.Attach != nil, confinement
	})
	return c.number
}

// beginProcess starts the process, or connects to the one that was started by hand.
func (c *loop) beginProcess(ctx context.Context, s *setting) (*run, error) {
	if err := s.prepareDirs(); err != nil {
		return nil, fatalError{err}
	}
	r := &run{attached: s.Attach != nil, sandbox: s.Sandbox, listen: s.Listen, condemned: make(chan struct{})}
	var err error
	if r.attached {
		r.process, err = attachProcess(ctx, *s.Attach)
	} else {
		r.process, r.image, err = c.startProcess(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	if s.Host != nil {
		r.process.Client().ServeHost(s.Host)
	}
	if s.isConfined() {
		r.tasks = s.tasks
		r.watches.Go(func() { r.watchUsage(c.timing.MemoryEvery) })
	}
	return r, nil
}

func attachProcess(ctx context.Context, cfg pluginproc.AttachConfig) (process, error) {
	attached, err := pluginproc.Attach(ctx, cfg)
	if err != nil {
		return nil, err // not a nil *Attached in an interface
	}
	return attached, nil
}

func (c *loop) startProcess(ctx context.Context, s *setting) (process, image, error) {
	listeners, err := c.openListeners(ctx, s)
	if err != nil {
		return nil, image{}, err
	}
	command, err := s.Command()
	if err != nil {
		return nil, image{}, fatalError{err}
	}
	executed, err := imageOf(command)
	if err == nil {
		command, err = s.confineCommand(command)
	}
	if err != nil {
		closeFile(command)
		return nil, image{}, fatalError{err}
	}
	started, err := pluginproc.Start(ctx, pluginproc.StartConfig{
		Command: command, SocketDir: s.SocketDir, Listeners: listeners, Logger: c.printed, Timeout: c.timing.Start,
	})
	if errors.As(err, new(*pluginproc.PermanentError)) {
		err = fatalError{err}
	}
	if err != nil {
		return nil, image{}, err
	}
	return started, executed, nil
}

func closeFile(command pluginproc.Command) {
	if command.File != nil {
		command.File.Close()
	}
}

// prepareDirs makes the directories, and removes sockets of an earlier process.
func (s *setting) prepareDirs() error {
	dir, err := filepath.Abs(s.Dir)
	if err == nil {
		s.Dir = dir
		err = durable.MakeDir(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the plugin's directory: %w", err)
	}
	if s.SocketDir == "" {
		return nil
	}
	if err := os.MkdirAll(s.SocketDir, 0o700); err != nil {
		return fmt.Errorf("make directory for the plugin's sockets: %w", err)
	}
	if err := os.Chmod(s.SocketDir, 0o700); err != nil {
		return fmt.Errorf("protect directory for the plugin's sockets: %w", err)
	}
	entries, err := os.ReadDir(s.SocketDir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "plugin-dir") { // go-plugin's name
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.SocketDir, e.Name())))
		}
	}
	if err != nil {
		return fmt.Errorf("remove stale sockets: %w", err)
	}
	return nil
}

// introduceProcess asks the process who it is.
func (c *loop) introduceProcess(ctx context.Context, inc *incarnation) error {
	ctx, cancel := context.WithTimeout(ctx, host.DescribeTimeout)
	defer cancel()
	d, err := inc.process.Client().Describe(ctx)
	if err != nil {
		return inc.explainFault(err)
	}
	if d.Kind != c.kind || d.Name != c.name {
		return fatalError{fmt.Errorf("the binary is the %s plugin %q", d.Kind, d.Name)}
	}
	c.updateStatus(func(s *Status) { s.Version, s.Capabilities = d.Version, d.Capabilities })
	return nil
}

// admitIncarnation asks whoever uses the plugin whether it is the one that they mean.
func (c *loop) admitIncarnation(ctx context.Context, inc *incarnation, s *setting) error {
	if s.Admit == nil {
		return nil
	}
	switch err := s.Admit(ctx, inc.process.Client(), s != c.setting); {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrUnavailable), ctx.Err() != nil:
		return inc.explainFault(err)
	default:
		return inadmissibleError{err}
	}
}

// configureProcess has the process open its implementation.
func (c *loop) configureProcess(ctx context.Context, inc *incarnation, s *setting) error {
	c.updateStatus(func(status *Status) { status.State = Configuring })
	ctx, cancel := context.WithTimeout(ctx, c.timing.Configure)
	defer cancel()
	dir := s.Dir
	if s.isConfined() {
		dir = sandbox.Policy{Dir: s.Dir}.DirName()
	}
	if !utf8.ValidString(dir) {
		return fatalError{errors.New("the path of its directory is not UTF-8, so only a plugin in the sandbox can be told of it: confine it, or move data_dir")}
	}
	err := inc.process.Client().Configure(ctx, s.Value, dir)
	switch {
	case err == nil:
		s.proven = true
		return nil
	case errors.Is(err, storage.ErrUnavailable), ctx.Err() != nil:
		return inc.explainFault(err)
	case s.isConfined() && refusedSocket.MatchString(err.Error()):
		err = listenHint(err)
	}
	return fatalError{err}
}
