package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/doctor"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
)

// Tor can be ready while nobody reaches a server: directories may have lost its descriptor,
// or its introduction points may be gone. So the relay tries to reach each server as a client
// does, and publishes an onion anew that it cannot reach.
//
// One server is tried at a time, and all in turn, so fifty servers cost no more at any moment
// than one. reachEvery is the time between two attempts at one server; the other times follow
// from it.
const reachEvery = 30 * time.Minute

const (
	// reachFailures is how many attempts in a row have to fail before an onion is published
	// anew: a single circuit may fail at any time.
	reachFailures = 2
	// republishTimeout bounds the wait for the new descriptor. Tor goes on after that.
	republishTimeout = 2 * time.Minute
)

// reachRecord is what is known of the reachability of a server; Manager.mu guards it.
type reachRecord struct {
	due          time.Time            // of the next attempt; zero before the first is planned
	last         *doctor.Reachability // never changed, only replaced; nil before the first attempt
	board, token onionRecord
}

// onionRecord is what is known of one onion.
type onionRecord struct {
	failures    int // in a row
	unconnected int // of those: could not even be connected to
	republished int
	at          time.Time // when it was last published anew
}

// reachInterval is the time between two attempts at one server. Manager.mu is not held.
func (m *Manager) reachInterval() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return cmp.Or(m.cfg.reachEvery, reachEvery)
}

// vary returns d, a fifth more or less, so that nobody can tell a server by its rhythm and
// servers that start together drift apart.
func vary(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5+1)
}

// watchReach tries to reach the servers in turn until ctx ends.
func (m *Manager) watchReach(ctx context.Context) {
	for sleepContext(ctx, m.reachInterval()/60) {
		if s := m.findDue(time.Now()); s != nil {
			m.tryReach(ctx, s) //nolint:errcheck // the status has what came of it
		}
	}
}

// findDue returns the published server whose attempt is due for the longest time, or nil. It
// plans the first attempt at a new server.
func (m *Manager) findDue(now time.Time) (due *server) {
	every := m.reachInterval()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.network == nil || m.network.Status().State != onion.Ready {
		return nil
	}
	for _, s := range m.servers {
		switch {
		case s.relay == nil:
			s.reach.due = time.Time{}
		case s.reach.due.IsZero(): // soon, and so that a start with many servers is spread over the interval
			s.reach.due = now.Add(every/30 + rand.N(min(every, time.Duration(len(m.servers))*every/60)+1))
		case !s.reach.due.After(now) && (due == nil || s.reach.due.Before(due.reach.due)):
			due = s
		}
	}
	return due
}

// errNotReady: the network is not ready, so an attempt says nothing of a server.
var errNotReady = errors.New("the network is not ready")

// errNotPublished: the server does not run.
var errNotPublished = errors.New("the server is not published")

// tryReach tries to reach a server, records what comes of it, and publishes anew what could
// not be reached twice. One server is tried at a time.
func (m *Manager) tryReach(ctx context.Context, s *server) (doctor.Reached, error) {
	m.reaching.Lock()
	defer m.reaching.Unlock()
	r, network := m.relayOf(s), m.openedNetwork()
	if r == nil || network == nil {
		return doctor.Reached{}, errNotPublished
	}
	b := r.Bundle()
	result := doctor.Reach(ctx, network, b)
	switch {
	case ctx.Err() != nil:
		return result, context.Cause(ctx)
	case m.relayOf(s) != r: // stopped meanwhile
		return result, errNotPublished
	case network.Status().State != onion.Ready:
		return result, errNotReady
	}
	m.recordReach(s, result, time.Now())
	m.republishLost(ctx, s, b, network)
	return result, nil
}

// openedNetwork returns the network, nil before it is open.
func (m *Manager) openedNetwork() onion.Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.network
}

// recordReach records an attempt and plans the next one. A failure is looked at again soon.
func (m *Manager) recordReach(s *server, result doctor.Reached, now time.Time) {
	log, every := m.log.With("server", s.name), m.reachInterval()
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := &s.reach
	was := rec.last
	rec.board.noteAttempt(result.Board)
	rec.token.noteAttempt(result.Token)
	rec.last = rec.describe(now, result.Problem())
	if rec.last.OK {
		rec.due = now.Add(vary(every))
	} else {
		rec.due = now.Add(vary(every / 6))
	}
	switch {
	case !rec.last.OK && (was == nil || was.OK):
		log.Warn("the server cannot be reached from outside, and is tried again soon", "reason", rec.last.Problem)
	case rec.last.OK && was != nil && !was.OK:
		log.Info("the server can be reached again")
	}
}

func (o *onionRecord) noteAttempt(a doctor.Attempt) {
	switch {
	case a.Err == nil:
		o.failures, o.unconnected = 0, 0
	case a.Connected:
		o.failures, o.unconnected = o.failures+1, 0
	default:
		o.failures, o.unconnected = o.failures+1, o.unconnected+1
	}
}

func (r *reachRecord) describe(at time.Time, problem string) *doctor.Reachability {
	d := &doctor.Reachability{
		At: at, Board: r.board.failures == 0, Token: r.token.failures == 0, Problem: problem,
		BoardFailures: r.board.failures, TokenFailures: r.token.failures,
		BoardRepublished: r.board.republished, TokenRepublished: r.token.republished,
	}
	d.OK = d.Board && d.Token
	last := r.board.at
	if r.token.at.After(last) {
		last = r.token.at
	}
	if !last.IsZero() {
		d.Republished = &last
	}
	return d
}

// republishLost publishes the onions of a server anew that could not be connected to for
// some attempts, each once in two intervals at most. An onion that can be connected to has
// another fault, which that would not mend.
func (m *Manager) republishLost(ctx context.Context, s *server, b bundle.Bundle, network onion.Inspector) {
	every := m.reachInterval()
	for _, o := range []struct {
		name   string
		onion  identity.Onion
		record *onionRecord
	}{{"board", b.Board, &s.reach.board}, {"token service", b.TokenService, &s.reach.token}} {
		m.mu.Lock()
		due := o.record.unconnected >= reachFailures && time.Since(o.record.at) >= 2*every
		if due {
			o.record.at = time.Now()
			o.record.republished++
			s.reach.last = s.reach.describe(s.reach.last.At, s.reach.last.Problem)
			s.reach.due = time.Now().Add(every / 15) // to see whether it helped
		}
		m.mu.Unlock()
		if !due {
			continue
		}
		log := m.log.With("server", s.name, "service", o.name)
		log.Warn("the onion cannot be reached although the network is ready, and is published anew; posts under way go on")
		limited, cancel := context.WithTimeoutCause(ctx, republishTimeout, fmt.Errorf("no directory has it after %v", republishTimeout))
		if err := network.Republish(limited, o.onion); err != nil && ctx.Err() == nil {
			log.Error("publishing an onion anew failed; the next attempt is in an hour at the earliest", "error", err)
		}
		cancel()
	}
}

// reachability is the last attempt at a server; the caller holds Manager.mu.
func (s *server) reachability() *doctor.Reachability {
	if s.relay == nil {
		return nil
	}
	return s.reach.last
}

// CheckMachine runs the checks that are not about one server: files, clock, disks, memory,
// open files and Tor.
func (m *Manager) CheckMachine(ctx context.Context) []doctor.Check {
	machine := m.describeMachine()
	var network []doctor.Check
	if n := m.openedNetwork(); n != nil {
		network, machine.Consensus, _ = doctor.CheckNetwork(ctx, n)
		network = append(network, m.checkConsole(n)...)
	} else {
		network = []doctor.Check{doctor.NetworkNotOpen(m.whyNotOpen())}
	}
	return append(machine.Check(), network...)
}

// whyNotOpen says why the network is not open; empty if nothing is wrong.
func (m *Manager) whyNotOpen() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.networkProblem
}

func (m *Manager) describeMachine() doctor.Machine {
	m.mu.Lock()
	defer m.mu.Unlock()
	machine := doctor.Machine{Config: m.cfg.Path, DataDir: m.cfg.DataDir, TorDir: m.cfg.Network.Dir, Limits: m.cfg.Limits}
	for _, s := range m.servers {
		machine.Servers = append(machine.Servers, doctor.Server{Name: s.name, Dir: s.dir, KeepFree: s.retention.KeepFree, Off: s.halted != "" || s.deleting})
	}
	if machine.Config != "" && !filepath.IsAbs(machine.Config) { // as the relay was started
		machine.Config, _ = filepath.Abs(machine.Config)
	}
	return machine
}

// CheckServer runs the checks of one server: is it published, and can others reach both
// onions? While Tor is not ready there is nothing to try, and no check. What comes of it is
// in the status as well.
func (m *Manager) CheckServer(ctx context.Context, name string) ([]doctor.Check, error) {
	m.mu.Lock()
	s := m.findServer(name)
	var r *relay.Server
	problem, halted := "", State("")
	if s != nil {
		r, problem, halted = s.relay, s.problem, s.halted
	}
	m.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("the relay has no server %.80q", name)
	}
	if halted != "" {
		return []doctor.Check{doctor.Halted(name, string(halted))}, nil
	}
	network := m.openedNetwork()
	if problem == "" && (network == nil || network.Status().State != onion.Ready) {
		return nil, nil
	}
	if r == nil {
		return []doctor.Check{doctor.NotRunning(name, problem)}, nil
	}
	published := doctor.CheckPublished(name, r.Bundle(), network.Status())
	if !published.OK {
		return []doctor.Check{published}, nil
	}
	result, err := m.tryReach(ctx, s)
	switch {
	case errors.Is(err, errNotReady):
		return []doctor.Check{published}, nil
	case errors.Is(err, errNotPublished):
		return []doctor.Check{doctor.NotRunning(name, "it has been stopped meanwhile")}, nil
	case err != nil:
		return nil, err
	}
	return append([]doctor.Check{published}, result.Checks(name, network.Status())...), nil
}

// Doctor runs all checks: those that are not about one server, and then those of all servers,
// one after the other. When ctx ends, the servers that are left get a check that says so.
func (m *Manager) Doctor(ctx context.Context) []doctor.Check {
	checks := m.CheckMachine(ctx)
	for _, name := range m.serverNames() {
		of, err := m.CheckServer(ctx, name)
		if ctx.Err() != nil {
			of = []doctor.Check{doctor.NotTried(name)}
		} else if err != nil {
			continue // it was deleted meanwhile
		}
		checks = append(checks, of...)
	}
	return checks
}

func (m *Manager) serverNames() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sortedServers() {
		names = append(names, s.name)
	}
	return names
}

// doctorAnswer is the answer of the control socket: the checks of the machine and the names
// of the servers, or the checks of one server.
type doctorAnswer struct {
	Checks  []doctor.Check `json:"checks"`
	Servers []string       `json:"servers"`
}

func (m *Manager) answerDoctor(ctx context.Context, name string) (doctorAnswer, error) {
	if name == "" {
		return doctorAnswer{append([]doctor.Check{}, m.CheckMachine(ctx)...), append([]string{}, m.serverNames()...)}, nil
	}
	checks, err := m.CheckServer(ctx, name)
	return doctorAnswer{append([]doctor.Check{}, checks...), []string{}}, err
}

// AskCheckMachine asks the relay that uses a data directory for [Manager.CheckMachine], and
// for the names of its servers.
func AskCheckMachine(ctx context.Context, dataDir string) (checks []doctor.Check, servers []string, err error) {
	a, err := askDoctor(ctx, dataDir, "")
	return a.Checks, a.Servers, err
}

// AskCheckServer asks the relay that uses a data directory for [Manager.CheckServer]. The
// error is a [RefusedError] if the relay has no such server.
func AskCheckServer(ctx context.Context, dataDir, server string) ([]doctor.Check, error) {
	a, err := askDoctor(ctx, dataDir, server)
	return a.Checks, err
}

func askDoctor(ctx context.Context, dataDir, server string) (doctorAnswer, error) {
	var a doctorAnswer
	err := askRelay(ctx, dataDir, request{Command: "doctor", Server: server}, doctorTimeout+requestTimeout, &a)
	if err == nil && a.Checks == nil {
		err = notUnderstoodError(dataDir)
	}
	return a, err
}

// doctorTimeout bounds the check of one server: another may have to end first, and onions
// may be published anew.
const doctorTimeout = 15 * time.Minute
