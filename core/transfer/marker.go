package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// marker is the file that marks a store as an unfinished copy. It has the epoch of the
// store in its name, so it is about this store alone, however the configuration
// changes.
type marker struct {
	dir   string
	epoch storage.Epoch // of the destination

	Format  int         `json:"format"`  // markerFormat; 0 means the same, in markers of the first releases
	Source  string      `json:"source"`  // epoch of the source
	Read    storage.Seq `json:"read"`    // the source is copied at least up to here,
	Written storage.Seq `json:"written"` // which is here in the destination
}

// markerFormat is the version of the file that this package writes.
const markerFormat = 1

// markerPrefix begins the name of a marker; the epoch follows.
const markerPrefix = "unfinished-copy-"

func (m *marker) filePath() string { return filepath.Join(m.dir, markerPrefix+m.epoch.String()) }

// draftPath is where earlier releases wrote the next marker before they renamed it.
func (m *marker) draftPath() string { return m.filePath() + ".new" }

// loadMarker reads the marker of a store, if it has one.
func loadMarker(dir string, epoch storage.Epoch) (m marker, found bool, err error) {
	m = marker{dir: dir, epoch: epoch}
	data, err := readDurable(m.filePath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, false, nil
	case err != nil:
		return m, false, fmt.Errorf("read how far the copy is: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, false, fmt.Errorf("read how far the copy is: %s: %w; copy again into an empty store", m.filePath(), err)
	}
	if m.Format > markerFormat {
		return m, false, fmt.Errorf("read how far the copy is: %s has format %d and this release knows formats up to %d: run the release that wrote it, or a later one", m.filePath(), m.Format, markerFormat)
	}
	return m, true, nil
}

// writeDurably writes the marker and returns when it is on disk.
func (m *marker) writeDurably() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("note how far the copy is: %w", err)
		}
	}()
	m.Format = markerFormat
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(m.filePath(), data, 0o600)
}

// finishCopy removes the marker, which makes the copy a store.
func (m *marker) finishCopy() error {
	os.Remove(m.draftPath()) // it is there if a copy was interrupted while it wrote it
	if err := errors.Join(os.Remove(m.filePath()), durable.SyncDir(m.dir)); err != nil {
		return fmt.Errorf("finish the copy: %w", err)
	}
	return nil
}

// readDurable reads a file and makes sure that it survives a power cut, because what is
// appended next must not outlive the marker.
func readDurable(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if err := durable.Confirm(file); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// CheckFinished returns an error when store is an unfinished copy that was begun with
// the same Dir. Envelopes or spent tokens may be missing from it. The store is asked
// only when there is a marker.
func CheckFinished(ctx context.Context, dir string, store storage.Store) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for an unfinished copy: %w", err)
	}
	if !slices.ContainsFunc(files, func(f fs.DirEntry) bool { return strings.HasPrefix(f.Name(), markerPrefix) }) {
		return nil
	}
	info, err := store.Info(ctx)
	if err != nil {
		return fmt.Errorf("look whether the store is an unfinished copy: %w", err)
	}
	m := marker{dir: dir, epoch: info.Epoch}
	if _, err := os.Lstat(m.filePath()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("the store is an unfinished copy of another one: finish it with \"cwtch-relay storage copy\", as it was begun, or go back to the storage that it was copied from (%s says so)", m.filePath())
}
