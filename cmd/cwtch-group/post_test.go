package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
)

// testServer is a server, and a profile with the group "club" on it.
type testServer struct {
	*testing.T
	network  onion.Network
	keys     *identity.Server
	server   *relay.Server
	registry string
	profile  string
}

func newTestServer(t *testing.T) *testServer {
	t.Helper()
	h := &testServer{T: t, registry: filepath.Join(t.TempDir(), "net"), profile: filepath.Join(t.TempDir(), "p")}
	var err error
	if h.network, err = onion.Loopback(h.registry); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.network.Close() })
	if h.keys, err = identity.LoadOrCreate(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	h.startServer()
	t.Cleanup(h.stopServer)
	h.mustRun("", "init")
	h.mustRun("", "import-server", h.server.Bundle().String())
	h.mustRun("", "create", "club")
	return h
}

func (h *testServer) startServer() {
	h.Helper()
	var err error
	if h.server, err = startRelay(h.network, h.keys); err != nil {
		h.Fatal(err)
	}
}

func (h *testServer) stopServer() {
	if h.server != nil {
		h.server.Close(context.Background())
		h.server = nil
	}
}

// run runs a command over the network of a registry.
func (h *testServer) run(ctx context.Context, registry string, stdin io.Reader, stdout, stderr io.Writer, args ...string) (status int) {
	return runCommand(ctx, append([]string{"-network", "loopback:" + registry, "-profile", h.profile}, args...),
		environment{stdin: stdin, stdout: stdout, stderr: stderr, getenv: func(string) string { return "" }})
}

// mustRun runs a command that must succeed and returns what it prints.
func (h *testServer) mustRun(stdin string, args ...string) string {
	h.Helper()
	var out, errs bytes.Buffer
	if status := h.run(h.Context(), h.registry, strings.NewReader(stdin), &out, &errs, args...); status != 0 {
		h.Fatalf("%s: status %d: %s", args, status, &errs)
	}
	return out.String()
}

// readTexts returns the texts of the group, which have one line each.
func (h *testServer) readTexts() []string {
	h.Helper()
	var texts []string
	for line := range strings.Lines(h.mustRun("", "-q", "read", "club")) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), "  you       ")
		texts = append(texts, text)
	}
	return texts
}

// cutAtPost makes a registry through which a connection to the board ends at the n-th
// post: before the board gets it, or after the board has answered it.
func (h *testServer) cutAtPost(n int, answered bool) (registry string) {
	h.Helper()
	registry = h.TempDir()
	for _, name := range []identity.Onion{h.server.Bundle().Board, h.server.Bundle().TokenService} {
		entry, err := os.ReadFile(filepath.Join(h.registry, string(name)))
		if err != nil {
			h.Fatal(err)
		}
		if name == h.server.Bundle().Board {
			entry = []byte(h.listenAndCut(strings.TrimSpace(string(entry)), n, answered))
		}
		if err := os.WriteFile(filepath.Join(registry, string(name)), entry, 0o600); err != nil {
			h.Fatal(err)
		}
	}
	return registry
}

// beforePosts is how many packets a client sends before its first post: its key,
// its proof, and the request for a replay.
const beforePosts = 3

func (h *testServer) listenAndCut(to string, n int, answered bool) (address string) {
	h.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	var connections sync.WaitGroup
	h.Cleanup(func() { ln.Close(); connections.Wait() })
	connections.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			board, err := net.Dial("tcp4", to)
			if err != nil {
				client.Close()
				continue
			}
			connections.Go(func() { relayUntil(client, board, beforePosts+n, answered) })
		}
	})
	return ln.Addr().String()
}

// relayUntil forwards packets up to the last one of the client.
func relayUntil(client, board net.Conn, last int, answered bool) {
	defer client.Close()
	defer board.Close()
	var ending atomic.Bool
	answer := make(chan struct{})
	go func() {
		defer close(answer)
		packet := make([]byte, tapir.PacketSize)
		for {
			if _, err := io.ReadFull(board, packet); err != nil || ending.Load() {
				return
			}
			if _, err := client.Write(packet); err != nil {
				return
			}
		}
	}()
	packet := make([]byte, tapir.PacketSize)
	for i := 1; i <= last; i++ {
		if _, err := io.ReadFull(client, packet); err != nil {
			return
		}
		if i == last {
			ending.Store(true)
			if !answered {
				return
			}
		}
		if _, err := board.Write(packet); err != nil {
			return
		}
	}
	<-answer
}

// numberedMessages returns a text of n messages, each of which begins with its number.
func numberedMessages(n int) (text string, want []string) {
	for i := range n {
		want = append(want, fmt.Sprintf("%d %s", i+1, strings.Repeat("x", 1500)))
	}
	return strings.Join(want, "\n"), want
}

// Whenever the connection breaks, the same command given again posts the rest, in
// order, and nothing twice.
func TestLongTextIsResumed(t *testing.T) {
	for _, answered := range []bool{false, true} {
		for _, at := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("answered=%t/post=%d", answered, at), func(t *testing.T) {
				h := newTestServer(t)
				text, want := numberedMessages(4)
				registry := h.cutAtPost(at, answered)
				for try := 1; ; try++ {
					var errs bytes.Buffer
					status := h.run(t.Context(), registry, strings.NewReader(text), io.Discard, &errs, "-q", "post", "club", "-")
					if status == 0 {
						break
					}
					if !strings.Contains(errs.String(), "nothing is posted twice") {
						t.Errorf("it says %s", &errs)
					}
					if try > 5 {
						t.Fatalf("still unfinished: %s", &errs)
					}
					if !answered && at == 1 { // this connection never posts anything
						registry = h.registry
					}
				}
				if got := h.readTexts(); strings.Join(got, "|") != strings.Join(want, "|") {
					t.Errorf("the group has %.20q", got)
				}
				// Complete is complete: the same text once more is another one.
				h.mustRun(text, "-q", "post", "club", "-")
				if got := h.readTexts(); len(got) != 2*len(want) {
					t.Errorf("after the second time there are %d messages", len(got))
				}
			})
		}
	}
}

// Another text in between drops the rest of the first one.
func TestOtherTextAfterAnInterruption(t *testing.T) {
	h := newTestServer(t)
	text, want := numberedMessages(3)
	if status := h.run(t.Context(), h.cutAtPost(2, true), strings.NewReader(text), io.Discard, io.Discard, "post", "club", "-"); status != 1 {
		t.Fatalf("status %d", status)
	}
	h.mustRun("", "post", "club", "other")
	if got := h.readTexts(); len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != "other" {
		t.Errorf("the group has %.20q", got)
	}
}

// Every message of a long text costs a token, and no more.
func TestLongTextCosts(t *testing.T) {
	h := newTestServer(t)
	text, _ := numberedMessages(12)
	if out := h.mustRun(text, "-json", "post", "club", "-"); !strings.Contains(out, `"messages":12`) {
		t.Error(out)
	}
	if out := h.mustRun("", "-json", "list"); !strings.Contains(out, `"tokens":8}`) {
		t.Error(out)
	}
}

// The limits in error messages are the real ones.
func TestLimitsInMessages(t *testing.T) {
	h := newTestServer(t)
	number := regexp.MustCompile(`\d\d+`)
	refused := func(stdin string, args ...string) (text string) {
		t.Helper()
		var errs bytes.Buffer
		if status := h.run(t.Context(), h.registry, strings.NewReader(stdin), io.Discard, &errs, args...); status != 1 {
			t.Fatalf("%.20q: status %d, %s", args, status, &errs)
		}
		return errs.String()
	}
	huge := strings.Repeat("x", 10<<20)
	limit, err := strconv.Atoi(number.FindString(refused(huge, "post", "club", "-")))
	if err != nil {
		t.Fatal(err)
	}
	// post reads more than that, because the end of the text may be white space.
	if said := refused(huge[:limit+1], "post", "club", "-"); !strings.Contains(said, fmt.Sprint(limit)) {
		t.Errorf("one byte more: %s", said)
	}
	if said := refused("", "post", "club", huge[:limit+1]); !strings.Contains(said, fmt.Sprint(limit)) {
		t.Errorf("as an argument: %s", said)
	}
	h.mustRun(huge[:limit]+"\n\n", "post", "club", "-")
	h.mustRun("", "post", "club", huge[:limit])
	name := refused("", "create", huge[:1000])
	if limit, err = strconv.Atoi(number.FindAllString(name, -1)[1]); err != nil {
		t.Fatal(err)
	}
	refused("", "create", huge[:limit+1])
	h.mustRun("", "create", huge[:limit])
}

// ^C ends a command that waits for input, without a message.
func TestInterrupt(t *testing.T) {
	h := newTestServer(t)
	for _, c := range []struct {
		cause error
		want  int
	}{{context.Canceled, 130}, {interruption{2}, 130}, {interruption{15}, 143}} {
		for _, asJSON := range []bool{false, true} {
			stdin, keyboard := io.Pipe()
			ctx, interrupt := context.WithCancelCause(t.Context())
			reading := &notifyingReader{r: stdin, begun: make(chan struct{})}
			go func() { <-reading.begun; interrupt(c.cause) }()
			var errs bytes.Buffer
			status := h.run(ctx, h.registry, reading, io.Discard, &errs, fmt.Sprintf("-json=%t", asJSON), "post", "club", "-")
			keyboard.Close()
			want := ""
			if asJSON {
				want = fmt.Sprintf("{\"error\":\"interrupted\",\"status\":%d}\n", c.want)
			}
			if status != c.want || errs.String() != want {
				t.Errorf("%v: status %d, %q", c.cause, status, &errs)
			}
		}
	}
}

type notifyingReader struct {
	r     io.Reader
	once  sync.Once
	begun chan struct{}
}

func (n *notifyingReader) Read(p []byte) (int, error) {
	n.once.Do(func() { close(n.begun) })
	return n.r.Read(p)
}

// ^C in the middle of a long text says how much of it is posted.
func TestInterruptedText(t *testing.T) {
	h := newTestServer(t)
	text, want := numberedMessages(30)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	errs := &textWatcher{text: "posting message 3 of 30", seen: interrupt}
	status := h.run(ctx, h.registry, strings.NewReader(text), io.Discard, errs, "post", "club", "-")
	said := errs.String()
	if status != 130 || !regexp.MustCompile(`(?m)^[23] of 30 messages known to be posted; give the same command again`).MatchString(said) || strings.Contains(said, "error:") {
		t.Errorf("status %d: %s", status, said)
	}
	h.mustRun(text, "post", "club", "-")
	if got := h.readTexts(); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("the group has %.20q", got)
	}
}

// textWatcher calls seen when a text was written to it.
type textWatcher struct {
	text string
	seen func()

	mu sync.Mutex
	b  bytes.Buffer
}

func (w *textWatcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if strings.Contains(w.b.String(), w.text) {
		w.seen()
	}
	return len(p), nil
}

func (w *textWatcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// A second post at the same time is not taken for the first one resumed.
func TestSameTextTwiceAtOnce(t *testing.T) {
	h := newTestServer(t)
	second := make(chan error, 1)
	var once sync.Once
	errs := &textWatcher{text: "posting", seen: func() {
		once.Do(func() {
			if status := h.run(t.Context(), h.registry, nil, io.Discard, io.Discard, "post", "club", "tick"); status != 0 {
				second <- errors.New("the second failed")
			}
			close(second)
		})
	}}
	if status := h.run(t.Context(), h.registry, nil, io.Discard, errs, "post", "club", "tick"); status != 0 {
		t.Fatal(errs.String())
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if got := h.readTexts(); len(got) != 2 {
		t.Errorf("the group has %q", got)
	}
}

// If the report that a text is posted gets lost, the same command does not post it
// twice.
func TestUnreportedPost(t *testing.T) {
	h := newTestServer(t)
	var errs bytes.Buffer
	if status := h.run(t.Context(), h.registry, nil, brokenWriter{}, &errs, "-q", "post", "club", "hello"); status != 1 ||
		!strings.Contains(errs.String(), "1 of 1 message known to be posted: write output: ") {
		t.Errorf("status %d: %s", status, &errs)
	}
	h.mustRun("", "post", "club", "hello")
	if got := h.readTexts(); len(got) != 1 {
		t.Errorf("the group has %q", got)
	}
	h.mustRun("", "post", "club", "hello")
	if got := h.readTexts(); len(got) != 2 {
		t.Errorf("the group has %q", got)
	}
}
