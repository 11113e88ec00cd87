package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/cmd/cwtch-group/internal/profile"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// memberNetwork connects to servers: to those that run on this machine through their
// sockets, to others over the network, which it starts when it is first needed.
type memberNetwork struct {
	app   *app
	local map[identity.Onion]string // directories, by the onions of both services

	mu      sync.Mutex
	network onion.Network
	hangUp  func()
}

// newNetwork returns a network for the servers of the profile. The caller closes it.
func (a *app) newNetwork(s *profile.State) *memberNetwork {
	n := &memberNetwork{app: a, local: make(map[identity.Onion]string)}
	for _, server := range s.Servers {
		if server.Local != "" {
			n.local[server.Bundle.Board], n.local[server.Bundle.TokenService] = server.Local, server.Local
		}
	}
	return n
}

// start starts the network, unless the service is on this machine or that was done.
func (n *memberNetwork) start(ctx context.Context, service identity.Onion) error {
	if n.isLocal(service) {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.network != nil {
		return nil
	}
	var err error
	n.network, n.hangUp, err = n.app.dialNetwork(ctx)
	return err
}

func (n *memberNetwork) isLocal(service identity.Onion) bool { return n.local[service] != "" }

// Dial implements [client.Dialer].
func (n *memberNetwork) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	if dir := n.local[service]; dir != "" {
		return onion.DialSocket(ctx, dir, service)
	}
	if err := n.start(ctx, service); err != nil {
		return nil, err
	}
	return n.network.Dial(ctx, service, port)
}

// Close ends the network, if it was started.
func (n *memberNetwork) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.network != nil {
		n.hangUp()
	}
}

// dialNetwork starts the network that the flags name. The caller calls hangUp at the
// end.
func (a *app) dialNetwork(ctx context.Context) (network onion.Network, hangUp func(), err error) {
	kind, registry, _ := strings.Cut(a.network, ":")
	switch {
	case kind == "tor" || a.network == "":
		return a.dialTor(ctx)
	case kind == "loopback" && registry != "":
		network, err := onion.Loopback(registry)
		if err != nil {
			return nil, nil, err
		}
		return network, func() { network.Close() }, nil
	}
	return nil, nil, usageError{fmt.Sprintf("unknown network %q", a.network), "use -network tor or -network loopback:DIR"}
}

func (a *app) dialTor(ctx context.Context) (onion.Network, func(), error) {
	config := onion.TorConfig{
		Control:       a.torControl,
		ControlUser:   a.torUser,
		ControlCookie: a.torCookie,
		Progress: func(percent int, summary string) {
			a.progress.Detail("%d %%, %s", percent, summary)
		},
	}
	if a.torrc != "" {
		lines, err := os.ReadFile(a.torrc)
		if err != nil {
			return nil, nil, fmt.Errorf("read configuration for tor: %w", err)
		}
		config.Torrc = onion.TorrcLines(string(lines))
	}
	release := func() {}
	if a.torControl == "" {
		var err error
		if config.DataDir, release, err = a.profile.TorDir(); err != nil {
			return nil, nil, err
		}
	}
	a.progress.Stage("starting tor")
	tor, err := onion.StartTor(ctx, config)
	if err != nil {
		release()
		return nil, nil, err
	}
	return tor, func() { tor.Close(); release() }, nil
}
