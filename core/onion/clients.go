package onion

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// ClientAuthorizer is a [Network] whose services can be for certain clients alone. [Tor] is
// one; the loopback network hides nothing and so is none.
type ClientAuthorizer interface {
	Network

	// ListenFor is Listen for a service that only the holders of the private keys of
	// clients can use: the descriptor is encrypted for them, so that nobody else learns
	// where its introduction points are. There must be at least one client.
	ListenFor(ctx context.Context, key identity.Key, port int, clients []ClientKey) (net.Listener, error)

	// FindDescriptor asks directories for the descriptor of a service. It needs no key of
	// a client, since it does not read what it gets. The error wraps [ErrNotPublished] if
	// no directory has it.
	FindDescriptor(ctx context.Context, service identity.Onion) error
}

// ClientKey is the public X25519 key of a client: 52 characters of upper-case base32, as
// behind "descriptor:x25519:" in an .auth file of tor.
type ClientKey string

const clientKeyLen = 52

var clientKeyEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// NewClientKey draws the key of a client. The private one is in base32 too, as Tor Browser
// asks for it and as it stands in an .auth_private file of tor.
func NewClientKey() (public ClientKey, private string) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		panic("onion: " + err.Error()) // never fails, see crypto/rand
	}
	return ClientKey(clientKeyEncoding.EncodeToString(key.PublicKey().Bytes())), clientKeyEncoding.EncodeToString(key.Bytes())
}

// ListenFor implements [ClientAuthorizer].
func (t *Tor) ListenFor(ctx context.Context, key identity.Key, port int, clients []ClientKey) (net.Listener, error) {
	if len(clients) == 0 {
		return nil, fmt.Errorf("publish onion service %s: it has no clients, and is for nobody else", key.Onion())
	}
	for i, c := range clients {
		if raw, err := clientKeyEncoding.DecodeString(string(c)); err != nil || len(raw) != 32 || len(c) != clientKeyLen { // the decoder passes over line breaks
			return nil, fmt.Errorf("publish onion service %s: client %d has no public key of 52 characters in base32", key.Onion(), i+1)
		}
	}
	return t.listen(ctx, key, port, clients)
}

// errNoClientAuthorization: tor would publish the service for everybody or not at all.
var errNoClientAuthorization = errors.New("this tor cannot publish a service for certain clients alone, so it is not published: install tor 0.4.8 or later")

// authorization returns what ADD_ONION of control-spec says of clients: the flag, and the
// arguments. A tor that does not know them refuses the command.
func (s *service) authorization() (flag, arguments string) {
	if len(s.clients) == 0 {
		return "", ""
	}
	var b strings.Builder
	for _, c := range s.clients {
		b.WriteString(" ClientAuthV3=" + string(c))
	}
	return ",V3Auth", b.String()
}

// FindDescriptor implements [ClientAuthorizer].
func (t *Tor) FindDescriptor(ctx context.Context, service identity.Onion) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := t.fetchDescriptor(ctx, service); err != nil {
		return fmt.Errorf("find the descriptor of an onion service: %w", err)
	}
	return nil
}
