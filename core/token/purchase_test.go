package token

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type outcome struct {
	n   int
	err error
}

// serveIssue runs Issue as the relay does and closes the connection afterwards. It
// returns the client's side and the outcome.
func serveIssue(t *testing.T, cfg IssueConfig) (stepConn, <-chan outcome) {
	t.Helper()
	client, server := net.Pipe()
	k, done := vectorServiceKey(t), make(chan outcome, 1)
	go func() {
		n, err := Issue(t.Context(), tapir.Plain(server), k, cfg)
		server.Close()
		done <- outcome{n, err}
	}()
	return newStepConn(tapir.Plain(client), time.Minute), done
}

// solvePuzzle receives the puzzle of a purchase and solves it.
func solvePuzzle(t *testing.T, s stepConn) [solutionSize]byte {
	t.Helper()
	p, err := s.receivePuzzle()
	if err != nil {
		t.Fatal(err)
	}
	solution, err := p.findSolution(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return solution
}

func ignorePayload([]byte) error { return nil }

// isHangUp reports whether err says that the other side closed the connection.
func isHangUp(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) }

func TestPurchase(t *testing.T) {
	for _, n := range []int{1, DefaultBatch, MaxBatch} {
		client, done := serveIssue(t, IssueConfig{})
		k := vectorServiceKey(t)
		tokens, err := Buy(t.Context(), client.conn, k.Public(), n, nil)
		client.conn.Close()
		if err != nil {
			t.Fatalf("%d tokens: %v", n, err)
		}
		if got := <-done; got.n != n || got.err != nil {
			t.Errorf("Issue of %d: %+v", n, got)
		}
		seen := map[[32]byte]bool{}
		for _, token := range tokens {
			seen[token.T] = true
			if !k.Verify(token.Spend([]byte("post")), []byte("post")) {
				t.Fatal("bought token refused")
			}
		}
		if len(seen) != n {
			t.Errorf("%d different tokens of %d", len(seen), n)
		}
	}
}

func TestBuyRefuses(t *testing.T) {
	c := tapir.Plain(nil) // not touched
	for _, n := range []int{-1, 0, MaxBatch + 1} {
		if _, err := Buy(t.Context(), c, vectorServiceKey(t).Public(), n, nil); err == nil {
			t.Errorf("%d tokens: no error", n)
		}
	}
	if _, err := Buy(t.Context(), c, [32]byte{}, 1, nil); err == nil {
		t.Error("bought from the identity")
	}
}

func TestOneBatchPerWork(t *testing.T) {
	client, done := serveIssue(t, IssueConfig{})
	solution := solvePuzzle(t, client)
	request := appendRequest(nil, newPurchase(2).blinded)
	if err := client.sendStep(solution[:], request); err != nil {
		t.Fatal(err)
	}
	if err := client.receiveStep(ignorePayload); err != nil {
		t.Fatal(err)
	}
	if err := client.sendStep(request); err != nil {
		t.Fatal(err)
	}
	if err := client.receiveStep(ignorePayload); !isHangUp(err) {
		t.Errorf("after the second request: %v", err)
	}
	if got := <-done; got.n != 2 || got.err != nil {
		t.Errorf("Issue: %+v", got)
	}
}

func TestBadSolutions(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"wrong": func(s []byte) []byte { s[0] ^= 1; return s },
		"short": func(s []byte) []byte { return s[:31] },
		"long":  func(s []byte) []byte { return append(s, 0) },
	} {
		client, done := serveIssue(t, IssueConfig{Admit: func(context.Context, int) error {
			t.Errorf("%s: admitted", name)
			return nil
		}})
		solution := solvePuzzle(t, client)
		if err := client.sendStep(spoil(solution[:])); err != nil {
			t.Fatal(err)
		}
		if err := client.receiveStep(ignorePayload); !isHangUp(err) {
			t.Errorf("%s: client got %v", name, err)
		}
		if got := <-done; got.n != 0 || !errors.Is(got.err, errWork) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestSolutionOfAnotherConnection(t *testing.T) {
	first, done := serveIssue(t, IssueConfig{})
	solution := solvePuzzle(t, first)
	first.conn.Close()
	<-done
	second, done := serveIssue(t, IssueConfig{})
	if err := second.receiveStep(ignorePayload); err != nil {
		t.Fatal(err)
	}
	if err := second.sendStep(solution[:]); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !errors.Is(got.err, errWork) {
		t.Errorf("%+v", got)
	}
}

func TestBadRequests(t *testing.T) {
	good := newPurchase(1).blinded[0]
	for name, request := range map[string]string{
		"garbage":       "x",
		"identity":      string(appendRequest(nil, []element{good, {}})),
		"not canonical": string(appendRequest(nil, []element{fill32(0xff)})),
		"too many":      string(appendRequest(nil, []element{good, good, good, good})),
	} {
		client, done := serveIssue(t, IssueConfig{MaxBatch: 3})
		solution := solvePuzzle(t, client)
		if err := client.sendStep(solution[:], []byte(request)); err != nil {
			t.Fatal(err)
		}
		if err := client.receiveStep(ignorePayload); !isHangUp(err) {
			t.Errorf("%s: client got %v", name, err)
		}
		if got := <-done; got.n != 0 || !errors.Is(got.err, errRequest) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for configured, want := range map[int]int{-1: MaxBatch, 0: MaxBatch, 1: 1, 10: 10, 1000: MaxBatch} {
		if got := (IssueConfig{MaxBatch: configured}).maxBatch(); got != want {
			t.Errorf("MaxBatch %d means %d, want %d", configured, got, want)
		}
	}
}

func TestAdmit(t *testing.T) {
	full := errors.New("full")
	client, done := serveIssue(t, IssueConfig{Admit: func(context.Context, int) error { return full }})
	_, err := Buy(t.Context(), client.conn, vectorServiceKey(t).Public(), 1, nil)
	if !isHangUp(err) {
		t.Errorf("Buy: %v", err)
	}
	if got := <-done; got.n != 0 || !errors.Is(got.err, full) {
		t.Errorf("Issue: %+v", got)
	}
}

// TestHostileServer answers a purchase with what must not become tokens.
func TestHostileServer(t *testing.T) {
	honest := vectorServiceKey(t)
	tracker, err := NewKey(encodeScalar(uniformScalar(8)))
	if err != nil {
		t.Fatal(err)
	}
	signWith := func(k *Key) func(*tapir.Transcript, []element) []byte {
		return func(tr *tapir.Transcript, blinded []element) []byte {
			r, err := k.signBatch(tr, blinded, randomScalar())
			if err != nil {
				t.Error(err)
			}
			return r.encodeJSON()
		}
	}
	for name, answer := range map[string]func(*tapir.Transcript, []element) []byte{
		"another key": signWith(tracker),
		"garbage":     func(*tapir.Transcript, []element) []byte { return []byte("{") },
		"empty":       func(*tapir.Transcript, []element) []byte { return []byte("{}") },
		"one less": func(tr *tapir.Transcript, blinded []element) []byte {
			return signWith(honest)(tr, blinded[1:])
		},
	} {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() {
			defer server.Close()
			s := newStepConn(tapir.Plain(server), 0)
			done <- func() error {
				if err := s.sendStep([]byte("seed")); err != nil {
					return err
				}
				solution, err := s.receiveSolution()
				if err != nil {
					return err
				}
				blinded, err := s.receiveRequest(MaxBatch)
				if err != nil {
					return err
				}
				return s.sendStep(answer(beginPurchase(newPuzzle([]byte("seed")), solution), blinded))
			}()
		}()
		tokens, err := Buy(t.Context(), tapir.Plain(client), honest.Public(), 3, nil)
		client.Close()
		if err == nil || tokens != nil {
			t.Errorf("%s: accepted", name)
		}
		if name == "another key" && !errors.Is(err, ErrProof) {
			t.Errorf("%s: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: server: %v", name, err)
		}
	}
}

// At each step a client stops, or sends a byte a second. Issue gives up in time.
func TestSilentClient(t *testing.T) {
	const step = 20 * time.Second
	drip := func(nc net.Conn) {
		for {
			if _, err := nc.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	for name, run := range map[string]struct {
		client  func(t *testing.T, nc net.Conn)
		timeout time.Duration
		n       int
	}{
		"before the seed": {func(*testing.T, net.Conn) {}, step, 0},
		"before the solution": {func(t *testing.T, nc net.Conn) {
			_ = newStepConn(tapir.Plain(nc), 0).receiveStep(ignorePayload)
		}, step, 0},
		"within the solution": {func(t *testing.T, nc net.Conn) {
			_ = newStepConn(tapir.Plain(nc), 0).receiveStep(ignorePayload)
			drip(nc)
		}, step, 0},
		"before the request": {func(t *testing.T, nc net.Conn) {
			s := newStepConn(tapir.Plain(nc), 0)
			solution := solvePuzzle(t, s)
			_ = s.sendStep(solution[:])
		}, step, 0},
		"after the reply": {func(t *testing.T, nc net.Conn) {
			if _, err := Buy(t.Context(), tapir.Plain(nc), vectorServiceKey(t).Public(), 2, nil); err != nil {
				t.Error(err)
			}
		}, lingerTimeout, 2},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				var clients sync.WaitGroup
				clients.Go(func() { run.client(t, client) })
				start := time.Now()
				n, err := Issue(t.Context(), tapir.Plain(server), vectorServiceKey(t), IssueConfig{StepTimeout: step})
				server.Close()
				if got := time.Since(start); got != run.timeout {
					t.Errorf("took %v, want %v", got, run.timeout)
				}
				if n != run.n || (n == 0) != errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d, %v", n, err)
				}
				clients.Wait()
			})
		})
	}
}

func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		start := time.Now()
		_, err := Buy(t.Context(), tapir.Plain(client), vectorServiceKey(t).Public(), 1, nil)
		client.Close()
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != defaultStepTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestContextEndsPurchase(t *testing.T) {
	gone := errors.New("the operator left")
	t.Run("Issue", func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		k, done := vectorServiceKey(t), make(chan error, 1)
		go func() {
			_, err := Issue(ctx, tapir.Plain(server), k, IssueConfig{})
			done <- err
		}()
		if err := newStepConn(tapir.Plain(client), 0).receiveStep(ignorePayload); err != nil {
			t.Fatal(err)
		}
		cancel(gone)
		if err := <-done; !errors.Is(err, gone) {
			t.Error(err)
		}
		if _, err := server.Write([]byte{0}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("connection still open: %v", err)
		}
	})
	t.Run("Buy", func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(gone)
		if _, err := Buy(ctx, tapir.Plain(client), vectorServiceKey(t).Public(), 1, nil); !errors.Is(err, gone) {
			t.Error(err)
		}
	})
	t.Run("solve", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		last := 0
		_, err := newPuzzle([]byte(vectorSeed)).findSolution(ctx, func(tries int) {
			if last = tries; tries > 0 {
				cancel(gone)
			}
		})
		if !errors.Is(err, context.Canceled) || last != progressEvery {
			t.Errorf("%v after %d tries", err, last)
		}
	})
}
