package manager

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// A file that is deleted, moved or replaced under a running relay makes no call fail:
// what is open stays open. So the relay checks the paths of what it is going to need.

// watchEvery is the time between two checks while nobody posts.
const watchEvery = 5 * time.Second

// watchedFile is a file or a directory that has to stay where it is.
type watchedFile struct {
	what         string
	path         string
	info         fs.FileInfo
	isEquivalent func() bool // if set, reports whether another file at path is as good
}

// watchedFiles are the files that one server needs.
type watchedFiles struct {
	mu   sync.Mutex
	list []watchedFile
}

// addFile adds what is at path now. A link that an operator has made is followed.
func (w *watchedFiles) addFile(what, path string, isEquivalent func() bool) error {
	info, err := os.Stat(path)
	if err == nil {
		w.list = append(w.list, watchedFile{what, path, info, isEquivalent})
	}
	return err
}

// checkFiles returns an error if a file is not where it was. It takes some
// microseconds; a board calls it for every batch.
func (w *watchedFiles) checkFiles() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		if err := w.list[i].checkFile(); err != nil {
			return err
		}
	}
	return nil
}

func (f *watchedFile) checkFile() error {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s was deleted or moved while the relay runs: put it back", f.what, f.path)
	case err != nil:
		return fmt.Errorf("%s cannot be found: %w", f.what, err)
	case os.SameFile(info, f.info):
		return nil
	case f.isEquivalent == nil || !f.isEquivalent():
		return fmt.Errorf("%s %s was replaced while the relay runs: put back the one that was there", f.what, f.path)
	}
	f.info = info
	return nil
}

// adoptFile takes the file that is now at a path for the one that has to stay there.
func (w *watchedFiles) adoptFile(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.list {
		if info, err := os.Stat(path); err == nil && w.list[i].path == path {
			w.list[i].info = info
		}
	}
}

// filesOf returns the files that a server needs. The lock stands for the data
// directory.
func (m *Manager) filesOf(s *server) (*watchedFiles, error) {
	w := &watchedFiles{}
	keys := keysPath(s.dir)
	known, err := os.ReadFile(keys)
	sum := sha256.Sum256(known)
	clear(known)
	if err == nil {
		err = w.addFile("key file", keys, func() bool { // a backup may have been put in its place
			return s.keysChanging.Load() || s.areKeys(keys, sum)
		})
	}
	if store := StorageDir(s.dir); err == nil && holdsFiles(store) {
		err = w.addFile("directory", store, nil)
	}
	if err == nil && m.dir != nil {
		err = w.addFile("lock file", filepath.Join(m.dir.path, lockName), nil)
	}
	return w, err
}

// areKeys reports whether a file has the keys of the server. One that is protected has to be
// the same file as before, whose SHA-256 is sum: nobody has the passphrase now.
func (s *server) areKeys(path string, sum [sha256.Size]byte) bool {
	other, err := identity.Load(path)
	if errors.Is(err, identity.ErrLocked) {
		now, err := os.ReadFile(path)
		return err == nil && sha256.Sum256(now) == sum
	}
	return err == nil && other.Board.Onion() == s.keys.Board.Onion() && other.Token.Onion() == s.keys.Token.Onion() && other.Scalar == s.keys.Scalar
}

// watchFiles logs what is missing while nobody posts, writes a deleted mark again, and
// signals lost when the control socket is gone.
func (m *Manager) watchFiles(ctx context.Context, lost chan<- struct{}) {
	logged := make(map[string]string) // problems by server
	for sleepContext(ctx, time.Until(time.Now().Truncate(watchEvery).Add(watchEvery))) {
		if m.dir.socketIsLost() {
			m.log.Warn("the control socket was deleted while the relay runs; it is made again")
			select {
			case lost <- struct{}{}:
			case <-ctx.Done():
			}
		}
		for _, s := range m.publishedServers() {
			problem := ""
			if err := s.files.checkFiles(); err != nil {
				problem = err.Error()
			}
			switch was := logged[s.name]; {
			case problem == was:
			case problem != "":
				m.log.Error("posts are refused", "server", s.name, "reason", problem)
			default:
				m.log.Info("posts are taken again", "server", s.name)
			}
			logged[s.name] = problem
			m.restoreMark(s)
		}
	}
}

// restoreMark writes the mark of a server again if it was deleted, unless the server is being
// stopped or deleted just now.
func (m *Manager) restoreMark(s publishedServer) {
	if !m.changing.TryAcquire(1) {
		return
	}
	defer m.changing.Release(1)
	if now := m.findServer(s.name); now != nil && now.board.Load() == s.board {
		restoreDeletedMark(s.dir, s.plugin, s.board, m.log.With("server", s.name))
	}
}

// publishedServer is what watchFiles needs of a server.
type publishedServer struct {
	name, dir, plugin string
	board             *board.Board
	files             *watchedFiles
}

func (m *Manager) publishedServers() (list []publishedServer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.servers {
		if s.relay != nil {
			list = append(list, publishedServer{s.name, s.dir, s.cfg.Storage.Name, s.relay.Board(), s.files})
		}
	}
	return list
}
