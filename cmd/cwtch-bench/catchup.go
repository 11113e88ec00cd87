package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
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

const catchUpGroup = "an empty peer over a private Tor network"

func catchUpRows(p plan) group {
	return group{catchUpGroup, []*row{
		{Name: "catchup.plain", Text: "a plain stream of as many bytes", Unit: "MB/s"},
		{Name: "catchup.rate", Text: fmt.Sprintf("%d envelopes, bytes of envelopes", p.CatchUp), Unit: "MB/s"},
		{Name: "catchup.ratio", Text: "envelopes / plain stream", Unit: "×", Target: atLeast(0.8)},
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
	full, err := b.prepareTorHome(ctx, network, "full", b.plan.CatchUp)
	if err != nil {
		return err
	}
	defer os.RemoveAll(full.dir)
	size := b.plan.CatchUp * (ciphertextSize(b.plan.Size) + signatureSize)
	var plain, caught time.Duration
	for turn := range 4 {
		if turn == 0 || turn == 3 {
			took, err := b.timePlainStream(ctx, network, size)
			if err != nil {
				return fmt.Errorf("plain stream: %w", err)
			}
			b.printf("    a plain stream took %.1f s", took.Seconds())
			plain += took
			continue
		}
		took, err := b.timeCatchUp(ctx, network, full)
		if err != nil {
			return fmt.Errorf("catch up: %w", err)
		}
		b.printf("    the empty peer took %.1f s", took.Seconds())
		caught += took
	}
	b.sheet.setFigure("catchup.plain", float64(2*size)/plain.Seconds()/1e6)
	b.sheet.setFigure("catchup.rate", float64(2*size)/caught.Seconds()/1e6)
	b.sheet.setFigure("catchup.ratio", plain.Seconds()/caught.Seconds())
	return nil
}

// prepareTorHome makes a directory for a relay with a Tor of its own.
func (b *bench) prepareTorHome(ctx context.Context, network *tornet.Network, name string, n int) (*relayHome, error) {
	s, err := b.prepareHome(ctx, name, n, bornNow)
	if err != nil {
		return nil, err
	}
	var lines strings.Builder
	for _, line := range network.ClientTorrc() {
		fmt.Fprintf(&lines, "    %s,\n", strconv.Quote(line))
	}
	s.network = "network \"tor\" {\n  torrc = [\n" + lines.String() + "  ]\n}"
	return s, network.Seed(s.dataDir())
}

// timeCatchUp returns how long an empty relay takes from when its link to a full one is up until
// it has stored everything.
func (b *bench) timeCatchUp(ctx context.Context, network *tornet.Network, full *relayHome) (time.Duration, error) {
	empty, err := b.prepareTorHome(ctx, network, "empty", 0)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(empty.dir)
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
func (b *bench) timePlainStream(ctx context.Context, network *tornet.Network, size int) (time.Duration, error) {
	var ends [2]*onion.Tor
	for i, name := range []string{"service", "client"} {
		dir := filepath.Join(b.dir, name)
		defer os.RemoveAll(dir)
		if err := network.Seed(dir); err != nil {
			return 0, err
		}
		var err error
		if ends[i], err = onion.StartTor(ctx, onion.TorConfig{DataDir: dir, Torrc: network.ClientTorrc()}); err != nil {
			return 0, err
		}
		defer ends[i].Close() //nolint:errcheck // nothing is measured any more
	}
	key := identity.NewKey()
	listener, err := ends[0].Listen(ctx, key, client.Port)
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return // the listener was closed
		}
		io.CopyN(bufio.NewWriterSize(conn, 32<<10), rand.Reader, int64(size)+32<<10) //nolint:errcheck // the reader notices
		conn.Close()
	}()
	conn, err := dialPublished(ctx, ends[1], key.Onion())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(peersTimeout)) //nolint:errcheck // reads fail as well
	begun := time.Now()
	_, err = io.CopyN(io.Discard, conn, int64(size))
	return time.Since(begun), err
}

// dialPublished dials a service until its descriptor is found: the directories get it one after
// the other.
func dialPublished(ctx context.Context, tor *onion.Tor, service identity.Onion) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, peersTimeout)
	defer cancel()
	for {
		conn, err := tor.Dial(ctx, service, client.Port)
		if err == nil {
			return conn, nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, err
		}
	}
}
