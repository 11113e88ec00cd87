package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/core/token"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// fakeRelay is a relay without servers of its own. A server that starts stays in the state
// publishing until publish is called.
type fakeRelay struct {
	mu      sync.Mutex
	servers []*fakeServer
	network *onion.Status
	calls   []string          // the changes so far
	hold    chan struct{}     // if set, AddServer waits for it
	started chan struct{}     // gets a value when AddServer begins to wait
	wrong   int               // passphrases so far
	posts   map[string]uint64 // by server
	changed func()            // called after a change from outside of the console
}

type fakeServer struct {
	manager.ServerStatus
	passphrase string
	text       manager.ServerText // storage and retention
	fault      error              // of its file
	keys       *identity.Server
}

func newFakeRelay() *fakeRelay {
	return &fakeRelay{
		network: &onion.Status{Network: "tor", State: onion.Ready, Progress: 100, Version: "0.4.9.11", Since: time.Now().Add(-3 * time.Hour)},
		started: make(chan struct{}, 16), posts: make(map[string]uint64), changed: func() {},
	}
}

func (f *fakeRelay) find(name string) (*fakeServer, error) {
	for _, s := range f.servers {
		if s.Name == name {
			return s, nil
		}
	}
	return nil, manager.ErrNoSuchServer
}

// update changes the relay from outside of the console.
func (f *fakeRelay) update(change func()) {
	defer f.changed()
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// publish makes a server run, with figures.
func (f *fakeRelay) publish(name string, messages uint64) {
	defer f.changed()
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(name)
	if err != nil {
		panic(err)
	}
	s.State = manager.StateRunning
	s.Relay = &relay.Status{
		Since: time.Now().Add(-26 * time.Hour), Board: s.keys.Board.Onion(), TokenService: s.keys.Token.Onion(),
		Store:            &relay.StoreStatus{Envelopes: messages, Bytes: messages * 3100},
		BoardConnections: relay.ConnectionCounts{Open: 7},
		Posts:            relay.PostCounts{Stored: f.posts[name]},
	}
	s.Storage.State = supervise.Ready
}

func (f *fakeRelay) called() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.calls...)
}

func (f *fakeRelay) Status(context.Context) manager.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := manager.Status{Version: "test", Since: time.Now()}
	if f.network != nil {
		st.Network = new(*f.network)
	}
	for _, s := range f.servers {
		st.Servers = append(st.Servers, s.ServerStatus)
	}
	return st
}

func (f *fakeRelay) Bundle(name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(name)
	if err != nil {
		return "", err
	}
	if s.keys == nil {
		return "", errors.New("its keys are locked")
	}
	key, err := token.NewKey(s.keys.Scalar)
	if err != nil {
		return "", err
	}
	return bundle.New(s.keys, key.Public()).String(), nil
}

func (f *fakeRelay) DescribeServer(name string) (manager.ServerText, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.find(name)
	if err != nil {
		return manager.ServerText{}, err
	}
	text := s.text
	text.Description, text.Autostart = s.Description, s.Autostart
	return text, s.fault
}

func (f *fakeRelay) AddServer(ctx context.Context, n manager.NewServer) (*manager.Plan, error) {
	if f.hold != nil {
		f.started <- struct{}{}
		<-f.hold
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "add "+n.Name)
	if !regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$`).MatchString(n.Name) {
		return nil, &manager.FieldError{Field: "name", Text: "a name has 1 to 64 of the characters a-z, 0-9 and -"}
	}
	if err := checkDescription(n.Description); err != nil {
		return nil, err
	}
	if len(n.Passphrase) > 0 {
		if err := identity.CheckPassphrase(n.Passphrase); err != nil {
			return nil, &manager.FieldError{Field: "passphrase", Text: err.Error()}
		}
	}
	if _, err := f.find(n.Name); err == nil {
		return nil, fmt.Errorf("add server: %w", fs.ErrExist)
	}
	f.addServer(n)
	return &manager.Plan{}, nil
}

// checkDescription has the rules of the configuration.
func checkDescription(text string) error {
	bidi := func(r rune) bool {
		return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f
	}
	if len(text) > 1000 || strings.IndexFunc(text, bidi) >= 0 {
		return &manager.FieldError{Field: "description", Text: "at most 1000 characters, and no control characters"}
	}
	return nil
}

func (f *fakeRelay) addServer(n manager.NewServer) *fakeServer {
	seed := [32]byte{byte(len(f.servers) + 1)}
	s := &fakeServer{passphrase: string(n.Passphrase), keys: &identity.Server{
		Board: identity.KeyFromSeed(seed), Token: identity.KeyFromSeed([32]byte{0: seed[0], 1: 1}), Scalar: [32]byte{seed[0]},
	}}
	s.Name, s.Description, s.Autostart, s.Protected = n.Name, n.Description, n.Autostart, len(n.Passphrase) > 0
	s.Address = s.keys.Board.Onion()
	s.text = manager.ServerText{Storage: n.Storage, MaxAge: n.MaxAge, MaxBytes: n.MaxBytes}
	s.Storage = supervise.Status{Kind: plugin.KindStorage, Name: "bolt", Version: "1.0", State: supervise.Starting, Since: time.Now().Add(-2 * time.Hour)}
	s.State = manager.StateStopped
	if n.Autostart {
		s.State = manager.StatePublishing
	}
	f.servers = append(f.servers, s)
	return s
}

func (f *fakeRelay) EditServer(_ context.Context, name string, c manager.ServerChange) (*manager.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "edit "+name)
	s, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if c.Description != nil {
		if err := checkDescription(*c.Description); err != nil {
			return nil, err
		}
		s.Description = *c.Description
	}
	if c.Storage != nil && f.posts[name] > 0 {
		return &manager.Plan{Refused: []manager.Refusal{{What: "the store of server " + name + " has messages", Hint: "add another server"}}}, nil
	}
	if c.Autostart != nil {
		s.Autostart = *c.Autostart
	}
	for to, from := range map[*string]*string{&s.text.Storage: c.Storage, &s.text.MaxAge: c.MaxAge, &s.text.MaxBytes: c.MaxBytes} {
		if from != nil {
			*to = *from
		}
	}
	return &manager.Plan{}, nil
}

func (f *fakeRelay) StartServer(_ context.Context, name string, _ []byte) (*manager.Plan, error) {
	return f.setState("start", name, manager.StatePublishing)
}

func (f *fakeRelay) StopServer(_ context.Context, name string) (*manager.Plan, error) {
	return f.setState("stop", name, manager.StateStopped)
}

func (f *fakeRelay) setState(what, name string, state manager.State) (*manager.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, what+" "+name)
	s, err := f.find(name)
	if err != nil {
		return nil, err
	}
	s.State, s.Relay = state, nil
	return &manager.Plan{}, nil
}

// checkPassphrase has a limit like that of the manager; mu is held.
func (f *fakeRelay) checkPassphrase(s *fakeServer, passphrase []byte) error {
	if f.wrong >= 5 {
		return &manager.TooManyAttemptsError{RetryAfter: 10 * time.Second}
	}
	if s.passphrase != "" && !bytes.Equal(passphrase, []byte(s.passphrase)) {
		f.wrong++
		return fmt.Errorf("server %s: %w", s.Name, identity.ErrWrongPassphrase)
	}
	return nil
}

func (f *fakeRelay) UnlockServer(_ context.Context, name string, passphrase []byte) (*manager.Plan, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "unlock "+name)
	s, err := f.find(name)
	if err == nil {
		err = f.checkPassphrase(s, passphrase)
	}
	if err != nil {
		return nil, err
	}
	s.State = manager.StatePublishing
	return &manager.Plan{}, nil
}

func (f *fakeRelay) ChangePassphrase(_ context.Context, name string, old, next []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "passphrase "+name)
	s, err := f.find(name)
	if err == nil {
		err = f.checkPassphrase(s, old)
	}
	if err == nil && len(next) > 0 {
		if wrong := identity.CheckPassphrase(next); wrong != nil {
			err = &manager.FieldError{Field: "passphrase", Text: wrong.Error()}
		}
	}
	if err == nil {
		s.passphrase, s.Protected = string(next), len(next) > 0
	}
	return err
}

func (f *fakeRelay) DeleteServer(_ context.Context, name string, passphrase []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "delete "+name)
	s, err := f.find(name)
	if err == nil {
		err = f.checkPassphrase(s, passphrase)
	}
	if err != nil {
		return err
	}
	for i, one := range f.servers {
		if one == s {
			f.servers = append(f.servers[:i:i], f.servers[i+1:]...)
		}
	}
	return nil
}
