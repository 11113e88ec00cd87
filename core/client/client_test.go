package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

func testEnvelope(i int) wire.Envelope {
	return wire.Envelope{Ciphertext: fmt.Appendf(nil, "ciphertext %d", i), Signature: fmt.Appendf(nil, "signature %d", i)}
}

func buyTokens(t *testing.T, s *fakeServer, n int) []token.Token {
	t.Helper()
	tokens, err := Buy(t.Context(), s, s.bundle(), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func openBoard(t *testing.T, s *fakeServer) *Board {
	t.Helper()
	b, err := Open(t.Context(), s, s.keys.Board.Onion())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// recorder keeps the signatures of envelopes; a star marks repetitions.
type recorder []string

func (r *recorder) use(e Event) error {
	if e.Kind == Replayed || e.Kind == New {
		name := string(e.Envelope.Signature)
		if e.Repeat {
			name += "*"
		}
		*r = append(*r, name)
	}
	return nil
}

func TestConversation(t *testing.T) {
	s := startFakeServer(t)
	tokens := buyTokens(t, s, 4)
	alice, bob := openBoard(t, s), openBoard(t, s)
	for _, b := range []*Board{alice, bob} {
		if err := b.Sync(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i, tok := range tokens {
		if err := alice.Post(t.Context(), testEnvelope(i), tok, nil); err != nil {
			t.Fatal(err)
		}
	}
	var live recorder
	for e, err := range bob.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		live.use(e)
		if len(live) == len(tokens) {
			break
		}
	}
	if want := []string{"signature 0", "signature 1", "signature 2", "signature 3"}; !slices.Equal(live, want) {
		t.Errorf("bob read %q, want %q", live, want)
	}

	late := openBoard(t, s)
	var replayed recorder
	if err := late.Sync(t.Context(), []byte("signature 1"), replayed.use); err != nil {
		t.Fatal(err)
	}
	if want := []string{"signature 1*", "signature 2", "signature 3"}; !slices.Equal(replayed, want) {
		t.Errorf("a replay from 1 gave %q, want %q", replayed, want)
	}
	e, err := late.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e.Kind != New || !e.Repeat {
		t.Errorf("the repetition of the last envelope came as %+v", e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Sort(s.peers); len(slices.Compact(s.peers)) != 3 {
		t.Error("two connections had the same identity")
	}
}

func TestSpentTokenIsRefused(t *testing.T) {
	s := startFakeServer(t)
	tokens := buyTokens(t, s, 2)
	b := openBoard(t, s)
	if err := b.Post(t.Context(), testEnvelope(0), tokens[0], nil); !errors.Is(err, ErrNotSynced) {
		t.Fatalf("post before a replay: %v", err)
	}
	if err := b.Sync(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Post(t.Context(), testEnvelope(0), tokens[0], nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Post(t.Context(), testEnvelope(1), tokens[0], nil); !errors.Is(err, ErrRefused) {
		t.Errorf("post with a spent token: %v", err)
	}
	if err := b.Post(t.Context(), testEnvelope(1), tokens[1], nil); err != nil {
		t.Errorf("post after a refusal: %v", err)
	}
}

// Deliver needs no replay, and ends with the answer to its own post.
func TestDeliver(t *testing.T) {
	s := startFakeServer(t)
	tokens := buyTokens(t, s, 2)
	b := openBoard(t, s)
	if err := b.Deliver(t.Context(), testEnvelope(0), tokens[0]); err != nil {
		t.Fatal(err)
	}
	if err := b.Deliver(t.Context(), testEnvelope(1), tokens[0]); !errors.Is(err, ErrRefused) {
		t.Errorf("with a spent token: %v", err)
	}
	if err := b.Deliver(t.Context(), testEnvelope(1), tokens[1]); err != nil {
		t.Errorf("after a refusal: %v", err)
	}
	var replayed recorder
	if err := openBoard(t, s).Sync(t.Context(), nil, replayed.use); err != nil {
		t.Fatal(err)
	}
	if want := []string{"signature 0", "signature 1"}; !slices.Equal(replayed, want) {
		t.Errorf("the board has %q, want %q", replayed, want)
	}
}

// Posts under way at the same time are answered in order, with the numbers that Submit
// returned.
func TestSubmitKeepsManyUnderWay(t *testing.T) {
	s := startFakeServer(t)
	tokens := buyTokens(t, s, 20)
	tokens[7] = tokens[3] // refused
	b := openBoard(t, s)
	sent := make(chan error, 1)
	go func() {
		for i, tok := range tokens {
			post, err := b.Submit(testEnvelope(i), tok)
			if err == nil && post != uint64(i+1) {
				err = fmt.Errorf("post %d got number %d", i, post)
			}
			if err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range tokens {
		e, err := b.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != Posted || e.Post != uint64(i+1) || e.Success != (i != 7) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestBuyRefusesAnotherKey(t *testing.T) {
	s := startFakeServer(t)
	b := s.bundle()
	other, err := token.NewKey([32]byte{8})
	if err != nil {
		t.Fatal(err)
	}
	b.TokenKey = other.Public()
	if _, err := Buy(t.Context(), s, b, 1, nil); !errors.Is(err, token.ErrProof) {
		t.Errorf("tokens under another key than the bundle's: %v", err)
	}
}

func TestOpenRefusesAnotherBoard(t *testing.T) {
	s := startFakeServer(t)
	impostor := identity.NewKey().Onion()
	s.addr[impostor] = s.addr[s.keys.Board.Onion()]
	if _, err := Open(t.Context(), s, impostor); err == nil {
		t.Error("a server with another key was taken for the board")
	}
}

type brokenNetwork struct{}

func (brokenNetwork) Dial(context.Context, identity.Onion, int) (net.Conn, error) {
	return nil, io.ErrClosedPipe
}

func TestUnreachable(t *testing.T) {
	s := startFakeServer(t)
	if _, err := Open(t.Context(), brokenNetwork{}, s.keys.Board.Onion()); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if _, err := Buy(t.Context(), brokenNetwork{}, s.bundle(), 1, nil); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestCancelEndsNext(t *testing.T) {
	s := startFakeServer(t)
	b := openBoard(t, s)
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cancel(reason)
	if _, err := b.Next(ctx); !errors.Is(err, reason) {
		t.Errorf("%v, want the cause of the context", err)
	}
	if _, err := b.Submit(testEnvelope(0), token.Token{}); err == nil {
		t.Error("the connection outlived the context")
	}
}
