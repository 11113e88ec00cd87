package manager

import (
	"context"
	"errors"
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/core/retention"
)

// CompactedStore is what became of the store of a server that was to be compacted. Its JSON
// form is what the command prints.
type CompactedStore struct {
	Server string `json:"server"`
	retention.Compaction
	Error string `json:"error,omitempty"` // why it was not compacted
}

// compactAnswer is the answer of the control socket.
type compactAnswer struct {
	Servers []CompactedStore `json:"servers"`
}

// Compact compacts the store of a server, or those of all servers one after the other if
// the name is empty. The error is that no such server runs; what happened to a store is in
// the result. Nothing else waits for it.
func (m *Manager) Compact(ctx context.Context, name string) ([]CompactedStore, error) {
	type target struct {
		name   string
		keeper *retention.Keeper
	}
	var targets []target
	m.mu.Lock()
	for _, s := range m.servers {
		if name == "" || s.name == name {
			targets = append(targets, target{s.name, s.keeper})
		}
	}
	m.mu.Unlock()
	switch {
	case len(targets) == 0 && name != "":
		return nil, fmt.Errorf("the relay has no server %.80q", name)
	case len(targets) == 0:
		return nil, errors.New("the relay is starting: try again when it has")
	}
	var done []CompactedStore
	for _, t := range targets {
		c := CompactedStore{Server: t.name}
		var err error
		if t.keeper == nil {
			err = errors.New("the server does not run")
		} else {
			c.Compaction, err = t.keeper.Compact(ctx)
		}
		if err != nil {
			c.Error = err.Error()
		}
		done = append(done, c)
	}
	return done, nil
}
