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

// knownServer is the record that a server of a name has keys. It is kept apart from
// the directory of the server, so that one that is gone, as when its disk is not
// mounted, is not begun anew under another address, and so that keys which were
// exchanged are noticed.
type knownServer struct {
	path  string
	board identity.Onion // empty: there is no record
}

// knownDir is below the data directory, and has a file for each server.
const knownDir = "known"

// loadKnown reads the record of the server in dir, and refuses to go on without its
// keys if there is one.
func loadKnown(dataDir, dir string) (knownServer, error) {
	k := knownServer{path: filepath.Join(dataDir, knownDir, filepath.Base(dir))}
	text, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, fmt.Errorf("read the record of the server: %w", err)
	}
	k.board = identity.Onion(strings.TrimSpace(string(text)))
	keys := filepath.Join(dir, "keys")
	if _, err := os.Lstat(keys); errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("key file %s is missing, but the server has run, at %s: mount its disk, or restore the key file from a backup. %s", keys, k.board, k.beginAnew())
	}
	return k, nil
}

// confirm refuses the keys of another server. It makes the record when that is missing.
func (k knownServer) confirm(board identity.Onion) error {
	if k.board != "" && k.board != board {
		return fmt.Errorf("the keys are those of %s, and the server had those of %s: were they exchanged? %s", board, k.board, k.beginAnew())
	}
	if k.board != "" {
		return nil
	}
	// On a full disk the server runs all the same; the next start tries again.
	if err := durable.MakeDir(filepath.Dir(k.path), 0o700); err == nil {
		durable.WriteFile(k.path, []byte(string(board)+"\n"), 0o600) //nolint:errcheck // as above
	}
	return nil
}

func (k knownServer) beginAnew() string {
	return "To begin a new server of this name, with a new address: " + pathname.Command("rm", k.path)
}
