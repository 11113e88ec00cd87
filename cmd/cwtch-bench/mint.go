package main

import (
	"context"
	"crypto/rand"
	"crypto/sha3"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"runtime"

	"github.com/oasisprotocol/curve25519-voi/curve"
	"github.com/oasisprotocol/curve25519-voi/curve/scalar"
	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// mint makes posts that are paid for, with the secret of the token service.
type mint struct {
	board identity.Onion
	k     *scalar.Scalar
}

func newMint(keys *identity.Server) (*mint, error) {
	k, err := scalar.NewFromCanonicalBytes(keys.Scalar[:])
	if err != nil {
		return nil, fmt.Errorf("read the scalar of the token service: %w", err)
	}
	return &mint{keys.Board.Onion(), k}, nil
}

// mintToken derives a token: W = k·H(T), where H is the one-way map of RFC 9496
// behind SHA3-512.
func (m *mint) mintToken() (t token.Token, err error) {
	rand.Read(t.T[:])
	uniform := sha3.Sum512(t.T[:])
	h, err := curve.NewRistrettoPoint().SetUniformBytes(uniform[:])
	if err != nil {
		return t, err
	}
	var w curve.CompressedRistretto
	w.SetRistrettoPoint(curve.NewRistrettoPoint().Mul(h, m.k))
	t.W = w
	return t, nil
}

// signatureSize is the length of the signature of an envelope: ed25519.
const signatureSize = 64

// ciphertextSize is the length of the ciphertext of a post of so many bytes of
// JSON, or one or two less.
func ciphertextSize(post int) int {
	empty := encodePost(wire.Envelope{Ciphertext: []byte{}, Signature: make([]byte, signatureSize)}, token.Spent{})
	return max(0, post-len(empty)) / 4 * 3
}

func encodePost(e wire.Envelope, s token.Spent) []byte {
	return wire.AppendRequest(nil, wire.Request{Post: &wire.Post{
		Token: wire.Token{T: s.T[:], MAC: s.MAC[:]},
		EGM:   e,
	}})
}

// source makes envelopes. To the relay they are noise, as real ones are.
type source struct {
	random     *mathrand.ChaCha8
	ciphertext int
}

func newSource(post int) *source {
	var seed [32]byte
	rand.Read(seed[:])
	return &source{mathrand.NewChaCha8(seed), ciphertextSize(post)}
}

func (s *source) newEnvelope() wire.Envelope {
	b := make([]byte, s.ciphertext+signatureSize)
	s.random.Read(b) //nolint:errcheck // never fails
	return wire.Envelope{Ciphertext: b[:s.ciphertext], Signature: b[s.ciphertext:]}
}

// post is an encoded post and the signature of its envelope.
type post struct {
	payload   []byte
	signature []byte
}

// mintPosts makes n posts of the given size, on all processors.
func (m *mint) mintPosts(ctx context.Context, n, size int) ([]post, error) {
	posts := make([]post, n)
	g, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		g.Go(func() error {
			src := newSource(size)
			for i := w; i < n && ctx.Err() == nil; i += workers {
				t, err := m.mintToken()
				if err != nil {
					return err
				}
				e := src.newEnvelope()
				spent := t.Spend(e.AppendJSON(nil), []byte(m.board))
				posts[i] = post{encodePost(e, spent), e.Signature}
			}
			return ctx.Err()
		})
	}
	return posts, g.Wait()
}

// fillBatch is the number of envelopes in a commit of a store that is filled
// beforehand: what the posts of 64 clients come to.
const fillBatch = 64

// fillStore puts n envelopes into the store of a site, by means of the plugin's own
// code and before any relay runs.
func (b *bench) fillStore(ctx context.Context, s *site, n int) error {
	if err := os.MkdirAll(s.storageDir(), 0o700); err != nil {
		return err
	}
	store, err := b.openDirect(ctx, b.storagePlugin(), s.storageDir())
	if err != nil {
		return err
	}
	src := newSource(b.plan.Size)
	for done := 0; done < n; {
		batch := src.newRecords(min(fillBatch, n-done))
		s.last = batch[len(batch)-1].Signature
		if _, err := store.Append(ctx, batch); err != nil {
			store.closeAll() //nolint:errcheck // the reason is err
			return err
		}
		done += len(batch)
	}
	return store.closeAll()
}
