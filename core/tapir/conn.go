package tapir

import (
	"io"
	"slices"
	"sync"
)

// MaxBurst is the number of packets in one write, which are 64 KiB: enough to make
// system calls cheap, little enough to hold for each slow reader.
const MaxBurst = 8

// burst is a buffer for the packets of one write.
type burst [MaxBurst * PacketSize]byte

// Buffers are pooled and held only while bytes move, so that an idle connection
// costs none.
var (
	packetPool = sync.Pool{New: func() any { return new(packet) }}
	burstPool  = sync.Pool{New: func() any { return new(burst) }}
)

// Receive waits for a message and calls use with it. The payload is valid only
// during the call and must not be kept. Receive returns the error of use.
//
// The error is [io.EOF] if the peer closed the connection or, by an empty
// message, said that it did, and [io.ErrUnexpectedEOF] if it did so within a
// packet. After a deadline that passes before the first byte of a packet the
// connection is usable; every later failure closes it.
func (c *Conn) Receive(use func(payload []byte) error) error {
	// Wait for the first byte without a buffer: this is where idle connections
	// spend their time.
	if _, err := io.ReadFull(c.nc, c.firstByte[:]); err != nil {
		return err
	}
	in := packetPool.Get().(*packet)
	defer packetPool.Put(in)
	in[0] = c.firstByte[0]
	if _, err := io.ReadFull(c.nc, in[1:]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return c.closeAfter(err)
	}
	var payload []byte
	var err error
	if c.key == nil {
		payload, err = in.openClear()
	} else {
		plain := packetPool.Get().(*packet)
		defer packetPool.Put(plain)
		payload, err = in.openSealed(c.key, plain)
	}
	if err == nil && len(payload) == 0 {
		err = io.EOF
	}
	if err != nil {
		return c.closeAfter(err)
	}
	return use(payload)
}

// Send sends each payload as one message, in order, with no message of another
// call of Send between them. It packs up to 64 KiB into one write to the
// network. If a payload is empty or longer than [MaxPayload] it sends nothing
// and returns [ErrPayloadSize]. Any other error, a missed deadline among them,
// closes the connection, because the peer may have half a packet.
//
// Send does not keep or change the payloads.
func (c *Conn) Send(payloads ...[]byte) error {
	for _, payload := range payloads {
		if len(payload) == 0 || len(payload) > MaxPayload {
			return ErrPayloadSize
		}
	}
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	for group := range slices.Chunk(payloads, MaxBurst) {
		if err := c.writePackets(group); err != nil {
			return c.closeAfter(err)
		}
	}
	return nil
}

// writePackets sends at most MaxBurst payloads.
func (c *Conn) writePackets(payloads [][]byte) error {
	if len(payloads) == 1 {
		out := packetPool.Get().(*packet)
		defer packetPool.Put(out)
		c.encodePacket(out, payloads[0])
		_, err := c.nc.Write(out[:])
		return err
	}
	out := burstPool.Get().(*burst)
	defer burstPool.Put(out)
	for i, payload := range payloads {
		c.encodePacket((*packet)(out[i*PacketSize:]), payload)
	}
	_, err := c.nc.Write(out[:len(payloads)*PacketSize])
	return err
}

func (c *Conn) encodePacket(out *packet, payload []byte) {
	if c.key == nil {
		out.putClear(payload)
		return
	}
	plain := packetPool.Get().(*packet)
	defer packetPool.Put(plain)
	out.putSealed(c.key, payload, plain)
}

// closeAfter closes the connection, whose packets can no longer be told apart, and
// returns err.
func (c *Conn) closeAfter(err error) error {
	c.nc.Close()
	return err
}
