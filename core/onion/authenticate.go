package onion

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cretz/bine/control"
)

// maxUnprovenBytes bounds what is read before tor has proved that it is tor. Its
// replies until then have less than 1 KiB.
const maxUnprovenBytes = 16 << 10

// controlConn is a control connection below bine.
type controlConn struct {
	net.Conn
	unproven int    // how much may still be read; negative: no limit
	key      []byte // replaces keyPlaceholder in what is written; nil: nothing does
}

func newControlConn(nc net.Conn) *controlConn {
	return &controlConn{Conn: nc, unproven: maxUnprovenBytes}
}

func (c *controlConn) Read(p []byte) (int, error) {
	if c.unproven < 0 {
		return c.Conn.Read(p)
	}
	if c.unproven == 0 {
		return 0, fmt.Errorf("more than %d bytes before tor has authenticated", maxUnprovenBytes)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.unproven)])
	c.unproven -= n
	return n, err
}

// keyPlaceholder stands for a key in a command, because bine and the packages below
// it keep copies of commands in buffers that cannot be wiped.
const keyPlaceholder = "{key}"

// Write is given one whole command at a time.
func (c *controlConn) Write(p []byte) (int, error) {
	before, after, found := bytes.Cut(p, []byte(keyPlaceholder))
	if c.key == nil || !found {
		return c.Conn.Write(p)
	}
	line := make([]byte, 0, len(p)+len(c.key))
	line = append(append(append(line, before...), c.key...), after...)
	defer clear(line)
	if _, err := c.Conn.Write(line); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Labels of the two proofs of SAFECOOKIE, control-spec section 3.24.
const (
	torProof = "Tor safe cookie authentication server-to-controller hash"
	ourProof = "Tor safe cookie authentication controller-to-server hash"
)

// authenticateByCookie makes the other end prove that it knows the cookie, and then
// proves the same to it (SAFECOOKIE). The cookie itself is not sent. A process in
// between could fetch the proof from tor and pass it on; checkPeer rules that out.
func authenticateByCookie(conn *control.Conn, cookie []byte) error {
	nonce := make([]byte, 32)
	rand.Read(nonce) // never fails, see crypto/rand
	resp, err := conn.SendRequest("AUTHCHALLENGE SAFECOOKIE %x", nonce)
	if err != nil {
		return fmt.Errorf("it does not prove that it knows the cookie: %w", err)
	}
	var hash, torNonce []byte
	for field := range strings.FieldsSeq(resp.Reply) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "SERVERHASH":
			hash, err = hex.DecodeString(value)
		case "SERVERNONCE":
			torNonce, err = hex.DecodeString(value)
		}
		if err != nil {
			return errors.New("its proof that it knows the cookie cannot be read")
		}
	}
	proof := func(label string) []byte {
		m := hmac.New(sha256.New, []byte(label))
		m.Write(cookie)
		m.Write(nonce)
		m.Write(torNonce)
		return m.Sum(nil)
	}
	if !hmac.Equal(hash, proof(torProof)) {
		return errors.New("it does not know the cookie: another program listens there, or tor has been started with another cookie file")
	}
	_, err = conn.SendRequest("AUTHENTICATE %x", proof(ourProof))
	return err
}
