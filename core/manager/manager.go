// Package manager runs the servers of one relay process: it claims the data
// directory, starts the plugins, opens the network, publishes the servers, and
// takes all of it down again in the reverse order. It changes what runs when the
// configuration changes, and answers the commands of the operator over a unix
// socket.
//
// # Order
//
// What can be wrong with a server on this machine is tried before it reaches the
// network: its keys, then its store, then Tor. A start that fails leaves nothing
// running. At the end the servers withdraw and answer what is under way, the last
// numbers go to the stats plugins, the plugins close, then Tor ends.
//
// A server needs its store. Its other plugins may fail, at the start and later:
// that is logged and shown in the status, and stops nothing.
//
// # Faults
//
// A fault of one server, in its keys, its store, its plugins or its publication,
// leaves all others alone. The server does not run then; the log and the status say
// why, and a reload tries it again, and only it. A store that comes late and a
// publication that failed are also tried again without that. [Start] fails for
// what all servers need: the data directory, the control socket, the network. It
// also fails, before it opens the network, when not one server is left; with
// [ErrNoServer] if another start would find the same.
//
// # Reload
//
// [Manager.Reload] compares a configuration with what runs and makes a [Plan].
// Either nothing in it is refused and it is applied, or nothing is changed. What
// would put a running server on other data, or take the network from under it,
// is refused. The steps of a plan that is applied do not depend on each other: one
// that fails is reported, the others are done, and what failed is in the next
// plan again.
//
// # Files
//
//	DATA_DIR/lock                 held by the running relay
//	DATA_DIR/status.sock          mode 0600; who can connect may ask and reload
//	DATA_DIR/known/NAME           the address of the server, so that no other takes its name
//	DATA_DIR/run/N/               sockets of one plugin
//	DATA_DIR/servers/NAME/keys    the identity of a server
//	DATA_DIR/servers/NAME/mark    how far its log has come, to notice a store that was rolled back
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
	"github.com/cwtch-relay/cwtch-relay/core/limits"
	"github.com/cwtch-relay/cwtch-relay/core/logwriter"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// Config says what to run.
type Config struct {
	Path    string // of the file, to tell it from another one
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
	// Load reads the configuration again. Of what it returns Logger, Level, Version,
	// OnStart, OnReload, Log, Stdout and Load itself do not count.
	Load func(context.Context) (Config, error)
	// OnStart, where set, is called by Start before it starts anything. Until Start has
	// returned only Status may be called.
	OnStart func(*Manager)
	// OnReload, where set, is called when a reload begins, and what it returns when
	// that is over.
	OnReload func() (done func())
	// Log and Stdout are the outputs of the relay; the status tells what is wrong with
	// them. They may be nil.
	Log, Stdout *logwriter.Writer
	// Explain, where set, makes an error better that concerns this configuration,
	// as by pointing into the file.
	Explain func(error) error

	storesTimeout, retryEvery time.Duration // 0: the constants; tests want less
}

// NetworkConfig says how servers are reached.
type NetworkConfig struct {
	// Open opens the network; it is called once a store is open.
	Open func(context.Context) (onion.Network, error)
	// Settings is the same for the same settings; a reload cannot change them.
	Settings string
	Where    string // in the file
}

// ServerConfig describes one server.
type ServerConfig struct {
	Name    string
	Dir     string // of its files; made when it is missing
	Storage PluginConfig
	Others  []PluginConfig // stats and peersync, no two of the same kind and instance
}

// storesTimeout is how long a store may take at the start, a few tries
// included, before its server counts as one that does not run.
const storesTimeout = time.Minute

// Manager is a running relay.
type Manager struct {
	log        *slog.Logger
	since      time.Time
	dir        *dataDir
	endControl context.CancelFunc // nil until commands are answered
	wg         sync.WaitGroup

	warnPeerOnce sync.Once // limits the warning about an untrusted peer to one

	closing context.Context // ends when the relay is to end
	end     context.CancelFunc

	// changing is held by who starts or ends anything: Start, Reload and Close. Only
	// its holder sets what mu guards.
	changing *semaphore.Weighted // of one
	sockets  atomic.Int64        // directories for sockets so far

	mu      sync.Mutex
	cfg     Config        // as it runs
	network onion.Network // nil until it is open
	servers []*server     // in the order of the configuration
}

// PluginError is the error of a plugin that cannot be used. It names the use,
// so that the caller can point into the configuration.
type PluginError struct {
	Server, Plugin string // Plugin as PluginConfig.String gives it
	Err            error
}

func (e *PluginError) Error() string { return fmt.Sprintf("server %s: %v", e.Server, e.Err) }
func (e *PluginError) Unwrap() error { return e.Err }

// Start starts everything and returns when all servers that can run can be
// reached.
func Start(ctx context.Context, cfg Config) (*Manager, error) {
	if err := checkClock(time.Now()); err != nil {
		return nil, err
	}
	dir, err := claimDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Logger, since: time.Now(), dir: dir, changing: semaphore.NewWeighted(1)}
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
	ln, err := m.dir.listenStatus()
	if err != nil {
		return err
	}
	control, end := context.WithCancel(context.WithoutCancel(ctx))
	m.endControl = end
	lost := make(chan struct{})
	m.wg.Go(func() { m.keepControl(control, ln, lost) })
	m.wg.Go(func() { m.watchPlaces(control, lost) })
	faults, err := m.openServers()
	if err != nil {
		return err
	}
	return m.startServers(ctx, faults)
}

// runExclusive calls f while nobody else starts or ends anything.
func (m *Manager) runExclusive(f func() error) error {
	m.changing.Acquire(context.Background(), 1) //nolint:errcheck // the context has no end
	defer m.changing.Release(1)
	return f()
}

// updateShared changes what mu guards; changing is held.
func (m *Manager) updateShared(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

// Running is a server that clients can reach.
type Running struct {
	Name   string
	Bundle bundle.Bundle
}

// Servers returns the servers in the order of the configuration.
func (m *Manager) Servers() []Running {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Running
	for _, s := range m.servers {
		if s.relay != nil {
			out = append(out, Running{Name: s.name, Bundle: s.relay.Bundle()})
		}
	}
	return out
}

// Close takes everything down in order. When ctx ends, what is left is ended
// without waiting.
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
