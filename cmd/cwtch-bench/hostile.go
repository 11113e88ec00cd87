package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/plugins/peersync/mesh"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

const (
	// hostilePeers attack at the same time.
	hostilePeers = 8
	// hostileStored is how many envelopes the attacked relay has: with what the attackers
	// push, the ids of all of them fit into one message of mesh.
	hostileStored = 20_000
	// hostileRead is how many bytes an attacker reads in a second. It needs the credit that
	// is among them.
	hostileRead = 256 << 10
	// hostileHold is how long attackers then read nothing.
	hostileHold = 3 * time.Second
)

func hostileRows() group {
	return group{fmt.Sprintf("%d hostile peers at once", hostilePeers), []*row{
		{Name: "hostile.relay", Text: "memory of the relay for each, at the most", Unit: "MiB"},
		{Name: "hostile.mesh", Text: "memory of mesh for each, at the most", Unit: "MiB"},
		{Name: "hostile.memory", Text: "memory of both for each, at the most", Unit: "MiB", Target: atMost(9)},
	}}
}

// measureHostilePeers has peers fill whatever they can fill of a relay and its mesh: queues of
// answers that nobody reads, requests that wait for their turn, messages that do not end,
// offers of nothing, and envelopes faster than they can be stored.
func (b *bench) measureHostilePeers(ctx context.Context) error {
	home, err := b.prepareHome(ctx, "attacked", hostileStored, bornNow)
	if err != nil {
		return err
	}
	defer os.RemoveAll(home.dir)
	keys := make([]identity.Key, hostilePeers)
	home.used = "  peersync \"mesh\" {}\n"
	for i := range keys {
		keys[i] = identity.NewKey()
		home.used += peerBlock(i, keys[i].Onion())
	}
	r, err := b.startRelay(ctx, home)
	if err != nil {
		return err
	}
	defer r.killRunning()
	if err := r.awaitLinks(ctx, func(replica.LinkStatus) bool { return true }); err != nil {
		return err
	}
	pids := []int{r.cmd.Process.Pid, r.peersync}
	var before [2]int
	for i, pid := range pids {
		if _, err := awaitStableRSS(ctx, pid); err != nil {
			return err
		}
		if before[i], err = readMemory(pid, "RssAnon"); err != nil {
			return err
		}
	}
	peak, err := peakMemoryOf(pids, func() error {
		g, ctx := errgroup.WithContext(ctx)
		for _, key := range keys {
			g.Go(func() error { return r.attackAsPeer(ctx, key) })
		}
		return g.Wait()
	})
	if err != nil {
		return r.withLogTail(err)
	}
	each := func(kib int) float64 { return float64(kib) / 1024 / hostilePeers }
	b.sheet.setFigure("hostile.relay", each(peak.each[0]-before[0]))
	b.sheet.setFigure("hostile.mesh", each(peak.each[1]-before[1]))
	b.sheet.setFigure("hostile.memory", each(peak.sum-before[0]-before[1]))
	return r.stopAndWait()
}

// hostilePeer is a link of a peer that keeps to the protocol and otherwise does its worst.
type hostilePeer struct {
	conn *peerlink.Conn

	mu     sync.Mutex
	credit [2]int // of messages and of envelopes
	change chan struct{}
	closed error // why nothing more is read
	deaf   bool  // reads no more
}

// attackAsPeer is one attack.
func (r *relay) attackAsPeer(ctx context.Context, key identity.Key) error {
	board := r.keys.Board.Onion()
	nc, err := r.network.Dial(ctx, board, client.Port)
	if err != nil {
		return err
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(peersTimeout)) //nolint:errcheck // reads and writes fail as well
	tc, err := tapir.Client(ctx, nc, key, board)
	if err != nil {
		return err
	}
	h := &hostilePeer{
		conn:   peerlink.NewConn(tc, key.Onion(), true),
		credit: [2]int{peerlink.InitialMessages, peerlink.InitialEnvelopes}, change: make(chan struct{}, 1),
	}
	hello := &peerlink.Hello{Proto: peerlink.Proto, Plugin: "mesh", Version: mesh.Version, Unix: uint64(time.Now().Unix()), Takes: true}
	rand.Read(hello.Nonce[:])
	rand.Read(hello.State.Epoch[:])
	if err := h.write(hello); err != nil {
		return err
	}
	go h.readSlowly()
	defer nc.Close()
	if err := h.fillEverything(ctx); err != nil {
		return fmt.Errorf("attack: %w", err)
	}
	select {
	case <-time.After(hostileHold):
	case <-ctx.Done():
	}
	return ctx.Err()
}

func (h *hostilePeer) write(frames ...peerlink.Frame) error {
	var buffer []byte
	for _, f := range frames {
		buffer = peerlink.AppendFrame(buffer, f)
	}
	_, err := h.conn.Write(buffer)
	return err
}

// readSlowly reads frames and notes credit until it is to be deaf.
func (h *hostilePeer) readSlowly() {
	in := &slowReader{from: h.conn, begun: time.Now()}
	for {
		f, err := peerlink.ReadFrame(in)
		h.mu.Lock()
		switch f := f.(type) {
		case *peerlink.Credit:
			h.credit[f.Channel-1] += int(f.Bytes)
		case *peerlink.Err:
			err = fmt.Errorf("the relay closes the link: code %d", f.Code)
		case *peerlink.Ping:
			err = h.write(&peerlink.Pong{Token: f.Token})
		}
		h.closed = err
		done := err != nil || h.deaf
		h.mu.Unlock()
		select {
		case h.change <- struct{}{}:
		default:
		}
		if done {
			return
		}
	}
}

// slowReader reads hostileRead bytes in a second.
type slowReader struct {
	from  *peerlink.Conn
	begun time.Time
	bytes int
}

func (s *slowReader) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.bytes += n
	time.Sleep(time.Duration(s.bytes)*time.Second/hostileRead - time.Since(s.begun))
	return n, err
}

// spend waits until there is credit for a frame, and takes it.
func (h *hostilePeer) spend(ctx context.Context, channel peerlink.Channel, f peerlink.Frame) error {
	for {
		h.mu.Lock()
		cost, closed := peerlink.CreditCost(f), h.closed
		if h.credit[channel-1] >= cost {
			h.credit[channel-1] -= cost
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock()
		if closed != nil {
			return closed
		}
		select {
		case <-h.change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendMessage sends a message of mesh, without its end if it is not to end.
func (h *hostilePeer) sendMessage(ctx context.Context, message []byte, ends bool) error {
	for len(message) > 0 {
		n := min(len(message), peerlink.MaxFragment)
		f := &peerlink.Message{Data: message[:n], More: n < len(message) || !ends}
		message = message[n:]
		if err := h.spend(ctx, peerlink.Messages, f); err != nil {
			return err
		}
		if err := h.write(f); err != nil {
			return err
		}
	}
	return nil
}

// fillEverything fills what a peer can fill, and leaves it so.
func (h *hostilePeer) fillEverything(ctx context.Context) error {
	// A session of mesh (version 1, type 4, repair 1) of all keys, that asks for all ids.
	session := []byte{1, 4, 1, 0, 0, 0, 0}
	askAll := append(session[:len(session):len(session)], 0x61, 0, 0, 2, 0)
	for range 6 { // three answers are queued in the relay, one waits in mesh, and so do two requests
		if err := h.sendMessage(ctx, askAll, true); err != nil {
			return err
		}
	}
	src := &envelopeSource{newRandom(), storage.MaxEnvelope - signatureSize - 8}
	now := storage.HourOf(time.Now())
	var pushed []storage.ID
	for range 64 {
		e := src.newEnvelope()
		f := &peerlink.Body{Kind: peerlink.Pushed, Born: now, Signature: e.Signature, Ciphertext: e.Ciphertext}
		pushed = append(pushed, storage.NewID(e.Signature, e.Ciphertext))
		if err := errors.Join(h.spend(ctx, peerlink.Envelopes, f), h.write(f)); err != nil {
			return err
		}
	}
	for range 4 { // and others behind them
		if err := h.sendMessage(ctx, append(session[:len(session):len(session)], make([]byte, 1_000_000)...), true); err != nil {
			return err
		}
	}
	for range peerlink.MaxOffered / peerlink.MaxIDs {
		f := &peerlink.Offer{Envelopes: make([]peerlink.Offered, peerlink.MaxIDs)}
		for i := range f.Envelopes {
			f.Envelopes[i].Born = now
			rand.Read(f.Envelopes[i].ID[:])
		}
		if err := h.write(f); err != nil {
			return err
		}
	}
	for range peerlink.MaxRequested / len(pushed) {
		if err := h.write(&peerlink.Want{IDs: pushed}); err != nil {
			return err
		}
	}
	if err := h.sendMessage(ctx, make([]byte, peersync.MaxMessage-peerlink.MaxFragment), false); err != nil {
		return err
	}
	h.mu.Lock()
	h.deaf = true
	h.mu.Unlock()
	for {
		e := src.newEnvelope()
		f := &peerlink.Body{Kind: peerlink.Pushed, Born: now, Signature: e.Signature, Ciphertext: e.Ciphertext}
		h.mu.Lock()
		spent := h.credit[1] < peerlink.CreditCost(f)
		h.mu.Unlock()
		if spent {
			return nil
		}
		if err := errors.Join(h.spend(ctx, peerlink.Envelopes, f), h.write(f)); err != nil {
			return err
		}
	}
}
