package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
)

// Offline changes servers while no relay runs. Its methods are those of [Manager] of the same
// name, for a caller who holds the data directory, see [ClaimDataDir]. Attempts at passphrases
// are not limited: who calls this can read the key file.
type Offline struct{ Config Config }

// findServer returns a server of the configuration, or one whose deletion was interrupted.
func (o Offline) findServer(name string) (ServerConfig, error) {
	for _, c := range o.Config.Servers {
		if c.Name == name {
			return c, nil
		}
	}
	c := ServerConfig{Name: name, Dir: filepath.Join(serversDir(o.Config.DataDir), name)}
	if checkName(name) == nil && isDeleted(c.Dir) {
		return c, nil
	}
	return c, ErrNoSuchServer
}

// AddServer adds a server, which starts with the relay if n says so.
func (o Offline) AddServer(n NewServer) error {
	if err := n.checkInput(); err != nil {
		return err
	}
	if _, err := o.findServer(n.Name); err == nil {
		return nameTakenError()
	}
	_, _, err := createServer(o.Config.DataDir, o.Config.Files, n)
	if errors.Is(err, fs.ErrExist) {
		return nameTakenError()
	}
	return err
}

// EditServer changes the file of a server. It refuses what [Manager.EditServer] refuses. changed
// is false if the file says so already.
func (o Offline) EditServer(ctx context.Context, name string, c ServerChange) (changed bool, err error) {
	if o.Config.Files == nil {
		return false, errNoFiles
	}
	undo, err := o.Config.Files.Edit(name, c)
	if err != nil || undo == nil {
		return false, err
	}
	if c.Storage == nil {
		return true, nil
	}
	faultPoint("check the store")
	if err := o.checkNewStore(ctx, name); err != nil {
		return false, undoAfter(err, undo)
	}
	return true, nil
}

// checkNewStore refuses a configuration that may put a server on other data than before.
func (o Offline) checkNewStore(ctx context.Context, name string) error {
	now, err := o.findServer(name)
	if err != nil {
		return err
	}
	loaded, err := o.Config.Load(ctx)
	if err != nil {
		return err
	}
	next, err := Offline{loaded}.findServer(name)
	if err != nil {
		return err
	}
	if refused := refuseOtherStore(now, next); refused != nil {
		return &FieldError{"storage", refused.What + ": " + refused.Hint}
	}
	return nil
}

// ChangePassphrase changes the passphrase of a server.
func (o Offline) ChangePassphrase(name string, old, new []byte) error {
	c, err := o.findServer(name)
	if err != nil {
		return err
	}
	if len(new) > 0 {
		if err := checkNewPassphrase(new); err != nil {
			return err
		}
	}
	return identity.ChangePassphrase(keysPath(c.Dir), noneIfEmpty(old), noneIfEmpty(new))
}

// DeleteServer removes everything that the relay has of a server. It can be called again for
// one that was not removed to the end.
func (o Offline) DeleteServer(name string, passphrase []byte) error {
	c, err := o.findServer(name)
	if err != nil {
		return err
	}
	if !isDeleted(c.Dir) {
		if err := o.allowDeletion(c.Dir, passphrase); err != nil {
			return err
		}
		if err := checkRemoval(o.Config.Files, name); err != nil {
			return err
		}
		if err := markDeleted(c.Dir); err != nil {
			return fmt.Errorf("server %s was not deleted: %w", name, err)
		}
	}
	return removeServer(o.Config.DataDir, o.Config.Files, name)
}

func (o Offline) allowDeletion(dir string, passphrase []byte) error {
	if _, err := os.Lstat(keysPath(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	protected, err := identity.Protected(keysPath(dir))
	switch {
	case err != nil:
		return err
	case protected && len(passphrase) == 0:
		return fmt.Errorf("server %s: %w: give its passphrase to delete it", filepath.Base(dir), identity.ErrLocked)
	case protected:
		_, err = identity.Unlock(keysPath(dir), passphrase)
	}
	return err
}

// ListServers returns the servers of the configuration as [Status] would list them, by name.
func (o Offline) ListServers() []ServerStatus {
	list := make([]ServerStatus, len(o.Config.Servers))
	for i, c := range o.Config.Servers {
		s := &server{name: c.Name, dir: c.Dir, cfg: c, halted: StateStopped}
		s.address, s.protected = readKeyFacts(o.Config.DataDir, c.Dir)
		switch s.deleting = isDeleted(c.Dir); {
		case s.deleting:
			s.problem = "it was deleted, and not everything could be removed yet: delete it again"
		case c.Fault != nil:
			s.halted, s.problem = "", s.problemText(c.Fault)
		}
		list[i] = s.knownStatus()
	}
	slices.SortFunc(list, func(a, b ServerStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}
