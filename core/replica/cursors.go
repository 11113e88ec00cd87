package replica

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

// maxFile bounds the file in bytes. It is more than the largest cursors take.
const maxFile = 1 << 20

// cursorsFormat is the version of the file that this package writes.
const cursorsFormat = 1

// cursorsFile is the file as JSON, with the values in base64. The first releases wrote only
// the object of cursors, without a format.
type cursorsFile struct {
	Format  int               `json:"format"`
	Cursors map[string][]byte `json:"cursors"`
}

// cursors are the cursors of one plugin, in memory and in their file.
type cursors struct {
	path string

	mu     sync.Mutex
	values map[string][]byte // as in the file
}

func loadCursors(path string) (*cursors, error) {
	c := &cursors{path: path, values: make(map[string][]byte)}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read cursors: %w", err)
	}
	defer file.Close()
	if err := durable.Confirm(file); err != nil { // the plugin builds on what it reads here
		return nil, fmt.Errorf("make cursors in %s durable: %w; check the disk", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil {
		err = c.decodeJSON(data)
	}
	if err != nil {
		return nil, fmt.Errorf("read cursors in %s: %w; move the file aside, and the plugin begins at the beginning", path, err)
	}
	return c, nil
}

func (c *cursors) decodeJSON(data []byte) error {
	if len(data) > maxFile {
		return fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	var file cursorsFile
	switch err := json.Unmarshal(data, &file); { // fails for a cursor that is called format
	case err == nil && file.Format > cursorsFormat:
		return fmt.Errorf("it has format %d and this release knows formats up to %d: run the release that wrote it, or a later one", file.Format, cursorsFormat)
	case err == nil && file.Format > 0:
		c.values = file.Cursors
	default:
		if err := json.Unmarshal(data, &c.values); err != nil {
			return err
		}
	}
	if c.values == nil { // "null"
		return errors.New("it holds no cursors")
	}
	if len(c.values) > peersync.MaxCursors {
		return fmt.Errorf("it holds %d cursors", len(c.values))
	}
	for name, value := range c.values {
		if err := peersync.CheckCursors([]peersync.Cursor{{Name: name, Value: value}}); err != nil {
			return err
		}
	}
	return nil
}

func (c *cursors) loadCursor(name string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.values[name])
}

// listCursors returns the names of all cursors, ascending.
func (c *cursors) listCursors() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.values))
}

// saveCursors writes all of them to the file at once, or none.
func (c *cursors) saveCursors(cursors []peersync.Cursor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := maps.Clone(c.values)
	for _, cursor := range cursors {
		next[cursor.Name] = bytes.Clone(cursor.Value)
		if len(cursor.Value) == 0 {
			delete(next, cursor.Name)
		}
	}
	if maps.EqualFunc(next, c.values, bytes.Equal) {
		return nil
	}
	if len(next) > peersync.MaxCursors {
		return fmt.Errorf("save: %d cursors, limit %d: %w", len(next), peersync.MaxCursors, peersync.ErrTooLarge)
	}
	if err := c.writeFile(next); err != nil {
		return fmt.Errorf("save cursors in %s: %w", c.path, err)
	}
	c.values = next
	return nil
}

// writeFile replaces the file atomically and durably.
func (c *cursors) writeFile(values map[string][]byte) error {
	data, err := json.Marshal(cursorsFile{cursorsFormat, values})
	if err != nil {
		return err
	}
	return durable.WriteFile(c.path, data, 0o600)
}
