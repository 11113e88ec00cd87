package replica

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
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

// TestSaveIsAllOrNothing shows that cursors of one Save are all kept, or none of them.
func TestSaveIsAllOrNothing(t *testing.T) {
	c, err := loadCursors(filepath.Join(t.TempDir(), "cursors"))
	if err != nil {
		t.Fatal(err)
	}
	save := func(cursors ...peersync.Cursor) error { return c.saveCursors(cursors) }
	one := []byte("1")
	if err := save(peersync.Cursor{Name: "b", Value: one}, peersync.Cursor{Name: "a", Value: one}, peersync.Cursor{Name: "gone"}); err != nil {
		t.Fatal(err)
	}
	var many []peersync.Cursor
	for i := range peersync.MaxCursors - 1 {
		many = append(many, peersync.Cursor{Name: fmt.Sprint(i), Value: one})
	}
	many = append(many, peersync.Cursor{Name: "a"}) // leaves 256 with b
	if err := save(append(many[:len(many)-1:len(many)-1], peersync.Cursor{Name: "a", Value: []byte("2")})...); !errors.Is(err, peersync.ErrTooLarge) {
		t.Errorf("257 cursors: %v", err)
	}
	if got := c.listCursors(); !slices.Equal(got, []string{"a", "b"}) || string(c.loadCursor("a")) != "1" {
		t.Errorf("after a Save that failed there are %v", got)
	}
	if err := save(many...); err != nil {
		t.Errorf("256 cursors after one was deleted: %v", err)
	}
	again, err := loadCursors(c.path)
	if err != nil || !slices.Equal(again.listCursors(), c.listCursors()) || len(again.values) != peersync.MaxCursors || len(again.loadCursor("a")) > 0 {
		t.Errorf("the file has %d cursors, %v", len(again.values), err)
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
