// Package manager runs the servers of one relay process: it claims the data
// directory, starts the plugins, opens the network, publishes the servers, and
// takes all of it down again in the reverse order. It also answers the status
// command over a unix socket.
//
// # Order
//
// Everything that can be wrong on this machine is tried before anything reaches
// the network: keys, then stores, then Tor. A start that fails leaves nothing
// running. At the end the servers withdraw and answer what is under way, the
// stores close, then Tor ends.
//
// # Files
//
//	DATA_DIR/lock                 held by the running relay
//	DATA_DIR/status.sock          mode 0600; who can connect may ask for the status
//	DATA_DIR/run/N/               sockets of the plugin of server number N
//	DATA_DIR/servers/NAME/keys    the identity of a server
//	DATA_DIR/servers/NAME/storage the directory of its storage plugin
//	DATA_DIR/tor/                 the state of the tor that the relay starts
package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// Config says what to run.
type Config struct {
	DataDir string
	Version string // of the relay, for the status
	// Network opens the network; it is called once all stores are open.
	Network func(context.Context) (onion.Network, error)
	Servers []ServerConfig
	Limits  relay.Limits // for each server
	Logger  *slog.Logger
}

// ServerConfig describes one server.
type ServerConfig struct {
	Name    string
	Dir     string           // of its files; made when it is missing
	Storage supervise.Config // Dir, SocketDir, Logger and OnReady are filled in
}

// storesTimeout is how long the stores may take at the start, a few tries of
// each included.
const storesTimeout = time.Minute

// Manager is a running relay.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	since   time.Time
	dir     *dataDir
	servers []*server
	status  net.Listener
	wg      sync.WaitGroup

	mu      sync.Mutex    // guards network, and relay of each server, while they are set
	network onion.Network // nil until it is open
}

// server is one server with the process of its store.
type server struct {
	name    string
	keys    *identity.Server
	storage *supervise.Plugin
	relay   *relay.Server // nil until it is published
}

// StorageError is the error of a store that can not be opened. It keeps the
// name of the server, so that the caller can point into the configuration.
type StorageError struct {
	Server string
	Err    error
}

func (e *StorageError) Error() string { return fmt.Sprintf("server %s: %v", e.Server, e.Err) }
func (e *StorageError) Unwrap() error { return e.Err }

// Keys returns the keys of the server in dir, made on first use.
func Keys(dataDir, dir string) (*identity.Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the server: %w", err)
	}
	d, err := openDir(dataDir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	path := filepath.Join(dir, "keys")
	if err := checkLost(path, StorageDir(dir)); err != nil {
		return nil, err
	}
	return identity.LoadOrCreate(path)
}

// checkLost refuses to make new keys beside the envelopes of a server whose
// keys are gone: it would be another server, and nobody could reach this one.
func checkLost(keys, storage string) error {
	if _, err := os.Lstat(keys); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	files, err := os.ReadDir(storage)
	if err != nil || len(files) == 0 {
		return nil
	}
	return fmt.Errorf("key file %s is missing, but %s holds envelopes: restore the key file from a backup, or move that directory away to begin a new server", keys, storage)
}

// StorageDir is where the storage plugin of the server in dir keeps its files;
// the keys are not there.
func StorageDir(dir string) string { return filepath.Join(dir, "storage") }

// Start starts everything and returns when all servers can be reached.
func Start(ctx context.Context, cfg Config) (*Manager, error) {
	if err := checkClock(time.Now()); err != nil {
		return nil, err
	}
	dir, err := claim(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	m := &Manager{cfg: cfg, log: cfg.Logger, since: time.Now(), dir: dir}
	if err := m.start(ctx); err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		m.Close(clean) //nolint:errcheck // the reason to give up is err
		return nil, err
	}
	return m, nil
}

func (m *Manager) start(ctx context.Context) error {
	for _, s := range m.cfg.Servers {
		keys, err := Keys(m.cfg.DataDir, s.Dir)
		if err != nil {
			return fmt.Errorf("server %s: %w", s.Name, err)
		}
		m.servers = append(m.servers, &server{name: s.Name, keys: keys})
	}
	if err := m.startStores(ctx); err != nil {
		return err
	}
	ln, err := m.dir.listen()
	if err != nil {
		return err
	}
	m.status = ln
	m.wg.Go(func() { m.serveStatus(ln) })
	network, err := m.cfg.Network(ctx)
	if err != nil {
		return fmt.Errorf("open the network: %w", err)
	}
	m.mu.Lock()
	m.network = network
	m.mu.Unlock()
	return m.startServers(ctx)
}

// startStores starts the processes of all stores and waits for all, so that
// whatever is wrong is reported at once.
func (m *Manager) startStores(ctx context.Context) error {
	for i, s := range m.servers {
		c := m.cfg.Servers[i].Storage
		c.Dir = StorageDir(m.cfg.Servers[i].Dir)
		c.SocketDir = filepath.Join(m.cfg.DataDir, "run", strconv.Itoa(i)) // short, for sun_path
		c.Logger = m.log.With("server", s.name)
		c.OnReady = func(int) { m.wg.Go(func() { m.reopened(s) }) }
		s.storage = supervise.Start(c)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, storesTimeout, fmt.Errorf("gave up after %v", storesTimeout))
	defer cancel()
	errs := make([]error, len(m.servers))
	for i, s := range m.servers {
		if err := s.storage.WaitReady(ctx); err != nil {
			errs[i] = &StorageError{s.name, err}
		}
	}
	return errors.Join(errs...)
}

// reopened lets a board look at a store whose process has been started again.
func (m *Manager) reopened(s *server) {
	m.mu.Lock()
	r := s.relay
	m.mu.Unlock()
	if r == nil {
		return // not open yet, so it will see the store as it is
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Reopened(ctx); err != nil {
		m.log.Warn("store came back but could not be looked at", "server", s.name, "error", err)
	}
}

func (m *Manager) startServers(ctx context.Context) error {
	errs := make([]error, len(m.servers))
	var wg sync.WaitGroup
	for i, s := range m.servers {
		wg.Go(func() {
			r, err := relay.Start(ctx, relay.Config{
				Network: m.network,
				Keys:    s.keys,
				Store:   s.storage.Storage(),
				Limits:  m.cfg.Limits,
				Logger:  m.log.With("server", s.name),
			})
			if err != nil {
				errs[i] = fmt.Errorf("server %s: %w", s.name, err)
				return
			}
			m.mu.Lock()
			s.relay = r
			m.mu.Unlock()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Running is a server that clients can reach.
type Running struct {
	Name   string
	Bundle bundle.Bundle
}

// Servers returns the servers in the order of the configuration.
func (m *Manager) Servers() []Running {
	out := make([]Running, len(m.servers))
	for i, s := range m.servers {
		out[i] = Running{Name: s.name, Bundle: s.relay.Bundle()}
	}
	return out
}

// Close takes everything down in order. When ctx ends, what is left is ended
// without waiting.
func (m *Manager) Close(ctx context.Context) error {
	errs := make([]error, 2*len(m.servers)+1)
	var wg sync.WaitGroup
	for i, s := range m.servers {
		wg.Go(func() {
			if s.relay != nil {
				errs[2*i] = s.relay.Close(ctx)
			}
			if s.storage != nil {
				errs[2*i+1] = s.storage.Stop(ctx)
			}
		})
	}
	wg.Wait()
	if m.network != nil {
		errs[2*len(m.servers)] = m.network.Close()
	}
	if m.status != nil {
		m.status.Close()
	}
	m.wg.Wait()
	m.dir.close()
	return errors.Join(errs...)
}
