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
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/relay"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// mark is how far the log of a server has come. It is kept beside the keys, out
// of reach of the storage plugin, so that a store that was rolled back while the
// relay was down is noticed.
type mark struct {
	Format int         `json:"format,omitempty"` // markFormat; not of a copy
	Epoch  string      `json:"epoch"`
	Last   storage.Seq `json:"last"` // of the log; acknowledged
	// Copy is a finished copy of that store, which may take its place.
	Copy *mark `json:"copy,omitempty"`
}

const (
	markName   = "mark"
	markFormat = 1
	// markEvery is between a change of the log and the mark of it. The time of the
	// file tells no more than that of the store's own file does.
	markEvery = time.Minute
	maxMark   = 4 << 10
)

// loadMark reads the mark in the directory of a server; there may be none.
func loadMark(dir string) (m mark, found bool, err error) {
	file, err := os.Open(filepath.Join(dir, markName))
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
	if err == nil && m.Format != markFormat {
		err = fmt.Errorf("its format is %d, this version of the relay knows %d", m.Format, markFormat)
	}
	return m, true, err
}

// save replaces the mark, at once and durably.
func (m mark) save(dir string) error {
	m.Format = markFormat
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, markName), data, 0o600)
}

// checkMark compares a store with the mark in dir, and says what an operator has
// to know; nothing when all is well. It keeps no store from being used: that an
// older one is here may be what the operator wants.
func checkMark(dir string, epoch storage.Epoch, last storage.Seq) string {
	known, found, err := loadMark(dir)
	if err != nil {
		return fmt.Sprintf("%s cannot be read (%v), so it is not known whether the store was rolled back; it is written anew", filepath.Join(dir, markName), err)
	}
	if !found {
		return ""
	}
	if known.Copy != nil && known.Copy.Epoch == epoch.String() {
		known = *known.Copy
	}
	switch {
	case known.Epoch != epoch.String():
		return fmt.Sprintf("the store is not the one that this server ran on last, which had come to envelope %d: unless you exchanged it yourself, posts that were acknowledged are gone, and tokens that were spent can be spent again", known.Last)
	case last < known.Last:
		return fmt.Sprintf("the store was rolled back, as by restoring a backup: it ends at envelope %d and had come to %d, so %d acknowledged posts or more may be gone, and tokens that were spent since can be spent again; if you did not restore it, find out who did", last, known.Last, known.Last-last)
	}
	return ""
}

// keepMark keeps the mark of a server that runs, until stop is called.
func keepMark(dir string, r *relay.Server, log *slog.Logger) (stop func()) {
	known, _, _ := loadMark(dir) // one that cannot be read was reported
	saved := known.Epoch == r.Epoch().String()
	warned := false
	save := func() {
		last, err := r.Published()
		if err != nil || saved && last == known.Last {
			return // a board that was given up has nothing to say
		}
		next := mark{Epoch: r.Epoch().String(), Last: last}
		if err := next.save(dir); err != nil {
			if !warned {
				log.Warn("cannot note how far the log has come, so a store that is rolled back would not be noticed; said once, tried again", "error", err)
			}
			warned = true
			return
		}
		known, saved, warned = next, true, false
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if end := r.End(); saved && end.Seq == known.Last {
				select {
				case <-end.Changed:
				case <-ctx.Done():
				}
			}
			if !pause(ctx, markEvery) {
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

// NoteCopy notes, in the directory of a server, that to is a finished copy of the
// store from, so that the server can go over to it. It does not do so for a
// source that was rolled back itself.
func NoteCopy(dir string, from, to storage.Info) error {
	known, found, err := loadMark(dir)
	if err != nil || !found || known.Epoch != from.Epoch.String() || from.Last < known.Last {
		return err
	}
	known.Copy = &mark{Epoch: to.Epoch.String(), Last: to.Last}
	if err := known.save(dir); err != nil {
		return fmt.Errorf("note the copy in %s: %w", filepath.Join(dir, markName), err)
	}
	return nil
}
