package tapir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// connPairs returns two connected connections of each kind by name.
func connPairs(t *testing.T) map[string][2]*Conn {
	a, b := tcpPair(t)
	client, server := authenticatedPair(t)
	return map[string][2]*Conn{"plain": {Plain(a), Plain(b)}, "authenticated": {client, server}}
}

func TestMessagesCross(t *testing.T) {
	for name, pair := range connPairs(t) {
		t.Run(name, func(t *testing.T) {
			for _, direction := range [][2]*Conn{{pair[0], pair[1]}, {pair[1], pair[0]}} {
				var messages [][]byte
				for i, n := range []int{1, 2, 127, 128, 129, MaxPayload, 1, 100, MaxPayload, 5, 6, 7, 8, 9, 10, 11, 12, 13} {
					messages = append(messages, bytes.Repeat([]byte{byte(i + 1)}, n))
				}
				sent := make(chan error, 1)
				go func() { sent <- errors.Join(direction[0].Send(messages...), direction[0].Send([]byte("last"))) }()
				for i, want := range append(messages, []byte("last")) {
					checkError(t, direction[1].Receive(func(got []byte) error {
						if !bytes.Equal(got, want) {
							return fmt.Errorf("message %d: %d bytes arrive, want %d", i, len(got), len(want))
						}
						return nil
					}))
				}
				checkError(t, <-sent)
			}
		})
	}
}

// recorder counts what is written, and remembers the sizes of the reads.
type recorder struct {
	net.Conn
	writes, reads []int
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, len(p))
	return r.Conn.Write(p)
}

func (r *recorder) Read(p []byte) (int, error) {
	r.reads = append(r.reads, len(p))
	return r.Conn.Read(p)
}

func TestSendCoalesces(t *testing.T) {
	a, b := tcpPair(t)
	go io.Copy(io.Discard, b)
	r := &recorder{Conn: a}
	messages := repeatPayload("m", 20)
	checkError(t, Plain(r).Send(messages...))
	if want := []int{64 << 10, 64 << 10, 4 * PacketSize}; fmt.Sprint(r.writes) != fmt.Sprint(want) {
		t.Errorf("writes of %v bytes, want %v", r.writes, want)
	}
	checkError(t, Plain(r).Send())
}

func repeatPayload(s string, n int) [][]byte {
	all := make([][]byte, n)
	for i := range all {
		all[i] = []byte(s)
	}
	return all
}

// A waiting Receive has asked for one byte only: it holds no packet buffer.
func TestReceiveWaitsWithoutBuffer(t *testing.T) {
	a, b := tcpPair(t)
	r := &recorder{Conn: a}
	checkError(t, Plain(b).Send([]byte("m")))
	checkError(t, Plain(r).Receive(func([]byte) error { return nil }))
	if r.reads[0] != 1 {
		t.Errorf("the first read asks for %d bytes", r.reads[0])
	}
}

func TestSendRefusesSizes(t *testing.T) {
	for name, pair := range connPairs(t) {
		r := &recorder{Conn: pair[0].nc}
		pair[0].nc = r
		for _, bad := range [][]byte{nil, {}, make([]byte, MaxPayload+1)} {
			if err := pair[0].Send([]byte("good"), bad); !errors.Is(err, ErrPayloadSize) {
				t.Errorf("%s: %d bytes: %v", name, len(bad), err)
			}
		}
		if len(r.writes) != 0 {
			t.Errorf("%s: something was sent", name)
		}
		checkError(t, pair[0].Send([]byte("still usable")))
	}
}

func TestSendersDoNotMix(t *testing.T) {
	client, server := authenticatedPair(t)
	const senders, calls = 8, 10
	var wg sync.WaitGroup
	for id := range senders {
		wg.Go(func() {
			for range calls {
				if err := client.Send(repeatPayload(fmt.Sprint(id), 3)...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var got strings.Builder
	for range senders * calls * 3 {
		checkError(t, server.Receive(func(p []byte) error { got.Write(p); return nil }))
	}
	wg.Wait()
	for i := 0; i < got.Len(); i += 3 {
		if three := got.String()[i : i+3]; three != strings.Repeat(three[:1], 3) {
			t.Fatalf("messages of two calls are mixed: %s", three)
		}
	}
}

func TestReceiveReturnsErrorOfUse(t *testing.T) {
	a, b := tcpPair(t)
	own := errors.New("own")
	checkError(t, Plain(a).Send([]byte("one"), []byte("two")))
	c := Plain(b)
	if err := c.Receive(func([]byte) error { return own }); err != own {
		t.Errorf("got %v", err)
	}
	checkError(t, c.Receive(func([]byte) error { return nil }))
}

// TestReceiveEnds feeds streams that end or break the protocol.
func TestReceiveEnds(t *testing.T) {
	var key sessionKey
	clearEmpty, clearLong, forged := new(packet), new(packet), new(packet)
	binary.PutUvarint(clearLong[:], 8190)
	forged[0] = 1
	for name, tc := range map[string]struct {
		key    *sessionKey
		stream []byte
		want   error
	}{
		"nothing":              {nil, nil, io.EOF},
		"one byte":             {nil, make([]byte, 1), io.ErrUnexpectedEOF},
		"all but one":          {nil, make([]byte, PacketSize-1), io.ErrUnexpectedEOF},
		"empty message":        {nil, clearEmpty[:], io.EOF},
		"length too great":     {nil, clearLong[:], ErrPacket},
		"sealed nothing":       {&key, nil, io.EOF},
		"sealed all but one":   {&key, make([]byte, PacketSize-1), io.ErrUnexpectedEOF},
		"sealed empty":         {&key, sealPlain(&key, new(packet)[:])[:], io.EOF},
		"sealed too great":     {&key, sealPlain(&key, clearLong[:])[:], ErrPacket},
		"sealed does not open": {&key, forged[:], ErrPacket},
		"clear where sealed":   {&key, clearEmpty[:], ErrPacket},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			done := make(chan struct{})
			go func() { defer close(done); a.Write(tc.stream); a.Close() }()
			defer func() { <-done }()
			c := Plain(b)
			c.key = tc.key
			err := c.Receive(func(p []byte) error { return fmt.Errorf("%d bytes arrive", len(p)) })
			if err != tc.want {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			b.Close()
		})
	}
}

func TestBrokenPacketCloses(t *testing.T) {
	client, server := authenticatedPair(t)
	_, err := client.nc.Write(make([]byte, PacketSize))
	checkError(t, err)
	if err := server.Receive(func([]byte) error { return nil }); err != ErrPacket {
		t.Fatal(err)
	}
	if err := client.Receive(func([]byte) error { return nil }); !errors.Is(err, io.EOF) {
		t.Errorf("the peer sees %v", err)
	}
	if err := server.Send([]byte("m")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := Plain(a)
		ignore := func([]byte) error { return nil }
		checkError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		if err := c.Receive(ignore); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		// Nothing had arrived, so the connection goes on.
		checkError(t, c.SetReadDeadline(time.Time{}))
		go Plain(b).Send([]byte("m"))
		checkError(t, c.Receive(ignore))
		// A peer that drips is cut off in the middle of a packet.
		dripped := make(chan struct{})
		go func() { writeSlowly(b, time.Second); close(dripped) }()
		start := time.Now()
		checkError(t, c.SetReadDeadline(start.Add(time.Minute)))
		if err := c.Receive(ignore); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Errorf("cut off after %v", d)
		}
		if err := c.Receive(ignore); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("goes on in the middle of a packet: %v", err)
		}
		<-dripped
	})
}

// writeSlowly writes a byte at a time until nc is closed.
func writeSlowly(nc net.Conn, interval time.Duration) {
	for {
		if _, err := nc.Write([]byte{0}); err != nil {
			return
		}
		time.Sleep(interval)
	}
}

func TestWriteDeadlineCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := Plain(a)
		checkError(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
		if err := c.Send([]byte("m")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if err := c.Send([]byte("m")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("goes on behind half a packet: %v", err)
		}
		b.Close()
	})
}
