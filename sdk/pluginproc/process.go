package pluginproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	gopluginrunner "github.com/hashicorp/go-plugin/runner"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// Process is one incarnation of a plugin.
type Process struct {
	runner  *runner
	library *goplugin.Client
	client  *host.Client
	log     *logWriter
	dirs    []string // to remove at the end
	endLog  context.CancelFunc
	end     sync.Once
}

// Start starts a plugin process and shakes hands. When it fails, nothing is
// left of the process. A Process that it returns has to be ended with Stop or
// Kill, also after it has exited by itself.
func Start(ctx context.Context, cfg StartConfig) (*Process, error) {
	defer cfg.closeFiles()
	p := &Process{}
	var logCtx context.Context
	logCtx, p.endLog = context.WithCancel(context.Background())
	p.log = newLogWriter(logCtx, cfg.Logger)
	if err := p.startProcess(ctx, cfg); err != nil {
		p.Kill()
		err = p.explain(err)
		if p.runner != nil && p.runner.notExecuted() {
			err = &PermanentError{err}
		}
		return nil, err
	}
	return p, nil
}

// explain adds to the reason why a start failed what is known of the process, which
// is gone.
func (p *Process) explain(err error) error {
	if p.runner != nil && p.runner.stdout.ended() {
		err = fmt.Errorf("%w (%s)", err, p.exit())
	}
	if words := p.log.lastWords(); words != "" {
		err = fmt.Errorf("%w; the plugin said: %s", err, words)
	}
	return err
}

func (p *Process) startProcess(ctx context.Context, cfg StartConfig) error {
	sockets, err := p.socketDir(cfg.SocketDir)
	if err != nil {
		return err
	}
	tlsConfig, certificate, err := newIdentity()
	if err != nil {
		return err
	}
	timeout := cmp.Or(cfg.Timeout, host.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no handshake within %v", timeout))
	defer cancel()
	p.library = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  rpc.Handshake,
		VersionedPlugins: framings,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		StartTimeout:     2 * timeout, // ctx is first
		TLSConfig:        tlsConfig,
		SkipHostEnv:      true,
		GRPCDialOptions:  dialOptions(cfg.Tracer),
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: sockets},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off}), // lines of the plugin go to Stderr
		Stderr:           p.log,
		SyncStdout:       printed{p.log},
		SyncStderr:       printed{p.log},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (gopluginrunner.Runner, error) {
			p.dirs = append(p.dirs, dir)
			own := slices.DeleteFunc(slices.Clone(cfg.Env), forListening)
			env := slices.Concat(own, pluginEnv(cfg, certificate), spec.Env) // the last of a name counts
			if cfg.Offered != "" {
				env = append(env, "PLUGIN_PROTOCOL_VERSIONS="+cfg.Offered)
			}
			r, err := newRunner(ctx, cfg.Command, cfg.Listeners, env, dir)
			if err == nil {
				r.stdout.pace = p.log.limitPace
			}
			p.runner = r
			return r, err
		},
	})
	if err := p.shakeHands(); err != nil {
		return fmt.Errorf("start plugin: %w", startError{p.startFault(ctx, err)})
	}
	return nil
}

// startFault is why the start failed with err: the time was over, or the handshake
// line was not good, or what go-plugin says.
func (p *Process) startFault(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if p.runner == nil {
			return cause
		}
		return fmt.Errorf("%w%s", cause, p.runner.stdout.late())
	}
	if p.runner != nil {
		if fault := p.runner.stdout.faulty(); fault != nil {
			return fault
		}
	}
	return err
}

// startError is an error of go-plugin, which quotes what a plugin printed in place
// of its handshake, and is of several lines. It is made fit to be shown.
type startError struct{ error }

func (e startError) Error() string {
	return withoutMemory(strings.Join(strings.Fields(rpc.Clean(e.error.Error(), maxErrorText)), " "))
}

func (e startError) Unwrap() error { return e.error }

// shakeHands shakes hands. Neither Start nor Client of go-plugin take a context,
// but both give up when the process ends, and that is how they are stopped.
func (p *Process) shakeHands() error {
	if _, err := p.library.Start(); err != nil {
		return err
	}
	conn, err := connect(p.library)
	if err != nil {
		return err
	}
	if !p.runner.disarm() {
		return errors.New("too late") // killed by now; the cause is that of the context
	}
	p.client = host.NewClient(conn)
	return nil
}

// pluginEnv is what every plugin sees. The path is for interpreters of
// scripts. TMPDIR and HOME are left out on purpose: a plugin works in its own
// directory.
func pluginEnv(cfg StartConfig, certificate []byte) []string {
	return append(listenEnvironment(cfg.Listeners),
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"PLUGIN_CLIENT_CERT="+string(certificate),
		fmt.Sprintf("%s=%d", rpc.EnvLifeline, firstExtraFile+len(cfg.Listeners)),
		rpc.EnvLogLevel+"="+levelName(cfg.Logger),
	)
}

// Client speaks to the plugin.
func (p *Process) Client() *host.Client { return p.client }

// PID is the number of the process.
func (p *Process) PID() int { return p.runner.cmd.Process.Pid }

// Protocol is the version of the framing that host and plugin agreed on.
func (p *Process) Protocol() int { return p.library.NegotiatedVersion() }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.runner.exited }

// ExitReason says, once the process has ended, how: "exit status 2", "signal:
// killed", with the last error from its log. It is for operators, and complete
// when Kill has returned.
func (p *Process) ExitReason() string {
	reason := p.exit()
	if fault := p.log.lastError(); fault != "" {
		reason += ": " + fault
	}
	return reason
}

// exit is how the process ended.
func (p *Process) exit() string {
	if err := p.runner.Wait(context.Background()); err != nil {
		return err.Error()
	}
	return "exit status 0"
}

// settleTime is how long the end of a process may go unnoticed after a call that
// failed because of it.
const settleTime = time.Second

// Ended tells whether the process has ended by itself, and how. After a failed call it
// waits a moment for that, since a call may learn of it first. It is to be asked
// before Stop and Kill.
func (p *Process) Ended(failed bool) (reason string, ended bool) {
	if failed {
		select {
		case <-p.Exited():
		case <-time.After(settleTime):
		}
	}
	select {
	case <-p.Exited():
		p.Kill() // reads the rest of its log
		return p.ExitReason(), true
	default:
		return "", false
	}
}

// Explain adds to the error of a call how the process ended, if it has.
func (p *Process) Explain(err error) error {
	if err == nil {
		return nil
	}
	if reason, ended := p.Ended(errors.Is(err, storage.ErrUnavailable)); ended {
		return fmt.Errorf("%w (the process ended: %s)", err, reason)
	}
	return err
}

// Stop tells the plugin through its lifeline that it is no longer wanted, and
// kills it if it has not ended when ctx does.
func (p *Process) Stop(ctx context.Context) {
	p.runner.lifeline.Close()
	select {
	case <-p.runner.exited:
	case <-ctx.Done():
	}
	p.Kill()
}

// Kill ends the process and all of its group at once, and removes what the
// host has made for it. It may be called more than once.
func (p *Process) Kill() {
	p.end.Do(func() {
		if p.runner != nil {
			p.runner.Kill(context.Background()) //nolint:errcheck // always nil
			if p.runner.ID() != "" {
				<-p.runner.exited
			}
		}
		p.endLog()
		if p.library != nil {
			p.library.Kill() // of goroutines; the process is gone
		}
		p.log.reportOmitted()
		if p.runner != nil {
			p.runner.closeFiles()
		}
		for _, dir := range p.dirs {
			os.RemoveAll(dir) // the next start empties the directory above
		}
	})
}
