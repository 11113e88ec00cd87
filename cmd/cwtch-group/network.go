package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

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
