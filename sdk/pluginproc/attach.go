package pluginproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	gopluginrunner "github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	"github.com/cwtch-relay/cwtch-relay/sdk/unixsocket"
)

// Attached is a connection to a plugin that a developer started by hand. It is used like
// a [Process], but the relay neither starts, confines nor ends the process, does not see
// its log, and does not encrypt the connection.
//
// When the connection has ended, the plugin can be attached to again.
type Attached struct {
	cfg    AttachConfig
	socket onceDialer
	conn   *connection
	client *host.Client
	exited chan struct{}

	ctx      context.Context // done after Kill
	cancel   context.CancelFunc
	watchers sync.WaitGroup
}

// Attach connects to a plugin that waits for a relay. The caller has to end the result
// with Stop or Kill, even if the connection has ended by itself. ctx and
// [host.StartTimeout] bound the attempt.
func Attach(ctx context.Context, cfg AttachConfig) (*Attached, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, host.StartTimeout, fmt.Errorf("no answer within %v", host.StartTimeout))
	defer cancel()
	a := &Attached{cfg: cfg, exited: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	if err := a.connect(ctx); err != nil {
		a.Kill()
		return nil, fmt.Errorf("attach to the plugin at %s: %w", cfg.Socket, cmp.Or(context.Cause(ctx), err))
	}
	return a, nil
}

// connect shakes hands with the plugin. go-plugin takes no context for that, but gives up
// when the socket is closed.
func (a *Attached) connect(ctx context.Context) error {
	if err := a.socket.connectOnce(ctx, a.cfg.Socket); err != nil {
		return err
	}
	disarm := context.AfterFunc(ctx, a.socket.closeConn)
	defer disarm()
	library := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  rpc.Handshake,
		Plugins:          framingVersions[a.cfg.Protocol],
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		GRPCDialOptions:  append(dialOptions(a.cfg.Tracer), grpc.WithContextDialer(a.socket.dialContext)),
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Off}),
		Reattach: &goplugin.ReattachConfig{
			Protocol:        goplugin.ProtocolGRPC,
			ProtocolVersion: a.cfg.Protocol,
			Addr:            &net.UnixAddr{Net: "unix", Name: a.cfg.Socket},
			Test:            true, // go-plugin must not end the process
			ReattachFunc:    func() (gopluginrunner.AttachedRunner, error) { return attachedRunner{a.ctx}, nil },
		},
	})
	if _, err := library.Start(); err != nil {
		return err
	}
	var err error
	if a.conn, err = connect(library); err != nil {
		return err
	}
	a.client = host.NewClient(a.conn)
	for state := a.conn.GetState(); state != connectivity.Ready; state = a.conn.GetState() {
		if state == connectivity.TransientFailure || !a.conn.WaitForStateChange(ctx, state) {
			return errors.New("it does not speak gRPC without TLS")
		}
	}
	if !disarm() {
		return ctx.Err()
	}
	a.watchers.Go(func() {
		a.conn.WaitForStateChange(a.ctx, connectivity.Ready)
		close(a.exited)
	})
	return nil
}

// Client makes calls to the plugin.
func (a *Attached) Client() *host.Client { return a.client }

// PID is the number of the process according to its developer.
func (a *Attached) PID() int { return a.cfg.PID }

// Protocol is the version of the framing.
func (a *Attached) Protocol() int { return a.cfg.Protocol }

// Exited is closed when the connection has ended, at the latest with the process.
func (a *Attached) Exited() <-chan struct{} { return a.exited }

// ExitReason tells operators why Exited is closed.
func (a *Attached) ExitReason() string {
	return "the connection to the process that was started by hand has ended"
}

// Stop does the same as Kill: there is nothing to wait for.
func (a *Attached) Stop(context.Context) { a.Kill() }

// Kill closes the connection. The process goes on and waits for the next host.
// It may be called more than once.
func (a *Attached) Kill() {
	a.cancel()
	if a.conn != nil {
		a.conn.broker.Close() //nolint:errcheck // always nil
		a.conn.Close()        //nolint:errcheck // only says that it is closed already
	}
	a.socket.closeConn()
	a.watchers.Wait()
}

// onceDialer gives gRPC one connection to a socket. It refuses a second one, which might
// reach another process.
type onceDialer struct {
	conn  net.Conn
	taken atomic.Bool
}

// connectOnce connects if the process belongs to this user or to root. Once a plugin has
// ended, somebody else may make its directory again and listen there.
func (d *onceDialer) connectOnce(ctx context.Context, path string) (err error) {
	if d.conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path); err != nil {
		return err
	}
	switch _, owner, err := unixsocket.Peer(d.conn.(*net.UnixConn)); {
	case err != nil:
		return fmt.Errorf("find the owner of the process: %w", err)
	case owner != 0 && owner != os.Geteuid():
		return fmt.Errorf("the process belongs to user %d: start it as the user of the relay (%d)", owner, os.Geteuid())
	}
	return nil
}

func (d *onceDialer) dialContext(context.Context, string) (net.Conn, error) {
	if d.taken.Swap(true) {
		return nil, errors.New("the connection has ended")
	}
	return d.conn, nil
}

func (d *onceDialer) closeConn() {
	if d.conn != nil {
		d.conn.Close()
	}
}

// attachedRunner is go-plugin's view of a process that it does not run.
type attachedRunner struct{ attached context.Context }

func (r attachedRunner) Wait(context.Context) error {
	<-r.attached.Done()
	return nil
}

func (attachedRunner) Kill(context.Context) error { return nil }
func (attachedRunner) ID() string                 { return "" }

func (attachedRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

func (attachedRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
