package manager

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/retention"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/limits"
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
	keys  *identity.Server // nil if they could not be loaded
	feed  *metrics.Feed

	life    context.Context // ends when the server is closed
	endLife context.CancelFunc
	settled chan struct{} // closed when bringUp has published it, or has failed to

	announced    bool        // it is to start with the relay, which has returned from Start
	comingUp     atomic.Bool // bringUp tries to run it
	storeChecked atomic.Bool // the store is open and the right one
	keysChanging atomic.Bool // ChangePassphrase is replacing the key file

	// board knows the store: it is that of relay, or of what will be relay once it is
	// published; nil while the server has no board.
	board atomic.Pointer[board.Board]

	// replica keeps the links to peers; nil while there is no peersync plugin.
	replica atomic.Pointer[replica.Replica]

	// pastRestarts counts the restarts of plugins that were removed, by kind; written
	// under Manager.mu.
	pastRestarts map[plugin.Kind]int

	// Written by the holder of Manager.changing, under Manager.mu.
	store     *instance // nil without keys
	others    []*instance
	peers     []PeerConfig
	roaming   bool
	halted    State             // stopped or locked; empty while the server is to run
	protected bool              // its keys need a passphrase
	address   identity.Onion    // of its board; empty if not known
	deleting  bool              // see DeleteServer
	problem   string            // why the server does not run
	pending   *publication      // nil unless bringUp is publishing it
	relay     *relay.Server     // nil while it is not published
	limits    limits.Limits     // of relay
	retention limits.Retention  // of keeper, or of the configuration while keeper is nil
	keeper    *retention.Keeper // prunes the store of relay
	stopMark  func()            // saves the mark of relay for the last time
	files     *watchedFiles     // of relay

	reach reachRecord // guarded by Manager.mu
}

func (m *Manager) newServer(c ServerConfig) *server {
	s := &server{name: c.Name, dir: c.Dir, cfg: c, retention: c.Retention, peers: c.Peers, roaming: c.Roaming, since: time.Now()}
	s.address, s.protected = readKeyFacts(m.cfg.DataDir, s.dir) // which hold for a server that cannot be started as well
	s.life, s.endLife = context.WithCancel(m.closing)
	s.settled = make(chan struct{})
	s.feed = metrics.NewFeed(s.name, func(ctx context.Context) (relay.Status, metrics.RelayStatus, bool) { return m.collectMetrics(ctx, s) }, m.log.With("server", s.name))
	return s
}

func (m *Manager) findServer(name string) *server {
	i := slices.IndexFunc(m.servers, func(s *server) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return m.servers[i]
}

func (m *Manager) relayOf(s *server) *relay.Server {
	m.mu.Lock()
	defer m.mu.Unlock()
	return s.relay
}

// instances returns all plugins of a server, the store first.
func (s *server) instances() []*instance {
	if s.store == nil {
		return s.others
	}
	return append([]*instance{s.store}, s.others...)
}

// isDown reports whether a plugin does not run although an attempt was made.
func (i *instance) isDown() bool {
	state := i.plugin.Status().State
	return state == supervise.Failed || state == supervise.Backoff
}

// launchStore starts the process of a store.
func (m *Manager) launchStore(s *server, c PluginConfig) {
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

// publishedBoard returns the board of the server while it is published.
func (s *server) publishedBoard() (replica.Board, error) {
	b := s.board.Load()
	if b == nil {
		return nil, errors.New("the server is not published")
	}
	return b, nil
}

// recheckStore makes the board check a store whose process was restarted.
func (m *Manager) recheckStore(s *server) {
	b := s.board.Load()
	if b == nil {
		return // not open yet, so it will see the store as it is
	}
	ctx, cancel := context.WithTimeout(m.closing, time.Minute)
	defer cancel()
	if err := b.Reopened(ctx); err != nil && m.closing.Err() == nil {
		m.log.Warn("store came back but could not be checked", "server", s.name, "error", err)
	}
}

// withBudget returns limits with what a server with the retention may take in, where the
// operator has not said it.
func withBudget(l limits.Limits, r limits.Retention) limits.Limits {
	posts, bytes := r.Budget()
	l.PostsPerHour, l.BytesPerDay = cmp.Or(l.PostsPerHour, posts), cmp.Or(l.BytesPerDay, bytes)
	return l
}

// storePath is a directory on the disk of the store of the server in dir.
func storePath(dir string) string {
	if files := StorageDir(dir); holdsFiles(files) {
		return files // which may be on a disk of its own
	}
	return dir
}

// startKeeper keeps the store of a server within its retention.
func (m *Manager) startKeeper(s *server, store storage.Store, b *board.Board, old bool, log *slog.Logger) *retention.Keeper {
	dir := storePath(s.dir)
	return retention.Start(retention.Config{
		Store: store, Limits: s.retention, Dir: s.dir, Old: old, Compacting: &m.compacting, Now: m.cfg.now, Logger: log,
		Grown:     func() (envelopes, bytes uint64) { return b.Counts.Stored.Load(), b.Counts.Bytes.Load() },
		FloorRose: b.FloorRose,
		Refuse:    b.SetNoRoom, RefusePeers: b.SetCrowded,
		Open: func() bool { return m.network.Status().State == onion.Ready },
		Disk: func() (retention.Disk, error) { return retention.ReadDisk(dir) },
	})
}

// withdrawServer makes a server unreachable and answers the posts under way. Its
// plugins run on.
func (m *Manager) withdrawServer(ctx context.Context, s *server) error {
	if s.relay == nil {
		return nil
	}
	err := s.closeRelay(ctx)
	s.board.Store(nil)
	m.updateShared(func() { s.relay, s.keeper = nil, nil })
	return err
}

// closeRelay closes the relay of a server and saves its mark.
func (s *server) closeRelay(ctx context.Context) error {
	s.keeper.Stop()
	err := s.relay.Close(ctx)
	s.stopMark()
	return err
}

// addPlugin starts a plugin that is not a store.
func (m *Manager) addPlugin(s *server, c PluginConfig) *instance {
	i := m.launchPlugin(s, c)
	m.updateShared(func() { s.others = append(slices.Clip(s.others), i) })
	return i
}

// addAndAwait starts a plugin, unless it has been started, and waits for its first
// attempt. A plugin whose attempt has failed gets another. One that does not become
// ready stays, and its supervisor goes on trying where that can help.
func (m *Manager) addAndAwait(ctx context.Context, s *server, c PluginConfig) error {
	var i *instance
	if n := slices.IndexFunc(s.others, func(i *instance) bool { return i.cfg.String() == c.String() }); n >= 0 {
		i = s.others[n]
	} else {
		i = m.addPlugin(s, c)
	}
	if i.isDown() {
		return m.reconfigurePlugin(ctx, s, i, c)
	}
	if err := i.plugin.WaitTried(ctx); err != nil {
		return &PluginError{s.name, c.String(), err}
	}
	return nil
}

// removePlugin ends a plugin that is not a store.
func (m *Manager) removePlugin(ctx context.Context, s *server, i *instance) error {
	err := i.stopPlugin(ctx)
	m.updateShared(func() {
		s.addRestarts(i)
		s.others = slices.DeleteFunc(slices.Clone(s.others), func(other *instance) bool { return other == i })
	})
	return err
}

// addServer starts a server that is new or that did not run. If that fails, the server
// stays in the status with its fault. It does not wait for the network if that is not open.
func (m *Manager) addServer(ctx context.Context, c ServerConfig, limits limits.Limits, explain func(error) error) error {
	s := m.newServer(c)
	s.keys = m.unlockedKeys(c.Name)
	m.replaceServer(ctx, s) //nolint:errcheck // it did not run
	err := m.prepareServer(s)
	if m.lockServer(s, err) {
		return err
	}
	if err == nil && m.network == nil {
		m.launchServer(s)
		return nil
	}
	if err == nil {
		m.launchStore(s, c.Storage)
		err = m.awaitAndCheckStore(ctx, s)
	}
	if err == nil {
		err = m.publishServer(ctx, s, limits)
	}
	if err != nil {
		return m.failServer(s, err, explain)
	}
	m.addOthers(s)
	return nil
}

// addServerInBackground is addServer without waiting for the store and the network. If keys is
// nil they are loaded.
func (m *Manager) addServerInBackground(ctx context.Context, c ServerConfig, keys *identity.Server, explain func(error) error) error {
	s := m.newServer(c)
	if s.keys = keys; keys == nil {
		s.keys = m.unlockedKeys(c.Name)
	}
	m.replaceServer(ctx, s) //nolint:errcheck // it did not run
	err := m.prepareServer(s)
	if m.lockServer(s, err) {
		return err
	}
	if err != nil {
		return m.failServer(s, err, explain)
	}
	m.launchServer(s)
	return nil
}

// unlockedKeys returns the keys of a protected server that was unlocked and is to be started
// again, or nil.
func (m *Manager) unlockedKeys(name string) *identity.Server {
	if s := m.findServer(name); s != nil && s.protected && s.halted == "" {
		return s.keys
	}
	return nil
}

// haltServer ends a server, or none if it is new, and lists it as one that does not run.
func (m *Manager) haltServer(ctx context.Context, c ServerConfig, state State) error {
	return m.replaceServer(ctx, m.haltedServer(c, state))
}

// replaceServer ends the server that has the name of s, if there is one, and puts s in its
// place.
func (m *Manager) replaceServer(ctx context.Context, s *server) (err error) {
	i := slices.IndexFunc(m.servers, func(other *server) bool { return other.name == s.name })
	if i < 0 {
		m.updateShared(func() { m.servers = append(slices.Clip(m.servers), s) })
		return nil
	}
	err = m.closeServer(ctx, m.servers[i])
	m.updateShared(func() {
		m.servers = slices.Clone(m.servers)
		m.servers[i] = s
	})
	return err
}

// dropServer withdraws a server and ends it. Its files stay.
func (m *Manager) dropServer(ctx context.Context, s *server) error {
	err := m.closeServer(ctx, s)
	m.updateShared(func() {
		m.servers = slices.DeleteFunc(slices.Clone(m.servers), func(other *server) bool { return other == s })
	})
	return err
}

// closeServer ends a server and its plugins, each while it still has what it needs.
func (m *Manager) closeServer(ctx context.Context, s *server) error {
	var errs []error
	if s.endLife != nil {
		s.endLife()
	}
	m.endPublication(ctx, s)
	if s.relay != nil {
		errs = append(errs, s.closeRelay(ctx)) // keeps its counts, for the last snapshot
	}
	stopped := make([]error, len(s.others))
	var wg sync.WaitGroup
	for n, i := range s.others {
		wg.Go(func() { stopped[n] = i.stopPlugin(ctx) }) // at once, so that time is left for the store
	}
	wg.Wait()
	s.feed.Close()
	if s.store != nil {
		stopped = append(stopped, s.store.stopPlugin(ctx))
	}
	return errors.Join(append(errs, stopped...)...)
}
