package manager

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/time/rate"
)

// The control socket takes one request per connection, a line of JSON, and gives one
// answer, a line as well: what was asked for, or {"error": …}.

const (
	statusTimeout     = 2 * time.Second  // for the stores to answer
	requestTimeout    = 10 * time.Second // for a request to arrive, and for a status to be read
	turnTimeout       = 30 * time.Second // for a reload to begin
	reloadTimeout     = 30 * time.Minute // until the client of a reload gives up; the relay goes on
	compareTimeout    = 10 * time.Minute // for a comparison, which ends by itself before
	compactTimeout    = 6 * time.Hour    // for a compaction; the relay goes on
	lastAnswerTimeout = time.Second      // for an answer to be read when the relay ends
	maxRequest        = 64 << 10
	maxAnswer         = 4 << 20
	maxClients        = 16 // at a time
)

// request is what a command asks of the running relay.
type request struct {
	Command string `json:"command"`          // "status", "reload", "compact", "compare", "doctor", or one of control_server.go
	Config  string `json:"config,omitempty"` // of a reload: the path of the operator's file
	// ConfigBytes replaces Config for a path that is not UTF-8, which JSON cannot hold.
	ConfigBytes []byte        `json:"config_bytes,omitempty"`
	DryRun      bool          `json:"dry_run,omitempty"`  // of a reload
	Server      string        `json:"server,omitempty"`   // to compact, empty: all; to examine, empty: the machine; to compare or change
	Peer        string        `json:"peer,omitempty"`     // to compare with
	Scrub       bool          `json:"scrub,omitempty"`    // of a comparison
	OwnUser     bool          `json:"own_user,omitempty"` // of the console: the address is for this user alone
	Change      serverRequest `json:"change,omitzero"`
}

// errorAnswer is the answer to a request that is refused.
type errorAnswer struct {
	Error      string    `json:"error"`
	Kind       errorKind `json:"kind,omitempty"`
	Field      string    `json:"field,omitempty"`       // of the form, at fault
	RetryAfter int64     `json:"retry_after,omitempty"` // seconds; passphrases were tried too often
}

// keepControlSocket answers the commands of the operator until ctx ends. It makes a new
// socket whenever lost says that the socket is gone.
func (m *Manager) keepControlSocket(ctx context.Context, ln net.Listener, lost <-chan struct{}) {
	for {
		serving, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.serveControl(serving, ln)
		}()
		select {
		case <-lost:
		case <-ctx.Done():
		}
		end()
		<-ended
		for err := errors.New("not yet"); err != nil; {
			if ctx.Err() != nil {
				return
			}
			if ln, err = m.dir.listenControl(); err != nil {
				m.log.Warn("cannot make the control socket, will keep trying", "error", err)
				sleepContext(ctx, watchEvery)
			}
		}
	}
}

// serveControl answers the commands of the operator until ctx ends. A client that has
// not sent its request by then is dropped; an answer has another second to be read.
func (m *Manager) serveControl(ctx context.Context, ln net.Listener) {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	slots := make(chan struct{}, maxClients)
	warning, failures := rate.Sometimes{Interval: time.Minute}, 0
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			failures++
			warning.Do(func() {
				m.log.Warn("cannot accept a command, will keep trying; logged once a minute", "error", err, "times", failures)
			})
			if !sleepContext(ctx, time.Second) {
				return
			}
			continue
		}
		if err := checkNotPlugin(nc.(*net.UnixConn)); err != nil { // before it takes the slot of an operator
			m.warnPeerOnce.Do(func() { m.log.Warn("command refused; logged once", "reason", err) })
			nc.Close()
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			nc.Close()
			return
		}
		m.wg.Go(func() {
			defer func() { <-slots }()
			defer nc.Close()
			if err := m.serveCommand(ctx, nc); err != nil {
				m.log.Debug("command not answered", "error", err)
			}
		})
	}
}

func (m *Manager) serveCommand(ctx context.Context, nc net.Conn) error {
	nc.SetDeadline(time.Now().Add(requestTimeout)) //nolint:errcheck // the read fails as well
	stopClosing := context.AfterFunc(ctx, func() { nc.Close() })
	var req request
	line, err := bufio.NewReader(io.LimitReader(nc, maxRequest)).ReadBytes('\n')
	if !stopClosing() || err != nil {
		return fmt.Errorf("read request: %w", cmp.Or(err, ctx.Err()))
	}
	err = json.Unmarshal(line, &req)
	clear(line) // it may have passphrases
	if err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	answer := m.answerRequest(ctx, req)
	nc.SetDeadline(time.Now().Add(requestTimeout))                                               //nolint:errcheck // the write fails as well
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Now().Add(lastAnswerTimeout)) })() //nolint:errcheck // the write fails as well
	return json.NewEncoder(nc).Encode(answer)
}

func (m *Manager) answerRequest(ctx context.Context, req request) any {
	switch req.Command {
	case "status":
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		defer cancel()
		return m.Status(ctx)
	case "reload":
		if err := m.checkSameFile(cmp.Or(req.Config, string(req.ConfigBytes))); err != nil {
			return refusalOf(err)
		}
		ctx, cancel := context.WithTimeout(m.closing, turnTimeout)
		defer cancel()
		plan, err := m.Reload(ctx, req.DryRun)
		if err != nil {
			return refusalOf(err)
		}
		return plan
	case "compact":
		ctx, cancel := context.WithTimeout(m.closing, compactTimeout)
		defer cancel()
		done, err := m.Compact(ctx, req.Server)
		if err != nil {
			return refusalOf(err)
		}
		return compactAnswer{done}
	case "compare":
		ctx, cancel := context.WithTimeout(m.closing, compareTimeout)
		defer cancel()
		c, err := m.Compare(ctx, req.Server, req.Peer, req.Scrub)
		if err != nil {
			return refusalOf(err)
		}
		return c
	case "doctor":
		ctx, cancel := context.WithTimeout(m.closing, doctorTimeout)
		defer cancel()
		answer, err := m.answerDoctor(ctx, req.Server)
		if err != nil {
			return refusalOf(err)
		}
		return answer
	}
	return m.answerServerRequest(req)
}

// sleepContext waits for d. It returns false if ctx ends first.
func sleepContext(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
