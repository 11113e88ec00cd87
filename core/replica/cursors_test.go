package replica

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
)

func TestCursorsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursors")
	open := func() *cursors {
		c, err := loadCursors(path)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	save := func(c *cursors, name, value string) {
		if err := c.saveCursors([]peersync.Cursor{{Name: name, Value: []byte(value)}}); err != nil {
			t.Fatal(err)
		}
	}
	c := open()
	save(c, "a", "1")
	save(c, "b", "2\x00\xff")
	save(c, "a", "3")
	save(c, "c", "4")
	save(c, "c", "")
	for _, c := range []*cursors{c, open()} {
		if !bytes.Equal(c.loadCursor("a"), []byte("3")) || !bytes.Equal(c.loadCursor("b"), []byte("2\x00\xff")) || len(c.loadCursor("c")) != 0 {
			t.Errorf("cursors %q", c.values)
		}
	}
	for i := 2; i < peersync.MaxCursors; i++ {
		c.values[fmt.Sprint(i)] = []byte("x") // saved with the next one
	}
	if err := c.saveCursors([]peersync.Cursor{{Name: "more", Value: []byte("x")}}); !errors.Is(err, peersync.ErrTooLarge) {
		t.Errorf("one cursor too many: %v", err)
	}
	save(c, "a", "5")
	if c := open(); len(c.values) != peersync.MaxCursors || !bytes.Equal(c.loadCursor("a"), []byte("5")) {
		t.Errorf("%d cursors, a is %q", len(c.values), c.loadCursor("a"))
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".cursors-*")); err != nil || len(left) > 0 {
		t.Errorf("files left behind: %v, %v", left, err)
	}
}

func FuzzCursors(f *testing.F) {
	f.Add([]byte(`{"a":"MQ=="}`))
	f.Add([]byte(`{"A":"MQ=="}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"a":`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &cursors{values: make(map[string][]byte)}
		if c.decodeJSON(data) != nil {
			return
		}
		if len(c.values) > peersync.MaxCursors {
			t.Errorf("%d cursors", len(c.values))
		}
		for name, value := range c.values {
			if err := peersync.CheckCursors([]peersync.Cursor{{Name: name, Value: value}}); err != nil {
				t.Error(err)
			}
		}
	})
}
