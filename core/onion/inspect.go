package onion

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// DescriptorLifetime is how long a directory keeps the descriptor of a service
// (rend-spec-v3, descriptor-lifetime). Tor uploads a new one after one to two hours.
const DescriptorLifetime = 3 * time.Hour

// Inspector is the part of a [Network] with which a relay finds out whether others can
// reach its services, and mends it if they cannot.
type Inspector interface {
	// DialFresh is Dial as somebody does it who has never heard of the service: it asks a
	// directory for the descriptor, although this process may remember it, and has
	// circuits of its own. The error wraps [ErrNotPublished] if no directory has it.
	DialFresh(ctx context.Context, service identity.Onion, port int) (net.Conn, error)

	// Republish withdraws a service of this process and publishes it anew, with other
	// introduction points. It returns when a directory has the new descriptor, or when
	// ctx ends; the network then goes on trying. The listener stays valid, and
	// connections that it has accepted stay open.
	Republish(ctx context.Context, service identity.Onion) error

	// Examine asks tor what it knows of its version and of the time.
	Examine(ctx context.Context) (Examination, error)
}

// Examination is what tor knows from the directories of its network. All of it is empty
// on the loopback network, and what tor does not know yet is empty too.
type Examination struct {
	// Advice is what the directories say of this version: "recommended", "new",
	// "new in series", "unrecommended", "old", "obsolete" or "unknown".
	Advice string
	// ValidAfter and ValidUntil bound the time for which the latest consensus of the
	// directories holds. The right time is between them, and at most a few hours later if
	// tor cannot fetch.
	ValidAfter, ValidUntil time.Time
}

// expectUpload returns a channel that is closed when a directory accepts the descriptor
// from now on. Tor.mu is held, or nobody else knows the service yet.
func (s *service) expectUpload() <-chan struct{} {
	uploaded := make(chan struct{})
	s.uploaded, s.published, s.uploads = uploaded, false, nil
	return uploaded
}

// recordUpload records that a directory has accepted the descriptor, and forgets those that
// have dropped it. Tor.mu is held.
func (s *service) recordUpload(directory string, now time.Time) {
	if s.uploads == nil {
		s.uploads = make(map[string]time.Time)
	}
	for d, at := range s.uploads {
		if now.Sub(at) >= DescriptorLifetime {
			delete(s.uploads, d)
		}
	}
	s.uploads[directory] = now
}

// describe returns the status of the service. Tor.mu is held.
func (s *service) describe(now time.Time) Service {
	out := Service{Onion: s.onion, Port: s.port, Published: s.published}
	var last time.Time
	for _, at := range s.uploads {
		if now.Sub(at) < DescriptorLifetime {
			out.Directories++
		}
		if at.After(last) {
			last = at
		}
	}
	if !last.IsZero() {
		out.Uploaded = &last
	}
	return out
}

// DialFresh implements [Inspector].
func (t *Tor) DialFresh(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	if _, err := identity.ParseOnion(string(service)); err != nil {
		return nil, fmt.Errorf("dial onion service: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := t.fetchDescriptor(ctx, service); err != nil {
		return nil, fmt.Errorf("dial onion service: %w", err)
	}
	return t.Dial(ctx, service, port)
}

// fetchResult is what came of asking one directory.
type fetchResult struct {
	received bool
	reason   string // of control-spec, HS_DESC, if not
}

// fetchTries is how many directories are asked. A service has six or eight, and others are
// served if some of them have no descriptor.
const fetchTries = 3

// fetchDescriptor has tor ask directories for the descriptor of a service, whether it
// knows the descriptor or not.
func (t *Tor) fetchDescriptor(ctx context.Context, service identity.Onion) error {
	var err error
	for range fetchTries {
		var r fetchResult
		if r, err = t.fetchOnce(ctx, service); err != nil || r.received {
			return err
		}
		switch r.reason {
		case "NOT_FOUND", "QUERY_NO_HSDIR":
			err = ErrNotPublished
		default:
			err = fmt.Errorf("a directory does not give the descriptor of the onion service (%.40q)", r.reason)
		}
		if r.reason == "QUERY_NO_HSDIR" { // all have been asked
			return err
		}
	}
	return err
}

// fetchOnce has tor ask one directory, as HSFETCH of control-spec does.
func (t *Tor) fetchOnce(ctx context.Context, service identity.Onion) (fetchResult, error) {
	if _, err := t.awaitReady(ctx); err != nil {
		return fetchResult{}, fmt.Errorf("%w (tor is %s)", err, t.Status().shortText())
	}
	result := make(chan fetchResult, 1)
	t.mu.Lock()
	session := t.session
	t.fetches[service] = append(t.fetches[service], result)
	t.mu.Unlock()
	defer t.forgetFetch(service, result)
	if session == nil {
		return fetchResult{}, errors.New("tor has ended")
	}
	err := session.runRequest(func(c *control.Conn) error {
		_, err := c.SendRequest("HSFETCH %s", service)
		return err
	})
	if e := (*textproto.Error)(nil); errors.As(err, &e) {
		return fetchResult{}, fmt.Errorf("tor does not ask for the descriptor (its code is %d)", e.Code) // its text may name the service
	} else if err != nil {
		return fetchResult{}, fmt.Errorf("tor does not ask for the descriptor: %w", err)
	}
	select {
	case r := <-result:
		return r, nil
	case <-session.reading:
		return fetchResult{}, errors.New("tor has ended")
	case <-ctx.Done():
		return fetchResult{}, fmt.Errorf("no directory answers: %w", context.Cause(ctx))
	}
}

// noteFetch passes a result on to those who wait for it.
func (t *Tor) noteFetch(service identity.Onion, r fetchResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, result := range t.fetches[service] {
		select {
		case result <- r:
		default: // has one already
		}
	}
}

func (t *Tor) forgetFetch(service identity.Onion, result chan fetchResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := slices.DeleteFunc(t.fetches[service], func(c chan fetchResult) bool { return c == result })
	if t.fetches[service] = left; len(left) == 0 {
		delete(t.fetches, service)
	}
}

// Republish implements [Inspector]. Tor closes the introduction circuits of a service that
// is withdrawn, and leaves its rendezvous circuits to their connections.
func (t *Tor) Republish(ctx context.Context, service identity.Onion) error {
	t.mu.Lock()
	svc, session := t.services[service], t.session
	var uploaded <-chan struct{}
	if svc != nil {
		uploaded = svc.expectUpload()
	}
	t.mu.Unlock()
	if svc == nil {
		return fmt.Errorf("publish onion service %s anew: it is not served by this process", service)
	}
	if session != nil {
		if err := svc.addAnew(session); isReply(err) || errors.Is(err, errWithdrawn) {
			return fmt.Errorf("publish anew: %w", err)
		}
	} // else the next session gets it
	var err error
	select {
	case <-uploaded:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-t.ctx.Done():
		err = net.ErrClosed
	}
	return fmt.Errorf("publish onion service %s anew: %w (tor is %s)", service, err, t.Status().shortText())
}

// errWithdrawn means that the listener of a service has been closed.
var errWithdrawn = errors.New("the service has been withdrawn")

// addAnew removes the service from the tor of a session, and adds it again.
func (s *service) addAnew(session *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errWithdrawn
	}
	if s.on == session {
		err := session.runRequest(func(c *control.Conn) error { return c.DelOnion(string(s.onion)) })
		if err != nil && !isReply(err) { // a reply means that tor has lost the service
			return err
		}
		s.on = nil
	}
	return s.addLocked(session)
}

// Examine implements [Inspector].
func (t *Tor) Examine(ctx context.Context) (Examination, error) {
	var e Examination
	t.mu.Lock()
	session := t.session
	t.mu.Unlock()
	if session == nil {
		return e, fmt.Errorf("examine tor: it is %s", t.Status().shortText())
	}
	for _, q := range []struct {
		key string
		use func(value string)
	}{
		{"status/version/current", func(v string) { e.Advice = v }},
		{"consensus/valid-after", func(v string) { e.ValidAfter, _ = time.Parse(time.DateTime, v) }},
		{"consensus/valid-until", func(v string) { e.ValidUntil, _ = time.Parse(time.DateTime, v) }},
	} {
		err := session.runRequest(func(c *control.Conn) error {
			info, err := c.GetInfo(q.key)
			if err == nil && len(info) == 1 {
				q.use(info[0].Val)
			}
			return err
		})
		if err != nil && !isReply(err) { // a reply means that tor does not know it yet
			return e, fmt.Errorf("examine tor: %w", err)
		}
		if ctx.Err() != nil {
			return e, context.Cause(ctx)
		}
	}
	return e, nil
}

// DialFresh implements [Inspector]. The registry has no copies.
func (l *loopback) DialFresh(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	return l.Dial(ctx, service, port)
}

// Republish implements [Inspector]: it writes the entry of the service again.
func (l *loopback) Republish(_ context.Context, service identity.Onion) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.services[service]
	if s == nil {
		return fmt.Errorf("publish onion service %s anew: it is not served by this process", service)
	}
	if err := writeEntry(l.registry, service, s.Listener.Addr().String()); err != nil {
		return fmt.Errorf("publish onion service %s anew: %w", service, err)
	}
	s.uploaded = time.Now()
	return nil
}

// Examine implements [Inspector].
func (l *loopback) Examine(context.Context) (Examination, error) { return Examination{}, nil }
