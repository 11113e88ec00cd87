// Package manager runs the servers of one relay process. It starts them, changes
// what runs when the configuration changes, answers the commands of the operator,
// and takes everything down again. It is for the daemon; the commands of the operator
// use [AskStatus], [AskReload] and the other functions that ask a relay, or [ClaimDataDir],
// [Offline] and [AcceptStore] while none runs.
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
// With Config.KeepRunning, or if a server is stopped or locked and can be started later,
// Start fails for the data directory and the control socket alone. It opens the network at once,
// in the background, tries again until that works, and publishes the servers when it has.
//
// # Reload
//
// [Manager.Reload] compares a configuration with what runs and makes a [Plan]. If the
// plan refuses anything, nothing changes. It refuses to put a running server on other
// data, and to change the data directory, the network or the format of the log.
// Otherwise every step is taken, whether or not other steps fail; the next plan has the
// failed ones again.
//
// # Servers that change while others run
//
// [Manager.AddServer], [Manager.EditServer], [Manager.StartServer], [Manager.StopServer],
// [Manager.UnlockServer], [Manager.DeleteServer] and [Manager.ChangePassphrase] concern one
// server. They edit a file, read the configuration again and take the steps of a plan that has
// this server alone. They disturb no other server. If the process is killed at any moment, the
// next start finds the server as it was or as it was asked for, or makes it so.
//
// Each server has a [State]. Whether a server runs is decided by its autostart when the relay
// starts, and by StartServer and StopServer from then on; a reload changes nothing of that.
// The keys of a protected server are in memory from when they are unlocked until the server
// is stopped. Attempts at a passphrase are limited, see [TooManyAttemptsError].
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
// One caller at a time starts or ends anything: Start, Reload, Close, the changes of one server
// and the retries of a server take turns (Manager.changing). What they change is also guarded by
// Manager.mu, so that a status never waits for them.
//
// Publishing takes seconds or hours, so a server that is started while the relay runs is
// published by a goroutine of its own (bringUp). That holds changing only to open the board and to
// adopt what was published. Whoever ends the server meanwhile holds changing, ends server.life,
// and takes back the publication. Other files and passphrases of a server are touched only by
// the holder of changing.
//
// # Files
//
//	DATA_DIR/lock                 locked by the running relay
//	DATA_DIR/status.sock          mode 0600; who can connect may ask, reload, and change servers
//	DATA_DIR/console.keys         the key of the console's onion service, if it has one
//	DATA_DIR/known/NAME           the record: the address of the server
//	DATA_DIR/run/N/               sockets of one plugin
//	DATA_DIR/servers/NAME/adding  while the server is being added: what there is of it can go
//	DATA_DIR/servers/NAME/deleted while the server is being deleted: what there is of it has to go
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
	// Load reads the configuration again. Only what a file can say is used of what it
	// returns: no functions and outputs.
	Load func(context.Context) (Config, error)
	// Files edits the configuration; nil: servers cannot be added, edited or deleted.
	Files ServerFiles
	// KeepRunning is for a relay with a console: it runs also when none of its servers can
	// run, or when it has none.
	KeepRunning bool
	// OnPublished, if set, is called for each server that starts with the relay, when it is
	// published: by Start in the order of the configuration, or later.
	OnPublished func(RunningServer)
	// OpenConsole, if set, returns an address that opens the console once; with ownUser, only
	// for programs of the relay's user on this machine.
	OpenConsole func(ownUser bool) (string, error)
	// Console is what else there is to tell of the console.
	Console ConsoleConfig
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
	Name        string
	Dir         string // of its files; made if it is missing
	File        string // in which it is configured
	Description string // for the operator alone
	NoAutostart bool   // listed, and not started with the relay
	// Passphrase unlocks protected keys; empty: somebody has to do that.
	Passphrase []byte
	// Fault is why the server cannot be used, as its file was read. What the file says of
	// it is not known then.
	Fault   error
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

	opened  chan struct{} // closed when the network is open
	openNow chan struct{} // has keepOpeningNetwork try at once

	attempts    attempts      // at passphrases
	changeSlots chan struct{} // of those who wait for a change over the control socket

	mu      sync.Mutex
	cfg     Config        // as it runs
	network onion.Network // nil until it is open
	servers []*server     // in the order of the configuration

	networkProblem string // why the network is not open yet; written by keepOpeningNetwork

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
	m := &Manager{cfg: cfg, log: cfg.Logger, since: time.Now(), dir: dir, changing: semaphore.NewWeighted(1), opened: make(chan struct{}), openNow: make(chan struct{}, 1), changeSlots: make(chan struct{}, maxChanges)}
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
	m.finishInterrupted()
	starting, err := m.openServers()
	if err != nil {
		return err
	}
	if m.runsOn(starting) {
		m.startInBackground(starting)
		return nil
	}
	if err := m.startServers(ctx, starting); err != nil {
		return err
	}
	if m.cfg.OnPublished != nil {
		for _, s := range m.Servers() {
			m.cfg.OnPublished(s)
		}
	}
	return nil
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
