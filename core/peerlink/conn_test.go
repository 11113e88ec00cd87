package peerlink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// authenticatePair returns both ends of an authenticated connection over TCP.
func authenticatePair(t testing.TB, dialler, listener identity.Key) (dialled, accepted *tapir.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := ln.Accept()
		if err == nil {
			accepted, err = tapir.Server(context.Background(), nc, listener)
		}
		if err != nil {
			t.Error(err)
		}
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err == nil {
		dialled, err = tapir.Client(t.Context(), nc, dialler, listener.Onion())
	}
	wg.Wait()
	if err != nil || accepted == nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// linkPair returns both ends of a link over TCP.
func linkPair(t testing.TB) (a, b *Conn) {
	t.Helper()
	x, y := identity.NewKey(), identity.NewKey()
	dialled, accepted := authenticatePair(t, x, y)
	return NewConn(dialled, x.Onion(), true), NewConn(accepted, y.Onion(), false)
}

func TestBothEndsReadWhatTheOtherWrites(t *testing.T) {
	a, b := linkPair(t)
	if a.Secret() != b.Secret() || a.Secret() == [32]byte{} {
		t.Error("the secrets for sums differ")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var sizes []int
	for _, class := range classes {
		sizes = append(sizes, class-countSize-1, class-countSize, class-countSize+1)
	}
	sizes = append(sizes, 1, 5000, maxWrite-1, maxWrite, maxWrite+1, 3*maxWrite+17)
	for _, size := range sizes {
		for _, ends := range [][2]*Conn{{a, b}, {b, a}} {
			text := make([]byte, size)
			for i := range text {
				text[i] = byte(rng.Uint32())
			}
			var wg sync.WaitGroup
			wg.Go(func() {
				if n, err := ends[0].Write(text); n != size || err != nil {
					t.Errorf("wrote %d of %d: %v", n, size, err)
				}
			})
			got := make([]byte, size)
			if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, text) {
				t.Errorf("read of %d bytes: %v", size, err)
			}
			wg.Wait()
		}
	}
	a.Close()
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read at the end: %v", err)
	}
}

// TestLinksHaveTheirOwnKeys: two links of the same relays share nothing, nor do the directions.
func TestLinksHaveTheirOwnKeys(t *testing.T) {
	x, y := identity.NewKey(), identity.NewKey()
	first, _ := authenticatePair(t, x, y)
	second, _ := authenticatePair(t, x, y)
	a, b := NewConn(first, x.Onion(), true), NewConn(second, x.Onion(), true)
	other := NewConn(first, x.Onion(), false) // as somebody who is wrong about its role
	sealed := func(s sealer) string { return string(s.appendRecord(nil, []byte("x"))) }
	seen := make(map[string]bool)
	for _, s := range []sealer{a.in, a.out, b.in, b.out, other.in, other.out} {
		if seen[sealed(s)] {
			t.Error("two directions share a key")
		}
		seen[sealed(s)] = true
	}
	if a.Secret() == b.Secret() {
		t.Error("two links share a secret")
	}
}

// recorded returns the records of texts, and the key of their direction.
func recorded(texts ...string) (wire []byte, key [32]byte) {
	key[0] = 1
	s := newSealer(key)
	for _, text := range texts {
		wire = s.appendRecord(wire, []byte(text))
	}
	return wire, key
}

// readAll reads the bytes of records until an error.
func readAll(key [32]byte, wire io.Reader) (text []byte, err error) {
	s := newSealer(key)
	buffer := make([]byte, maxRecord)
	for {
		part, err := s.readRecord(wire, buffer)
		if err != nil {
			return text, err
		}
		text = append(text, part...)
	}
}

// TestChangedRecordsAreRefused changes, repeats, reorders, leaves out and cuts records.
func TestChangedRecordsAreRefused(t *testing.T) {
	wire, key := recorded("first", "second")
	half := len(wire) / 2
	if text, err := readAll(key, iotest.OneByteReader(bytes.NewReader(wire))); string(text) != "firstsecond" || err != io.EOF {
		t.Fatalf("%q, %v", text, err)
	}
	for i := range wire {
		changed := bytes.Clone(wire)
		changed[i] ^= 0x10
		text, err := readAll(key, bytes.NewReader(changed))
		if err == io.EOF || !bytes.HasPrefix([]byte("first"), text) {
			t.Fatalf("byte %d changed: read %q, %v", i, text, err)
		}
	}
	for name, wire := range map[string][]byte{
		"repeated":  append(bytes.Clone(wire[:half]), wire[:half]...),
		"left out":  wire[half:],
		"reordered": append(bytes.Clone(wire[half:]), wire[:half]...),
	} {
		if text, err := readAll(key, bytes.NewReader(wire)); !errors.Is(err, ErrRecord) || len(text) > len("first") {
			t.Errorf("%s: read %q, %v", name, text, err)
		}
	}
	for n := range wire {
		if _, err := readAll(key, bytes.NewReader(wire[:n])); (err == io.EOF) != (n == 0 || n == half) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

// TestOnlyOneFormOfARecordIsRead: the right key does not help with a wrong text.
func TestOnlyOneFormOfARecordIsRead(t *testing.T) {
	text := func(class, n int, padding byte) []byte {
		text := make([]byte, class)
		binary.BigEndian.PutUint16(text, uint16(n))
		text[class-1] = padding
		return text
	}
	for name, text := range map[string][]byte{
		"no bytes":          text(128, 0, 0),
		"too many bytes":    text(128, 127, 0),
		"a class too large": text(512, 126, 0),
		"padding of ones":   text(128, 1, 1),
		"another class":     text(256, 200, 0),
	} {
		key := [32]byte{1}
		s := newSealer(key)
		size := len(text) + s.aead.Overhead()
		header := []byte{byte(size >> 16), byte(size >> 8), byte(size)}
		nonce := s.nextNonce()
		if _, err := readAll(key, bytes.NewReader(append(header, s.aead.Seal(nil, nonce[:], text, header)...))); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPaddingCosts: what is left over is padded to its class, and full records are not padded.
func TestPaddingCosts(t *testing.T) {
	perRecord := headerSize + 16
	for n, want := range map[int]int{
		1: 128 + perRecord, 126: 128 + perRecord, 127: 512 + perRecord, 2046: 2048 + perRecord,
		2047: 2048 + 128 + 2*perRecord, 4300: 2*2048 + 512 + 2*perRecord + perRecord,
		16382: 16384 + perRecord, maxWrite: 4 * (16384 + perRecord),
	} {
		out := &counter{}
		c := newConn(out, [32]byte{1}, [32]byte{2}, [32]byte{})
		if _, err := c.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if out.n != want {
			t.Errorf("%d bytes take %d on the wire, want %d", n, out.n, want)
		}
	}
}

// counter counts what is written to it.
type counter struct {
	net.Conn
	n int
}

func (c *counter) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }

func (c *counter) SetWriteDeadline(time.Time) error { return nil }

// TestSilentEndsAreGivenUp: neither a peer that says nothing nor one that reads nothing holds a
// link for ever.
func TestSilentEndsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, y := net.Pipe()
		defer y.Close()
		c := newConn(x, [32]byte{}, [32]byte{}, [32]byte{})
		begin := time.Now()
		if _, err := c.Write([]byte("x")); err == nil || time.Since(begin) != writeTimeout {
			t.Errorf("write: %v after %v", err, time.Since(begin))
		}
		x, y2 := net.Pipe()
		defer y2.Close()
		c = newConn(x, [32]byte{}, [32]byte{}, [32]byte{})
		begin = time.Now()
		if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(begin) != readTimeout {
			t.Errorf("read: %v after %v", err, time.Since(begin))
		}
	})
}

// FuzzReadRecord feeds records whose text is anything, sealed with the right key, and then
// anything unsealed. What is accepted is what would have been written.
func FuzzReadRecord(f *testing.F) {
	f.Add([]byte("\x00\x01x"), []byte("\x00\x00\x90"))
	f.Add(append([]byte("\x00\x7f"), make([]byte, 510)...), []byte{})
	f.Fuzz(func(t *testing.T, text, tail []byte) {
		key := [32]byte{1}
		s := newSealer(key)
		size := len(text) + s.aead.Overhead()
		header := []byte{byte(size >> 16), byte(size >> 8), byte(size)}
		nonce := s.nextNonce()
		wire := append(header, s.aead.Seal(nil, nonce[:], text, header)...)
		got, err := readAll(key, bytes.NewReader(append(bytes.Clone(wire), tail...)))
		if err == nil {
			t.Fatal("the stream never ends")
		}
		if len(got) == 0 {
			return
		}
		again := newSealer(key)
		if !bytes.Equal(again.appendRecord(nil, got), wire) {
			t.Fatalf("%x was read from another form", got)
		}
	})
}

// BenchmarkStream compares a link with the packets of clients over TCP on this machine.
func BenchmarkStream(b *testing.B) {
	const size = 64 << 10
	b.Run("link", func(b *testing.B) {
		a, z := linkPair(b)
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(io.Discard, struct{ io.Reader }{z}) })
		b.SetBytes(size)
		text := make([]byte, size)
		for b.Loop() {
			if _, err := a.Write(text); err != nil {
				b.Fatal(err)
			}
		}
		a.Close()
		wg.Wait()
	})
	b.Run("packets", func(b *testing.B) {
		a, z := authenticatePair(b, identity.NewKey(), identity.NewKey())
		var wg sync.WaitGroup
		wg.Go(func() {
			for z.Receive(func([]byte) error { return nil }) == nil {
			}
		})
		b.SetBytes(8 * tapir.MaxPayload)
		payloads := make([][]byte, 8)
		for i := range payloads {
			payloads[i] = make([]byte, tapir.MaxPayload)
		}
		for b.Loop() {
			if err := a.Send(payloads...); err != nil {
				b.Fatal(err)
			}
		}
		a.Close()
		wg.Wait()
	})
}
