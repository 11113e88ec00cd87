package manager

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/time/rate"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// The control socket takes one request of a connection, a line of JSON, and
// gives one answer, as a line: what was asked for, or {"error": …}.

// Bounds of the control socket.
const (
	statusWait    = 2 * time.Second  // for the stores to answer
	askTimeout    = 10 * time.Second // for a request to come and a status to be read
	turnTimeout   = 30 * time.Second // for a reload to begin
	reloadTimeout = 30 * time.Minute // until the client gives up; the relay goes on
	lastAnswer    = time.Second      // for an answer when the relay ends
	maxRequest    = 8 << 10
	maxAnswer     = 4 << 20
	maxClients    = 16 // at a time
)

// request is what a command asks of the running relay.
type request struct {
	Command string `json:"command"`          // "status" or "reload"
	Config  string `json:"config,omitempty"` // of a reload: the file that the operator means
	// ConfigBytes is in place of Config for a path that is not UTF-8, which JSON cannot hold.
	ConfigBytes []byte `json:"config_bytes,omitempty"`
	DryRun      bool   `json:"dry_run,omitempty"` // of a reload
}

// failure is the answer in place of what was asked for.
type failure struct {
	Error string `json:"error"`
}

// serveControl answers the commands of the operator until ctx ends. Whoever has
// not said by then what he wants is not waited for, and an answer has a last
// second to be read.
func (m *Manager) serveControl(ctx context.Context, ln net.Listener) {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	slots := make(chan struct{}, maxClients)
	complaints, failures := rate.Sometimes{Interval: time.Minute}, 0
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			failures++
			complaints.Do(func() {
				m.log.Warn("cannot accept a command, will keep trying; said once a minute", "error", err, "times", failures)
			})
			if !sleepContext(ctx, time.Second) {
				return
			}
			continue
		}
		if err := checkPeer(nc.(*net.UnixConn)); err != nil { // before it takes a slot
			m.warnPeerOnce.Do(func() { m.log.Warn("command refused; said once", "reason", err) })
			nc.Close()
			continue
		}
		select {
		case slots <- struct{}{}: // of this user
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
	nc.SetDeadline(time.Now().Add(askTimeout)) //nolint:errcheck // the read fails as well
	silent := context.AfterFunc(ctx, func() { nc.Close() })
	var req request
	line, err := bufio.NewReader(io.LimitReader(nc, maxRequest)).ReadBytes('\n')
	if !silent() || err != nil {
		return fmt.Errorf("read request: %w", cmp.Or(err, ctx.Err()))
	}
	if err := json.Unmarshal(line, &req); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	answer := m.answerRequest(ctx, req)
	nc.SetDeadline(time.Now().Add(askTimeout))                                            //nolint:errcheck // the write fails as well
	defer context.AfterFunc(ctx, func() { nc.SetDeadline(time.Now().Add(lastAnswer)) })() //nolint:errcheck // the write fails as well
	return json.NewEncoder(nc).Encode(answer)
}

func (m *Manager) answerRequest(ctx context.Context, req request) any {
	switch req.Command {
	case "status":
		ctx, cancel := context.WithTimeout(ctx, statusWait)
		defer cancel()
		return m.Status(ctx)
	case "reload":
		if err := m.sameFile(cmp.Or(req.Config, string(req.ConfigBytes))); err != nil {
			return failure{err.Error()}
		}
		ctx, cancel := context.WithTimeout(m.closing, turnTimeout)
		defer cancel()
		plan, err := m.Reload(ctx, req.DryRun)
		if err != nil {
			return failure{err.Error()}
		}
		return plan
	}
	return failure{fmt.Sprintf("the relay does not know the command %.40q; it may be of another version", req.Command)}
}

var (
	// ErrNotRunning: no relay uses the data directory.
	ErrNotRunning = errors.New("no relay is running")
	// ErrNoAnswer: a relay uses the data directory, and does not answer.
	ErrNoAnswer = errors.New("the relay does not answer")
)

// RefusedError is what a running relay answers in place of what it was asked
// for.
type RefusedError struct {
	Text string // of a configuration that is not valid: all its diagnostics, each with "error:" in front
}

func (e *RefusedError) Error() string { return e.Text }

// Ask asks the relay that uses a data directory for its status.
func Ask(ctx context.Context, dataDir string) (Status, error) {
	var st Status
	err := askRelay(ctx, dataDir, request{Command: "status"}, askTimeout, &st)
	if err == nil && st.PID == 0 {
		err = notUnderstood(dataDir)
	}
	return st, err
}

// AskReload asks the relay that uses a data directory to reload its
// configuration, which is the file at the absolute path config. What the relay
// says against it is a [RefusedError].
func AskReload(ctx context.Context, dataDir, config string, dryRun bool) (*Plan, error) {
	plan := &Plan{}
	req := request{Command: "reload", Config: config, DryRun: dryRun}
	if !utf8.ValidString(config) {
		req.Config, req.ConfigBytes = "", []byte(config)
	}
	if err := askRelay(ctx, dataDir, req, reloadTimeout, plan); err != nil {
		return nil, err
	}
	if plan.Config == "" {
		return nil, notUnderstood(dataDir)
	}
	return plan, nil
}

func askRelay(ctx context.Context, dataDir string, req request, timeout time.Duration, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := dialControl(ctx, dataDir)
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	err = json.NewEncoder(nc).Encode(req)
	var line []byte
	if err == nil {
		line, err = io.ReadAll(io.LimitReader(nc, maxAnswer+1))
	}
	if err := checkAnswer(ctx, line, err); err != nil {
		return noAnswerError{fmt.Errorf("the relay on %s %w", dataDir, err)}
	}
	var refused failure
	if errors.Join(json.Unmarshal(line, &refused), json.Unmarshal(line, answer)) != nil {
		return notUnderstood(dataDir)
	}
	if refused.Error != "" {
		return &RefusedError{refused.Error}
	}
	return nil
}

// noAnswerError is an error that is [ErrNoAnswer].
type noAnswerError struct{ error }

func (e noAnswerError) Unwrap() []error { return []error{ErrNoAnswer, e.error} }

func notUnderstood(dataDir string) error {
	return fmt.Errorf("the relay on %s gave an answer that this program does not understand: is it of another version? If you have upgraded it, restart it", dataDir)
}

// checkAnswer returns why there is no whole answer, in words that continue the name of
// the relay.
func checkAnswer(ctx context.Context, line []byte, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("has not answered in time (%w); it goes on with what it was asked to do, if it still can", context.Cause(ctx))
	case len(line) > maxAnswer:
		return fmt.Errorf("gave an answer of more than %d MiB, which is not read", maxAnswer>>20)
	case err != nil || !bytes.HasSuffix(line, []byte("\n")):
		return errors.New("ended, or was stopped, before it had answered in full: its log says why")
	}
	return nil
}

func dialControl(ctx context.Context, dataDir string) (net.Conn, error) {
	d, err := openDir(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w on %s", ErrNotRunning, dataDir)
	}
	if err != nil {
		return nil, err
	}
	defer d.releaseDir()
	nc, err := d.dialStatus(ctx)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w on %s", ErrNotRunning, dataDir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("ask the relay on %s: permission denied: %s", dataDir, ownership.NotWritable(dataDir))
	}
	if err != nil {
		return nil, fmt.Errorf("ask the relay on %s: %w", dataDir, err)
	}
	return nc, nil
}

// sleepContext returns whether ctx let it last d.
func sleepContext(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
