package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/metrics"
	"github.com/cwtch-relay/cwtch-relay/core/replica"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

// PluginConfig is a plugin to run for a server, with what names it in errors and plans.
type PluginConfig struct {
	// Config is what to run. The manager fills in Dir, SocketDir, Logger, Admit, OnReady
	// and Host.
	supervise.Config
	// Instance tells plugins of one kind of one server apart; it is the name of a
	// directory.
	Instance string
	// Fingerprint has what needs another process when it changes, by the name of its
	// option, as path and args.
	Fingerprint map[string]string
	Schema      plugin.Schema // of Value
	Where       string        // in the file
	Fault       error         // why it cannot be used, as the file was read; Command is not called then
}

// String names the plugin within its server: "stats/prometheus#2".
func (c PluginConfig) String() string { return string(c.Kind) + "/" + c.Instance }

// StorageDir is where the storage plugin of the server in dir keeps its files;
// the keys are not there.
func StorageDir(dir string) string { return filepath.Join(dir, string(plugin.KindStorage)) }

// pluginDir is where a plugin of the server in dir keeps its files.
func pluginDir(dir string, kind plugin.Kind, instance string) string {
	if kind == plugin.KindStorage {
		return StorageDir(dir)
	}
	return filepath.Join(dir, string(kind), instance)
}

// instance is a plugin that runs for a server.
type instance struct {
	cfg       PluginConfig // as it runs; set under Manager.mu
	plugin    *supervise.Plugin
	socketDir string          // for its sockets
	outlet    *metrics.Outlet // of a stats plugin
	// Of a peersync plugin: what it sees, nil when that could not be made ready,
	// and the end of what it is told.
	replica    *replica.Replica
	stopEvents func()
}

// launchPlugin starts a plugin for a server.
func (m *Manager) launchPlugin(s *server, c PluginConfig) *instance {
	i := &instance{cfg: c, socketDir: filepath.Join(m.cfg.DataDir, "run", strconv.FormatInt(m.socketDirs.Add(1), 10))} // short, for sun_path
	full := m.superviseConfig(s, i, c)
	if c.Kind == plugin.KindPeerSync {
		full = m.prepareSync(s, i, full)
	}
	i.plugin = supervise.Start(full)
	switch {
	case c.Kind == plugin.KindStats:
		i.outlet = s.feed.Add(c.String(), i.plugin.Stats())
	case i.replica != nil:
		s.replica.Store(i.replica)
		i.startEvents()
	}
	return i
}

// prepareSync makes the replica that a peersync plugin sees. Its cursors are
// beside the directory of the plugin, which cannot change them there.
func (m *Manager) prepareSync(s *server, i *instance, c supervise.Config) supervise.Config {
	err := durable.MakeDir(filepath.Dir(c.Dir), 0o700)
	if err == nil {
		i.replica, err = replica.New(replica.Config{
			Store: s.store.plugin.Storage(), Board: s.publishedBoard, Cursors: c.Dir + ".cursors", Logger: c.Logger,
			Plugin: c.Name, Version: func() string { return i.plugin.Status().Version },
			Onion: s.keys.Board.Onion(), PeersFile: peersFile(s.dir),
			Dial: func(ctx context.Context, peer identity.Onion) (*tapir.Conn, error) { return m.dialBoard(ctx, s, peer) },
		})
	}
	if err == nil {
		err = i.replica.SetPeers(plainPeers(s.peers))
	}
	if err != nil { // is shown as the reason of the failed plugin
		c.Command = func() (pluginproc.Command, error) { return pluginproc.Command{}, err }
		return c
	}
	c.Host = i.replica
	return c
}

// startEvents begins to tell a peersync plugin what happens.
func (i *instance) startEvents() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { i.replica.Run(ctx, i.plugin.PeerSync()) })
	i.stopEvents = func() {
		cancel()
		wg.Wait()
	}
}

// superviseConfig fills in what a plugin learns about its surroundings.
func (m *Manager) superviseConfig(s *server, i *instance, c PluginConfig) supervise.Config {
	full := c.Config
	full.Dir = pluginDir(s.dir, c.Kind, c.Instance)
	full.SocketDir = i.socketDir
	full.Logger = m.log.With("server", s.name)
	if c.Instance != c.Name {
		full.Logger = full.Logger.With("instance", c.Instance)
	}
	if c.Fault != nil {
		full.Command = func() (pluginproc.Command, error) { return pluginproc.Command{}, errors.New(oneLine(c.Fault)) }
	}
	switch c.Kind {
	case plugin.KindStorage:
		full.Admit = s.admitStore
		full.OnReady = func(int) { m.wg.Go(func() { m.recheckStore(s) }) }
	case plugin.KindStats:
		full.OnReady = func(int) { m.wg.Go(func() { s.feed.Distribute(m.closing) }) }
	case plugin.KindPeerSync:
		full.OnReady = func(int) { i.replica.NoteRestart() } // without a replica it never is
	}
	return full
}

// reconfigurePlugin gives a plugin that runs another configuration, or the same one
// another try.
func (m *Manager) reconfigurePlugin(ctx context.Context, s *server, i *instance, c PluginConfig) error {
	if c.Kind == plugin.KindPeerSync && i.replica == nil {
		m.removePlugin(ctx, s, i) //nolint:errcheck // it has never run
		return m.addAndAwait(ctx, s, c)
	}
	if err := i.plugin.Reconfigure(ctx, m.superviseConfig(s, i, c)); err != nil {
		return &PluginError{s.name, c.String(), err}
	}
	m.updateShared(func() { i.cfg = c })
	return nil
}

// stopPlugin ends a plugin; a stats plugin gets the last numbers first.
func (i *instance) stopPlugin(ctx context.Context) error {
	if i.outlet != nil {
		i.outlet.Stop(ctx)
	}
	if i.stopEvents != nil {
		i.stopEvents()
	}
	err := i.plugin.Stop(ctx)
	os.RemoveAll(i.socketDir)
	if err != nil {
		return fmt.Errorf("stop plugin: %w", err)
	}
	return nil
}
