package main

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/mint"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// postMaker makes posts that are paid for with tokens of the server's own mint.
type postMaker struct {
	board identity.Onion
	mint  *mint.Mint
}

func newPostMaker(keys *identity.Server) (*postMaker, error) {
	m, err := mint.New(keys)
	return &postMaker{keys.Board.Onion(), m}, err
}

// signatureSize is the length of the signature of an envelope: ed25519.
const signatureSize = 64

// ciphertextSize returns the length of a ciphertext with which a post has the given
// number of bytes of JSON, or one or two less.
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

// envelopeSource makes envelopes of random bytes. To the relay real ones are no less random.
type envelopeSource struct {
	random     *mathrand.ChaCha8
	ciphertext int
}

func newEnvelopeSource(post int) *envelopeSource {
	return &envelopeSource{newRandom(), ciphertextSize(post)}
}

// newRandom returns a source of its own.
func newRandom() *mathrand.ChaCha8 {
	var seed [32]byte
	rand.Read(seed[:])
	return mathrand.NewChaCha8(seed)
}

func (s *envelopeSource) newEnvelope() wire.Envelope {
	b := make([]byte, s.ciphertext+signatureSize)
	s.random.Read(b) //nolint:errcheck // never fails
	return wire.Envelope{Ciphertext: b[:s.ciphertext], Signature: b[s.ciphertext:]}
}

// post is an encoded post and the signature of its envelope.
type post struct {
	payload   []byte
	signature []byte
}

// makePosts makes n posts of the given size, on all processors.
func (p *postMaker) makePosts(ctx context.Context, n, size int) ([]post, error) {
	posts := make([]post, n)
	g, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		g.Go(func() error {
			src := newEnvelopeSource(size)
			for i := w; i < n && ctx.Err() == nil; i += workers {
				t, err := p.mint.Token()
				if err != nil {
					return err
				}
				e := src.newEnvelope()
				spent := t.Spend(e.AppendJSON(nil), []byte(p.board))
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

// bornNow returns the present hour for every envelope.
func bornNow(int) storage.Hour { return storage.HourOf(time.Now()) }

// fillStore puts n envelopes into the store below home with the plugin's own code,
// before any relay runs.
func (b *bench) fillStore(ctx context.Context, s *relayHome, n int, born func(i int) storage.Hour) error {
	if err := os.MkdirAll(s.storageDir(), 0o700); err != nil {
		return err
	}
	store, err := b.openDirect(ctx, b.storagePlugin(), s.storageDir())
	if err != nil {
		return err
	}
	src := newEnvelopeSource(b.plan.Size)
	for done := 0; done < n; {
		batch := src.newRecords(min(fillBatch, n-done))
		for i := range batch {
			batch[i].Born = born(done + i)
		}
		s.last = batch[len(batch)-1].Signature
		if _, err := store.Append(ctx, batch); err != nil {
			store.closeAll() //nolint:errcheck // the reason is err
			return err
		}
		done += len(batch)
	}
	return store.closeAll()
}
