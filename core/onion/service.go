package onion

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"sync"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// service is a published onion service and its listener. The listener stays open
// while sessions with tor come and go.
type service struct {
	net.Listener
	tor    *Tor
	key    identity.Key
	onion  identity.Onion
	port   int    // virtual
	target string // of ADD_ONION
	// clients are those that can use the service; none: everybody can.
	clients []ClientKey

	// Guarded by Tor.mu.
	uploaded  chan struct{}        // closed when a directory first has the descriptor; Republish replaces it
	published bool                 // in the present session
	uploads   map[string]time.Time // by directory, in the present session: when it accepted the descriptor
	turn      *time.Timer          // cuts its turn; nil if it has none

	mu     sync.Mutex // held while tor is asked
	on     *session   // session that has the service
	closed bool

	closing  sync.Once
	closeErr error
}

func (s *service) Addr() net.Addr { return onionAddr{s.onion, strconv.Itoa(s.port)} }

// isOn reports whether the tor of a session has the service.
func (s *service) isOn(session *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on == session
}

// addTo adds the service to the tor of a session, unless it is there.
func (s *service) addTo(session *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.on == session {
		return nil
	}
	return s.addLocked(session)
}

// addLocked adds the service to the tor of a session; s.mu is held.
func (s *service) addLocked(session *session) error {
	err := session.runRequest(func(c *control.Conn) error {
		// Tor since 0.4.8 has a defence against floods of introductions (proof of
		// work, proposal 327), if it was built with it.
		err := s.addOnion(session.nc, c, " PoWDefensesEnabled=1")
		if unknownArgument(err) {
			s.tor.log.Warn("this tor has no proof-of-work defence for onion services; publishing without", "onion", s.onion)
			err = s.addOnion(session.nc, c, "")
		}
		if unknownArgument(err) && len(s.clients) > 0 {
			err = fmt.Errorf("%w (%w)", errNoClientAuthorization, err)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("publish onion service %s: %w", s.onion, err)
	}
	s.on = session
	return nil
}

// maxStreams is how many connections one rendezvous circuit may carry at a time.
// Under load a client does one proof of work for a circuit, and should not get all
// connections of a server for it. core/client opens a circuit for each connection
// and needs 1. Other clients may share one circuit among all their profiles, and 16
// profiles are plenty. At the next connection tor closes the circuit with everything
// that it carries.
const maxStreams = 16

// addOnion sends ADD_ONION of control-spec; bine's own version knows no defences. Its
// errors do not have the key: tor does not repeat it.
func (s *service) addOnion(nc *controlConn, c *control.Conn, defences string) error {
	nc.key = expandedKey(s.key)
	defer func() {
		clear(nc.key)
		nc.key = nil
	}()
	flag, clients := s.authorization()
	_, err := c.SendRequest("ADD_ONION ED25519-V3:%s Flags=DiscardPK,MaxStreamsCloseCircuit%s%s MaxStreams=%d Port=%d,%s%s",
		keyPlaceholder, flag, defences, maxStreams, s.port, s.target, clients)
	return err
}

// expandedKey returns the secret key as tor wants it: in base64, expanded as in RFC
// 8032, section 5.1.5. The caller wipes it.
func expandedKey(key identity.Key) []byte {
	private := key.Private()
	defer clear(private)
	expanded := sha512.Sum512(private[:32])
	defer clear(expanded[:])
	expanded[0] &= 248
	expanded[31] = expanded[31]&63 | 64
	text := make([]byte, base64.StdEncoding.EncodedLen(len(expanded)))
	base64.StdEncoding.Encode(text, expanded[:])
	return text
}

// unknownArgument reports whether tor refused a command because it does not know an
// argument. Which of the two codes it sends depends on its version.
func unknownArgument(err error) bool {
	e := (*textproto.Error)(nil)
	return errors.As(err, &e) && (e.Code == control.StatusErrSyntaxErrorArg || e.Code == control.StatusErrUnrecognizedCmdArg)
}

// Close withdraws the service. Accepted connections stay open.
func (s *service) Close() error {
	s.closing.Do(func() {
		session := s.tor.forgetService(s)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		s.closeErr = s.Listener.Close()
		if session == nil || s.on != session {
			return
		}
		err := session.runRequest(func(c *control.Conn) error { return c.DelOnion(string(s.onion)) })
		if err != nil {
			// The session has ended, or is about to, and the service with it.
			s.tor.log.Debug("withdrawing onion service failed", "onion", s.onion, "error", err)
		}
	})
	return s.closeErr
}

// Listen implements [Network]. It returns when the first directory has accepted
// the descriptor of the service.
func (t *Tor) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	return t.listen(ctx, key, port, nil)
}

// listen publishes a service for clients, or for everybody if there are none.
func (t *Tor) listen(ctx context.Context, key identity.Key, port int, clients []ClientKey) (net.Listener, error) {
	if err := checkPort(port); err != nil {
		return nil, err
	}
	if t.ctx.Err() != nil {
		return nil, fmt.Errorf("publish onion service %s: %w", key.Onion(), net.ErrClosed)
	}
	ln, target, err := t.source.listenService()
	if err != nil {
		return nil, fmt.Errorf("publish onion service %s: %w", key.Onion(), err)
	}
	s := &service{Listener: ln, tor: t, key: key, onion: key.Onion(), port: port, target: target, clients: clients}
	uploaded := s.expectUpload()
	session, err := t.registerService(s)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("publish onion service %s: %w", s.onion, err), ln.Close())
	}
	if session != nil {
		err := t.awaitTurn(ctx, s)
		if err == nil {
			if err = s.addTo(session); err != nil {
				t.dropTurn(s)
			}
		}
		if isReply(err) {
			return nil, errors.Join(err, s.Close())
		}
	} // else, or if the session has ended meanwhile, the next one gets it
	select {
	case <-uploaded:
		return s, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-t.ctx.Done():
		err = net.ErrClosed
	}
	return nil, errors.Join(fmt.Errorf("publish onion service %s: %w (tor is %s)", s.onion, err, t.Status().shortText()), s.Close())
}

// isReply reports whether an error is an answer of tor. Otherwise the connection
// ended, and the next session gets the service.
func isReply(err error) bool {
	e := (*textproto.Error)(nil)
	return errors.As(err, &e)
}
