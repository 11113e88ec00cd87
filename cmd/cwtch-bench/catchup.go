package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
)

const (
	catchUpGroup = "an empty peer over a private Tor network"
	// lineRate is the bandwidth of the Tors at both ends where the processors are to be faster
	// than the line. Without it, they are what limits a Tor network on one machine.
	lineRate = "3 MBytes"
)

func catchUpRows(p plan) group {
	return group{catchUpGroup, []*row{
		{Name: "catchup.plain", Text: "a plain stream of as many bytes", Unit: "MB/s"},
		{Name: "catchup.rate", Text: fmt.Sprintf("%d envelopes, bytes of envelopes", p.CatchUp), Unit: "MB/s"},
		{Name: "catchup.ratio", Text: "envelopes / plain stream", Unit: "×", Target: atLeast(0.8)},
		{Name: "catchup.line.plain", Text: "a plain stream, each Tor with a line of " + lineRate, Unit: "MB/s"},
		{Name: "catchup.line.rate", Text: "envelopes", Unit: "MB/s"},
		{Name: "catchup.line.ratio", Text: "envelopes / plain stream", Unit: "×", Target: atLeast(0.8)},
	}}
}

// measureCatchUp has an empty relay catch up with a full one over Tor, and compares that with a
// plain stream from an onion service over the same Tor network, in turn. Each time has new
// circuits: a service chooses three relays of the five, and so does its client.
func (b *bench) measureCatchUp(ctx context.Context) error {
	if _, err := exec.LookPath("tor"); err != nil {
		b.sheet.leaveOut(catchUpGroup, err)
		return nil
	}
	network, err := tornet.Start(ctx, filepath.Join(b.dir, "tornet"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Join(b.dir, "tornet"))
	defer network.Close() //nolint:errcheck // nothing is measured any more
	full, err := b.prepareHome(ctx, "full", b.plan.CatchUp, bornNow)
	if err == nil {
		err = network.Seed(full.dataDir())
	}
	if err != nil {
		return err
	}
	defer os.RemoveAll(full.dir)
	torrc := network.ClientTorrc()
	if err := b.compareCatchUp(ctx, "catchup", network, full, torrc); err != nil {
		return err
	}
	return b.compareCatchUp(ctx, "catchup.line", network, full, append(torrc, "BandwidthRate "+lineRate, "BandwidthBurst "+lineRate))
}

// compareCatchUp has a stream and an empty relay take turns, over Tors with such a configuration.
func (b *bench) compareCatchUp(ctx context.Context, name string, network *tornet.Network, full *relayHome, torrc []string) error {
	size := b.plan.CatchUp * (ciphertextSize(b.plan.Size) + signatureSize)
	var plain, caught time.Duration
	for _, stream := range []bool{true, false, false, true} {
		if stream {
			took, err := b.timePlainStream(ctx, network, torrc, size)
			if err != nil {
				return fmt.Errorf("plain stream: %w", err)
			}
			b.printf("    a plain stream took %.1f s", took.Seconds())
			plain += took
			continue
		}
		took, err := b.timeCatchUp(ctx, network, torrc, full)
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		b.printf("    the empty peer took %.1f s", took.Seconds())
		caught += took
	}
	b.sheet.setFigure(name+".plain", float64(2*size)/plain.Seconds()/1e6)
	b.sheet.setFigure(name+".rate", float64(2*size)/caught.Seconds()/1e6)
	b.sheet.setFigure(name+".ratio", plain.Seconds()/caught.Seconds())
	return nil
}

// torBlock returns the block of a configuration for a Tor of the relay's own.
func torBlock(torrc []string) string {
	var lines strings.Builder
	for _, line := range torrc {
		fmt.Fprintf(&lines, "    %s,\n", strconv.Quote(line))
	}
	return "network \"tor\" {\n  torrc = [\n" + lines.String() + "  ]\n}"
}

// timeCatchUp returns how long an empty relay takes from when its link to a full one is up until
// it has stored everything.
func (b *bench) timeCatchUp(ctx context.Context, network *tornet.Network, torrc []string, full *relayHome) (time.Duration, error) {
	empty, err := b.prepareHome(ctx, "empty", 0, bornNow)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(empty.dir)
	if err := network.Seed(empty.dataDir()); err != nil {
		return 0, err
	}
	full.network, empty.network = torBlock(torrc), torBlock(torrc)
	full.used, empty.used = peerBlocks(empty), peerBlocks(full)
	from, err := b.startRelay(ctx, full)
	if err != nil {
		return 0, err
	}
	defer from.killRunning()
	to, err := b.startRelay(ctx, empty)
	if err != nil {
		return 0, err
	}
	defer to.killRunning()
	var took time.Duration
	err = to.awaitLinks(ctx, func(l replica.LinkStatus) bool {
		if l.State != "up" || l.Stored < uint64(b.plan.CatchUp) {
			return false
		}
		took = time.Since(*l.Since)
		return true
	})
	if err != nil {
		return 0, from.withLogTail(to.withLogTail(err))
	}
	return took, errors.Join(to.stopAndWait(), from.stopAndWait())
}

// timePlainStream returns how long the client of an onion service takes to read so many bytes
// from when it is connected.
func (b *bench) timePlainStream(ctx context.Context, network *tornet.Network, torrc []string, size int) (time.Duration, error) {
	var ends [2]*onion.Tor
	for i, name := range []string{"service", "client"} {
		dir := filepath.Join(b.dir, name)
		defer os.RemoveAll(dir)
		if err := network.Seed(dir); err != nil {
			return 0, err
		}
		var err error
		if ends[i], err = onion.StartTor(ctx, onion.TorConfig{DataDir: dir, Torrc: torrc}); err != nil {
			return 0, err
		}
		defer ends[i].Close()
	}
	key := identity.NewKey()
	listener, err := ends[0].Listen(ctx, key, client.Port)
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	go serveStream(listener)
	conn, err := b.dialPublished(ctx, ends[1], key.Onion())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(peersTimeout)) //nolint:errcheck // reads fail as well
	begun := time.Now()
	_, err = io.CopyN(io.Discard, conn, int64(size))
	return time.Since(begun), err
}

// serveStream sends random bytes to whoever connects, until the listener is closed.
func serveStream(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(conn, mathrand.NewChaCha8([32]byte{})) //nolint:errcheck // ends with the connection
			conn.Close()
		}()
	}
}

// dialPublished dials a service until its descriptor is found: the directories get it one after
// the other.
func (b *bench) dialPublished(ctx context.Context, tor *onion.Tor, service identity.Onion) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	for {
		conn, err := tor.Dial(ctx, service, client.Port)
		if err == nil {
			return conn, nil
		}
		b.printf("    dial again: %v", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}
