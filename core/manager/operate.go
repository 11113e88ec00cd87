package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/token"
)

// The operator adds, edits, starts, stops, unlocks and deletes one server while the others
// run. Each of these changes edits a file, reads the configuration again and takes the steps
// of a plan, like a reload. But the plan has one server, and the changes of other files and
// settings wait for a reload. A server is started in the background: while the network publishes
// it, other changes go on.

// wish is what a change wants of a server beside what its file says.
type wish int

const (
	wishNothing wish = iota
	wishStart
	wishStop
)

// change is a change of one server that an operator asks for.
type change struct {
	what string // for the log: "edit"
	name string
	wish wish
	keys *identity.Server // of a server that is to start; nil: it loads them
	// edit, unless nil, changes a file. undo puts back what was there.
	edit    func() (undo func() error, err error)
	adds    bool // edit adds the server
	storage bool // edit writes another storage block
}

// AddServer adds a server with a file of its own. It starts the server if that is to start
// with the relay. If the server cannot be started, it stays in the configuration.
// AddServer waits until the server is published, or has failed, or ctx ends.
func (m *Manager) AddServer(ctx context.Context, n NewServer) (*Plan, error) {
	if err := n.checkInput(); err != nil {
		return nil, err
	}
	c := &change{what: "add", name: n.Name, adds: true}
	if n.Autostart {
		c.wish = wishStart
	}
	c.edit = func() (undo func() error, err error) {
		c.keys, undo, err = createServer(m.cfg.DataDir, m.cfg.Files, n)
		return undo, err
	}
	return m.changeServer(ctx, c)
}

// EditServer changes the file of a server, and the server accordingly.
func (m *Manager) EditServer(ctx context.Context, name string, sc ServerChange) (*Plan, error) {
	return m.changeServer(ctx, &change{what: "edit", name: name, storage: sc.Storage != nil, edit: func() (undo func() error, err error) {
		if m.cfg.Files == nil {
			return nil, errNoFiles
		}
		return m.cfg.Files.Edit(name, sc)
	}})
}

// StartServer starts a server that is stopped, locked or failed. A protected server needs its
// passphrase, unless the configuration has it: otherwise the error matches
// [identity.ErrLocked]. It waits like AddServer.
func (m *Manager) StartServer(ctx context.Context, name string, passphrase []byte) (*Plan, error) {
	return m.startServer(ctx, "start", name, passphrase)
}

// UnlockServer is StartServer for a protected server.
func (m *Manager) UnlockServer(ctx context.Context, name string, passphrase []byte) (*Plan, error) {
	if len(passphrase) == 0 {
		return nil, &FieldError{"passphrase", "type the passphrase of the server"}
	}
	return m.startServer(ctx, "unlock", name, passphrase)
}

func (m *Manager) startServer(ctx context.Context, what, name string, passphrase []byte) (*Plan, error) {
	k, err := m.knownServer(name)
	if err != nil {
		return nil, err
	}
	c := &change{what: what, name: name, wish: wishStart}
	switch {
	case len(passphrase) > 0:
		if c.keys, err = m.unlockKeys(k, passphrase); err != nil {
			m.logChange(ctx, what, name, err)
			return nil, err
		}
	case k.halted != "" && k.protected && !k.hasPassphrase:
		return nil, fmt.Errorf("server %s: %w: give its passphrase", name, identity.ErrLocked)
	}
	return m.changeServer(ctx, c)
}

// StopServer stops a server until it is started again, or the relay is.
func (m *Manager) StopServer(ctx context.Context, name string) (*Plan, error) {
	return m.changeServer(ctx, &change{what: "stop", name: name, wish: wishStop})
}

// ChangePassphrase changes the passphrase of a server. old is empty if there is none so far, and
// new to have none any more. The server runs on.
func (m *Manager) ChangePassphrase(ctx context.Context, name string, old, new []byte) (err error) {
	defer func() { m.logChange(ctx, "change the passphrase of", name, err) }()
	if len(new) > 0 {
		if err := checkNewPassphrase(new); err != nil {
			return err
		}
	}
	k, err := m.knownServer(name)
	if err != nil {
		return err
	}
	if k.protected {
		done, refused := m.attempts.beginAttempt(name)
		if refused != nil {
			return refused
		}
		defer func() { done(err == nil) }()
	}
	if m.changing.Acquire(ctx, 1) != nil {
		return ErrBusy
	}
	defer m.changing.Release(1)
	s := m.findServer(name)
	if s == nil || s.deleting || m.closing.Err() != nil {
		return ErrBusy
	}
	s.keysChanging.Store(true) // the server that runs watches its key file
	err = identity.ChangePassphrase(keysPath(s.dir), noneIfEmpty(old), noneIfEmpty(new))
	if s.files != nil {
		s.files.adoptFile(keysPath(s.dir))
	}
	s.keysChanging.Store(false)
	protected, _ := identity.Protected(keysPath(s.dir))
	m.updateShared(func() { s.protected = protected })
	if err == nil && len(s.cfg.Passphrase) > 0 {
		m.log.Warn("the configuration has the old passphrase of a server, so its next start will find the server locked: change it there too", "server", name)
	}
	return err
}

// noneIfEmpty is how package identity wants a passphrase that is not there.
func noneIfEmpty(passphrase []byte) []byte {
	if len(passphrase) == 0 {
		return nil
	}
	return passphrase
}

// Bundle returns the text that clients import of a server whose keys are known: one that runs,
// or one that is not protected.
func (m *Manager) Bundle(name string) (string, error) {
	k, err := m.knownServer(name)
	if err != nil {
		return "", err
	}
	keys := k.keys
	if keys == nil {
		if keys, err = identity.Load(keysPath(k.dir)); err != nil {
			return "", fmt.Errorf("server %s: %w", name, err)
		}
	}
	key, err := token.NewKey(keys.Scalar)
	if err != nil {
		return "", fmt.Errorf("server %s: %w", name, err)
	}
	return bundle.New(keys, key.Public()).String(), nil
}

// DescribeServer returns what the file of a server says now, to fill a form with. It asks no
// plugin. A file that was broken since is an error.
func (m *Manager) DescribeServer(name string) (ServerText, error) {
	m.mu.Lock()
	s := m.findServer(name)
	var file string
	if s != nil {
		file = s.cfg.File
	}
	m.mu.Unlock()
	switch {
	case s == nil:
		return ServerText{}, ErrNoSuchServer
	case m.cfg.Files == nil:
		return ServerText{}, errNoFiles
	}
	return m.cfg.Files.Describe(name, file)
}

// knownServer is what the operations need to know of a server before it is their turn.
type knownServer struct {
	name, dir     string
	halted        State
	protected     bool
	hasPassphrase bool // in the configuration
	keys          *identity.Server
}

func (m *Manager) knownServer(name string) (knownServer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.findServer(name)
	if s == nil {
		return knownServer{}, ErrNoSuchServer
	}
	k := knownServer{name: s.name, dir: s.dir, halted: s.halted, protected: s.protected, hasPassphrase: len(s.cfg.Passphrase) > 0}
	if s.halted == "" && s.problem == "" {
		k.keys = s.keys
	}
	return k, nil
}

// changeServer makes one change. Nothing is changed after an error, and if the plan refuses
// anything.
func (m *Manager) changeServer(ctx context.Context, c *change) (plan *Plan, err error) {
	defer func() { m.logChange(ctx, c.what, c.name, err) }()
	if m.changing.Acquire(ctx, 1) != nil {
		return nil, ErrBusy
	}
	plan, err = m.applyChange(c)
	m.changing.Release(1)
	if err != nil || !plan.Applied || c.wish != wishStart {
		return plan, err
	}
	m.awaitServer(ctx, c.name)
	m.noteOutcome(plan, c.name)
	return plan, nil
}

// logChange writes the audit line of a change.
func (m *Manager) logChange(ctx context.Context, what, name string, err error) {
	_, often := errors.AsType[*TooManyAttemptsError](err)
	switch {
	case often: // anybody could fill the log with that
	case errors.Is(err, ErrNoSuchServer):
		name = "" // it may be anything
		fallthrough
	case err != nil:
		m.log.Warn("change refused", "change", what, "server", name, "from", originOf(ctx), "error", err)
	default:
		m.log.Info("change", "change", what, "server", name, "from", originOf(ctx))
	}
}

// applyChange makes a change; the caller holds changing.
func (m *Manager) applyChange(c *change) (*Plan, error) {
	if m.closing.Err() != nil {
		return nil, ErrBusy
	}
	switch s := m.findServer(c.name); {
	case c.adds && s != nil:
		return nil, nameTakenError()
	case !c.adds && s == nil:
		return nil, ErrNoSuchServer
	case s != nil && s.deleting:
		return nil, fmt.Errorf("server %s was deleted, and not everything could be removed yet: delete it again", c.name)
	}
	undo := func() error { return nil }
	if c.edit != nil {
		var err error
		if undo, err = c.edit(); errors.Is(err, fs.ErrExist) {
			return nil, nameTakenError()
		} else if err != nil {
			return nil, err
		}
	}
	unchanged := undo == nil
	if unchanged {
		undo = func() error { return nil }
	}
	next, err := m.loadFor(c)
	if err != nil {
		return nil, undoAfter(err, undo)
	}
	plan := m.makePlanFor(c, next)
	plan.Unchanged = unchanged
	if len(plan.Refused) > 0 {
		return plan, undo()
	}
	plan.Applied = true
	for i := range plan.Steps {
		m.applyStep(&plan.Steps[i], next, c.what)
	}
	m.retryListening(plan, next)
	m.adoptSharedSettings(next)
	return plan, nil
}

func nameTakenError() error {
	return &FieldError{"name", "there is a server of this name already: choose another"}
}

// undoAfter undoes the edit that has led to err.
func undoAfter(err error, undo func() error) error {
	if failed := undo(); failed != nil {
		return fmt.Errorf("%w; and the edit could not be undone: %w", err, failed)
	}
	return err
}

// loadFor returns the configuration that runs, with what its files now say of the server of a
// change. A stop needs no files, which may be broken just then.
func (m *Manager) loadFor(c *change) (Config, error) {
	next := m.cfg
	if c.wish == wishStop {
		return next, nil
	}
	loaded, err := m.loadConfig()
	switch {
	case err != nil:
		return next, err
	case loaded.DataDir != m.cfg.DataDir:
		return next, fmt.Errorf("data_dir was changed in %s, which takes a restart of the relay: restart it first, or change it back", m.cfg.Path)
	}
	has := func(sc ServerConfig) bool { return sc.Name == c.name }
	i, j := slices.IndexFunc(loaded.Servers, has), slices.IndexFunc(next.Servers, has)
	if i < 0 {
		return next, fmt.Errorf("%w in %s any more", ErrNoSuchServer, m.cfg.Path)
	}
	sc := loaded.Servers[i]
	if c.edit != nil {
		if err := sc.firstFault(); err != nil {
			return next, err
		}
	}
	next.Explain, next.Servers = loaded.Explain, slices.Clone(next.Servers)
	if j < 0 {
		next.Servers = append(next.Servers, sc)
	} else {
		next.Servers[j] = sc
	}
	return next, nil
}

// firstFault returns why a server or one of its plugins cannot be used, as the file was read.
func (c ServerConfig) firstFault() error {
	faults := []error{c.Fault, c.Storage.Fault}
	for _, o := range c.Others {
		faults = append(faults, o.Fault)
	}
	for _, fault := range faults {
		if fault != nil {
			return fault
		}
	}
	return nil
}

// noteOutcome completes the step that has started a server.
func (m *Manager) noteOutcome(plan *Plan, name string) {
	m.mu.Lock()
	s := m.findServer(name)
	var state State
	problem := ""
	if s != nil {
		state, problem = s.state(), s.problem
	}
	m.mu.Unlock()
	for i := range plan.Steps {
		step := &plan.Steps[i]
		starts := step.Action == ActionStart || step.Action == ActionRetry || step.Action == ActionRestart
		if !starts || step.Plugin != "" || !step.Done {
			continue
		}
		switch state {
		case StateRunning:
			step.Bundle, _ = m.Bundle(name) // its keys are known
		case StateFailed:
			step.Done, step.Error = false, problem
		case StateStarting, StatePublishing:
			step.Note = "it is " + string(state)
		default:
			step.Done, step.Error = false, "somebody has stopped the server meanwhile"
		}
	}
}
