//go:build unix

// Package storefile looks after the file of a store and the directory around it, for
// the storage plugins of this repository that keep one. It makes sure that
//
//   - the file and its directory belong to this user, and one process has the file open;
//   - what is read was durable before, whatever the process that wrote it had come to;
//   - a file that was deleted or replaced under an open store is noticed;
//   - a full disk and a failed sync are told from other errors.
package storefile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/filelock"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Path returns the path in the attribute "path" of a store's configuration.
func Path(cfg plugin.Config) (string, error) {
	var c struct {
		Path string `cty:"path"`
	}
	if err := cfg.Decode(&c); err != nil {
		return "", err
	}
	return cfg.File(c.Path, "path")
}

// Ensure makes a store at path unless there is one, and returns an error for a file or
// directory that cannot be one of this user's. A symbolic link cannot: what goes with a
// store is beside its file, and a sandbox ends at the directory.
//
// initialize makes an empty store of an empty file; suffixes are the ends of the names
// of files that it may leave beside it. The store gets its name when it is complete and
// on disk, so a crash leaves a store or none. It takes no name that is in use: of two
// processes that make one, both open the store that was first.
func Ensure(path string, initialize func(path string) error, suffixes ...string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(path, initialize, suffixes)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("there is something else than a file; put the file itself there, or correct the path of the store")
	}
	if err := checkOwner(info); err != nil {
		return fmt.Errorf("the file %w", err)
	}
	return nil
}

func create(path string, initialize func(path string) error, suffixes []string) error {
	dir := filepath.Dir(path)
	if err := makeDir(dir); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return FullError(err)
	}
	file.Close()
	defer func() {
		for _, suffix := range append(suffixes, "") {
			os.Remove(file.Name() + suffix)
		}
	}()
	if err := initialize(file.Name()); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return FullError(err)
	}
	return durable.SyncDir(dir)
}

// makeDir makes the directory of a store, durably, or checks the one that is there.
func makeDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory; correct the path of the store", dir)
	default:
		if err := checkOwner(info); err != nil {
			return fmt.Errorf("the directory %s %w", dir, err)
		}
	}
	return FullError(durable.MakeDir(dir, 0o700))
}

// checkOwner refuses what belongs to another user: we do not change it, even where we
// could. The advice is not that of [ownership.CheckOwner], which is for commands: an
// operator does not run a plugin himself.
func checkOwner(info fs.FileInfo) error {
	if owner, me := ownership.UID(info), os.Geteuid(); owner != me {
		return fmt.Errorf("belongs to user %d and the relay runs as user %d: run the relay as that user", owner, me)
	}
	return nil
}

// LockWait is how long Lock waits for another process to let go of the file, as one
// that is just being ended does.
const LockWait = time.Second

// ErrLocked means that another process has the store open.
var ErrLocked = errors.New("another process has the store open; end it first")

// Lock locks a file for this process alone. Closing the file unlocks it.
func Lock(file *os.File) error {
	ctx, cancel := context.WithTimeout(context.Background(), LockWait)
	defer cancel()
	err := filelock.Lock(ctx, file)
	if errors.Is(err, filelock.ErrLocked) {
		return ErrLocked
	}
	return err
}
