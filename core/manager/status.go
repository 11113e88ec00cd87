package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/core/supervise"
)

// Status is a relay as its operator sees it. Its JSON form is what the status
// command prints.
type Status struct {
	Version string         `json:"version"`
	PID     int            `json:"pid"`
	Since   time.Time      `json:"since"`
	Network *onion.Status  `json:"network,omitempty"` // absent before the network is opened
	Servers []ServerStatus `json:"servers"`
}

// ServerStatus is one server of a relay.
type ServerStatus struct {
	Name    string           `json:"name"`
	Relay   *relay.Status    `json:"relay,omitempty"` // absent until the server is published
	Storage supervise.Status `json:"storage"`
}

// Status describes the relay as it is now. A store that does not answer soon is
// left out.
func (m *Manager) Status(ctx context.Context) Status {
	st := Status{Version: m.cfg.Version, PID: os.Getpid(), Since: m.since}
	relays := make([]*relay.Server, len(m.servers))
	m.mu.Lock()
	network := m.network
	for i, s := range m.servers {
		relays[i] = s.relay
	}
	m.mu.Unlock()
	if network != nil {
		st.Network = new(network.Status())
	}
	st.Servers = make([]ServerStatus, len(m.servers))
	var wg sync.WaitGroup
	for i, s := range m.servers {
		st.Servers[i] = ServerStatus{Name: s.name, Storage: s.storage.Status()}
		if relays[i] != nil {
			wg.Go(func() { st.Servers[i].Relay = new(relays[i].Status(ctx)) })
		}
	}
	wg.Wait()
	return st
}

// Times and sizes of the status socket.
const (
	statusWait = 2 * time.Second // for the stores to answer
	askTimeout = 10 * time.Second
	maxStatus  = 4 << 20
)

// serveStatus answers each connection with the status, and reads nothing.
func (m *Manager) serveStatus(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.log.Warn("can not accept a status request, will try again", "error", err)
			time.Sleep(time.Second)
			continue
		}
		// One at a time: only this user can connect.
		ctx, cancel := context.WithTimeout(context.Background(), statusWait)
		nc.SetDeadline(time.Now().Add(askTimeout)) //nolint:errcheck // the write fails as well
		if err := json.NewEncoder(nc).Encode(m.Status(ctx)); err != nil {
			m.log.Debug("status not delivered", "error", err)
		}
		cancel()
		nc.Close()
	}
}

// ErrNotRunning: no relay uses the data directory.
var ErrNotRunning = errors.New("no relay is running")

// Ask asks the relay that uses a data directory for its status.
func Ask(ctx context.Context, path string) (Status, error) {
	d, err := openDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, fmt.Errorf("%w on %s", ErrNotRunning, path)
	}
	if err != nil {
		return Status{}, err
	}
	defer d.close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nc, err := d.dial(ctx)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return Status{}, fmt.Errorf("%w on %s", ErrNotRunning, path)
	}
	if err != nil {
		return Status{}, fmt.Errorf("ask the relay on %s: %w", path, err)
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	nc.SetDeadline(deadline) //nolint:errcheck // the read fails as well
	var st Status
	if err := json.NewDecoder(io.LimitReader(nc, maxStatus)).Decode(&st); err != nil {
		return Status{}, fmt.Errorf("read the status of the relay on %s: %w", path, err)
	}
	return st, nil
}
