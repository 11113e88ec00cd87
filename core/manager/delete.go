package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// A server is deleted in this order: its key file gets the name deletedName, and with that the
// server is deleted, also on a full disk; the keys are cut off that file; the record, the file
// of the configuration and everything in the directory are removed; that file and the
// directory go last. The next start finishes what was interrupted.

// deletedName is in the directory of a server that is being deleted.
const deletedName = "deleted"

// DeleteServer ends a server and removes everything that the relay has of it: keys, messages,
// and its part of the configuration. A protected server needs its passphrase. If
// something could not be removed, the server stays listed as one that is being deleted, and
// another call or the next start of the relay goes on. Files of plugins outside of the
// directory of the server stay.
func (m *Manager) DeleteServer(ctx context.Context, name string, passphrase []byte) (err error) {
	defer func() { m.logChange(ctx, "delete", name, err) }()
	k, err := m.knownServer(name)
	if err != nil {
		return err
	}
	if m.cfg.Files == nil {
		return errNoFiles
	}
	if err := m.allowDeletion(k, passphrase); err != nil {
		return err
	}
	if m.changing.Acquire(ctx, 1) != nil {
		return ErrBusy
	}
	defer m.changing.Release(1)
	s := m.findServer(name)
	if m.closing.Err() != nil || s == nil {
		return ErrBusy
	}
	if !s.deleting {
		if err := checkRemoval(m.cfg.Files, name); err != nil {
			return err
		}
		if err := m.beginDeletion(s); err != nil {
			return err
		}
	}
	return m.continueDeletion(m.findServer(name))
}

// allowDeletion asks for the passphrase of a protected server. What the key file says counts: the
// server may be one that could not be started.
func (m *Manager) allowDeletion(k knownServer, passphrase []byte) error {
	protected, err := identity.Protected(keysPath(k.dir))
	if err != nil {
		protected = k.protected
	}
	switch {
	case !protected:
		return nil
	case len(passphrase) == 0:
		return fmt.Errorf("server %s: %w: give its passphrase to delete it", k.name, identity.ErrLocked)
	}
	_, err = m.unlockKeys(k, passphrase)
	return err
}

// checkRemoval refuses to delete a server that could not be removed from the configuration: nothing
// of it is destroyed before that is known.
func checkRemoval(files ServerFiles, name string) error {
	if files == nil {
		return errNoFiles
	}
	if err := files.CheckRemoval(name); err != nil {
		return fmt.Errorf("server %s was not deleted, nothing of it is lost: %w", name, err)
	}
	return nil
}

// beginDeletion stops a server and marks it as deleted. If it cannot be marked it is stopped.
func (m *Manager) beginDeletion(s *server) error {
	c := &change{what: "delete", name: s.name, wish: wishStop}
	plan := m.makePlanFor(c, m.cfg)
	for i := range plan.Steps {
		m.applyStep(&plan.Steps[i], m.cfg, c.what)
	}
	if err := markDeleted(s.dir); err != nil {
		return fmt.Errorf("server %s was stopped and not deleted: %w", s.name, err)
	}
	s = m.findServer(s.name)
	m.updateShared(func() { s.deleting, s.protected = true, false })
	return nil
}

// continueDeletion removes what there is of a deleted server, and takes it off the list.
func (m *Manager) continueDeletion(s *server) error {
	if err := removeServer(m.cfg.DataDir, m.cfg.Files, s.name); err != nil {
		err = fmt.Errorf("the server was deleted and its keys are gone, but not everything could be removed: %w: mend that and delete it again", err)
		m.updateShared(func() { s.problem = s.problemText(err) })
		return err
	}
	m.attempts.forgetServer(s.name)
	named := func(c ServerConfig) bool { return c.Name == s.name }
	m.updateShared(func() { m.cfg.Servers = slices.DeleteFunc(slices.Clone(m.cfg.Servers), named) })
	return m.dropServer(m.closing, s)
}

// markDeleted marks a server as deleted. From then on it cannot run again.
func markDeleted(dir string) error {
	marker := filepath.Join(dir, deletedName)
	faultPoint("mark as deleted")
	err := os.Rename(keysPath(dir), marker)
	if errors.Is(err, fs.ErrNotExist) { // it has never run
		if err = durable.MakeDir(dir, 0o700); err == nil {
			err = durable.WriteFile(marker, nil, 0o600)
		}
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	return err
}

// isDeleted reports whether the server in dir is being deleted.
func isDeleted(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, deletedName))
	return err == nil
}

// removeServer removes a server that is marked as deleted. It may be called again after an
// error.
func removeServer(dataDir string, files ServerFiles, name string) error {
	dir := filepath.Join(serversDir(dataDir), name)
	faultPoint("remove the keys")
	if err := cutKeys(filepath.Join(dir, deletedName)); err != nil {
		return err
	}
	os.Remove(keysPath(dir) + ".new") // of a change of the passphrase that was killed
	faultPoint("remove the record")
	if err := removeRecord(dataDir, dir); err != nil {
		return err
	}
	faultPoint("remove the file")
	if files == nil {
		return errNoFiles
	}
	if err := files.Remove(name); err != nil {
		return err
	}
	faultPoint("remove the messages")
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil && e.Name() != deletedName {
			err = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	faultPoint("remove the directory")
	if err == nil {
		err = os.Remove(filepath.Join(dir, deletedName))
	}
	if err != nil {
		return err
	}
	os.Remove(dir) // fails if a disk is mounted there; an empty directory is none of a server
	return durable.SyncDir(filepath.Dir(dir))
}

// cutKeys empties a key file. It leaves alone what only its name is to go of: a file that a link
// leads to or that has another name, such as a backup, and what is no file.
func cutKeys(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Sys().(*syscall.Stat_t).Nlink > 1 {
		return err
	}
	return errors.Join(f.Truncate(0), f.Sync())
}

// removeRecord removes the record of the server in dir, if there is one.
func removeRecord(dataDir, dir string) error {
	path := recordPath(dataDir, dir)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(path))
	}
	return err
}

// finishInterrupted finishes what an earlier run has begun: it removes servers that are
// deleted or that were not added to the end. A server that cannot be removed is listed.
func (m *Manager) finishInterrupted() {
	entries, err := os.ReadDir(serversDir(m.cfg.DataDir))
	if err != nil {
		return // there are no servers yet; otherwise those of the configuration say what is wrong
	}
	for _, e := range entries {
		name, dir := e.Name(), filepath.Join(serversDir(m.cfg.DataDir), e.Name())
		i := slices.IndexFunc(m.cfg.Servers, func(c ServerConfig) bool { return c.Name == name })
		if isDeleted(dir) {
			m.finishDeletion(name, dir, i)
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, addingName)); err != nil {
			continue
		}
		_, err := os.Lstat(recordPath(m.cfg.DataDir, dir))
		if i >= 0 || err == nil { // it was added
			os.Remove(filepath.Join(dir, addingName)) // the next start tries again
		} else if err := removeUnfinished(dir); err != nil {
			m.log.Error("a server was not added to the end, and what there is of it could not be removed", "server", name, "error", err)
		} else {
			m.log.Warn("a server was not added to the end, and what there was of it was removed: add it again", "server", name)
		}
	}
}

// finishDeletion finishes the deletion of a server, which is i in the configuration.
func (m *Manager) finishDeletion(name, dir string, i int) {
	c := ServerConfig{Name: name, Dir: dir}
	if i >= 0 {
		c = m.cfg.Servers[i]
		m.cfg.Servers = slices.Delete(slices.Clone(m.cfg.Servers), i, i+1)
	}
	if err := removeServer(m.cfg.DataDir, m.cfg.Files, name); err != nil {
		m.log.Error("a server was deleted, and not everything could be removed: mend that and delete it again", "server", name, "error", err)
		s := m.haltedServer(c, StateStopped)
		m.updateShared(func() {
			s.deleting, s.protected, s.problem = true, false, s.problemText(err)
			m.servers = append(m.servers, s)
		})
		return
	}
	m.log.Info("the deletion of a server was finished", "server", name)
}
