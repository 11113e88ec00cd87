package onion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// dialTimeout bounds every Dial, with or without a deadline in its context. It is
// tor's own limit for a SOCKS request (SocksTimeout in tor(1)).
const dialTimeout = 2 * time.Minute

// Loopback returns a network within this machine, for development and tests. Onion
// services are listeners on 127.0.0.1; the directory registry, which is created if
// need be, has their addresses. Processes that share the directory reach one
// another.
//
// The registry holds one file for each service, named by the onion name without
// ".onion", with the text 127.0.0.1:PORT. It is written atomically when the service
// is published, and removed when its listener is closed. The file of a process that
// was killed stays until the service is published again. A service has one file, so
// Dial ignores the virtual port.
func Loopback(registry string) (Network, error) {
	registry, err := filepath.Abs(registry)
	if err != nil {
		return nil, fmt.Errorf("loopback registry: %w", err)
	}
	if err := durable.MakeDir(registry, 0o700); err != nil {
		return nil, fmt.Errorf("loopback registry: %w", err)
	}
	return &loopback{registry: registry, since: time.Now(), services: map[identity.Onion]*loopbackListener{}}, nil
}

type loopback struct {
	registry string
	since    time.Time

	mu       sync.Mutex
	closed   bool
	services map[identity.Onion]*loopbackListener
}

func (l *loopback) Listen(ctx context.Context, key identity.Key, port int) (net.Listener, error) {
	if err := checkPort(port); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	onion := key.Onion()
	if l.closed {
		return nil, fmt.Errorf("publish onion service: %w", net.ErrClosed)
	}
	if l.services[onion] != nil {
		return nil, fmt.Errorf("publish onion service %s: already served by this process", onion)
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("publish onion service %s: %w", onion, err)
	}
	if err := writeEntry(l.registry, onion, ln.Addr().String()); err != nil {
		return nil, errors.Join(fmt.Errorf("publish onion service %s: %w", onion, err), ln.Close())
	}
	s := &loopbackListener{Listener: ln, net: l, onion: onion, port: port, uploaded: time.Now()}
	l.services[onion] = s
	return s, nil
}

func (l *loopback) Dial(ctx context.Context, service identity.Onion, port int) (net.Conn, error) {
	if err := checkPort(port); err != nil {
		return nil, err
	}
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return nil, fmt.Errorf("dial onion service: %w", net.ErrClosed)
	}
	addr, err := readEntry(l.registry, service)
	if err != nil {
		return nil, fmt.Errorf("dial onion service: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", addr.String())
	if err != nil {
		return nil, fmt.Errorf("dial onion service: %w", err)
	}
	return conn, nil
}

func (l *loopback) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Network: "loopback", State: Ready, Since: l.since, Progress: 100, Services: []Service{}}
	if l.closed {
		s.State, s.Progress = Closed, 0
	}
	for _, ln := range l.services {
		s.Services = append(s.Services, Service{Onion: ln.onion, Port: ln.port, Published: true, Directories: 1, Uploaded: new(ln.uploaded)})
	}
	sortServices(s.Services)
	return s
}

func (l *loopback) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed, l.since = true, time.Now()
	}
	services := make([]*loopbackListener, 0, len(l.services))
	for _, ln := range l.services {
		services = append(services, ln)
	}
	l.mu.Unlock()
	var errs []error
	for _, ln := range services {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}

// loopbackListener is the listener of one service.
type loopbackListener struct {
	net.Listener
	net   *loopback
	onion identity.Onion
	port  int // virtual
	once  sync.Once

	uploaded time.Time // when the entry was last written; guarded by net.mu
	err      error
}

func (s *loopbackListener) Addr() net.Addr { return onionAddr{s.onion, strconv.Itoa(s.port)} }

func (s *loopbackListener) Close() error {
	s.once.Do(func() {
		s.net.mu.Lock()
		defer s.net.mu.Unlock()
		err := removeEntry(s.net.registry, s.onion, s.Listener.Addr().String())
		s.err = errors.Join(err, s.Listener.Close())
		delete(s.net.services, s.onion)
	})
	return s.err
}

func checkPort(port int) error {
	if port < 1 || port > 65535 {
		return fmt.Errorf("virtual port %d: not between 1 and 65535", port)
	}
	return nil
}

func sortServices(s []Service) {
	slices.SortFunc(s, func(a, b Service) int { return cmp.Compare(a.Onion, b.Onion) })
}
