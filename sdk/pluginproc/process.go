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
	runner   *runner
	library  *goplugin.Client
	client   *host.Client
	log      *logWriter
	dirs     []string           // removed by Kill
	endLog   context.CancelFunc // the rest of the log is then read at full speed
	killOnce sync.Once
}

// Start starts a plugin and shakes hands with it. If Start fails, it leaves nothing behind.
// Otherwise the caller has to end the Process with Stop or Kill, even if it has exited by
// itself.
func Start(ctx context.Context, cfg StartConfig) (*Process, error) {
	defer cfg.closeFiles()
	p := &Process{}
	var logCtx context.Context
	logCtx, p.endLog = context.WithCancel(context.Background())
	p.log = newLogWriter(logCtx, cfg.Logger)
	if err := p.startProcess(ctx, cfg); err != nil {
		p.Kill()
		err = p.describeFailure(err)
		if p.runner != nil && p.runner.notExecuted() {
			err = &PermanentError{err}
		}
		return nil, err
	}
	return p, nil
}

// describeFailure adds to the error of a failed start how the process ended and what it said.
func (p *Process) describeFailure(err error) error {
	if p.runner != nil && p.runner.stdout.endedBeforeLine() {
		err = fmt.Errorf("%w (%s)", err, p.exitStatus())
	}
	if words := p.log.faultOrLastLine(); words != "" {
		err = fmt.Errorf("%w; the plugin said: %s", err, words)
	}
	return err
}

func (p *Process) startProcess(ctx context.Context, cfg StartConfig) error {
	sockets, err := p.socketDir(cfg.SocketDir)
	if err != nil {
		return err
	}
	tlsConfig, certificate, err := newClientTLS()
	if err != nil {
		return err
	}
	timeout := cmp.Or(cfg.Timeout, host.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no handshake within %v", timeout))
	defer cancel()
	p.library = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  rpc.Handshake,
		VersionedPlugins: framingVersions,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		StartTimeout:     2 * timeout, // never reached: ctx ends first
		TLSConfig:        tlsConfig,
		SkipHostEnv:      true,
		GRPCDialOptions:  dialOptions(cfg.Tracer),
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: sockets},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off}), // lines of the plugin go to Stderr
		Stderr:           p.log,
		SyncStdout:       printWriter{p.log},
		SyncStderr:       printWriter{p.log},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (gopluginrunner.Runner, error) {
			p.dirs = append(p.dirs, dir)
			configured := slices.DeleteFunc(slices.Clone(cfg.Env), isListenVariable)
			env := slices.Concat(configured, pluginEnv(cfg, certificate), spec.Env) // the last value of a name counts
			if cfg.OfferedVersions != "" {
				env = append(env, "PLUGIN_PROTOCOL_VERSIONS="+cfg.OfferedVersions)
			}
			r, err := newRunner(ctx, cfg.Command, cfg.Listeners, env, dir)
			if err == nil {
				r.stdout.slowDown = p.log.slowDown
			}
			p.runner = r
			return r, err
		},
	})
	if err := p.shakeHands(); err != nil {
		return fmt.Errorf("start plugin: %w", startError{p.startCause(ctx, err)})
	}
	return nil
}

// startCause returns why a start failed with err: the end of ctx, a fault of the handshake
// line, or else err itself.
func (p *Process) startCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if p.runner == nil {
			return cause
		}
		return fmt.Errorf("%w%s", cause, p.runner.stdout.explainTimeout())
	}
	if p.runner != nil {
		if fault := p.runner.stdout.lineError(); fault != nil {
			return fault
		}
	}
	return err
}

// startError makes an error of go-plugin safe to show in one line. go-plugin writes several
// lines and quotes what the plugin printed.
type startError struct{ error }

func (e startError) Error() string {
	return redactMemory(strings.Join(strings.Fields(rpc.Clean(e.error.Error(), maxErrorText)), " "))
}

func (e startError) Unwrap() error { return e.error }

// shakeHands connects to the plugin. Neither Start nor Client of go-plugin takes a context,
// but both give up when the process ends: the end of the context kills it.
func (p *Process) shakeHands() error {
	if _, err := p.library.Start(); err != nil {
		return err
	}
	conn, err := connect(p.library)
	if err != nil {
		return err
	}
	if !p.runner.disarm() {
		return errors.New("too late") // the context has ended; startCause returns its cause
	}
	p.client = host.NewClient(conn)
	return nil
}

// pluginEnv returns the variables that every plugin gets. PATH is there for the
// interpreters of scripts. TMPDIR and HOME are left out: a plugin works in its own directory.
func pluginEnv(cfg StartConfig, certificate []byte) []string {
	return append(listenEnv(cfg.Listeners),
		"PATH=/usr/local/bin:/usr/bin:/bin",
		"PLUGIN_CLIENT_CERT="+string(certificate),
		fmt.Sprintf("%s=%d", rpc.EnvLifeline, firstExtraFile+len(cfg.Listeners)),
		rpc.EnvLogLevel+"="+levelName(cfg.Logger),
	)
}

// Client makes calls to the plugin.
func (p *Process) Client() *host.Client { return p.client }

func (p *Process) PID() int { return p.runner.cmd.Process.Pid }

// Protocol is the negotiated version of the framing.
func (p *Process) Protocol() int { return p.library.NegotiatedVersion() }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.runner.exited }

// ExitReason tells operators how the process ended, such as "exit status 2" or "signal:
// killed", with the last error from its log. It waits for the end, and is complete once Kill has
// returned.
func (p *Process) ExitReason() string {
	reason := p.exitStatus()
	if fault := p.log.lastError(); fault != "" {
		reason += ": " + fault
	}
	return reason
}

func (p *Process) exitStatus() string {
	if err := p.runner.Wait(context.Background()); err != nil {
		return err.Error()
	}
	return "exit status 0"
}

// exitDelay bounds the time between a call that fails because the process ends, and the
// moment when Exited is closed.
const exitDelay = time.Second

// Ended reports whether the process has ended by itself, and how. After a failed call it
// waits a moment, because the call may fail before the end is known. Ask it before Stop
// and Kill.
func (p *Process) Ended(failed bool) (reason string, ended bool) {
	if failed {
		select {
		case <-p.Exited():
		case <-time.After(exitDelay):
		}
	}
	select {
	case <-p.Exited():
		p.Kill() // reads the rest of the log
		return p.ExitReason(), true
	default:
		return "", false
	}
}

// Explain adds to the error of a call how the process ended, if it did.
func (p *Process) Explain(err error) error {
	if err == nil {
		return nil
	}
	if reason, ended := p.Ended(errors.Is(err, storage.ErrUnavailable)); ended {
		return fmt.Errorf("%w (the process ended: %s)", err, reason)
	}
	return err
}

// Stop closes the lifeline, which asks the plugin to end, and kills the process if it has
// not ended when ctx does.
func (p *Process) Stop(ctx context.Context) {
	p.runner.lifeline.Close()
	select {
	case <-p.runner.exited:
	case <-ctx.Done():
	}
	p.Kill()
}

// Kill kills the process and its group, and removes what Start made for it. It may be
// called more than once.
func (p *Process) Kill() {
	p.killOnce.Do(func() {
		if p.runner != nil {
			p.runner.Kill(context.Background()) //nolint:errcheck // always nil
			if p.runner.ID() != "" {
				<-p.runner.exited
			}
		}
		p.endLog()
		if p.library != nil {
			p.library.Kill() // ends its goroutines
		}
		p.log.reportOmitted()
		if p.runner != nil {
			p.runner.closeFiles()
		}
		for _, dir := range p.dirs {
			os.RemoveAll(dir) // if that fails, the next start removes it
		}
	})
}
