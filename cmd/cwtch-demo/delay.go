package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

const (
	// measured is how many envelopes are timed.
	measured = 25
	// measuredSize is how large the ciphertext of each is.
	measuredSize = 4096
	// slowest is how long one may take.
	slowest = 30 * time.Second
)

// measureDelays posts envelopes at Alice's relay and times when a client of Bob's gets them.
// The poster reaches Alice's relay without Tor, so that it learns at once when an envelope is
// acknowledged. Between the relays, and to the reader, there is Tor.
func (c *cluster) measureDelays(ctx context.Context) error {
	alice, bob := c.nodes[0], c.nodes[1]
	c.announce("How fast is it? %d envelopes of %d bytes are posted at Alice's relay, one after the other.\nA client of Bob's relay waits for them, over Tor.", measured, measuredSize)
	poster, err := client.Open(ctx, socketDialer(alice.serverDir()), alice.bundle.Board)
	if err != nil {
		return err
	}
	defer poster.Close()
	tokens, err := alice.buyTokens(ctx, measured)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.dir, "reader")
	if err := c.tor.Seed(dir); err != nil {
		return err
	}
	tor, err := onion.StartTor(ctx, onion.TorConfig{DataDir: dir, Torrc: c.tor.ClientTorrc()})
	if err != nil {
		return err
	}
	defer tor.Close()
	reader, err := client.Open(ctx, tor, bob.bundle.Board)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := reader.Sync(ctx, nil, func(client.Event) error { return nil }); err != nil {
		return err
	}
	var delays []time.Duration
	for _, t := range tokens {
		delay, err := measureDelay(ctx, poster, reader, t)
		if err != nil {
			return fmt.Errorf("measure delay %d: %w", len(delays)+1, err)
		}
		delays = append(delays, delay)
	}
	c.count += measured
	slices.Sort(delays)
	c.announce("From the acknowledgement at Alice's relay to the client of Bob's: half took at most %.2f s\n(the goal is 0.50), the slowest %.2f s.",
		delays[len(delays)/2].Seconds(), delays[len(delays)-1].Seconds())
	return nil
}

// buyTokens buys tokens of the relay, without Tor.
func (n *node) buyTokens(ctx context.Context, count int) ([]token.Token, error) {
	var tokens []token.Token
	for len(tokens) < count {
		more, err := client.Buy(ctx, socketDialer(n.serverDir()), n.bundle, min(token.MaxBatch, count-len(tokens)), nil)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, more...)
	}
	return tokens, nil
}

// measureDelay posts an envelope and returns how long after its acknowledgement it reached
// the reader, or 0 if it was there before.
func measureDelay(ctx context.Context, poster, reader *client.Board, t token.Token) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, slowest)
	defer cancel()
	body := make([]byte, 64+measuredSize)
	rand.Read(body)
	e := wire.Envelope{Signature: body[:64:64], Ciphertext: body[64:]}
	type arrival struct {
		at  time.Time
		err error
	}
	arrived := make(chan arrival, 1)
	go func() {
		err := awaitEvent(ctx, reader, func(got client.Event) bool {
			return got.Kind == client.New && string(got.Envelope.Signature) == string(e.Signature)
		})
		arrived <- arrival{time.Now(), err}
	}()
	_, err := poster.Submit(e, t)
	success := false
	if err == nil {
		err = awaitEvent(ctx, poster, func(got client.Event) bool {
			success = got.Success
			return got.Kind == client.Posted
		})
	}
	acknowledged := time.Now()
	if err == nil && !success {
		err = errors.New("the envelope was refused")
	}
	if err != nil {
		cancel()
	}
	a := <-arrived
	return max(a.at.Sub(acknowledged), 0), errors.Join(err, a.err)
}

func awaitEvent(ctx context.Context, b *client.Board, wanted func(client.Event) bool) error {
	for {
		e, err := b.Next(ctx)
		if err != nil || wanted(e) {
			return err
		}
	}
}
