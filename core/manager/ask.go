package manager

import (
	"bytes"
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

	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

var (
	// ErrNotRunning: no relay uses the data directory.
	ErrNotRunning = errors.New("no relay is running")
	// ErrNoAnswer: a relay uses the data directory but does not answer.
	ErrNoAnswer = errors.New("the relay does not answer")
)

// RefusedError is the answer of a running relay that refuses a request.
type RefusedError struct {
	Text string // for an invalid configuration: all diagnostics, each beginning with "error:"
	kind error  // which the error of the relay matches; may be nil
}

func (e *RefusedError) Error() string { return e.Text }
func (e *RefusedError) Unwrap() error { return e.kind }

// AskStatus asks the relay that uses a data directory for its status.
func AskStatus(ctx context.Context, dataDir string) (Status, error) {
	var st Status
	err := askRelay(ctx, dataDir, request{Command: "status"}, requestTimeout, &st)
	if err == nil && st.PID == 0 {
		err = notUnderstoodError(dataDir)
	}
	return st, err
}

// AskReload asks the relay that uses a data directory to reload its configuration, the
// file at the absolute path config. The error is a [RefusedError] if the relay refuses.
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
		return nil, notUnderstoodError(dataDir)
	}
	return plan, nil
}

// AskCompact asks the relay that uses a data directory to compact the store of a server, or
// of all servers if the name is empty, and waits until that is done. The error is a
// [RefusedError] if the relay refuses.
func AskCompact(ctx context.Context, dataDir, server string) ([]CompactedStore, error) {
	var answer compactAnswer
	err := askRelay(ctx, dataDir, request{Command: "compact", Server: server}, compactTimeout+requestTimeout, &answer)
	if err == nil && len(answer.Servers) == 0 {
		err = notUnderstoodError(dataDir)
	}
	return answer.Servers, err
}

// AskCompare asks the relay that uses a data directory to compare a server with a peer, and waits
// for what comes of it. The error is a [RefusedError] if there is no comparison.
func AskCompare(ctx context.Context, dataDir, server, peer string, scrub bool) (replica.Comparison, error) {
	var c replica.Comparison
	req := request{Command: "compare", Server: server, Peer: peer, Scrub: scrub}
	err := askRelay(ctx, dataDir, req, compareTimeout+requestTimeout, &c)
	if err == nil && c.Link.Name == "" {
		err = notUnderstoodError(dataDir)
	}
	return c, err
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
	err = sendRequest(nc, req)
	var line []byte
	if err == nil {
		line, err = io.ReadAll(io.LimitReader(nc, maxAnswer+1))
	}
	if err := checkAnswer(ctx, line, err); err != nil {
		return noAnswerError{fmt.Errorf("the relay on %s %w", dataDir, err)}
	}
	var refused errorAnswer
	if errors.Join(json.Unmarshal(line, &refused), json.Unmarshal(line, answer)) != nil {
		return notUnderstoodError(dataDir)
	}
	if refused.Error != "" {
		return refused.asError()
	}
	return nil
}

// sendRequest writes a request, which may have passphrases.
func sendRequest(w io.Writer, req request) error {
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	defer clear(line)
	_, err = w.Write(line)
	return err
}

// noAnswerError is an error that matches [ErrNoAnswer].
type noAnswerError struct{ error }

func (e noAnswerError) Unwrap() []error { return []error{ErrNoAnswer, e.error} }

func notUnderstoodError(dataDir string) error {
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
	nc, err := d.dialControl(ctx)
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
