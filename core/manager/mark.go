package manager

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/board"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// storeMark says which store a server runs on and how far its log has come. It is kept
// beside the keys, where the storage plugin cannot write. So a store that was lost,
// exchanged or rolled back while the relay was down is noticed.
type storeMark struct {
	Format int         `json:"format,omitempty"` // markFormat; absent in Copy
	Epoch  string      `json:"epoch"`
	Last   storage.Seq `json:"last"` // acknowledged
	// Plugin is the name of the storage plugin, and Files reports whether it kept files
	// in its directory. Format 1 has neither.
	Plugin string `json:"storage,omitempty"`
	Files  bool   `json:"files,omitempty"`
	// Copy is a finished copy of the store, which may take its place.
	Copy *storeMark `json:"copy,omitempty"`
}

const (
	markName   = "mark"
	markFormat = 2
	// markEvery is the time from a change of the log to its mark. The modification time
	// of the file tells no more than that of the store's own file.
	markEvery = time.Minute
	maxMark   = 4 << 10
)

// loadMark reads the mark in the directory of a server. There may be none.
func loadMark(dir string) (m storeMark, found bool, err error) {
	// O_NONBLOCK so that a named pipe does not hold up the start.
	file, err := os.OpenFile(filepath.Join(dir, markName), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxMark+1))
	if err == nil && len(data) > maxMark {
		err = fmt.Errorf("it is longer than %d bytes", maxMark)
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("is damaged (%w): restore it from a backup", err)
	case m.Format > markFormat:
		err = fmt.Errorf("has format %d and this release knows formats up to %d: run the release that wrote it, or a later one", m.Format, markFormat)
	case m.Format < 0 || m.Epoch == "": // the first marks had no number
		err = errors.New("is damaged (it names no store): restore it from a backup")
	}
	return m, true, err
}

// writeMark replaces the mark in the directory of a server, atomically and durably.
func (m storeMark) writeMark(dir string) error {
	m.Format = markFormat
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, markName), data, 0o600)
}

// ofPlugin names the plugin of the store, if it is known.
func (m storeMark) ofPlugin() string {
	if m.Plugin == "" {
		return ""
	}
	return fmt.Sprintf(" (of storage %q)", m.Plugin)
}

// checkMark refuses a store that is not the one the server in dir ran on last, or that
// has fewer envelopes. Such a store would silently lose acknowledged posts and accept
// spent tokens again.
func checkMark(dir string, epoch storage.Epoch, last storage.Seq) error {
	known, found, err := loadMark(dir)
	if err != nil {
		return fmt.Errorf("%s %w", filepath.Join(dir, markName), err)
	}
	if !found {
		return nil
	}
	if known.Copy != nil && known.Copy.Epoch == epoch.String() {
		known = *known.Copy
	}
	switch {
	case known.Epoch != epoch.String():
		return fmt.Errorf("the store is not the one that this server ran on last: that one%s had come to envelope %d, and this one ends at %d. "+
			"Check that its disk is mounted, and check the storage block", known.ofPlugin(), known.Last, last)
	case last < known.Last:
		return fmt.Errorf("the store was rolled back, perhaps by restoring an old backup: it ends at envelope %d and had come to %d. Bring back the newer store", last, known.Last)
	}
	return nil
}

// CheckMark returns why the server in dir would refuse a store, or nil.
func CheckMark(dir string, store storage.Info) error { return checkMark(dir, store.Epoch, store.Last) }

// checkStoreFiles refuses a server whose store has lost all its files, before the plugin
// makes new ones.
func checkStoreFiles(dir string) error {
	known, found, err := loadMark(dir)
	if err != nil || !found || !known.Files || known.Copy != nil {
		return nil //nolint:nilerr // checkMark says what is wrong with the mark
	}
	if holdsFiles(StorageDir(dir)) {
		return nil
	}
	return fmt.Errorf("the store is gone: it%s had come to envelope %d, and %s is missing or empty. Check that its disk is mounted",
		known.ofPlugin(), known.Last, StorageDir(dir))
}

func holdsFiles(dir string) bool {
	files, err := os.ReadDir(dir)
	return err == nil && len(files) > 0
}

// lostStoreError adds to the error of checkMark or checkStoreFiles what to do.
func (m *Manager) lostStoreError(s *server, err error) error {
	return refusedStoreError{fmt.Errorf("server %s: %w. To go on without what is missing, run: cwtch-relay storage accept -config %s -server %s",
		s.name, err, m.cfg.Path, s.name)}
}

// startMark keeps the mark of a server up to date until stop is called. If the store is
// another one than before, the mark is written first.
func startMark(dir, plugin string, b *board.Board, log *slog.Logger) (stop func()) {
	known, _, _ := loadMark(dir) // a mark that cannot be read was refused
	saved := known.Epoch == b.Epoch().String() && known.Format == markFormat && known.Plugin == plugin
	warned := false
	save := func() {
		last := b.End().Seq // also if the board has given up: it has acknowledged that much
		if saved && last == known.Last {
			return
		}
		next := newMark(dir, plugin, b, last)
		if err := next.writeMark(dir); err != nil {
			if !warned {
				log.Warn("cannot note how far the log has come, so a store that is lost or rolled back would not be noticed; will keep trying; logged once", "error", err)
			}
			warned = true
			return
		}
		known, saved, warned = next, true, false
	}
	if !saved {
		save()
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if end := b.End(); saved && end.Seq == known.Last {
				select {
				case <-end.Changed:
				case <-ctx.Done():
				}
			}
			if !sleepContext(ctx, markEvery) {
				return
			}
			save()
		}
	})
	return func() {
		cancel()
		wg.Wait()
		save()
	}
}

// restoreDeletedMark writes the mark of a server again if it was deleted.
func restoreDeletedMark(dir, plugin string, b *board.Board, log *slog.Logger) {
	if _, err := os.Lstat(filepath.Join(dir, markName)); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err := newMark(dir, plugin, b, b.End().Seq).writeMark(dir); err == nil {
		log.Warn("the mark of the store was deleted while the relay runs; it was written again")
	}
}

func newMark(dir, plugin string, b *board.Board, last storage.Seq) storeMark {
	return storeMark{Epoch: b.Epoch().String(), Last: last, Plugin: plugin, Files: holdsFiles(StorageDir(dir))}
}

// LastStore is what is known of the store that a server ran on last.
type LastStore struct {
	Plugin string      `json:"storage,omitempty"` // empty if it is not known
	Last   storage.Seq `json:"last"`              // the last envelope
}

// AcceptStore makes the server in dir accept whatever store it finds at its next start.
// It returns what was known of the store before, as far as that could be read. The server
// must not run.
func AcceptStore(dir string) (LastStore, error) {
	known, found, _ := loadMark(dir) // a damaged mark may be the reason to call this
	if !found {
		return LastStore{}, errors.New("the server has not run yet, or its store was accepted already: it takes the store that it finds")
	}
	err := os.Remove(filepath.Join(dir, markName))
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		return LastStore{}, fmt.Errorf("forget the store: %w", err)
	}
	return LastStore{known.Plugin, known.Last}, nil
}

// NoteCopy notes in the directory of a server that to is a finished copy of the store
// from, so that the server may go over to it. It does nothing if from was itself rolled
// back.
func NoteCopy(dir string, from, to storage.Info) error {
	known, found, err := loadMark(dir)
	if err != nil || !found || known.Epoch != from.Epoch.String() || from.Last < known.Last {
		return err
	}
	known.Copy = &storeMark{Epoch: to.Epoch.String(), Last: to.Last}
	if err := known.writeMark(dir); err != nil {
		return fmt.Errorf("note the copy in %s: %w", filepath.Join(dir, markName), err)
	}
	return nil
}
