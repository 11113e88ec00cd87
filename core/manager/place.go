package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Who deletes, moves or replaces files under a running relay takes away what it is
// going to need, and no call fails for that: what is open stays open. So the relay
// looks at the paths.

// placesEvery is between two looks when nobody posts.
const placesEvery = 5 * time.Second

// place is a file or a directory that has to stay where it is.
type place struct {
	what string
	path string
	info fs.FileInfo
	same func() bool // tells, where set, whether another file is as good
}

// places are those of one server.
type places struct {
	mu   sync.Mutex
	list []place
}

// add takes in what is at path now. A link that an operator has made is followed.
func (p *places) add(what, path string, same func() bool) error {
	info, err := os.Stat(path)
	if err == nil {
		p.list = append(p.list, place{what, path, info, same})
	}
	return err
}

// check returns what is not where it was. It takes some microseconds, since boards
// ask for every batch.
func (p *places) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.list {
		if err := p.list[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) check() error {
	info, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s was deleted or moved while the relay runs: put it back", p.what, p.path)
	case err != nil:
		return fmt.Errorf("%s cannot be found any more: %w", p.what, err)
	case os.SameFile(info, p.info):
		return nil
	case p.same == nil || !p.same():
		return fmt.Errorf("%s %s was replaced while the relay runs: put back the one that was there", p.what, p.path)
	}
	p.info = info
	return nil
}

// placesOf are the places that a server needs. The lock stands for the data
// directory.
func (m *Manager) placesOf(s *server) (*places, error) {
	p := &places{}
	keys := filepath.Join(s.dir, "keys")
	err := p.add("key file", keys, func() bool { // a backup may have been put in its place
		other, err := identity.Load(keys)
		return err == nil && other.Board.Onion() == s.keys.Board.Onion() && other.Token.Onion() == s.keys.Token.Onion() && other.Scalar == s.keys.Scalar
	})
	if store := StorageDir(s.dir); err == nil && holdsFiles(store) {
		err = p.add("directory", store, nil)
	}
	if err == nil && m.dir != nil {
		err = p.add("lock file", filepath.Join(m.dir.path, lockName), nil)
	}
	return p, err
}

// watchPlaces says what is missing while nobody posts, makes a mark anew that was
// deleted, and tells lost when nobody could ask for the status any more.
func (m *Manager) watchPlaces(ctx context.Context, lost chan<- struct{}) {
	said := make(map[string]string) // by server
	for sleepContext(ctx, time.Until(time.Now().Truncate(placesEvery).Add(placesEvery))) {
		if m.dir.lostSocket() {
			m.log.Warn("the status socket was deleted while the relay runs; it is made anew")
			select {
			case lost <- struct{}{}:
			case <-ctx.Done():
			}
		}
		for _, s := range m.published() {
			problem := ""
			if err := s.places.check(); err != nil {
				problem = err.Error()
			}
			switch was := said[s.name]; {
			case problem == was:
			case problem != "":
				m.log.Error("posts are refused", "server", s.name, "reason", problem)
			default:
				m.log.Info("posts are taken again", "server", s.name)
			}
			said[s.name] = problem
			renewMark(s.dir, s.plugin, s.board, m.log.With("server", s.name))
		}
	}
}

// watched is a server that is published, for watchPlaces.
type watched struct {
	name, dir, plugin string
	board             *board.Board
	places            *places
}

func (m *Manager) published() (list []watched) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		if s.relay != nil {
			list = append(list, watched{s.name, s.dir, s.cfg.Storage.Name, s.relay.Board(), s.places})
		}
	}
	return list
}

// keepControl answers the commands of the operator until ctx ends, at another socket
// whenever that was lost.
func (m *Manager) keepControl(ctx context.Context, ln net.Listener, lost <-chan struct{}) {
	for {
		serving, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			m.serveControl(serving, ln)
		}()
		select {
		case <-lost:
		case <-ctx.Done():
		}
		end()
		<-ended
		for err := errors.New("not yet"); err != nil; {
			if ctx.Err() != nil {
				return
			}
			if ln, err = m.dir.listenStatus(); err != nil {
				m.log.Warn("cannot make the status socket; tried again", "error", err)
				sleepContext(ctx, placesEvery)
			}
		}
	}
}
