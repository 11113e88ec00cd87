package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/limits"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/host"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// server is one server with its plugins.
type server struct {
	name  string
	dir   string
	cfg   ServerConfig // as it was started
	since time.Time
	keys  *identity.Server // nil when they could not be loaded
	feed  *metrics.Feed

	// board knows the store: it is that of relay, or of what will be relay once it is
	// published; nil while there is none.
	board atomic.Pointer[board.Board]

	// ended counts the restarts of plugins that were removed; set under Manager.mu.
	ended map[plugin.Kind]int

	// Set by the holder of Manager.changing, under Manager.mu.
	store   *instance // nil without keys
	others  []*instance
	relay   *relay.Server // nil while it is not published
	limits  limits.Limits // of the relay
	endMark func()        // of the relay
	problem string        // why it does not run
	places  *places       // of the relay
}

// Keys returns the keys of the server in dir, made on first use.
func Keys(dataDir, dir string) (*identity.Server, error) {
	known, err := loadKnown(dataDir, dir)
	if err != nil {
		return nil, err
	}
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the server: %w", err)
	}
	d, err := openDir(dataDir)
	if err != nil {
		return nil, err
	}
	defer d.releaseDir()
	path := filepath.Join(dir, "keys")
	if err := checkLost(dir, path); err != nil {
		return nil, err
	}
	keys, err := identity.LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	return keys, known.confirm(keys.Board.Onion())
}

// checkLost refuses to make new keys for a server that has run and whose keys are
// gone: it would be another server, and nobody could reach this one.
func checkLost(dir, keys string) error {
	if _, err := os.Lstat(keys); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := os.Lstat(filepath.Join(dir, markName))
	if err != nil && !holdsFiles(StorageDir(dir)) {
		return nil
	}
	return fmt.Errorf("key file %s is missing, but the server has run: restore the key file from a backup. To begin a new server with a new address, give it another name", keys)
}

func (m *Manager) newServer(c ServerConfig) *server {
	s := &server{name: c.Name, dir: c.Dir, cfg: c, since: time.Now()}
	s.feed = metrics.NewFeed(s.name, func(ctx context.Context) (relay.Status, metrics.Relay, bool) { return m.countServer(ctx, s) }, m.log.With("server", s.name))
	return s
}

func (m *Manager) relayOf(s *server) *relay.Server {
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.relay
}

// openStore starts the process of a store.
func (m *Manager) openStore(s *server, c PluginConfig) {
	i := m.launchPlugin(s, c)
	m.updateShared(func() { s.store = i })
}

// admitStore asks the board whether the store that a process has opened is the one it
// knows. Without a board there is nothing to compare; publishOn does it later.
func (s *server) admitStore(ctx context.Context, c *host.Client, tried bool) error {
	if b := s.board.Load(); b != nil {
		return b.Admit(ctx, c.Storage(), tried)
	}
	return nil
}

// publishedEnd is the end of the log as the board of the server shows it.
func (s *server) publishedEnd() (storage.Seq, error) {
	b := s.board.Load()
	if b == nil {
		return 0, errors.New("the server is not published")
	}
	return b.End().Seq, b.Err()
}

// recheckStore lets a board look at a store whose process has been started again.
func (m *Manager) recheckStore(s *server) {
	b := s.board.Load()
	if b == nil {
		return // not open yet, so it will see the store as it is
	}
	ctx, cancel := context.WithTimeout(m.closing, time.Minute)
	defer cancel()
	if err := b.Reopened(ctx); err != nil && m.closing.Err() == nil {
		m.log.Warn("store came back but could not be looked at", "server", s.name, "error", err)
	}
}

// publishServer opens the board of a server and makes it reachable.
func (m *Manager) publishServer(ctx context.Context, s *server, limits limits.Limits) error {
	if err := m.publishOn(ctx, s, limits, s.store.plugin.Storage()); err != nil {
		return fmt.Errorf("server %s: %w", s.name, err)
	}
	return nil
}

func (m *Manager) publishOn(ctx context.Context, s *server, limits limits.Limits, store storage.Store) error {
	log := m.log.With("server", s.name)
	places, err := m.placesOf(s)
	if err != nil {
		return err
	}
	r, err := relay.Open(ctx, relay.Config{Network: m.network, Keys: s.keys, Store: store, Limits: limits, Check: places.check, Logger: log})
	if err != nil {
		return err
	}
	b := r.Board()
	s.board.Store(b)
	// A store that was started again before there was a board to ask has not been
	// compared with anything.
	end := func() {}
	err = b.Reopened(ctx)
	if err == nil {
		if lost := checkMark(s.dir, b.Epoch(), b.End().Seq); lost != nil {
			err = m.lostStoreError(s, lost)
		}
	}
	if err == nil {
		end = keepMark(s.dir, s.cfg.Storage.Name, b, log) // before anything is posted
		err = r.Publish(ctx)
	}
	if err != nil {
		end()
		s.board.Store(nil)
		r.Close(ctx) //nolint:errcheck // nothing was posted yet
		return err
	}
	m.updateShared(func() { s.relay, s.limits, s.endMark, s.places, s.problem = r, limits, end, places, "" })
	return nil
}

// withdrawServer makes a server unreachable and answers what is under way. Its plugins
// run on.
func (m *Manager) withdrawServer(ctx context.Context, s *server) error {
	if s.relay == nil {
		return nil
	}
	err := s.closeRelay(ctx)
	s.board.Store(nil)
	m.updateShared(func() { s.relay = nil })
	return err
}

// closeRelay ends the relay of a server and notes how far its log has come.
func (s *server) closeRelay(ctx context.Context) error {
	err := s.relay.Close(ctx)
	s.endMark()
	return err
}

// addPlugin starts a plugin that a server can do without.
func (m *Manager) addPlugin(s *server, c PluginConfig) *instance {
	i := m.launchPlugin(s, c)
	m.updateShared(func() { s.others = append(slices.Clip(s.others), i) })
	return i
}

// addAndAwait does so where it has not been done, and waits for its first try; one that had that
// in vain is tried again. One that does not become ready stays, and its supervisor goes on
// trying where that can help.
func (m *Manager) addAndAwait(ctx context.Context, s *server, c PluginConfig) error {
	var i *instance
	if n := slices.IndexFunc(s.others, func(i *instance) bool { return i.cfg.String() == c.String() }); n >= 0 {
		i = s.others[n]
	} else {
		i = m.addPlugin(s, c)
	}
	if i.triedInVain() {
		return m.reconfigurePlugin(ctx, s, i, c)
	}
	if err := i.plugin.WaitTried(ctx); err != nil {
		return &PluginError{s.name, c.String(), err}
	}
	return nil
}

// removePlugin ends it again.
func (m *Manager) removePlugin(ctx context.Context, s *server, i *instance) error {
	err := i.stopPlugin(ctx)
	m.updateShared(func() {
		s.endedWith(i)
		s.others = slices.DeleteFunc(slices.Clone(s.others), func(other *instance) bool { return other == i })
	})
	return err
}

// closeServer ends a server and all its plugins, in an order in which each still
// has what it needs.
func (m *Manager) closeServer(ctx context.Context, s *server) error {
	var errs []error
	if s.relay != nil {
		errs = append(errs, s.closeRelay(ctx)) // its counts remain, for the last snapshot
	}
	stopped := make([]error, len(s.others))
	var wg sync.WaitGroup
	for n, i := range s.others {
		wg.Go(func() { stopped[n] = i.stopPlugin(ctx) }) // none takes the time of the store
	}
	wg.Wait()
	s.feed.Close()
	if s.store != nil {
		stopped = append(stopped, s.store.stopPlugin(ctx))
	}
	return errors.Join(append(errs, stopped...)...)
}
