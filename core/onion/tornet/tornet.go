// Package tornet runs a whole private Tor network on 127.0.0.1, for tests and
// the demo. It starts in about three seconds, needs no fixed port and no root, and
// nothing in it can reach the public network.
//
//	network := tornet.ForTest(t)
//	tor, err := onion.StartTor(ctx, onion.TorConfig{
//		DataDir: t.TempDir(),
//		Torrc:   network.ClientTorrc(),
//	})
//
// # What runs
//
// The relays are unchanged tor processes. The directory authority is an HTTP server
// in this process, which signs one consensus of the descriptors that the relays
// publish. Tor's own authorities vote, which takes them between 9 and 30 seconds.
// Relays and clients cannot tell the difference, and check every signature as they
// always do.
//
// # What differs from the public network
//
// All relays are on one machine and have all flags, none is an exit, and
// traffic is not delayed: another scheduler and congestion window (see torrc.go)
// take 16 ms off a round trip and give five times the throughput. The network
// tells nothing about the performance of the public one.
//
// # No leftovers
//
// [Network.Close] ends every process and waits for it. They also end with this
// process, however it ends. The directory stays and belongs to the caller.
package tornet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// relayCount is the number of relays. Four are the fewest with which a client
// reaches an onion service: with three, descriptors are uploaded but no rendezvous
// completes. With five, paths repeat a relay less often.
const relayCount = 5

// Network is a private Tor network that runs. It is safe for concurrent use.
type Network struct {
	dir       string
	authority *authority
	relays    []*relay
	fallbacks []string

	closing  sync.Once
	closeErr error
}

// Start starts a network in dir, which is created if need be, and returns when
// clients can use it. It runs the tor in PATH. ctx bounds the start only.
func Start(ctx context.Context, dir string) (*Network, error) {
	n, err := startNetwork(ctx, dir, "tor")
	if err != nil {
		return nil, fmt.Errorf("start private tor network: %w", err)
	}
	return n, nil
}

func startNetwork(ctx context.Context, dir, tor string) (*Network, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	n := &Network{dir: dir}
	if n.authority, err = newAuthority(relayCount); err != nil {
		return nil, err
	}
	if err := n.startRelays(ctx, tor); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// startRelays starts the relays and waits until each of them serves the consensus.
func (n *Network) startRelays(ctx context.Context, tor string) error {
	if err := os.WriteFile(n.emptyFile(), nil, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(n.resolvFile(), []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		return err
	}
	for i := range relayCount {
		r, err := n.startRelay(tor, i)
		if err != nil {
			return err
		}
		n.relays = append(n.relays, r)
	}
	if err := n.waitUntil(ctx, n.authority.hasConsensus); err != nil {
		return err
	}
	for _, d := range n.authority.listRelays() {
		// The DirPort is required and never used: clients speak to directories
		// through the ORPort, and the authority has none.
		n.fallbacks = append(n.fallbacks, fmt.Sprintf("FallbackDir 127.0.0.1:1 orport=%d id=%s", d.orPort, d.fingerprint))
	}
	for _, r := range n.relays {
		if err := n.waitUntil(ctx, r.hasDirectory); err != nil {
			return err
		}
	}
	return nil
}

// waitUntil returns when cond holds, or a relay has ended. It checks every 20 ms,
// because relays only show in their files what they do.
func (n *Network) waitUntil(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		for _, r := range n.relays {
			if err := r.checkRunning(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the relays: %w", ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// relayPids lists the tor processes of the network.
func (n *Network) relayPids() []int {
	var pids []int
	for _, r := range n.relays {
		pids = append(pids, r.process.Pid())
	}
	return pids
}

// Close ends the network and returns when all its processes have ended. Its
// clients go on for a while with the circuits they have, and then fail.
func (n *Network) Close() error {
	n.closing.Do(func() {
		// Relays have nothing to save, and tor 0.4.9.11 often hangs on SIGTERM,
		// waiting for its idle worker threads.
		var wg sync.WaitGroup
		for _, r := range n.relays {
			wg.Go(r.process.Kill)
		}
		wg.Wait()
		n.closeErr = n.authority.stopServing()
	})
	return n.closeErr
}
