package onion

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/loglimit"
)

// TorConfig says which tor to use. With DataDir set, StartTor starts one of its own
// in it; with Control set, it uses one that runs already.
type TorConfig struct {
	// Path of the program; "tor" in PATH if empty.
	Path string

	// DataDir is the data directory of tor and holds nothing else. It is created
	// with mode 0700 if need be, and refused if other users can enter it.
	DataDir string

	// Torrc has more lines of configuration for tor, see [CheckTorrc].
	Torrc []string

	// Control is the address of the control port of a running tor, such as
	// "unix:/run/tor/control" or "127.0.0.1:9051". Its cookie must be readable.
	// The fields above are then ignored. Tor gets the keys of the services, so every
	// connection is checked: the socket, all directories above it and the process
	// that listens must belong to trusted users. Those are root, the user of this
	// process, and ControlUser.
	Control string

	// ControlUser is the user as whom the running tor runs, by name or number, such
	// as "debian-tor".
	ControlUser string

	// ControlCookie is the file with the running tor's cookie. It is required when
	// Control is a TCP port: any user of the machine can listen there while tor does
	// not.
	ControlCookie string

	// Logger gets the state of tor and its own log. If it is nil, nothing is logged.
	Logger *slog.Logger

	// Progress, unless nil, is called when the bootstrap of tor advances, also after
	// tor was started again, with per cent and tor's words for the step. It is called
	// by one goroutine at a time and must return soon.
	Progress func(percent int, summary string)
}

// errNoCookie means that Control is a TCP port and ControlCookie is not set.
var errNoCookie = errors.New("whoever listens on a TCP port gets the keys of all services: " +
	"use a unix socket, or name the cookie file by which tor has to prove itself, such as /run/tor/control.authcookie")

// Tor is the [Network] of real onion services. [StartTor] makes it.
type Tor struct {
	config TorConfig
	log    *slog.Logger
	source source
	timing timing

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	ended  chan struct{} // closed when the supervisor has ended

	closing  sync.Once
	closeErr error

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when session or status change
	session  *session      // nil while no session is open
	services map[identity.Onion]*service
	fetches  map[identity.Onion][]chan fetchResult // that wait for a descriptor
	status   Status                                // Services is not kept here
	circuits bool                                  // tor has working circuits

	turns turns
}

// StartTor starts tor, or connects to a running one, and returns when tor answers or
// refuses its configuration. ctx bounds only that. Tor then bootstraps in the
// background: Listen and Dial wait for it, and Status shows how far it is.
//
// StartTor keeps tor running until Close. If tor ends, hangs or closes its control
// port, StartTor starts or connects to it again, after a delay that grows from a
// second to a minute.
//
// If there is no tor, the error wraps [exec.ErrNotFound], or [fs.ErrNotExist] for
// a path, and says how to install it.
func StartTor(ctx context.Context, config TorConfig) (*Tor, error) {
	return startTor(ctx, config, defaultTiming)
}

func startTor(ctx context.Context, config TorConfig, timing timing) (*Tor, error) {
	source, err := newSource(config, timing)
	if err != nil {
		return nil, err
	}
	t := &Tor{
		config: config, log: loggerOf(config), source: source, timing: timing,
		turns: newTurns(), ended: make(chan struct{}), changed: make(chan struct{}), services: map[identity.Onion]*service{}, fetches: map[identity.Onion][]chan fetchResult{},
		status: Status{Network: "tor", State: Starting, Since: time.Now()},
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	session, err := source.startSession(ctx, t.handleEvent)
	if err != nil {
		t.cancel()
		return nil, errors.Join(err, source.closeSource())
	}
	t.attachSession(session)
	go t.keepSession(session)
	return t, nil
}

func newSource(config TorConfig, timing timing) (source, error) {
	if config.Control != "" {
		return newRunningSource(config, timing.answer)
	}
	if err := CheckTorrc(config.Torrc); err != nil {
		return nil, err
	}
	dir, err := openDataDir(config.DataDir)
	if err != nil {
		return nil, err
	}
	printed := slog.New(loglimit.NewForeign(loggerOf(config).Handler()))
	return &childSource{path: cmp.Or(config.Path, "tor"), dir: dir, extra: config.Torrc, log: printed, wait: timing.answer}, nil
}

func loggerOf(config TorConfig) *slog.Logger {
	if config.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return config.Logger
}

// Status implements [Network].
func (t *Tor) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Services = []Service{}
	for _, svc := range t.services {
		s.Services = append(s.Services, svc.describe(time.Now()))
	}
	sortServices(s.Services)
	return s
}

// shortText returns the state in a few words, for the end of an error.
func (s Status) shortText() string {
	switch s.State {
	case Bootstrapping:
		return fmt.Sprintf("bootstrapping, %d %%: %s", s.Progress, s.Summary)
	case Backoff:
		return fmt.Sprintf("not running: %s", s.Summary)
	default:
		return string(s.State)
	}
}

// Close implements [Network].
func (t *Tor) Close() error {
	t.closing.Do(func() {
		t.cancel()
		<-t.ended
		t.mu.Lock()
		services := make([]*service, 0, len(t.services))
		for _, s := range t.services {
			services = append(services, s)
		}
		t.mu.Unlock()
		var errs []error
		for _, s := range services {
			errs = append(errs, s.Close())
		}
		t.closeErr = errors.Join(append(errs, t.source.closeSource())...)
	})
	return t.closeErr
}

// registerService adds a service and returns the present session, if any. Every later
// session gets the service.
func (t *Tor) registerService(s *service) (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	if t.services[s.onion] != nil {
		return nil, errors.New("already served by this process")
	}
	t.services[s.onion] = s
	return t.session, nil
}

// forgetService removes a service and returns the present session, if any.
func (t *Tor) forgetService(s *service) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.services[s.onion] == s {
		delete(t.services, s.onion)
	}
	t.endTurn(s)
	return t.session
}

// awaitReady waits until tor has bootstrapped.
func (t *Tor) awaitReady(ctx context.Context) (torInfo, error) {
	for {
		t.mu.Lock()
		session, progress, changed := t.session, t.status.Progress, t.changed
		t.mu.Unlock()
		if session != nil && progress == 100 {
			return session.tor, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return torInfo{}, context.Cause(ctx)
		case <-t.ctx.Done():
			return torInfo{}, net.ErrClosed
		}
	}
}
