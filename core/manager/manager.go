// Package manager runs the servers of one relay process. It starts them, changes
// what runs when the configuration changes, answers the commands of the operator,
// and takes everything down again. It is for the daemon; the commands of the operator
// use [AskStatus], [AskReload], [ClaimDataDir] and [AcceptStore].
//
// # Start and end
//
// [Start] goes from the machine to the network:
//
//  1. It checks the clock, claims the data directory and opens the control socket.
//  2. It loads the keys of each server and starts the process of its store.
//  3. It waits for each store, and refuses one that is not the store the server ran
//     on last, or that has lost envelopes since.
//  4. It opens the network as soon as one server can be published.
//  5. It publishes each server and then starts its other plugins.
//
// Everything that can be wrong with a server on this machine is thus found before it
// reaches the network. A start that fails leaves nothing running. [Manager.Close] goes
// the other way: servers are withdrawn and answer the posts under way, stats plugins
// get the last numbers, plugins close, then the network and the control socket.
//
// # Faults
//
// A server needs its keys, its store and its publication. If one of them fails, this
// server does not run and all others do; the log and the status say why. A store that
// comes late and a publication that failed are tried again. Everything else waits for
// a reload, which tries that server and no other. The plugins that are not stores may
// fail at any time: the log and the status say so, and nothing stops.
//
// [Start] fails for what all servers need: the data directory, the control socket and
// the network. It also fails if no server is left, before it opens the network; the
// error is [ErrNoServer] if another start would find the same faults.
//
// # Reload
//
// [Manager.Reload] compares a configuration with what runs and makes a [Plan]. If the
// plan refuses anything, nothing changes. It refuses to put a running server on other
// data, and to change the data directory, the network or the format of the log.
// Otherwise every step is taken, whether or not other steps fail; the next plan has the
// failed ones again.
//
// # What the manager remembers of a server
//
// Two small files are kept where no plugin can write: the record in known/ says which
// address belongs to the name of a server, and the mark says which store the server ran
// on and how far its log had come. With them the manager notices a disk that is not
// mounted, keys that were swapped, and a store that was lost, exchanged or rolled back
// while the relay was down. While the relay runs it looks every few seconds whether keys,
// store and lock are still in place, and posts are refused while they are not.
//
// # Locks
//
// One caller at a time starts or ends anything: Start, Reload, Close and the retries of
// a server take turns (Manager.changing). What they change is also guarded by Manager.mu,
// so that a status never waits for them.
//
// # Files
//
//	DATA_DIR/lock                 locked by the running relay
//	DATA_DIR/status.sock          mode 0600; who can connect may ask and reload
//	DATA_DIR/known/NAME           the record: the address of the server
//	DATA_DIR/run/N/               sockets of one plugin
//	DATA_DIR/servers/NAME/keys    the identity of a server
//	DATA_DIR/servers/NAME/mark    the mark: its store, and how far the log has come
//	DATA_DIR/servers/NAME/retention  what removals go by: up to which hour the server has run, and when it last removed something
//	DATA_DIR/servers/NAME/peers.json  the numbers of its peers, and what they have used up of their quotas
//	DATA_DIR/servers/NAME/hours.json  while it has peers: the first entry of each hour
//	DATA_DIR/servers/NAME/storage the directory of its storage plugin
//	DATA_DIR/servers/NAME/KIND/INSTANCE          that of any other plugin
//	DATA_DIR/servers/NAME/peersync/INSTANCE.cursors  what a peersync plugin remembers
//	DATA_DIR/tor/                 the state of the tor that the relay starts
package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/limits"
)

// Config says what to run.
type Config struct {
	Path    string // of the configuration file
	DataDir string
	Version string // of the relay, for the status
	Network NetworkConfig
	Servers []ServerConfig
	Limits  limits.Limits // for each server
	Logger  *slog.Logger
	// Level is what Logger writes at the least; a reload sets it to LogLevel.
	Level     *slog.LevelVar
	LogLevel  slog.Level
	LogFormat string // a reload cannot change it
	// Load reads the configuration again. Logger, Level, Version, OnStart, OnReload,
	// Log, Stdout and Load of what it returns are ignored.
	Load func(context.Context) (Config, error)
	// OnStart, if set, is called by Start before it starts anything. Only Status may be
	// called until Start has returned.
	OnStart func(*Manager)
	// OnReload, if set, is called when a reload begins, and the function that it returns
	// when the reload is over.
	OnReload func() (done func())
	// LogPath is the file that the log goes to, if it does, for a look at its disk.
	LogPath string
	// Log and Stdout are the outputs of the relay, whose state is part of the status.
	// They may be nil.
	Log, Stdout *logwriter.Writer
	// Explain, if set, improves an error that concerns this configuration, for example
	// by pointing into the file.
	Explain func(error) error

	storesTimeout, retryEvery time.Duration    // 0: the constants; tests use less
	reachEvery                time.Duration    // likewise
	now                       func() time.Time // nil: time.Now; of the retention
}

// NetworkConfig says how servers are reached.
type NetworkConfig struct {
	// Open opens the network. It is called once, when a server can be published.
	Open func(context.Context) (onion.Network, error)
	// Settings is equal for equal settings; a reload cannot change them.
	Settings string
	Dir      string // of the files of tor; empty if it has none of ours
	Where    string // in the file
}

// ServerConfig describes one server.
type ServerConfig struct {
	Name    string
	Dir     string // of its files; made if it is missing
	Storage PluginConfig
	// Retention is how much of the store is kept; the zero value keeps all.
	Retention limits.Retention
	Others    []PluginConfig // stats and peersync, no two of the same kind and instance
	Peers     []PeerConfig   // of the one peersync plugin, if there are any
	Roaming   bool           // clients may have positions of replicas, see [board.Board.SetRoaming]
}

// PeerConfig is another relay that has a replica of a server.
type PeerConfig struct {
	replica.Peer
	Where string // in the file
}

// storesTimeout is how long a store may take to open, a few tries included. After that its
// server counts as one that does not run. But a start goes on waiting for a store that is being
// opened as long as no other server runs, because ending would only begin that again.
const storesTimeout = time.Minute

// Manager is a running relay.
type Manager struct {
	log        *slog.Logger
	since      time.Time
	dir        *dataDir
	endControl context.CancelFunc // nil until commands are answered
	wg         sync.WaitGroup

	warnPeerOnce sync.Once // limits the warning about an untrusted peer to one

	closing context.Context // ends when Close is called
	end     context.CancelFunc

	// changing is held while anything is started or ended. Only its holder writes what
	// mu guards; the holder may read that without mu.
	changing   *semaphore.Weighted // of one
	socketDirs atomic.Int64        // number of socket directories so far
	compacting sync.Mutex          // held while a store is compacted
	reaching   sync.Mutex          // held while a server is tried from outside

	opened chan struct{} // closed when the network is open

	mu      sync.Mutex
	cfg     Config        // as it runs
	network onion.Network // nil until it is open
	servers []*server     // in the order of the configuration

	lowDisks []DiskStatus // replaced by watchDisks under mu
}

// PluginError is the error of a plugin that cannot be used. It names the plugin, so
// that the caller can point into the configuration.
type PluginError struct {
	Server, Plugin string // Plugin as PluginConfig.String gives it
	Err            error
}

func (e *PluginError) Error() string { return fmt.Sprintf("server %s: %v", e.Server, e.Err) }
func (e *PluginError) Unwrap() error { return e.Err }

// Start starts everything. It returns when all servers that can run are published.
func Start(ctx context.Context, cfg Config) (*Manager, error) {
	if err := checkClock(time.Now()); err != nil {
		return nil, err
	}
	dir, err := claimDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Logger, since: time.Now(), dir: dir, changing: semaphore.NewWeighted(1), opened: make(chan struct{})}
	m.closing, m.end = context.WithCancel(context.WithoutCancel(ctx))
	if cfg.OnStart != nil {
		cfg.OnStart(m)
	}
	err = m.runExclusive(func() error { return m.startAll(ctx) })
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		m.Close(clean) //nolint:errcheck // the reason to give up is err
		return nil, err
	}
	return m, nil
}

func (m *Manager) startAll(ctx context.Context) error {
	ln, err := m.dir.listenControl()
	if err != nil {
		return err
	}
	control, end := context.WithCancel(context.WithoutCancel(ctx))
	m.endControl = end
	lost := make(chan struct{})
	m.wg.Go(func() { m.keepControlSocket(control, ln, lost) })
	m.wg.Go(func() { m.watchFiles(control, lost) })
	m.wg.Go(func() { m.watchDisks(control) })
	m.wg.Go(func() { m.watchReach(m.closing) })
	faults, err := m.openServers()
	if err != nil {
		return err
	}
	return m.startServers(ctx, faults)
}

// runExclusive calls f while it holds changing.
func (m *Manager) runExclusive(f func() error) error {
	m.changing.Acquire(context.Background(), 1) //nolint:errcheck // the context has no end
	defer m.changing.Release(1)
	return f()
}

// updateShared changes what mu guards; the caller holds changing.
func (m *Manager) updateShared(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// RunningServer is a server that clients can reach.
type RunningServer struct {
	Name   string
	Bundle bundle.Bundle
}

// Servers returns the published servers in the order of the configuration.
func (m *Manager) Servers() []RunningServer {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []RunningServer
	for _, s := range m.servers {
		if s.relay != nil {
			out = append(out, RunningServer{Name: s.name, Bundle: s.relay.Bundle()})
		}
	}
	return out
}

// Close takes everything down in order. When ctx ends it no longer waits, and ends
// what is left.
func (m *Manager) Close(ctx context.Context) error {
	m.end() // a reload gives up now
	return m.runExclusive(func() error { return m.closeAll(ctx) })
}

func (m *Manager) closeAll(ctx context.Context) error {
	errs := make([]error, len(m.servers)+1)
	var wg sync.WaitGroup
	for i, s := range m.servers {
		wg.Go(func() { errs[i] = m.closeServer(ctx, s) })
	}
	wg.Wait()
	if m.network != nil {
		errs[len(m.servers)] = m.network.Close()
	}
	if m.endControl != nil {
		m.endControl()
	}
	m.wg.Wait()
	m.dir.releaseDir()
	return errors.Join(errs...)
}
