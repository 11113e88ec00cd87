package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	gopluginrunner "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxSocketDir bounds the path of the directory for sockets, in bytes: with the
// names that go-plugin makes below it, 38 bytes, a socket has to fit the 107 of
// sun_path (unix(7)).
const maxSocketDir = 64

// Command says what to start.
type Command struct {
	Path string   // absolute
	Args []string // after the name
	// Env is the whole environment, besides what the handshake needs; that of
	// the host is not passed on.
	Env []string
	// File, when not nil, is the open file that is executed, whatever Path
	// names by then (Linux only). Start closes it.
	File *os.File
	// Launcher, when not nil, is executed in place of the plugin, and executes
	// the plugin itself.
	Launcher *Launcher
}

// Launcher is a program that prepares the process of a plugin before the first
// instruction of the plugin, and has to execute it in that process. It gets the
// plugin's environment and descriptors: 0 to 2 as every plugin has them, then as
// many listeners as LISTEN_FDS says, the lifeline, the open file of the plugin, if
// there is one, and its own open file, if there is one, which the plugin should
// not get. Its arguments are Args, "--", and then the Path and the Args of the
// plugin. Where there are listeners it sets LISTEN_PID.
type Launcher struct {
	Path string // absolute
	Args []string
	// File, when not nil, is the open file that is executed. Start closes it.
	File *os.File
	// Sys, when not nil, has more attributes of the process, such as namespaces.
	Sys *syscall.SysProcAttr
}

// StartConfig says how to start it.
type StartConfig struct {
	Command
	// SocketDir is an existing directory that only this user can enter. When it
	// is empty, or its path too long for a socket or not one that a plugin can name,
	// a private one is made below os.TempDir.
	SocketDir string
	// Listeners are passed on to the plugin. They stay the caller's.
	Listeners []Listener
	// Logger takes the log of the plugin.
	Logger *slog.Logger
	// Timeout bounds the start; 0 is StartTimeout.
	Timeout time.Duration
	// Offered, where set, is what the plugin is told of the versions of the framing,
	// with commas between. It is for a test of how the plugin chooses.
	Offered string
	// Tracer, where set, is told of every call.
	Tracer Tracer
}

// Process is one incarnation of a plugin.
type Process struct {
	runner  *runner
	library *goplugin.Client
	client  *Client
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
			err = &FinalError{err}
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
	timeout := cmp.Or(cfg.Timeout, StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no handshake within %v", timeout))
	defer cancel()
	p.library = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  rpc.Handshake,
		VersionedPlugins: framings,
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		StartTimeout:     2 * timeout, // ctx is first
		TLSConfig:        tlsConfig,
		SkipHostEnv:      true,
		GRPCDialOptions:  withTracer(DialOptions(), cfg.Tracer),
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
	return withoutMemory(strings.Join(strings.Fields(rpc.Clean(e.error.Error(), maxReason)), " "))
}

func (e startError) Unwrap() error { return e.error }

func (c Command) closeFiles() {
	if c.File != nil {
		c.File.Close()
	}
	if c.Launcher != nil && c.Launcher.File != nil {
		c.Launcher.File.Close()
	}
}

// shakeHands shakes hands. Neither Start nor Client of go-plugin take a context,
// but both give up when the process ends, and that is how they are stopped.
func (p *Process) shakeHands() error {
	if _, err := p.library.Start(); err != nil {
		return shownError{err}
	}
	client, err := dispenseClient(p.library)
	if err != nil {
		return err
	}
	if !p.runner.disarm() {
		return errors.New("too late") // killed by now; the cause is that of the context
	}
	p.client = client
	return nil
}

// shownError is an error with words of the plugin in it, such as the line that is
// no handshake, fit to be shown.
type shownError struct{ error }

func (e shownError) Error() string { return withoutMemory(rpc.Clean(e.error.Error(), maxReason)) }
func (e shownError) Unwrap() error { return e.error }

// framings are the versions of the framing that this host speaks, of which
// go-plugin takes the highest that the plugin speaks as well.
var framings = map[int]goplugin.PluginSet{int(rpc.Handshake.ProtocolVersion): {rpc.PluginName: wire{}}}

// wire is how go-plugin makes a client out of its connection.
type wire struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (wire) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the plugin's side is in sdk/plugin")
}

func (wire) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return newClient(conn, broker), nil
}

// dispenseClient connects to a plugin that has shaken hands.
func dispenseClient(library *goplugin.Client) (*Client, error) {
	connection, err := library.Client()
	if err != nil {
		return nil, err
	}
	dispensed, err := connection.Dispense(rpc.PluginName)
	if err != nil {
		return nil, err
	}
	client, ok := dispensed.(*Client)
	if !ok {
		return nil, &ContractError{What: "does not speak gRPC"}
	}
	return client, nil
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

func (p *Process) socketDir(dir string) (string, error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err == nil && len(abs) <= maxSocketDir && canBeSaid(abs) {
			return abs, nil
		}
	}
	temp := os.TempDir()
	if len(temp) > maxSocketDir-len("/cwtch-relay-4194304-4294967295") || !canBeSaid(temp) {
		temp = "/tmp"
	}
	removeStale(temp)
	dir, err := os.MkdirTemp(temp, fmt.Sprintf("%s%d-", tempPrefix, os.Getpid()))
	if err != nil {
		return "", final(fmt.Errorf("make directory for the plugin's socket: %w; TMPDIR has to name a directory", err))
	}
	p.dirs = append(p.dirs, dir)
	if len(dir) > maxSocketDir {
		return "", &FinalError{fmt.Errorf("a socket below %s would have a longer name than sockets may: set TMPDIR to a short path, such as /tmp, or use a shorter data directory", dir)}
	}
	return dir, nil
}

// canBeSaid reports whether a plugin can name a socket in dir in its handshake
// line, in which | parts the fields.
func canBeSaid(dir string) bool { return !strings.ContainsAny(dir, "|\n") }

// tempPrefix is how the names of temporary directories begin; the number of the
// process that made it follows.
const tempPrefix = "cwtch-relay-"

// removeStale removes the directories of this user's processes that were killed
// before they could do so themselves. Others may put names there too: what
// belongs to them is left alone.
func removeStale(temp string) {
	entries, _ := os.ReadDir(temp)
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscanf(e.Name(), tempPrefix+"%d-", &pid); err != nil || pid <= 0 {
			continue
		}
		dir := filepath.Join(temp, e.Name())
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
}

// Client speaks to the plugin.
func (p *Process) Client() *Client { return p.client }

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
