package onion

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/cretz/bine/control"

	"github.com/cwtch-relay/cwtch-relay/core/backoff"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// timing has the times of the supervisor.
type timing struct {
	answer   time.Duration // until a tor that does not answer is taken to hang
	look     time.Duration // between two checks of tor
	turn     time.Duration // for which a service may hold up the publication of others
	minDelay time.Duration // before the first new start
	maxDelay time.Duration // before later ones
	stable   time.Duration // a session that lasted this long resets the delay
}

var defaultTiming = timing{
	answer: 30 * time.Second, look: 30 * time.Second, turn: 15 * time.Second,
	minDelay: time.Second, maxDelay: time.Minute, stable: 5 * time.Minute,
}

// keepSession replaces each session that ends, until the network is closed.
func (t *Tor) keepSession(s *session) {
	defer close(t.ended)
	retry := backoff.Backoff{Min: t.timing.minDelay, Max: t.timing.maxDelay}
	for {
		begun := time.Now()
		t.watchSession(s)
		t.endSession(s)
		if time.Since(begun) >= t.timing.stable {
			retry.Reset()
		}
		for s = nil; s == nil; {
			if !t.sleep(retry.Next()) {
				t.setState(Closed, "")
				return
			}
			s = t.tryConnect()
		}
	}
}

// sleep waits for d, and reports whether the network is still wanted.
func (t *Tor) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t.ctx.Err() == nil
	case <-t.ctx.Done():
		return false
	}
}

// tryConnect tries once to get a session, and returns nil if it fails.
func (t *Tor) tryConnect() *session {
	t.setState(Starting, "")
	s, err := t.source.startSession(t.ctx, t.handleEvent)
	if err != nil {
		if t.ctx.Err() == nil {
			t.setState(Backoff, err.Error())
			t.log.Error("tor cannot be used, trying again", "error", err)
		}
		return nil
	}
	t.mu.Lock()
	t.status.Restarts++
	t.mu.Unlock()
	t.attachSession(s)
	return s
}

// attachSession makes s the present session.
func (t *Tor) attachSession(s *session) {
	t.mu.Lock()
	t.session = s
	t.status.Version, t.status.Pid = s.tor.version, s.tor.pid
	t.status.Progress, t.circuits = 0, false
	t.mu.Unlock()
	t.setState(Bootstrapping, "")
	t.log.Info("tor is running", "version", s.tor.version, "pid", s.tor.pid)
}

// watchSession returns when the session has ended or the network is closed. It checks
// tor at once and then regularly: a tor that hangs does not answer, which ends its
// session, and a service that could not be added is added again.
func (t *Tor) watchSession(s *session) {
	stop := context.AfterFunc(t.ctx, func() { s.nc.Close() }) // Close does not wait for a tor that hangs
	defer stop()
	t.checkTor(s)
	tick := time.NewTicker(t.timing.look)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.checkTor(s)
		case <-t.turns.freed:
			t.addServices(s)
		case <-s.reading:
			return
		}
	}
}

// endSession closes a session and records that its services are not published.
func (t *Tor) endSession(s *session) {
	t.mu.Lock()
	t.session = nil
	t.status.Progress, t.status.Pid, t.circuits = 0, 0, false
	for _, svc := range t.services {
		svc.published, svc.uploads = false, nil
		t.endTurn(svc)
	}
	t.mu.Unlock()
	if why := s.closeSession(); t.ctx.Err() == nil {
		t.setState(Backoff, why)
		t.log.Warn("lost tor, trying again", "reason", why)
	}
}

// checkTor asks tor for its state, and adds services that tor does not have.
func (t *Tor) checkTor(s *session) {
	if err := s.requestStatus(); err != nil {
		t.log.Debug("asking tor for its state failed", "error", err)
		return
	}
	t.addServices(s)
}

// addServices adds services that tor does not have, as long as there are places for them.
func (t *Tor) addServices(s *session) {
	t.mu.Lock()
	services := make([]*service, 0, len(t.services))
	for _, svc := range t.services {
		services = append(services, svc)
	}
	t.mu.Unlock()
	for _, svc := range services {
		if svc.isOn(s) {
			continue
		}
		if !t.tryTurn(svc) {
			return
		}
		if err := svc.addTo(s); err != nil {
			t.log.Error("publishing an onion service failed, trying again", "onion", svc.onion, "error", err)
			t.dropTurn(svc)
		}
	}
}

// handleEvent handles the events of a session, one after the other. It makes no
// requests.
func (t *Tor) handleEvent(s *session, e control.Event) {
	switch e := e.(type) {
	case torState:
		t.setCircuits(s, e.circuits)
		// An event may have overtaken the answer.
		if percent, summary, ok := parseBootstrap(e.phase); ok && percent > t.Status().Progress {
			t.setProgress(s, percent, summary)
		}
	case *control.HSDescEvent:
		switch e.Action {
		case "UPLOADED":
			t.noteUpload(s, identity.Onion(e.Address), e.HSDir)
		case "RECEIVED", "FAILED":
			if e.Reason != "UPLOAD_REJECTED" { // that failure is of an upload
				t.noteFetch(identity.Onion(e.Address), fetchResult{e.Action == "RECEIVED", e.Reason})
			}
		}
	case *control.StatusEvent:
		switch e.Action {
		case "BOOTSTRAP":
			if percent, summary, ok := parseBootstrap(e.Raw); ok {
				t.setProgress(s, percent, summary)
			}
		case "CIRCUIT_ESTABLISHED":
			t.setCircuits(s, true)
		case "CIRCUIT_NOT_ESTABLISHED":
			t.setCircuits(s, false)
		}
	}
}

// noteUpload records that a directory has the descriptor of a service. This action
// comes only for services of ours.
func (t *Tor) noteUpload(s *session, onion identity.Onion, directory string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	svc := t.services[onion]
	if svc == nil || t.session != s {
		return
	}
	svc.recordUpload(directory, time.Now())
	t.endTurn(svc)
	if svc.published {
		return
	}
	svc.published = true
	select {
	case <-svc.uploaded: // before the last session ended
	default:
		close(svc.uploaded)
	}
	t.log.Info("onion service is published", "onion", onion)
}

func (t *Tor) setCircuits(s *session, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.session == s {
		t.circuits = ok
		t.updateState()
	}
}

func (t *Tor) setProgress(s *session, percent int, summary string) {
	t.mu.Lock()
	news := t.session == s && percent != t.status.Progress
	if news {
		t.status.Progress, t.status.Summary = percent, summary
		t.updateState()
	}
	t.mu.Unlock()
	if news && t.config.Progress != nil {
		t.config.Progress(percent, summary)
	}
}

// updateState derives the state of a running tor from its progress and circuits. t.mu
// is held.
func (t *Tor) updateState() {
	switch {
	case t.status.Progress < 100:
		t.changeState(Bootstrapping, t.status.Summary)
	case t.circuits:
		t.changeState(Ready, t.status.Summary)
	default:
		t.changeState(Offline, t.status.Summary)
	}
}

func (t *Tor) setState(state State, summary string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changeState(state, summary)
}

// changeState changes the state and wakes every goroutine that waits for a change.
// t.mu is held.
func (t *Tor) changeState(state State, summary string) {
	if t.status.State != state {
		t.status.State, t.status.Since = state, time.Now()
	}
	t.status.Summary = summary
	close(t.changed)
	t.changed = make(chan struct{})
}

// parseBootstrap parses a status of control-spec, "Bootstrap phases":
// NOTICE BOOTSTRAP PROGRESS=45 TAG=x SUMMARY="Asking for relay descriptors".
func parseBootstrap(text string) (percent int, summary string, ok bool) {
	_, after, _ := strings.Cut(text, " PROGRESS=")
	digits, _, _ := strings.Cut(after, " ")
	n, err := strconv.ParseUint(digits, 10, 8)
	if _, quoted, found := strings.Cut(after, ` SUMMARY="`); found {
		summary, _, _ = strings.Cut(quoted, `"`)
	}
	return int(n), summary, err == nil && n <= 100
}
