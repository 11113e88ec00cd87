package peerlink

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// A Conn is a link as a stream of bytes. On the wire it is a sequence of records, each sealed
// with ChaCha20-Poly1305 under a key of its direction and a counter, so that none can be
// repeated, left out, reordered or sent back unnoticed:
//
//	length of what follows, 3 bytes, big-endian, authenticated
//	sealed: number of bytes, 2, big-endian; the bytes, at least one; zeros up to the class
//
// The sealed text of a record has 128, 512, 2048 or 16384 bytes, the least that holds its
// bytes. So the wire shows little of what passes.
//
// Read is called by one goroutine at a time, Write by another. A Conn takes about 100 KiB.
type Conn struct {
	nc     net.Conn
	secret [32]byte

	in       sealer
	inRecord [maxRecord]byte
	rest     []byte // of the last record, not read yet

	writing   sync.Mutex
	out       sealer
	outBuffer []byte // records of one write to the stream
}

// zeros are the padding.
var zeros [maxText]byte

// classes are the lengths of the text of a record, ascending.
var classes = [...]int{128, 512, 2048, 16384}

const (
	headerSize = 3 // length of a record
	countSize  = 2 // number of bytes in it
	maxText    = 16384
	maxRecord  = headerSize + maxText + chacha20poly1305.Overhead
	// maxWrite bounds the bytes that are sealed and written at a time.
	maxWrite = 4 * (maxText - countSize)
)

const (
	// writeTimeout is how long the stream may take for maxWrite bytes. Circuits of Tor stall
	// for up to a minute.
	writeTimeout = 2 * time.Minute
	// readTimeout is how long nothing may come. Both ends send a PING about every minute.
	readTimeout = 5 * time.Minute
)

// ErrRecord means that the other side, or somebody between, breaks the protocol. The connection
// is closed.
var ErrRecord = errors.New("record is malformed")

// NewConn makes a link of an authenticated connection, of which own is the name of this side and
// dialled says that this side has dialled. The other side has to do the same. It takes over conn.
func NewConn(conn *tapir.Conn, own identity.Onion, dialled bool) *Conn {
	dialler, listener := own, conn.Peer()
	if !dialled {
		dialler, listener = listener, dialler
	}
	derive := func(purpose string) [32]byte {
		return conn.Export(fmt.Sprintf("cwtch-relay/peer-link/1 %s %s %s", purpose, dialler, listener))
	}
	forth, back := derive("dialler to listener"), derive("listener to dialler")
	if !dialled {
		forth, back = back, forth
	}
	return newConn(conn.NetConn(), back, forth, derive("sums"))
}

func newConn(nc net.Conn, in, out, secret [32]byte) *Conn {
	return &Conn{nc: nc, in: newSealer(in), out: newSealer(out), secret: secret}
}

// Secret returns the secret for keyed sums, which only the two ends of this link know.
func (c *Conn) Secret() [32]byte { return c.secret }

// Close closes the stream, which ends Read and Write.
func (c *Conn) Close() { c.nc.Close() }

// Write sends p in as few records as there can be, and pads what is left over to a class. Few
// calls with much to send are therefore better than many. After an error the link is closed.
func (c *Conn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for n < len(p) {
		chunk := p[n:min(len(p), n+maxWrite)]
		c.outBuffer = c.outBuffer[:0]
		for rest := chunk; len(rest) > 0; {
			size := min(len(rest), fitBytes(len(rest)))
			c.outBuffer = c.out.appendRecord(c.outBuffer, rest[:size])
			rest = rest[size:]
		}
		err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			_, err = c.nc.Write(c.outBuffer)
		}
		if err != nil {
			c.nc.Close()
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}

// fitBytes returns how many of n bytes that remain to be sent go into the next record. A full
// record of 16 KiB is cheapest; what is left over is cut into records of 2 KiB, since padding it
// to 16 KiB would cost more than it hides.
func fitBytes(n int) int {
	if n < maxText-countSize {
		return classes[2] - countSize
	}
	return maxText - countSize
}

// Read reads what the other side has written. It returns io.EOF if that has closed the stream
// behind a record, and io.ErrUnexpectedEOF within one. After any error the link is closed.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(c.rest) == 0 {
		err := c.nc.SetReadDeadline(time.Now().Add(readTimeout))
		if err == nil {
			c.rest, err = c.in.readRecord(c.nc, c.inRecord[:])
		}
		if err != nil {
			c.nc.Close()
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// sealer seals or opens the records of one direction.
type sealer struct {
	aead    cipher.AEAD
	counter uint64 // records so far
}

func newSealer(key [32]byte) sealer {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic("peerlink: " + err.Error()) // the key has the right length
	}
	return sealer{aead: aead}
}

// nextNonce returns the nonce of the next record. No link lasts for 2^64 records.
func (s *sealer) nextNonce() (nonce [chacha20poly1305.NonceSize]byte) {
	binary.BigEndian.PutUint64(nonce[4:], s.counter)
	s.counter++
	return nonce
}

// appendRecord appends the record of p, which fits one.
func (s *sealer) appendRecord(dst, p []byte) []byte {
	class := classOf(len(p))
	size := class + s.aead.Overhead()
	dst = slices.Grow(dst, headerSize+size)
	start := len(dst)
	dst = append(dst, byte(size>>16), byte(size>>8), byte(size))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p)))
	dst = append(dst, p...)
	dst = append(dst, zeros[:class-countSize-len(p)]...)
	nonce := s.nextNonce()
	text := dst[start+headerSize:]
	return append(dst[:start+headerSize], s.aead.Seal(text[:0], nonce[:], text, dst[start:start+headerSize])...)
}

// classOf returns the class of a record of n bytes.
func classOf(n int) int {
	for _, class := range classes {
		if n+countSize <= class {
			return class
		}
	}
	panic("peerlink: too much for a record")
}

// readRecord reads a record into buffer and returns the bytes in it.
func (s *sealer) readRecord(r io.Reader, buffer []byte) ([]byte, error) {
	header := buffer[:headerSize]
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	class := (int(header[0])<<16 | int(header[1])<<8 | int(header[2])) - s.aead.Overhead()
	if !slices.Contains(classes[:], class) {
		return nil, ErrRecord
	}
	sealed := buffer[headerSize : headerSize+class+s.aead.Overhead()]
	if _, err := io.ReadFull(r, sealed); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	nonce := s.nextNonce()
	text, err := s.aead.Open(sealed[:0], nonce[:], sealed, header)
	if err != nil {
		return nil, ErrRecord
	}
	return cutPadding(text)
}

// cutPadding returns the bytes in the text of a record.
func cutPadding(text []byte) ([]byte, error) {
	n := int(binary.BigEndian.Uint16(text))
	if n == 0 || n+countSize > len(text) || classOf(n) != len(text) {
		return nil, ErrRecord
	}
	if len(bytes.Trim(text[countSize+n:], "\x00")) > 0 {
		return nil, ErrRecord
	}
	return text[countSize : countSize+n], nil
}
