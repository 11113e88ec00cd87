package manager

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/client"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// poster posts to one server, one envelope after the other, until end is called.
type poster struct {
	h      *testRelay
	server RunningServer

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	acked   map[string]bool // signatures of what the server has acknowledged
	slowest time.Duration
	failed  error
}

func (h *testRelay) startPoster(m *Manager, name string) *poster {
	h.Helper()
	i := slices.IndexFunc(m.Servers(), func(s RunningServer) bool { return s.Name == name })
	if i < 0 {
		h.Fatalf("server %s does not run", name)
	}
	p := &poster{h: h, server: m.Servers()[i], acked: make(map[string]bool)}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(h.Context()))
	p.wg.Go(func() {
		err := p.postAll()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.ctx.Err() == nil {
			p.failed = err
		}
	})
	h.Cleanup(p.end)
	return p
}

func (p *poster) postAll() error {
	board, err := client.Open(p.ctx, p.h.network, p.server.Bundle.Board)
	if err != nil {
		return err
	}
	defer board.Close()
	var tokens []token.Token
	for n := uint64(0); ; n++ {
		if len(tokens) == 0 {
			if tokens, err = client.Buy(p.ctx, p.h.network, p.server.Bundle, 150, nil); err != nil {
				return err
			}
		}
		signature := binary.BigEndian.AppendUint64(make([]byte, 56), n)
		begin := time.Now()
		if err := board.Deliver(p.ctx, wire.Envelope{Ciphertext: []byte("text"), Signature: signature}, tokens[0]); err != nil {
			return err
		}
		p.mu.Lock()
		p.acked[string(signature)] = true
		p.slowest = max(p.slowest, time.Since(begin))
		p.mu.Unlock()
		tokens = tokens[1:]
		sleepContext(p.ctx, 5*time.Millisecond) // a pace, so that the machine is not the limit
	}
}

func (p *poster) end() {
	p.cancel()
	p.wg.Wait()
}

// posts is the number of acknowledged posts.
func (p *poster) posts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// wantUndisturbed ends the posts. None may have failed or taken longer than bound, and the
// server must have all that it has acknowledged.
func (p *poster) wantUndisturbed(bound time.Duration) {
	p.h.Helper()
	p.end()
	if p.failed != nil || p.slowest > bound || len(p.acked) == 0 {
		p.h.Errorf("server %s: %d posts, the slowest took %v, error %v", p.server.Name, len(p.acked), p.slowest, p.failed)
	}
	board, err := client.Open(p.h.Context(), p.h.network, p.server.Bundle.Board)
	if err != nil {
		p.h.Fatal(err)
	}
	defer board.Close()
	lost := maps.Clone(p.acked)
	err = board.Sync(p.h.Context(), nil, func(e client.Event) error {
		delete(lost, string(e.Envelope.Signature))
		return nil
	})
	if err != nil || len(lost) > 0 {
		p.h.Errorf("server %s has lost %d of %d posts, error %v", p.server.Name, len(lost), len(p.acked), err)
	}
	p.h.Logf("server %s: %d posts, the slowest took %v", p.server.Name, len(p.acked), p.slowest)
}

// postBound is how long a post may take while another server changes. A post alone takes some
// milliseconds; the bound leaves room for a machine that does other things.
const postBound = 10 * time.Second

// Clients post to two servers while a third is added, edited, stopped, started and deleted,
// fifty times.
func TestChangesDisturbNoOtherServer(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "a", Autostart: true})
	h.addFile(f, NewServer{Name: "b", Autostart: true})
	m := h.startOperated(f)
	h.waitUntilRunning(m, "a")
	h.waitUntilRunning(m, "b")
	posters := []*poster{h.startPoster(m, "a"), h.startPoster(m, "b")}
	for i := range 50 {
		h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "guest", Autostart: i%2 == 0}))
		h.mustPlan(m.EditServer(t.Context(), "guest", ServerChange{Description: new(fmt.Sprint(i)), Autostart: new(true)}))
		h.mustPlan(m.StopServer(t.Context(), "guest"))
		h.acceptStore("guest")
		h.mustPlan(m.StartServer(t.Context(), "guest", nil))
		h.wantState(m, "guest", StateRunning)
		if err := m.DeleteServer(t.Context(), "guest", nil); err != nil {
			t.Fatal(err)
		}
	}
	h.wantNothingLeft(f, "guest")
	for _, p := range posters {
		p.wantUndisturbed(postBound)
	}
}

// Clients post to the server that is deleted, and to another.
func TestDeleteWhileClientsPost(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "stays", Autostart: true})
	h.addFile(f, NewServer{Name: "goes", Autostart: true})
	m := h.startOperated(f)
	h.waitUntilRunning(m, "stays")
	h.waitUntilRunning(m, "goes")
	stays, goes := h.startPoster(m, "stays"), h.startPoster(m, "goes")
	h.waitUntil("both have posts", func() bool { return stays.posts() > 10 && goes.posts() > 10 })
	if err := m.DeleteServer(t.Context(), "goes", nil); err != nil {
		t.Fatal(err)
	}
	h.wantNothingLeft(f, "goes")
	h.waitUntil("its client is told", func() bool {
		goes.mu.Lock()
		defer goes.mu.Unlock()
		return goes.failed != nil
	})
	before := stays.posts()
	h.waitUntil("the other server takes posts", func() bool { return stays.posts() > before })
	stays.wantUndisturbed(postBound)
}

// One process has fifty servers.
func TestFiftyServers(t *testing.T) {
	h, f := newOperatedRelay(t)
	for i := range 50 {
		h.addFile(f, NewServer{Name: fmt.Sprintf("s%02d", i), Autostart: true})
	}
	begin := time.Now()
	m := h.startOperated(f)
	h.waitUntil("all servers run", func() bool { return len(m.Servers()) == 50 })
	t.Logf("fifty servers run after %v", time.Since(begin))
	p := h.startPoster(m, "s00")
	h.waitUntil("it takes posts", func() bool { return p.posts() > 10 })
	for i := 25; i < 50; i++ {
		h.mustPlan(m.StopServer(t.Context(), fmt.Sprintf("s%02d", i)))
	}
	p.wantUndisturbed(postBound)
	if n := len(m.Servers()); n != 25 {
		t.Errorf("%d servers run, want 25", n)
	}
}

var right, wrong = []byte("correct horse battery"), []byte("staple staple staple")

// A protected server is locked until it gets its passphrase, which can be changed while it runs.
func TestLockedServer(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "safe", Autostart: true, Passphrase: right}))
	st := h.serverStatus(m, "safe")
	if st.State != StateRunning || !st.Protected {
		t.Fatalf("got %+v", st)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.acceptStore("safe")
	m = h.startOperated(f)
	locked := h.serverStatus(m, "safe")
	if locked.State != StateLocked || !locked.Protected || locked.Address != st.Address || locked.Storage.PID != 0 {
		t.Errorf("got %+v", locked)
	}
	_, bundleErr := m.Bundle("safe")
	_, startErr := m.StartServer(t.Context(), "safe", nil)
	for _, err := range []error{bundleErr, startErr, m.DeleteServer(t.Context(), "safe", nil)} {
		if !errors.Is(err, identity.ErrLocked) {
			t.Errorf("got %v", err)
		}
	}
	_, err := m.UnlockServer(t.Context(), "safe", wrong)
	if !errors.Is(err, identity.ErrWrongPassphrase) || !errors.Is(m.DeleteServer(t.Context(), "safe", wrong), identity.ErrWrongPassphrase) {
		t.Errorf("got %v", err)
	}
	h.wantState(m, "safe", StateLocked)
	h.mustPlan(m.UnlockServer(t.Context(), "safe", right))
	h.wantState(m, "safe", StateRunning)
	p := h.startPoster(m, "safe")
	h.waitUntil("it takes posts", func() bool { return p.posts() > 0 })
	if err := m.ChangePassphrase(t.Context(), "safe", right, wrong); err != nil {
		t.Fatal(err)
	}
	before := p.posts()
	h.waitUntil("it still takes posts", func() bool { return p.posts() > before })
	p.wantUndisturbed(postBound)
	if _, err := identity.Unlock(keysPath(filepath.Join(serversDir(h.cfg.DataDir), "safe")), wrong); err != nil {
		t.Errorf("the new passphrase: %v", err)
	}
	if err := m.DeleteServer(t.Context(), "safe", wrong); err != nil {
		t.Fatal(err)
	}
	h.wantNothingLeft(f, "safe")
}

// Two hundred people guess passphrases at once. Few guesses are looked at, one at a time, and
// another server goes on.
func TestUnlockStorm(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "open", Autostart: true})
	m := h.startOperated(f)
	h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "safe", Passphrase: right}))
	h.waitUntilRunning(m, "open")
	p := h.startPoster(m, "open")
	h.waitUntil("it takes posts", func() bool { return p.posts() > 0 })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	looked, refused := 0, 0
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			_, err := m.UnlockServer(t.Context(), "safe", wrong)
			mu.Lock()
			defer mu.Unlock()
			switch often, ok := errors.AsType[*TooManyAttemptsError](err); {
			case errors.Is(err, identity.ErrWrongPassphrase):
				looked++
			case ok && often.RetryAfter > 0 && often.RetryAfter <= attemptEvery:
				refused++
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	if looked > attemptsAtOnce || looked+refused != 200 {
		t.Errorf("%d guesses were looked at and %d refused", looked, refused)
	}
	if grown := int64(after.Sys) - int64(before.Sys); grown > 512<<20 {
		t.Errorf("the guesses took %d MiB", grown>>20)
	}
	t.Logf("%d guesses were looked at, memory of the process grew by %d MiB", looked, (int64(after.Sys)-int64(before.Sys))>>20)
	p.wantUndisturbed(postBound)
	h.wantState(m, "safe", StateStopped)
}

// stubbornFiles cannot remove a server while stubborn.
type stubbornFiles struct {
	testFiles
	stubborn *atomic.Bool
}

func (f stubbornFiles) Remove(name string) error {
	if f.stubborn.Load() {
		return errors.New("the file cannot be removed")
	}
	return f.testFiles.Remove(name)
}

// A server that could not be removed to the end is shown, cannot run again, and is removed when
// that is possible, at the latest by the next start.
func TestUnfinishedDeletionIsShown(t *testing.T) {
	h, f := newOperatedRelay(t)
	stubborn := &atomic.Bool{}
	h.cfg.Files = stubbornFiles{f, stubborn}
	stubborn.Store(true)
	m := h.startOperated(f)
	for _, name := range []string{"one", "two"} {
		h.mustPlan(m.AddServer(t.Context(), NewServer{Name: name, Autostart: true}))
		if err := m.DeleteServer(t.Context(), name, nil); err == nil {
			t.Fatal("it was removed")
		}
		if st := h.serverStatus(m, name); st.State != StateFailed || !st.Deleting || !strings.Contains(st.Problem, "cannot be removed") {
			t.Errorf("got %+v", st)
		}
		if _, err := m.StartServer(t.Context(), name, nil); err == nil {
			t.Error("it was started")
		}
	}
	if _, err := m.Reload(t.Context(), false); err != nil {
		t.Error(err)
	}
	stubborn.Store(false)
	if err := m.DeleteServer(t.Context(), "one", nil); err != nil {
		t.Error(err)
	}
	h.wantNothingLeft(f, "one")
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	stubborn.Store(true)
	m = h.startOperated(f)
	if st := h.serverStatus(m, "two"); !st.Deleting || st.State != StateFailed {
		t.Errorf("got %+v", st)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	stubborn.Store(false)
	m = h.startOperated(f)
	h.wantNothingLeft(f, "two")
	if n := len(m.Status(t.Context()).Servers); n != 0 {
		t.Errorf("%d servers", n)
	}
}

// A protected server that is tried again needs its passphrase only once.
func TestUnlockedServerIsTriedAgain(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.cfg.retryEvery = time.Hour // only a reload tries it again
	m := h.startOperated(f)
	h.waitUntil("the network is open", func() bool { return m.Status(t.Context()).Network != nil })
	h.network.refuses.Store(new(func(identity.Key) bool { return true }))
	plan, err := m.AddServer(t.Context(), NewServer{Name: "safe", Autostart: true, Passphrase: right})
	if err != nil || plan.Failed() != 1 || !strings.Contains(plan.Steps[0].Error, "does not want it") {
		t.Fatalf("got %+v, %v", plan, err)
	}
	h.wantState(m, "safe", StateFailed)
	h.network.refuses.Store(nil)
	h.acceptStore("safe")
	h.mustPlan(m.Reload(t.Context(), false))
	h.wantState(m, "safe", StateRunning)
}

// The configuration may name the passphrase. A wrong one leaves the server locked.
func TestPassphraseOfTheConfiguration(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "safe", Autostart: true})
	h.passphrases = map[string][]byte{"safe": right}
	m := h.startOperated(f)
	h.waitUntilRunning(m, "safe")
	if !h.serverStatus(m, "safe").Protected {
		t.Error("the keys of a new server are not protected")
	}
	h.mustPlan(m.StopServer(t.Context(), "safe"))
	h.acceptStore("safe")
	h.mustPlan(m.StartServer(t.Context(), "safe", nil))
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
	h.acceptStore("safe")
	h.passphrases = map[string][]byte{"safe": wrong}
	m = h.startOperated(f)
	if st := h.serverStatus(m, "safe"); st.State != StateLocked || !strings.Contains(st.Problem, "passphrase") {
		t.Errorf("got %+v", st)
	}
	h.mustPlan(m.UnlockServer(t.Context(), "safe", right))
	h.wantState(m, "safe", StateRunning)
}
