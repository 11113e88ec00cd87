package manager

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// LoadOrCreateKeys returns the keys of the server in dir. It makes new keys for a new server.
// The error matches [identity.ErrLocked] if they need a passphrase.
func LoadOrCreateKeys(dataDir, dir string) (*identity.Server, error) {
	return openKeys(dataDir, dir, identity.LoadOrCreate)
}

// UnlockKeys is LoadOrCreateKeys with the passphrase of a protected server. It protects the
// keys of a new one with it.
func UnlockKeys(dataDir, dir string, passphrase []byte) (*identity.Server, error) {
	return openKeys(dataDir, dir, func(path string) (*identity.Server, error) {
		err := identity.Create(path, passphrase)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		return identity.Unlock(path, passphrase)
	})
}

// openKeys returns the keys of the server in dir, which open reads or makes.
func openKeys(dataDir, dir string, open func(path string) (*identity.Server, error)) (*identity.Server, error) {
	record, err := loadRecord(dataDir, dir)
	if err != nil {
		return nil, err
	}
	if err := durable.MakeDir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the server: %w", err)
	}
	d, err := openDir(dataDir)
	if err != nil {
		return nil, err
	}
	defer d.releaseDir()
	path := keysPath(dir)
	if err := checkKeysLost(dir, path); err != nil {
		return nil, err
	}
	keys, err := open(path)
	if err != nil {
		return nil, err
	}
	return keys, record.confirmKeys(keys.Board.Onion())
}

// loadKeys loads the keys of a server, unless somebody has unlocked them already. It unlocks
// them if the configuration has the passphrase.
func (m *Manager) loadKeys(s *server) error {
	keys, err := m.readKeys(s)
	address, protected := readKeyFacts(m.cfg.DataDir, s.dir)
	if err == nil {
		address = keys.Board.Onion()
	}
	m.updateShared(func() { s.keys, s.address, s.protected = keys, address, protected })
	return err
}

func (m *Manager) readKeys(s *server) (keys *identity.Server, err error) {
	switch {
	case s.keys != nil:
		return openKeys(m.cfg.DataDir, s.dir, func(string) (*identity.Server, error) { return s.keys, nil })
	case len(s.cfg.Passphrase) > 0:
		keys, err = UnlockKeys(m.cfg.DataDir, s.dir, s.cfg.Passphrase)
		if !errors.Is(err, identity.ErrNotProtected) {
			return keys, err
		}
	}
	return LoadOrCreateKeys(m.cfg.DataDir, s.dir)
}

// checkKeysLost refuses to make new keys for a server that has run. With new keys it would
// be another server, and nobody could reach this one again.
func checkKeysLost(dir, keys string) error {
	if _, err := os.Lstat(keys); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := os.Lstat(filepath.Join(dir, markName))
	if err != nil && !holdsFiles(StorageDir(dir)) {
		return nil
	}
	return fmt.Errorf("key file %s is missing, but the server has run: restore the key file from a backup. To begin a new server with a new address, give it another name", keys)
}

// serverRecord says which keys belong to the name of a server. It is kept apart from
// the directory of the server. So a server whose directory is gone, perhaps because its
// disk is not mounted, does not start again under another address, and swapped keys are
// noticed.
type serverRecord struct {
	path  string
	board identity.Onion // empty if there is no record
}

// recordDir is below the data directory. It has a file for each server.
const recordDir = "known"

// recordPath is the record of the server in dir.
func recordPath(dataDir, dir string) string {
	return filepath.Join(dataDir, recordDir, filepath.Base(dir))
}

// loadRecord reads the record of the server in dir. It fails if there is a record and
// the keys are missing.
func loadRecord(dataDir, dir string) (serverRecord, error) {
	r := serverRecord{path: recordPath(dataDir, dir)}
	text, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, fmt.Errorf("read the record of the server: %w", err)
	}
	r.board = identity.Onion(strings.TrimSpace(string(text)))
	keys := filepath.Join(dir, "keys")
	if _, err := os.Lstat(keys); errors.Is(err, fs.ErrNotExist) {
		return r, fmt.Errorf("key file %s is missing, but the server has run, at %s: mount its disk, or restore the key file from a backup. %s", keys, r.board, r.howToBeginAnew())
	}
	return r, nil
}

// confirmKeys refuses the keys of another server. It writes the record if the server has none yet.
func (r serverRecord) confirmKeys(board identity.Onion) error {
	if r.board != "" && r.board != board {
		return fmt.Errorf("the keys are those of %s, and the server had those of %s: were they exchanged? %s", board, r.board, r.howToBeginAnew())
	}
	if r.board != "" {
		return nil
	}
	// On a full disk the server runs all the same; the next start tries again.
	if err := durable.MakeDir(filepath.Dir(r.path), 0o700); err == nil {
		durable.WriteFile(r.path, []byte(string(board)+"\n"), 0o600) //nolint:errcheck // as above
	}
	return nil
}

func (r serverRecord) howToBeginAnew() string {
	return "To begin a new server of this name, with a new address: " + pathname.Command("rm", r.path)
}
