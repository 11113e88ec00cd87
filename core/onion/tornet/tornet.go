// Package tornet runs a whole private Tor network on 127.0.0.1, for tests and
// the demo. It takes about three seconds to come up, needs no fixed port and no
// root, and nothing in it can reach the public network.
//
//	network := tornet.ForTest(t)
//	tor, err := onion.StartTor(ctx, onion.TorConfig{
//		DataDir: t.TempDir(),
//		Torrc:   network.ClientTorrc(),
//	})
//
// # What runs
//
// The relays are tor processes, unchanged. The directory authority is not: it
// is an HTTP server in this process that takes the descriptors the relays
// publish and signs one consensus of them. Tor's own authorities vote, which
// takes them between 9 and 30 seconds; relays and clients cannot tell, and
// check every signature as they always do.
//
// # What differs from the public network
//
// All relays are on one machine and have all flags, none is an exit, and
// traffic is not delayed: a scheduler and a congestion window (see torrc.go)
// take 16 ms off a round trip and give five times the throughput. Do not read
// performance of the public network from it.
//
// # No leftovers
//
// Close ends every process and waits for it. They end as well when this process
// dies, however it does. The directory stays and belongs to the caller.
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

// MinRelays is the smallest network in which a client reaches an onion service:
// with three relays descriptors are uploaded, but no rendezvous completes.
const MinRelays = 4

// Options of a network. The zero value is ready to use.
type Options struct {
	Tor    string // program; "tor" in PATH if empty
	Relays int    // at least MinRelays; 5 if zero, with which paths repeat a relay less often
}

// Network is a private Tor network that runs. Its methods may be called at the
// same time from several goroutines.
type Network struct {
	dir       string
	authority *authority
	relays    []*relay
	fallbacks []string

	closing  sync.Once
	closeErr error
}

// Start brings a network up in dir, which is created if need be, and returns
// when clients can use it. ctx bounds the start only.
func Start(ctx context.Context, dir string, options Options) (*Network, error) {
	if options.Tor == "" {
		options.Tor = "tor"
	}
	if options.Relays == 0 {
		options.Relays = 5
	}
	if options.Relays < MinRelays {
		return nil, fmt.Errorf("start private tor network: %d relays are too few, %d are needed", options.Relays, MinRelays)
	}
	n, err := start(ctx, dir, options)
	if err != nil {
		return nil, fmt.Errorf("start private tor network: %w", err)
	}
	return n, nil
}

func start(ctx context.Context, dir string, options Options) (*Network, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	n := &Network{dir: dir}
	if n.authority, err = newAuthority(options.Relays); err != nil {
		return nil, err
	}
	if err := n.run(ctx, options); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// run starts the relays and waits until every one of them serves the consensus.
func (n *Network) run(ctx context.Context, options Options) error {
	if err := os.WriteFile(n.emptyFile(), nil, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(n.resolvFile(), []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		return err
	}
	for i := range options.Relays {
		r, err := n.startRelay(options.Tor, i)
		if err != nil {
			return err
		}
		n.relays = append(n.relays, r)
	}
	if err := n.wait(ctx, func() bool { return n.authority.published() }); err != nil {
		return err
	}
	for _, d := range n.authority.descriptors() {
		// The DirPort is required and never used: clients speak to directories
		// through the ORPort, and the authority has none.
		n.fallbacks = append(n.fallbacks, fmt.Sprintf("FallbackDir 127.0.0.1:1 orport=%d id=%s", d.orPort, d.fingerprint))
	}
	for _, r := range n.relays {
		if err := n.wait(ctx, r.hasDirectory); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when cond holds. It looks every 20 ms, as what relays do is seen
// in their files.
func (n *Network) wait(ctx context.Context, cond func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		for _, r := range n.relays {
			if err := r.running(); err != nil {
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

// Pids lists the tor processes of the network.
func (n *Network) Pids() []int {
	var pids []int
	for _, r := range n.relays {
		pids = append(pids, r.process.Pid())
	}
	return pids
}

// Close ends the network and returns when all its processes are gone. Clients
// of it go on for a while with the circuits they have, and then fail.
func (n *Network) Close() error {
	n.closing.Do(func() {
		// Relays have nothing to save, and tor 0.4.9.11 often hangs on SIGTERM,
		// waiting for its idle worker threads.
		var wg sync.WaitGroup
		for _, r := range n.relays {
			wg.Go(r.process.Kill)
		}
		wg.Wait()
		n.closeErr = n.authority.close()
	})
	return n.closeErr
}
