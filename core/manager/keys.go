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
func LoadOrCreateKeys(dataDir, dir string) (*identity.Server, error) {
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
	path := filepath.Join(dir, "keys")
	if err := checkKeysLost(dir, path); err != nil {
		return nil, err
	}
	keys, err := identity.LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	return keys, record.confirmKeys(keys.Board.Onion())
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

// loadRecord reads the record of the server in dir. It fails if there is a record and
// the keys are missing.
func loadRecord(dataDir, dir string) (serverRecord, error) {
	r := serverRecord{path: filepath.Join(dataDir, recordDir, filepath.Base(dir))}
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
