package client

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// plainBoard is a board over a clear connection, so that it runs on fake time,
// and the server's end of it.
func plainBoard(t *testing.T) (*Board, *tapir.Conn) {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return &Board{conn: tapir.Plain(near), name: "board", state: newState()}, tapir.Plain(far)
}

// playServer receives n requests and then sends the replies.
func playServer(c *tapir.Conn, n int, replies ...string) {
	for range n {
		if c.Receive(func([]byte) error { return nil }) != nil {
			return
		}
	}
	for _, r := range replies {
		if c.Send([]byte(r)) != nil {
			return
		}
	}
}

const (
	count3   = `{"MessageType":1,"ReplayResult":{"NumMessages":3}}`
	stored   = `{"MessageType":3,"PostResult":{"Success":true}}`
	bare     = `{"Ciphertext":"AA==","Signature":"AA=="}`
	announce = `{"MessageType":4,"NewMessage":{"EGM":{"Ciphertext":"AA==","Signature":"AA=="}}}`
	unknown  = `{"MessageType":77}`
)

func TestServerBreaksTheProtocol(t *testing.T) {
	for _, c := range []struct {
		name    string
		replay  bool
		replies []string
	}{
		{"not JSON", false, []string{"hello"}},
		{"count that nobody asked for", false, []string{count3}},
		{"replay that nobody asked for", false, []string{bare}},
		{"result that nobody waits for", false, []string{stored}},
		{"replay before its count", true, []string{bare}},
		{"two counts", true, []string{count3, count3}},
		{"negative count", true, []string{`{"MessageType":1,"ReplayResult":{"NumMessages":-1}}`}},
		{"more than counted", true, []string{count3, bare, bare, bare, bare}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, server := plainBoard(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				playServer(server, map[bool]int{true: 1}[c.replay], append(c.replies, announce)...)
			}()
			if c.replay {
				if err := b.Replay(nil); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			for _, err = range b.Events(t.Context()) {
			}
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v, want ErrProtocol", err)
			}
			<-done
		})
	}
}

func TestUnknownRepliesAreSkipped(t *testing.T) {
	b, server := plainBoard(t)
	go playServer(server, 0, unknown, unknown, announce)
	e, err := b.Next(t.Context())
	if err != nil || e.Kind != New {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestServerCloses(t *testing.T) {
	b, server := plainBoard(t)
	go server.Close()
	if _, err := b.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want io.EOF", err)
	}
}

// The server must send what it owes within Timeout; other messages give it no more
// time.
func TestServerStalls(t *testing.T) {
	post := func(b *Board) error { _, err := b.Submit(wire.Envelope{}, token.Token{}); return err }
	replay := func(b *Board) error { return b.Replay(nil) }
	for _, c := range []struct {
		name    string
		ask     func(*Board) error
		replies []string
	}{
		{"count", replay, nil},
		{"rest of a replay", replay, []string{count3, bare}},
		{"result", post, nil},
		{"result, between announcements", post, []string{announce, announce}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, server := plainBoard(t)
				go func() {
					playServer(server, 1)
					for _, r := range c.replies {
						time.Sleep(Timeout * 2 / 5)
						playServer(server, 0, r)
					}
				}()
				start := time.Now()
				if err := c.ask(b); err != nil {
					t.Fatal(err)
				}
				var err error
				for _, err = range b.Events(t.Context()) {
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%v, want a deadline", err)
				}
				if d := time.Since(start); d > 2*Timeout {
					t.Errorf("waited %v", d)
				}
			})
		})
	}
}

func TestIdleIsNotAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, server := plainBoard(t)
		go func() {
			playServer(server, 1, `{"MessageType":1,"ReplayResult":{"NumMessages":0}}`)
			time.Sleep(24 * time.Hour)
			playServer(server, 0, announce)
		}()
		if err := b.Sync(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		if e, err := b.Next(t.Context()); err != nil || e.Kind != New {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestMissingEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, server := plainBoard(t)
		go func() {
			playServer(server, 1, `{"MessageType":1,"ReplayResult":{"NumMessages":0}}`)
			playServer(server, 1, stored, announce)
		}()
		if err := b.Sync(t.Context(), nil, nil); err != nil {
			t.Fatal(err)
		}
		mine := wire.Envelope{Ciphertext: []byte("mine"), Signature: []byte("mine")}
		if err := b.Post(t.Context(), mine, token.Token{}, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v, want a deadline", err)
		}
	})
}

func TestOneReplayAtATime(t *testing.T) {
	b, server := plainBoard(t)
	go playServer(server, 1)
	if err := b.Replay(nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Replay(nil); !errors.Is(err, ErrReplaying) {
		t.Errorf("%v, want ErrReplaying", err)
	}
}

func TestRepeatsAreRememberedWithinBounds(t *testing.T) {
	s := newState()
	for i := range 2 * recentEnvelopes {
		if s.noteSeen(testEnvelope(i)) {
			t.Fatalf("envelope %d is taken for a repetition", i)
		}
	}
	if !s.noteSeen(testEnvelope(recentEnvelopes)) {
		t.Error("a recent envelope is forgotten")
	}
	moved := wire.Envelope{Ciphertext: []byte("x"), Signature: testEnvelope(2*recentEnvelopes - 1).Signature}
	if s.noteSeen(moved) {
		t.Error("another body under a known signature is taken for a repetition")
	}
}

// FuzzReplies feeds whole conversations of a hostile server, one reply a line.
func FuzzReplies(f *testing.F) {
	f.Add([]byte(count3+"\n"+bare+"\n"+announce+"\n"+stored), true, true)
	f.Add([]byte(unknown+"\n{}\nnull\n[]"), false, true)
	f.Add([]byte(`{"MessageType":1,"ReplayResult":{"NumMessages":-9223372036854775808}}`), true, false)
	f.Fuzz(func(t *testing.T, conversation []byte, replay, submit bool) {
		s := newState()
		if replay {
			s.beginReplay([]byte{0})
		}
		if submit {
			s.recordPost()
		}
		for line := range bytes.Lines(conversation) {
			r, err := wire.DecodeReply(line)
			if err != nil {
				return
			}
			e, ok, err := s.acceptReply(r)
			if err != nil {
				return
			}
			if ok && (e.Kind < Count || e.Kind > New || e.Left < 0) {
				t.Fatalf("event %+v", e)
			}
			if s.answered > s.submitted || s.left < 0 {
				t.Fatal("the server gave more than it owed")
			}
		}
	})
}
