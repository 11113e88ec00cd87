package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/onion"
)

// serverName is the name of the only server of a relay.
const serverName = "bench"

// configuration has limits that the bench does not meet, and defaults else. It is filled in
// with the network, the declared plugins, the storage plugin, the age in days up to which envelopes are
// kept, and the other plugins of the server.
const configuration = `data_dir = "data"
%s
log { level = "warn" }
limits {
  connections              = 20000
  connections_per_second   = 100000
  token_batches_per_second = 100000
  posts_per_hour           = 1000000000
  bytes_per_day            = "1TiB"
}
%s
server "` + serverName + `" {
  storage %q {}
  retention {
    min_age   = "1d"
    max_age   = "%dd"
    max_count = 100000000000
    max_bytes = "4TiB"
  }
%s}
`

// loopbackNetwork is the network of the relays: all of a run reach each other.
const loopbackNetwork = `network "loopback" { registry = "../net" }`

func (s *relayHome) dataDir() string     { return filepath.Join(s.dir, "data") }
func (s *relayHome) serverDir() string   { return filepath.Join(s.dataDir(), "servers", serverName) }
func (s *relayHome) configFile() string  { return filepath.Join(s.dir, "server.hcl") }
func (s *relayHome) registryDir() string { return filepath.Join(filepath.Dir(s.dir), "net") }
func (s *relayHome) storageDir() string  { return manager.StorageDir(s.serverDir()) }

// relay is a running relay and the process of its storage plugin.
type relay struct {
	*relayHome
	network onion.Network
	bundle  bundle.Bundle
	log     *os.File

	cmd *exec.Cmd
	// Processes: the storage plugin, and the peersync plugin if there is one and links were awaited.
	plugin, peersync int

	posts *postMaker
}

// writeConfig writes the configuration of a relay.
func (b *bench) writeConfig(s *relayHome) error {
	return os.WriteFile(s.configFile(), fmt.Appendf(nil, configuration, s.network, s.declared, b.plan.Storage, s.maxAge/day, s.used), 0o600)
}

// startRelay starts the program and returns when its server can be reached.
func (b *bench) startRelay(ctx context.Context, s *relayHome) (*relay, error) {
	if err := b.writeConfig(s); err != nil {
		return nil, err
	}
	r := &relay{relayHome: s}
	var err error
	if r.posts, err = newPostMaker(s.keys); err != nil {
		return nil, err
	}
	if r.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return nil, err
	}
	if r.network, err = onion.Loopback(s.registryDir()); err != nil {
		return nil, err
	}
	r.cmd = exec.CommandContext(ctx, b.program, "-json", "-config", s.configFile())
	r.cmd.Stderr = r.log
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = 10 * time.Second
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the relay: %w", err)
	}
	if err := r.readAnnouncement(ctx, stdout); err != nil {
		r.killRunning()
		return nil, r.withLogTail(fmt.Errorf("start the relay: %w", err))
	}
	return r, nil
}

// readAnnouncement reads what the relay prints, and asks it for the rest.
func (r *relay) readAnnouncement(ctx context.Context, stdout io.Reader) error {
	var started struct{ Bundle string }
	if err := json.NewDecoder(stdout).Decode(&started); err != nil {
		return fmt.Errorf("read its bundle: %w", err)
	}
	var err error
	if r.bundle, err = bundle.Parse(started.Bundle); err != nil {
		return err
	}
	st, err := manager.AskStatus(ctx, r.dataDir())
	if err != nil {
		return err
	}
	r.plugin = st.Servers[0].Storage.PID
	if st.PID != r.cmd.Process.Pid || r.plugin == 0 {
		return fmt.Errorf("it runs as process %d with a plugin %d", st.PID, r.plugin)
	}
	return nil
}

// stopAndWait ends the relay as an operator does.
func (r *relay) stopAndWait() error {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the relay: %w", err)
	}
	if err := r.cmd.Wait(); err != nil {
		return r.withLogTail(fmt.Errorf("stop the relay: %w", err))
	}
	return errors.Join(r.network.Close(), r.log.Close())
}

// killRunning ends the relay if it still runs.
func (r *relay) killRunning() {
	if r.cmd.ProcessState != nil {
		return
	}
	r.cmd.Process.Kill() //nolint:errcheck // it has ended, then
	r.cmd.Wait()         //nolint:errcheck // "signal: killed"
}

// withLogTail adds the end of the relay's log to an error.
func (r *relay) withLogTail(err error) error {
	const most = 2 << 10
	text, readErr := os.ReadFile(r.log.Name())
	if readErr != nil || len(text) == 0 {
		return err
	}
	return fmt.Errorf("%w; its log ends:\n%s", err, text[max(0, len(text)-most):])
}
