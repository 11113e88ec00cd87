package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

const (
	// consolePort is the virtual port, that of http.
	consolePort = 80
	// maxOnionConnections bounds the connections through the onion service. A browser has
	// at most six.
	maxOnionConnections = 16
	// consoleKeys is the file in the data directory with the key of the service. It has the
	// format of the keys of a server, of which only the first is used.
	consoleKeys = "console.keys"
	// lookEvery is the time between two looks whether directories have the descriptor.
	lookEvery = 30 * time.Minute
	// lostAfter is how many looks in a row have to fail before the service is published anew.
	lostAfter = 2
	// publishAnewTimeout bounds the wait for the new descriptor. Tor goes on after that.
	publishAnewTimeout = 2 * time.Minute
)

// consoleOnion is the onion service of the console, for the clients of the operator alone. It
// is a listener at once; connections come when the network is open and has published it.
type consoleOnion struct {
	clients []onion.ClientKey
	network chan onion.Network // gets the network when it is open
	conns   chan net.Conn
	every   time.Duration // lookEvery; tests use less
	log     *slog.Logger

	ctx   context.Context // ends with Close
	end   context.CancelFunc
	ended sync.WaitGroup

	mu      sync.Mutex
	name    identity.Onion // empty before its key is known
	problem string
}

func newConsoleOnion(cfg *config.Console) *consoleOnion {
	o := &consoleOnion{network: make(chan onion.Network, 1), conns: make(chan net.Conn), every: lookEvery}
	for _, key := range cfg.OnionClients {
		o.clients = append(o.clients, onion.ClientKey(key))
	}
	o.ctx, o.end = context.WithCancel(context.Background())
	return o
}

// checkConsoleNetwork refuses an onion service on a network that cannot restrict it.
func checkConsoleNetwork(cfg *config.Config) error {
	if cfg.Console == nil || !cfg.Console.Onion || cfg.Network.Loopback == nil {
		return nil
	}
	return configFault{command.WithHint(fmt.Errorf("%s: the loopback network cannot keep the onion service of the console from others", cfg.Console.Range),
		`leave onion out, or use network "tor"`)}
}

// adoptNetwork returns open, which hands the network to the service as well.
func (o *consoleOnion) adoptNetwork(open func(context.Context) (onion.Network, error)) func(context.Context) (onion.Network, error) {
	return func(ctx context.Context) (onion.Network, error) {
		n, err := open(ctx)
		if err == nil {
			select {
			case o.network <- n:
			default: // it is opened once
			}
		}
		return n, err
	}
}

// start reads the key of the service, or makes it, and publishes the service in the background.
// The data directory is claimed.
func (o *consoleOnion) start(dataDir string, log *slog.Logger) error {
	keys, err := identity.LoadOrCreate(filepath.Join(dataDir, consoleKeys))
	if err != nil {
		o.noteProblem(err)
		return err
	}
	o.mu.Lock()
	o.name, o.log = keys.Board.Onion(), log
	o.mu.Unlock()
	o.ended.Go(func() { o.run(keys.Board) })
	return nil
}

// describe returns the name of the service and what is wrong with it, for the status.
func (o *consoleOnion) describe() (name identity.Onion, problem string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.name, o.problem
}

// noteProblem records why the service is not published; nil: it is. It reports whether that is new.
func (o *consoleOnion) noteProblem(err error) bool {
	text := ""
	if err != nil {
		text = strings.Join(strings.Fields(err.Error()), " ")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	news := o.problem != text
	o.problem = text
	return news
}

// run publishes the service, and hands over its connections until Close.
func (o *consoleOnion) run(key identity.Key) {
	var n onion.Network
	select {
	case n = <-o.network:
	case <-o.ctx.Done():
		return
	}
	network, ok := n.(onion.ClientAuthorizer)
	if !ok {
		o.noteProblem(errors.New("the network cannot keep it from others"))
		return
	}
	ln := o.publish(network, key)
	if ln == nil {
		return
	}
	stop := context.AfterFunc(o.ctx, func() { ln.Close() })
	defer stop()
	o.log.Info("the console is an onion service, for its clients alone", "onion", key.Onion(), "clients", len(o.clients))
	o.ended.Go(func() { o.keepPublished(network) })
	for {
		conn, err := ln.Accept()
		if err != nil {
			if o.ctx.Err() == nil {
				o.noteProblem(err)
			}
			return
		}
		select {
		case o.conns <- conn:
		case <-o.ctx.Done():
			conn.Close()
		}
	}
}

// publish tries until the service is published, and returns nil after Close.
func (o *consoleOnion) publish(network onion.ClientAuthorizer, key identity.Key) net.Listener {
	for retry := (backoff.Backoff{Min: time.Second, Max: time.Minute}); o.ctx.Err() == nil; {
		ln, err := network.ListenFor(o.ctx, key, consolePort, o.clients)
		if err == nil {
			o.noteProblem(nil)
			return ln
		}
		if o.ctx.Err() == nil && o.noteProblem(err) {
			o.log.Error("the onion service of the console is not published, trying again", "error", err)
		}
		o.wait(retry.Next())
	}
	return nil
}

// wait waits for d, and reports whether the service is still wanted.
func (o *consoleOnion) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return o.ctx.Err() == nil
	case <-o.ctx.Done():
		return false
	}
}

// keepPublished publishes the service anew when no directory has its descriptor, although Tor
// is ready. The relay cannot dial it: it is no client.
func (o *consoleOnion) keepPublished(network onion.ClientAuthorizer) {
	name, _ := o.describe()
	lost := 0
	for o.wait(o.every*4/5 + rand.N(o.every*2/5)) {
		err := network.FindDescriptor(o.ctx, name)
		switch {
		case o.ctx.Err() != nil:
			return
		case network.Status().State != onion.Ready:
			continue
		case !errors.Is(err, onion.ErrNotPublished):
			lost = 0
			continue
		}
		if lost++; lost < lostAfter {
			continue
		}
		lost = 0
		o.log.Warn("no directory has the onion service of the console although the network is ready, and it is published anew")
		ctx, cancel := context.WithTimeoutCause(o.ctx, publishAnewTimeout, fmt.Errorf("no directory has it after %v", publishAnewTimeout))
		if err := network.Republish(ctx, name); err != nil && o.ctx.Err() == nil {
			o.log.Error("publishing the onion service of the console anew failed", "error", err)
		}
		cancel()
	}
}

// Accept implements [net.Listener].
func (o *consoleOnion) Accept() (net.Conn, error) {
	select {
	case conn := <-o.conns:
		return conn, nil
	case <-o.ctx.Done():
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	}
}

// Close implements [net.Listener]. It withdraws the service.
func (o *consoleOnion) Close() error {
	o.end()
	o.ended.Wait()
	return nil
}

// Addr implements [net.Listener].
func (o *consoleOnion) Addr() net.Addr { return consoleAddr{o} }

type consoleAddr struct{ o *consoleOnion }

func (consoleAddr) Network() string { return "onion" }
func (a consoleAddr) String() string {
	name, _ := a.o.describe()
	return string(name) + ".onion"
}
