package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// testFiles keeps one file for each server of a test.
type testFiles struct{ dir string }

func (f testFiles) pathOf(name string) string { return filepath.Join(f.dir, name) }

func (f testFiles) Add(n NewServer) error {
	n.Passphrase = nil
	text, err := json.Marshal(n)
	if err == nil {
		err = durable.CreateFile(f.pathOf(n.Name), text, 0o600)
	}
	return err
}

func (f testFiles) read(name string) (n NewServer, text []byte, err error) {
	text, err = os.ReadFile(f.pathOf(name))
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	return n, text, err
}

// CheckRemoval fails while a test has made the file that stands for a broken configuration.
func (f testFiles) CheckRemoval(string) error {
	if _, err := os.Lstat(f.brokenPath()); err == nil {
		return errBrokenFile
	}
	return nil
}

func (f testFiles) brokenPath() string { return f.dir + ".broken" }

func (f testFiles) Describe(name, _ string) (ServerText, error) {
	n, _, err := f.read(name)
	return ServerText{n.Description, n.Autostart, n.Storage, n.MaxAge, n.MaxBytes}, err
}

func (f testFiles) Edit(name string, c ServerChange) (undo func() error, err error) {
	n, was, err := f.read(name)
	if err != nil {
		return nil, err
	}
	for to, from := range map[*string]*string{&n.Description: c.Description, &n.Storage: c.Storage, &n.MaxAge: c.MaxAge, &n.MaxBytes: c.MaxBytes} {
		if from != nil {
			*to = *from
		}
	}
	if c.Autostart != nil {
		n.Autostart = *c.Autostart
	}
	text, err := json.Marshal(n)
	if bytes.Equal(text, was) {
		return nil, err
	}
	if err == nil {
		faultPoint("write the edit")
		err = durable.WriteFile(f.pathOf(name), text, 0o600)
	}
	return func() error { return durable.WriteFile(f.pathOf(name), was, 0o600) }, err
}

func (f testFiles) Remove(name string) error {
	err := os.Remove(f.pathOf(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = durable.SyncDir(f.dir)
	}
	return err
}

var errBrokenFile = errors.New("the file is broken")

// load reads the servers of the files. Their storage "broken" is a fault.
func (h *testRelay) load(f testFiles) Config {
	cfg := h.cfg
	cfg.Servers = nil
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		h.Error(err)
	}
	for _, e := range entries {
		sc := h.serverConfig(e.Name())
		sc.File = f.pathOf(e.Name())
		n, _, err := f.read(e.Name())
		sc.Description, sc.NoAutostart, sc.Passphrase = n.Description, !n.Autostart, h.passphrases[e.Name()]
		if n.Storage == "other" {
			sc.Storage.Name = n.Storage
		}
		if err != nil || n.Storage == "broken" {
			sc.Fault = fmt.Errorf("%s: %w", e.Name(), errBrokenFile)
		}
		cfg.Servers = append(cfg.Servers, sc)
	}
	return cfg
}

// newOperatedRelay is a relay whose servers are in files.
func newOperatedRelay(t *testing.T) (*testRelay, testFiles) {
	h := newTestRelay(t)
	f := testFiles{t.TempDir()}
	h.cfg.Path = filepath.Join(t.TempDir(), "server.hcl")
	h.writeFile(h.cfg.Path, "")
	h.cfg.Files, h.cfg.KeepRunning = f, true
	h.cfg.Limits.TokenBatch, h.cfg.storesTimeout = 150, time.Minute
	h.cfg.Load = func(context.Context) (Config, error) { return h.load(f), nil }
	return h, f
}

// startOperated starts the relay with the servers that the files have now.
func (h *testRelay) startOperated(f testFiles) *Manager {
	h.Helper()
	m, err := Start(h.Context(), h.load(f))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if m.closing.Err() == nil {
			m.Close(context.WithoutCancel(h.Context()))
		}
	})
	return m
}

// mustPlan checks that a change was made without a failed step.
func (h *testRelay) mustPlan(plan *Plan, err error) {
	h.Helper()
	if err != nil || !plan.Applied {
		h.Fatalf("got %+v, %v", plan, err)
	}
	for _, step := range plan.Steps {
		if step.Error != "" {
			h.Fatalf("%s: %s", step, step.Error)
		}
	}
}

func (h *testRelay) wantState(m *Manager, name string, want State) {
	h.Helper()
	if st := h.serverStatus(m, name); st.State != want {
		h.Fatalf("server %s is %s, want %s: %s", name, st.State, want, st.Problem)
	}
}

// acceptStore lets a server start again: its store is in memory, and so is a new one.
func (h *testRelay) acceptStore(name string) {
	os.Remove(filepath.Join(serversDir(h.cfg.DataDir), name, markName))
}

// A server is added to a relay without servers, edited, stopped, started and deleted.
func TestLifeOfAServer(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	plan, err := m.AddServer(t.Context(), NewServer{Name: "main", Description: "for friends", Autostart: true})
	h.mustPlan(plan, err)
	st := h.serverStatus(m, "main")
	if plan.Steps[0].Bundle == "" || st.State != StateRunning || st.Description != "for friends" || !st.Autostart || st.Protected || st.Address == "" || st.File != f.pathOf("main") {
		t.Errorf("added: %+v, %+v", plan, st)
	}
	_, err = m.AddServer(t.Context(), NewServer{Name: "main"})
	if field, ok := errors.AsType[*FieldError](err); !ok || field.Field != "name" {
		t.Errorf("the name is taken: %v", err)
	}
	h.mustPlan(m.EditServer(t.Context(), "main", ServerChange{Description: new("for all"), Autostart: new(false)}))
	if st := h.serverStatus(m, "main"); st.State != StateRunning || st.Description != "for all" || st.Autostart {
		t.Errorf("edited: %+v", st)
	}
	h.mustPlan(m.StopServer(t.Context(), "main"))
	stopped := h.serverStatus(m, "main")
	if bundle, err := m.Bundle("main"); err != nil || bundle != plan.Steps[0].Bundle || stopped.State != StateStopped || stopped.Address != st.Address {
		t.Errorf("stopped: %+v, %s, %v", stopped, bundle, err)
	}
	if plan, err := m.Reload(t.Context(), false); err != nil || len(plan.Steps) > 0 {
		t.Errorf("a reload of a stopped server: %+v, %v", plan, err)
	}
	h.wantState(m, "main", StateStopped)
	h.acceptStore("main")
	h.mustPlan(m.StartServer(t.Context(), "main", nil))
	h.wantState(m, "main", StateRunning)
	if err := m.DeleteServer(t.Context(), "main", nil); err != nil {
		t.Fatal(err)
	}
	h.wantNothingLeft(f, "main")
	if len(m.Status(t.Context()).Servers) > 0 {
		t.Error("the deleted server is in the status")
	}
}

// wantNothingLeft checks that no file of a server is there.
func (h *testRelay) wantNothingLeft(f testFiles, name string) {
	h.Helper()
	dir := filepath.Join(serversDir(h.cfg.DataDir), name)
	for _, path := range []string{f.pathOf(name), dir, recordPath(h.cfg.DataDir, dir)} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			h.Errorf("%s is still there (%v)", path, err)
		}
	}
}

// An unknown server, and what nobody may enter as a name.
func TestChangesOfNoServer(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	_, editErr := m.EditServer(t.Context(), "x", ServerChange{})
	_, startErr := m.StartServer(t.Context(), "x", nil)
	_, stopErr := m.StopServer(t.Context(), "../x")
	for _, err := range []error{editErr, startErr, stopErr, m.DeleteServer(t.Context(), "../x", nil), m.ChangePassphrase(t.Context(), "x", nil, nil)} {
		if !errors.Is(err, ErrNoSuchServer) {
			t.Errorf("got %v", err)
		}
	}
	for _, name := range []string{"", "-", "a-", "A", "a b", "../a", "a/b", "a\x00", "a\n", "é", "a.hcl", "\u202ea", strings.Repeat("a", 65), strings.Repeat("a", 10<<10)} {
		_, err := m.AddServer(t.Context(), NewServer{Name: name})
		if field, ok := errors.AsType[*FieldError](err); !ok || field.Field != "name" {
			t.Errorf("%.70q: %v", name, err)
		}
	}
	_, err := m.AddServer(t.Context(), NewServer{Name: "a", Passphrase: []byte("short")})
	if field, ok := errors.AsType[*FieldError](err); !ok || field.Field != "passphrase" {
		t.Errorf("a short passphrase: %v", err)
	}
	if entries, err := os.ReadDir(f.dir); err != nil || len(entries) > 0 {
		t.Errorf("there are files: %v, %v", entries, err)
	}
}

// A change that the configuration does not take is undone.
func TestChangeThatIsNotValidIsUndone(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	if _, err := m.AddServer(t.Context(), NewServer{Name: "bad", Storage: "broken", Autostart: true}); !errors.Is(err, errBrokenFile) {
		t.Errorf("got %v", err)
	}
	h.wantNothingLeft(f, "bad")
	h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "good", Autostart: true}))
	if _, err := m.EditServer(t.Context(), "good", ServerChange{Storage: new("broken")}); !errors.Is(err, errBrokenFile) {
		t.Errorf("got %v", err)
	}
	h.wantState(m, "good", StateRunning)
	if n, _, err := f.read("good"); err != nil || n.Storage != "" {
		t.Errorf("the edit was not undone: %+v, %v", n, err)
	}
}

// The files of an earlier server of the name may be all that somebody has left of it.
func TestNameOfAnEarlierServerIsNotReused(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "main", Autostart: true}))
	address := h.serverStatus(m, "main").Address
	if err := f.Remove("main"); err != nil {
		t.Fatal(err)
	}
	h.mustPlan(m.Reload(t.Context(), false))
	_, err := m.AddServer(t.Context(), NewServer{Name: "main"})
	if field, ok := errors.AsType[*FieldError](err); !ok || !strings.Contains(field.Text, "has run") {
		t.Errorf("got %v", err)
	}
	if keys, err := identity.Load(keysPath(filepath.Join(serversDir(h.cfg.DataDir), "main"))); err != nil || keys.Board.Onion() != address {
		t.Errorf("its keys are gone: %v", err)
	}
}

// What somebody else has changed of the configuration waits for a reload.
func TestChangeAppliesNothingElse(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "other", Autostart: true, Description: "before"})
	m := h.startOperated(f)
	h.addFile(f, NewServer{Name: "pending", Autostart: true})
	if _, err := f.Edit("other", ServerChange{Description: new("after")}); err != nil {
		t.Fatal(err)
	}
	h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "new", Autostart: true}))
	if st := h.serverStatus(m, "other"); st.Description != "before" {
		t.Errorf("the change of another server was applied: %+v", st)
	}
	if n := len(m.Status(t.Context()).Servers); n != 2 {
		t.Errorf("%d servers, want 2", n)
	}
	h.waitUntilRunning(m, "other")
	h.mustPlan(m.Reload(t.Context(), false))
	h.wantState(m, "pending", StateRunning)
}

func (h *testRelay) addFile(f testFiles, n NewServer) {
	h.Helper()
	if err := f.Add(n); err != nil {
		h.Fatal(err)
	}
}

// Autostart decides at the start alone. A server whose file is broken stops no other.
func TestHundredFilesOneBroken(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "good", Autostart: true})
	for i := range 98 {
		h.addFile(f, NewServer{Name: fmt.Sprintf("idle%02d", i)})
	}
	h.writeFile(f.pathOf("torn"), "{")
	m := h.startOperated(f)
	h.waitUntilRunning(m, "good")
	count := map[State]int{}
	for _, s := range m.Status(t.Context()).Servers {
		count[s.State]++
	}
	if count[StateRunning] != 1 || count[StateStopped] != 98 || count[StateFailed] != 1 {
		t.Errorf("got %v", count)
	}
	if st := h.serverStatus(m, "torn"); !strings.Contains(st.Problem, "broken") {
		t.Errorf("got %+v", st)
	}
	h.mustPlan(m.EditServer(t.Context(), "idle07", ServerChange{Autostart: new(true)}))
	if plan, err := m.Reload(t.Context(), false); err != nil || plan.Failed() != 1 { // torn, which is still broken
		t.Errorf("got %+v, %v", plan, err)
	}
	h.wantState(m, "idle07", StateStopped)
	h.mustPlan(m.StartServer(t.Context(), "idle07", nil))
	if err := m.DeleteServer(t.Context(), "torn", nil); err != nil {
		t.Error(err)
	}
	h.wantNothingLeft(f, "torn")
}

// Each edit is made, and the second begins with what the first has written.
func TestEditsAtTheSameTime(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "main", Autostart: true})
	m := h.startOperated(f)
	h.waitUntilRunning(m, "main")
	var wg sync.WaitGroup
	for _, c := range []ServerChange{{Description: new("new")}, {Autostart: new(false)}, {MaxAge: new("9d")}, {MaxBytes: new("1GiB")}} {
		wg.Go(func() {
			if plan, err := m.EditServer(t.Context(), "main", c); err != nil || plan.Failed() > 0 {
				t.Errorf("got %+v, %v", plan, err)
			}
		})
	}
	wg.Wait()
	if n, _, err := f.read("main"); err != nil || n.Description != "new" || n.Autostart || n.MaxAge != "9d" || n.MaxBytes != "1GiB" {
		t.Errorf("got %+v, %v", n, err)
	}
	if st := h.serverStatus(m, "main"); st.Description != "new" || st.Autostart || st.State != StateRunning {
		t.Errorf("got %+v", st)
	}
}

// A relay with a console starts without a server and without a network, says what is wrong,
// and goes on by itself.
func TestRelayWaitsForItsNetwork(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "early", Autostart: true})
	var mu sync.Mutex
	fault, published := errors.New("there is no tor"), make(chan RunningServer, 1)
	open := h.cfg.Network.Open
	h.cfg.Network.Open = func(ctx context.Context) (onion.Network, error) {
		mu.Lock()
		defer mu.Unlock()
		if fault != nil {
			return nil, fault
		}
		return open(ctx)
	}
	h.cfg.OnPublished = func(s RunningServer) { published <- s }
	m := h.startOperated(f)
	h.waitUntil("the status says why there is no network", func() bool {
		st := m.Status(t.Context())
		return strings.Contains(st.NetworkProblem, "there is no tor") && st.Network == nil && st.Servers[0].State == StatePublishing
	})
	impatient, cancel := context.WithCancel(t.Context())
	added := make(chan *Plan, 1)
	go func() {
		plan, err := m.AddServer(impatient, NewServer{Name: "late", Autostart: true})
		if err != nil {
			t.Error(err)
		}
		added <- plan
	}()
	h.waitUntil("the new server waits for the network", func() bool {
		servers := m.Status(t.Context()).Servers
		return len(servers) == 2 && servers[1].State == StatePublishing
	})
	cancel()
	if plan := <-added; plan == nil || plan.Steps[0].Note != "it is publishing" {
		t.Errorf("got %+v", plan)
	}
	h.mustPlan(m.StopServer(t.Context(), "late"))
	mu.Lock()
	fault = nil
	mu.Unlock()
	h.waitUntilRunning(m, "early")
	if s := <-published; s.Name != "early" {
		t.Errorf("%s was published", s.Name)
	}
	if st := m.Status(t.Context()); st.NetworkProblem != "" || st.Network == nil {
		t.Errorf("got %+v", st)
	}
}

func TestRelayWithoutServersNeedsAConsole(t *testing.T) {
	h := newTestRelay(t)
	if _, err := Start(t.Context(), h.cfg); !errors.Is(err, ErrNoServer) {
		t.Errorf("got %v", err)
	}
}

// While the network publishes one server, another can be stopped and started.
func TestSlowPublicationHoldsUpNoChange(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "quick", Autostart: true})
	m := h.startOperated(f)
	h.waitUntilRunning(m, "quick")
	release, entered := make(chan struct{}), make(chan struct{}, 2)
	quick := h.serverStatus(m, "quick").Address
	h.network.delays.Store(new(func(ctx context.Context, key identity.Key) {
		if key.Onion() == quick {
			return
		}
		entered <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
	}))
	added := make(chan error, 1)
	go func() {
		_, err := m.AddServer(t.Context(), NewServer{Name: "slow", Autostart: true})
		added <- err
	}()
	<-entered
	h.network.delays.Store(nil)
	h.wantState(m, "slow", StatePublishing)
	h.mustPlan(m.StopServer(t.Context(), "quick"))
	h.acceptStore("quick")
	h.mustPlan(m.StartServer(t.Context(), "quick", nil))
	h.mustPlan(m.Reload(t.Context(), false))
	h.wantState(m, "slow", StatePublishing)
	close(release)
	if err := <-added; err != nil {
		t.Error(err)
	}
	h.waitUntilRunning(m, "slow")
}

// A server is stopped and deleted while it is being published.
func TestServerIsDeletedWhileItIsPublished(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	entered := make(chan struct{}, 2)
	h.network.delays.Store(new(func(ctx context.Context, _ identity.Key) {
		entered <- struct{}{}
		<-ctx.Done()
	}))
	added := make(chan error, 1)
	go func() {
		_, err := m.AddServer(t.Context(), NewServer{Name: "slow", Autostart: true})
		added <- err
	}()
	<-entered
	if err := m.DeleteServer(t.Context(), "slow", nil); err != nil {
		t.Error(err)
	}
	if err := <-added; err != nil {
		t.Error(err)
	}
	h.wantNothingLeft(f, "slow")
}

// A form is filled with what the file says now, also if somebody has edited it meanwhile. Its
// text is no part of the status, since it may hold secrets.
func TestDescribeServer(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "a", Storage: `storage "x" {}`, MaxAge: "90d"})
	m := h.startOperated(f)
	if _, err := f.Edit("a", ServerChange{Description: new("of mine"), MaxBytes: new("1GiB")}); err != nil {
		t.Fatal(err)
	}
	s, err := m.DescribeServer("a")
	text, _ := json.Marshal(s)
	if want := `{"description":"of mine","autostart":false,"storage":"storage \"x\" {}","max_age":"90d","max_bytes":"1GiB"}`; err != nil || string(text) != want {
		t.Errorf("got %s, %v\nwant %s", text, err, want)
	}
	if _, err := m.DescribeServer("nobody"); !errors.Is(err, ErrNoSuchServer) {
		t.Errorf("got %v", err)
	}
}

// A server whose store was used is not put on another one by an edit, in whatever state it is, and
// its file stays as it was. Once the store is given up, or was copied, it may be.
func TestEditKeepsTheStoreOfAServer(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	for _, n := range []NewServer{{Name: "running", Autostart: true}, {Name: "stopped", Autostart: true}, {Name: "locked", Autostart: true, Passphrase: right}} {
		h.mustPlan(m.AddServer(t.Context(), n))
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.acceptStore("running") // a new one is in memory
	m = h.startOperated(f)
	h.waitUntilRunning(m, "running")
	h.mustPlan(m.StopServer(t.Context(), "stopped"))
	other := ServerChange{Storage: new("other")}
	for name, state := range map[string]State{"running": StateRunning, "stopped": StateStopped, "locked": StateLocked} {
		h.wantState(m, name, state)
		_, before, _ := f.read(name)
		plan, err := m.EditServer(t.Context(), name, other)
		if err != nil || plan.Applied || len(plan.Refused) != 1 || !strings.Contains(plan.Refused[0].What, `storage "other" cannot take the place of "memory"`) {
			t.Errorf("%s: got %+v, %v", name, plan, err)
		}
		o := Offline{h.load(f)}
		_, err = o.EditServer(t.Context(), name, other)
		if field, ok := errors.AsType[*FieldError](err); !ok || field.Field != "storage" || !strings.Contains(err.Error(), "storage accept -server "+name) {
			t.Errorf("%s without a relay: got %v", name, err)
		}
		if _, after, _ := f.read(name); string(after) != string(before) {
			t.Errorf("%s: the file has become %s", name, after)
		}
	}
	h.acceptStore("stopped")
	if plan, err := m.EditServer(t.Context(), "stopped", other); err != nil || !plan.Applied {
		t.Errorf("after its store was given up: %+v, %v", plan, err)
	}
	o := Offline{h.load(f)}
	if changed, err := o.EditServer(t.Context(), "locked", ServerChange{Description: new("")}); changed || err != nil {
		t.Errorf("no change: %v, %v", changed, err)
	}
	if plan, err := m.EditServer(t.Context(), "locked", ServerChange{Description: new("")}); err != nil || !plan.Unchanged || len(plan.Steps) > 0 {
		t.Errorf("no change: %+v, %v", plan, err)
	}
}

// Nothing of a server is destroyed while it could not be removed from the configuration. It runs on.
func TestDeleteWithABrokenConfiguration(t *testing.T) {
	h, f := newOperatedRelay(t)
	m := h.startOperated(f)
	h.mustPlan(m.AddServer(t.Context(), NewServer{Name: "a", Autostart: true}))
	h.writeFile(f.brokenPath(), "")
	dir := filepath.Join(serversDir(h.cfg.DataDir), "a")
	for _, remove := range []func() error{
		func() error { return m.DeleteServer(t.Context(), "a", nil) },
		func() error { return Offline{h.load(f)}.DeleteServer("a", nil) },
	} {
		if err := remove(); !errors.Is(err, errBrokenFile) || !strings.Contains(err.Error(), "nothing of it is lost") {
			t.Errorf("got %v", err)
		}
		h.wantState(m, "a", StateRunning)
		if _, err := identity.Load(keysPath(dir)); err != nil || isDeleted(dir) {
			t.Errorf("its keys: %v", err)
		}
	}
	if err := os.Remove(f.brokenPath()); err != nil {
		t.Fatal(err)
	}
	if err := m.DeleteServer(t.Context(), "a", nil); err != nil {
		t.Error(err)
	}
	h.wantNothingLeft(f, "a")
}

// A server whose file cannot be used keeps the protection of its keys, and what is known of them.
func TestDeleteOfAProtectedServerWithABrokenFile(t *testing.T) {
	h, f := newOperatedRelay(t)
	passphrase := []byte("five random words")
	dir := filepath.Join(serversDir(h.cfg.DataDir), "b")
	if err := errors.Join(os.MkdirAll(dir, 0o700), identity.Create(keysPath(dir), passphrase)); err != nil {
		t.Fatal(err)
	}
	h.addFile(f, NewServer{Name: "b", Autostart: true, Storage: "broken"})
	m := h.startOperated(f)
	if s := m.Status(t.Context()).Servers[0]; !s.Protected || !s.Unreadable || s.Storage.Name != "" {
		t.Errorf("the status is %+v", s)
	}
	if err := m.DeleteServer(t.Context(), "b", nil); !errors.Is(err, identity.ErrLocked) {
		t.Errorf("deleted without the passphrase: %v", err)
	}
	if err := m.DeleteServer(t.Context(), "b", []byte("five other words")); !errors.Is(err, identity.ErrWrongPassphrase) {
		t.Errorf("deleted with a wrong passphrase: %v", err)
	}
	if _, err := identity.Unlock(keysPath(dir), passphrase); err != nil {
		t.Errorf("its keys: %v", err)
	}
	if err := m.DeleteServer(t.Context(), "b", passphrase); err != nil {
		t.Error(err)
	}
	h.wantNothingLeft(f, "b")
}

// The order of servers is by name, whether a relay runs or not and whenever they were added. Of a
// server whose file cannot be used nothing is invented.
func TestOrderAndFactsOfServers(t *testing.T) {
	h, f := newOperatedRelay(t)
	h.addFile(f, NewServer{Name: "b", Autostart: true, Storage: "broken"})
	m := h.startOperated(f)
	for _, name := range []string{"c", "a"} {
		if _, err := m.AddServer(t.Context(), NewServer{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	for from, list := range map[string][]ServerStatus{"status": m.Status(t.Context()).Servers, "servers": m.listServers(), "files": Offline{h.load(f)}.ListServers()} {
		if len(list) != 3 || list[0].Name != "a" || list[1].Name != "b" || list[2].Name != "c" {
			t.Fatalf("%s: got %+v", from, list)
		}
		if list[0].Unreadable || !list[1].Unreadable || list[1].Autostart || list[1].Problem == "" {
			t.Errorf("%s: got %+v", from, list[1])
		}
	}
}
