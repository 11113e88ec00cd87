package tapir

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oasisprotocol/curve25519-voi/curve"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

func TestAuthenticate(t *testing.T) {
	a, b := tcpPair(t)
	clientKey, serverKey := identity.NewKey(), identity.NewKey()
	client, server := authenticateBoth(t, a, b, clientKey, serverKey, serverKey.Onion())
	checkError(t, client.err)
	checkError(t, server.err)
	if client.conn.Peer() != serverKey.Onion() || server.conn.Peer() != clientKey.Onion() {
		t.Errorf("the client sees %s, the server %s", client.conn.Peer(), server.conn.Peer())
	}
	if *client.conn.key != *server.conn.key || *client.conn.key == (sessionKey{}) {
		t.Error("the session keys are not what they should be")
	}
	if Plain(a).Peer() != "" {
		t.Error("a plain connection has a peer")
	}
}

func TestSessionKeysDiffer(t *testing.T) {
	clientKey, serverKey := identity.NewKey(), identity.NewKey()
	var keys [2]sessionKey
	for i := range keys {
		a, b := tcpPair(t)
		client, server := authenticateBoth(t, a, b, clientKey, serverKey, serverKey.Onion())
		checkError(t, client.err)
		checkError(t, server.err)
		keys[i] = *client.conn.key
	}
	if keys[0] == keys[1] {
		t.Error("two connections of the same peers have the same key")
	}
}

func TestWrongHost(t *testing.T) {
	a, b := tcpPair(t)
	client, server := authenticateBoth(t, a, b, identity.NewKey(), identity.NewKey(), identity.NewKey().Onion())
	if !errors.Is(client.err, ErrAuthentication) {
		t.Errorf("the client sees %v", client.err)
	}
	if server.err == nil {
		t.Error("the server authenticates a client that went away")
	}
	if _, err := a.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// flipper flips one bit of what is written to it.
type flipper struct {
	net.Conn
	bit, written int
}

func (f *flipper) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	if i := f.bit/8 - f.written; i >= 0 && i < len(p) {
		p[i] ^= 1 << (f.bit % 8)
	}
	f.written += len(p)
	return f.Conn.Write(p)
}

// TestBitFlips changes one bit of one side's messages, in every byte of the first
// and in many of the second. No change may lead to another peer or another key,
// and none of the encrypted packet may go unnoticed.
func TestBitFlips(t *testing.T) {
	clientKey, serverKey := identity.NewKey(), identity.NewKey()
	noticed := 0
	var offsets []int
	for i := range lengthSize + len(vectorClientAuth) + 1 {
		offsets = append(offsets, i)
	}
	for i := 0; i < PacketSize; i += 97 {
		offsets = append(offsets, PacketSize+i)
	}
	for _, offset := range offsets {
		for _, fromClient := range []bool{true, false} {
			var a, b net.Conn = tcpPair(t)
			bit := offset*8 + offset%8
			if fromClient {
				a = &flipper{Conn: a, bit: bit}
			} else {
				b = &flipper{Conn: b, bit: bit}
			}
			client, server := authenticateBoth(t, a, b, clientKey, serverKey, serverKey.Onion())
			victim := client
			if fromClient {
				victim = server
			}
			if offset >= PacketSize && victim.err == nil {
				t.Errorf("bit %d of the proof may change (from the client: %v)", bit, fromClient)
			}
			if client.err == nil && client.conn.Peer() != serverKey.Onion() || server.err == nil && server.conn.Peer() != clientKey.Onion() {
				t.Errorf("bit %d leads to another peer (from the client: %v)", bit, fromClient)
			}
			if client.err == nil && server.err == nil && *client.conn.key != *server.conn.key {
				t.Errorf("bit %d leads to different keys (from the client: %v)", bit, fromClient)
			}
			if victim.err != nil {
				noticed++
			}
			a.Close()
			b.Close()
		}
	}
	// What is not noticed are other spellings of the same JSON.
	if total := 2 * len(offsets); noticed < total*8/10 {
		t.Errorf("only %d of %d changes are noticed", noticed, total)
	}
}

// TestManInTheMiddle puts a server with a key of its own in between, which knows
// all there is to know but the secret key of the server that the client wants.
func TestManInTheMiddle(t *testing.T) {
	clientKey, serverKey, middle := identity.NewKey(), identity.NewKey(), identity.NewKey()
	forged := newHandshake(inbound, middle, identity.NewKey())
	forged.own.LongTermPublicKey = serverKey.Public() // claims to be the server
	a, b := tcpPair(t)
	done := make(chan outcome, 1)
	go func() {
		c, err := Client(context.Background(), a, clientKey, serverKey.Onion())
		done <- outcome{c, err}
	}()
	c := Plain(b)
	checkError(t, Config{}.exchangeStep(c, forged.ownMessage(), forged.readMessage))
	keys, err := forged.deriveAgreement()
	checkError(t, err)
	c.key = &keys.session
	keys.ownProof = append(keys.ownProof[:64], serverKey.Onion()...)
	checkError(t, c.Send(keys.ownProof))
	if client := <-done; !errors.Is(client.err, ErrPacket) {
		t.Errorf("the client sees %v", client.err)
	}
}

// dialServer runs Server. It returns our end of its connection, in clear, and how
// Server ends.
func dialServer(t *testing.T, key identity.Key) (*Conn, <-chan error) {
	a, b := tcpPair(t)
	done := make(chan error, 1)
	go func() {
		_, err := Server(context.Background(), b, key)
		done <- err
	}()
	return Plain(a), done
}

func TestReflectedMessage(t *testing.T) {
	c, done := dialServer(t, identity.NewKey())
	checkError(t, c.Receive(func(own []byte) error { return c.Send(own) }))
	if err := <-done; !errors.Is(err, ErrAuthentication) {
		t.Errorf("the server sees %v", err)
	}
}

// The parts of a reflected message are refused too, wherever they stand.
func TestReflectedKeys(t *testing.T) {
	h := newHandshake(inbound, seedKey(3), seedKey(4))
	other := seedKey(9).Public()
	for _, own := range []ed25519.PublicKey{h.own.LongTermPublicKey, h.own.EphemeralPublicKey} {
		for _, m := range []authMessage{{own, other}, {other, own}} {
			if err := h.readMessage(m.encodeJSON()); !errors.Is(err, ErrAuthentication) {
				t.Errorf("%s: %v", m.encodeJSON(), err)
			}
		}
	}
	checkError(t, h.readMessage(authMessage{other, seedKey(10).Public()}.encodeJSON()))
}

// A client follows the protocol up to its proof, which must be the right one.
func TestProofs(t *testing.T) {
	for name, tc := range map[string]struct {
		proof func(a *agreement, received []byte) []byte
		want  error
	}{
		"right":     {func(a *agreement, _ []byte) []byte { return a.ownProof }, nil},
		"reflected": {func(_ *agreement, received []byte) []byte { return received }, ErrAuthentication},
		"challenge": {func(a *agreement, _ []byte) []byte { return flipBit(a.ownProof, 0) }, ErrAuthentication},
		"hostname":  {func(a *agreement, _ []byte) []byte { return flipBit(a.ownProof, 119) }, ErrAuthentication},
		"short":     {func(a *agreement, _ []byte) []byte { return a.ownProof[:119] }, ErrAuthentication},
		"long":      {func(a *agreement, _ []byte) []byte { return append(a.ownProof, 0) }, ErrAuthentication},
		"zeros":     {func(*agreement, []byte) []byte { return make([]byte, 120) }, ErrAuthentication},
	} {
		t.Run(name, func(t *testing.T) {
			serverKey := identity.NewKey()
			c, done := dialServer(t, serverKey)
			h := newHandshake(outbound, identity.NewKey(), identity.NewKey())
			checkError(t, Config{}.exchangeStep(c, h.ownMessage(), h.readMessage))
			a, err := h.deriveAgreement()
			checkError(t, err)
			c.key = &a.session
			checkError(t, c.Receive(func(received []byte) error {
				return c.Send(tc.proof(a, bytes.Clone(received)))
			}))
			if err := <-done; !errors.Is(err, tc.want) {
				t.Errorf("the server sees %v, want %v", err, tc.want)
			}
		})
	}
}

func flipBit(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[i] ^= 1
	return b
}

// TestProofs seals the reflected proof anew. Here the client sends back the very
// packet that the server sent.
func TestReflectedPacket(t *testing.T) {
	c, done := dialServer(t, identity.NewKey())
	h := newHandshake(outbound, identity.NewKey(), identity.NewKey())
	checkError(t, Config{}.exchangeStep(c, h.ownMessage(), h.readMessage))
	var p packet
	_, err := io.ReadFull(c.nc, p[:])
	checkError(t, err)
	_, err = c.nc.Write(p[:])
	checkError(t, err)
	if err := <-done; !errors.Is(err, ErrAuthentication) {
		t.Errorf("the server sees %v", err)
	}
}

func TestAuthMessageRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(seedKey(1).Public())
	message := func(longTerm, ephemeral string) string {
		return fmt.Sprintf(`{"LongTermPublicKey":%q,"EphemeralPublicKey":%q}`, longTerm, ephemeral)
	}
	texts := map[string]string{
		"no JSON": "x", "null": "null", "array": "[]", "empty object": "{}",
		"one key":   `{"LongTermPublicKey":"` + good + `"}`,
		"trailing":  message(good, good) + "x",
		"two":       message(good, good) + message(good, good),
		"number":    `{"LongTermPublicKey":1,"EphemeralPublicKey":2}`,
		"null keys": `{"LongTermPublicKey":null,"EphemeralPublicKey":null}`,
	}
	minusZero := make([]byte, 32)
	minusZero[0], minusZero[31] = 1, 0x80
	bad := map[string][]byte{
		"empty": {}, "short": make([]byte, 31), "long": append(seedKey(1).Public(), 0),
		"identity with sign": minusZero,
		"p":                  append(append([]byte{0xed}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f),
		"p + 1":              append(append([]byte{0xee}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f),
		"ones":               bytes.Repeat([]byte{0xff}, 32),
	}
	for i, p := range curve.EIGHT_TORSION {
		var c curve.CompressedEdwardsY
		bad[fmt.Sprintf("low order %d", i)] = c.SetEdwardsPoint(p)[:]
	}
	for name, key := range bad {
		text := base64.StdEncoding.EncodeToString(key)
		texts[name+" long-term key"] = message(text, good)
		texts[name+" ephemeral key"] = message(good, text)
	}
	for name, text := range texts {
		if _, err := decodeAuthMessage([]byte(text)); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
		c, done := dialServer(t, seedKey(3))
		checkError(t, c.Send([]byte(text)))
		if err := <-done; !errors.Is(err, ErrAuthentication) || strings.Contains(err.Error(), "Key") {
			t.Errorf("%s: the server says %v", name, err)
		}
	}
}

// Upstream decodes with encoding/json, so what that forgives is in use.
func TestAuthMessageSpellings(t *testing.T) {
	want := authMessage{seedKey(1).Public(), seedKey(2).Public()}
	for _, text := range []string{
		vectorClientAuth,
		strings.ReplaceAll(vectorClientAuth, ",", " ,\n\t"),
		strings.Replace(vectorClientAuth, "{", `{"Version":2,`, 1),
		`{"EphemeralPublicKey":"gTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q=","LongTermPublicKey":"iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w="}`,
	} {
		m, err := decodeAuthMessage([]byte(text))
		if err != nil || !m.LongTermPublicKey.Equal(want.LongTermPublicKey) || !m.EphemeralPublicKey.Equal(want.EphemeralPublicKey) {
			t.Errorf("%s: %v", text, err)
		}
		if got := string(m.encodeJSON()); got != vectorClientAuth {
			t.Errorf("%s is hashed as %s", text, got)
		}
	}
}

// Peers hold a connection as long as they can. Each step has 30 seconds, however the
// peer spends them.
func TestSlowPeers(t *testing.T) {
	const step = 30 * time.Second
	skip := func(nc net.Conn, n int64) { io.CopyN(io.Discard, nc, n) }
	for name, tc := range map[string]struct {
		peer func(nc net.Conn)
		want time.Duration
	}{
		"reads nothing": {func(net.Conn) {}, step},
		"says nothing":  {func(nc net.Conn) { skip(nc, PacketSize) }, step},
		"writes a byte a second": {func(nc net.Conn) {
			skip(nc, PacketSize)
			writeSlowly(nc, time.Second)
		}, step},
		"writes slowly over the end of the first step": {func(nc net.Conn) {
			skip(nc, PacketSize)
			nc.Write(make([]byte, PacketSize-10))
			writeSlowly(nc, 4*time.Second)
		}, step},
		"says nothing in the second step": {func(nc net.Conn) {
			readThenSend(nc)
		}, step},
		"late, then writes slowly in the second step": {func(nc net.Conn) {
			time.Sleep(20 * time.Second)
			readThenSend(nc)
			skip(nc, PacketSize)
			writeSlowly(nc, time.Second)
		}, 20*time.Second + step},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				gone := make(chan struct{})
				go func() { tc.peer(theirs); close(gone) }()
				start := time.Now()
				_, err := Server(t.Context(), ours, identity.NewKey())
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("the server sees %v", err)
				}
				if d := time.Since(start); d != tc.want {
					t.Errorf("cut off after %v, want %v", d, tc.want)
				}
				<-gone
			})
		})
	}
}

// readThenSend is the first step of a client that reads first, because net.Pipe
// has no room for two sides that send first.
func readThenSend(nc net.Conn) {
	io.CopyN(io.Discard, nc, PacketSize)
	Plain(nc).Send(newHandshake(outbound, identity.NewKey(), identity.NewKey()).ownMessage())
}

func TestStepTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		start := time.Now()
		_, err := Config{StepTimeout: time.Second}.Client(t.Context(), ours, identity.NewKey(), identity.NewKey().Onion())
		if d := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || d != time.Second {
			t.Errorf("%v after %v", err, d)
		}
		theirs.Close()
	})
}

func TestCancel(t *testing.T) {
	own := errors.New("shutting down")
	for name, tc := range map[string]struct {
		ctx  func(context.Context) context.Context
		want error
	}{
		"cancel": {func(parent context.Context) context.Context {
			ctx, cancel := context.WithCancelCause(parent)
			time.AfterFunc(time.Second, func() { cancel(own) })
			return ctx
		}, own},
		"deadline": {func(parent context.Context) context.Context {
			ctx, cancel := context.WithTimeout(parent, time.Second)
			time.AfterFunc(time.Minute, cancel)
			return ctx
		}, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				start := time.Now()
				_, err := Server(tc.ctx(t.Context()), ours, identity.NewKey())
				if d := time.Since(start); !errors.Is(err, tc.want) || d != time.Second {
					t.Errorf("%v after %v", err, d)
				}
				if _, err := theirs.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("the connection is not closed: %v", err)
				}
			})
		})
	}
}

// After authentication neither the deadlines of the steps nor the context have
// any effect.
func TestNoDeadlineAfterwards(t *testing.T) {
	a, b := tcpPair(t)
	serverKey := identity.NewKey()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan outcome, 1)
	go func() {
		c, err := Config{StepTimeout: time.Minute}.Server(ctx, b, serverKey)
		done <- outcome{c, err}
	}()
	d := &deadlines{Conn: a}
	client, err := Client(ctx, d, identity.NewKey(), serverKey.Onion())
	checkError(t, err)
	server := <-done
	checkError(t, server.err)
	cancel()
	if !d.last.IsZero() {
		t.Errorf("deadline %v is left", d.last)
	}
	checkError(t, client.Send([]byte("m")))
	checkError(t, server.conn.Receive(func([]byte) error { return nil }))
}

type deadlines struct {
	net.Conn
	last time.Time
}

func (d *deadlines) SetDeadline(t time.Time) error {
	d.last = t
	return d.Conn.SetDeadline(t)
}

func FuzzAuthMessage(f *testing.F) {
	f.Add([]byte(vectorClientAuth))
	f.Add([]byte(vectorServerAuth))
	f.Add([]byte(`{"LongTermPublicKey":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","EphemeralPublicKey":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decodeAuthMessage(text)
		if err != nil {
			return
		}
		again, err := decodeAuthMessage(m.encodeJSON())
		if err != nil || !bytes.Equal(again.encodeJSON(), m.encodeJSON()) || len(m.encodeJSON()) != len(vectorClientAuth) {
			t.Errorf("does not come back: %v", err)
		}
		h := newHandshake(inbound, seedKey(3), seedKey(4))
		if h.readMessage(text) == nil {
			if _, err := h.deriveAgreement(); err != nil {
				t.Errorf("keys that were accepted do not agree: %v", err)
			}
		}
	})
}
