package manager

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// A server is added in this order: the directory with a file that says so, the keys, the file
// of the configuration. With the last of these the server is there. Whatever interrupts that
// before, the next start or the next attempt finds the file addingName and removes what there
// is: keys that nobody has seen yet.

// addingName is in the directory of a server while that is being added.
const addingName = "adding"

// serversDir has the directories of the servers.
func serversDir(dataDir string) string { return filepath.Join(dataDir, "servers") }

// faultPoint is called before each step of a change that a crash could come between; tests
// replace it.
var faultPoint = func(string) {}

var errNoFiles = errors.New("this relay cannot edit its configuration")

// createServer writes the keys and the file of a new server, and returns the keys. undo removes
// them again.
func createServer(dataDir string, files ServerFiles, n NewServer) (keys *identity.Server, undo func() error, err error) {
	if files == nil {
		return nil, nil, errNoFiles
	}
	dir := filepath.Join(serversDir(dataDir), n.Name)
	if err := checkNameIsFree(dataDir, dir); err != nil {
		return nil, nil, err
	}
	keys, err = createKeys(dir, n.Passphrase)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make the keys of the server: %w", err), removeUnfinished(dir))
	}
	faultPoint("add the file")
	if err := files.Add(n); err != nil {
		return nil, nil, errors.Join(err, removeUnfinished(dir))
	}
	faultPoint("forget that it is being added")
	// If this fails, the next start does it.
	if os.Remove(filepath.Join(dir, addingName)) == nil {
		durable.SyncDir(dir) //nolint:errcheck // as above
	}
	record := serverRecord{path: recordPath(dataDir, dir)}
	record.confirmKeys(keys.Board.Onion()) //nolint:errcheck // there is no record that it could contradict
	return keys, func() error { return withdrawNewServer(dataDir, files, n.Name) }, nil
}

// withdrawNewServer removes a server that was just added, whose configuration has turned out
// to be wrong.
func withdrawNewServer(dataDir string, files ServerFiles, name string) error {
	dir := filepath.Join(serversDir(dataDir), name)
	err := durable.WriteFile(filepath.Join(dir, addingName), nil, 0o600)
	if err == nil {
		err = removeRecord(dataDir, dir)
	}
	if err == nil {
		err = files.Remove(name)
	}
	if err == nil {
		err = removeUnfinished(dir)
	}
	return err
}

// checkNameIsFree refuses the name of a server that was in the configuration once: its files
// are not to be mixed with those of another.
func checkNameIsFree(dataDir, dir string) error {
	if _, err := os.Lstat(recordPath(dataDir, dir)); err == nil {
		return &FieldError{"name", fmt.Sprintf("a server of this name has run, as %s says: choose another name, or move that file and %s away", recordPath(dataDir, dir), dir)}
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0: // a disk may be mounted there
	case err != nil:
		return fmt.Errorf("look at the directory of the server: %w", err)
	case isUnfinished(entries):
		return removeUnfinished(dir)
	default:
		return &FieldError{"name", fmt.Sprintf("%s has the files of an earlier server of this name: choose another name, or move them away", dir)}
	}
	return nil
}

// isUnfinished reports whether a directory is that of a server that was not added to the end:
// it has the mark of that, or nothing but the beginning of a first file.
func isUnfinished(entries []fs.DirEntry) bool {
	isTemporary := func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".new-") }
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == addingName }) ||
		!slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !isTemporary(e) })
}

// createKeys makes the directory of a new server with its keys, and reads them back.
func createKeys(dir string, passphrase []byte) (*identity.Server, error) {
	faultPoint("make the directory")
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return nil, err
	}
	faultPoint("note that it is being added")
	if err := durable.WriteFile(filepath.Join(dir, addingName), nil, 0o600); err != nil {
		return nil, err
	}
	faultPoint("write the keys")
	if err := identity.Create(keysPath(dir), noneIfEmpty(passphrase)); err != nil {
		return nil, err
	}
	if len(passphrase) == 0 {
		return identity.Load(keysPath(dir))
	}
	return identity.Unlock(keysPath(dir), passphrase)
}

// removeUnfinished removes the directory of a server that was being added: it holds nothing but
// keys that nobody has used.
func removeUnfinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if err == nil && e.Name() != addingName {
			err = os.Remove(filepath.Join(dir, e.Name())) // no directories, which a new server does not have
		}
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err == nil {
		if err = os.Remove(filepath.Join(dir, addingName)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		os.Remove(dir) // fails if a disk is mounted there
		err = durable.SyncDir(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("remove what was made of the server: %w", err)
	}
	return nil
}
