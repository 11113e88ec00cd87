// Command agedstore is a storage plugin for tests of retention, in which no test can wait for
// months. It is one of our stores, which the argument names, with one difference: what is
// appended is born as many hours before as the file "age" in its directory says. Without
// that file it is the store as it is.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/plugins/storage/bolt"
	"github.com/cwtch-relay/cwtch-relay/plugins/storage/sqlite"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() {
	p := bolt.Plugin()
	if slices.Contains(os.Args, "sqlite") {
		p = sqlite.Plugin()
	}
	open := p.Storage
	p.Name = "aged" + p.Name // agedbolt or agedsqlite
	p.Doc = "Keeps messages that are older than they are."
	p.Storage = func(ctx context.Context, cfg plugin.Config) (storage.Store, error) {
		store, err := open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return &agedStore{store, filepath.Join(cfg.Dir, "age")}, nil
	}
	plugin.Serve(p)
}

// agedStore is a store whose envelopes are older than they are.
type agedStore struct {
	storage.Store
	age string // the file
}

// As makes the optional interfaces of the store its own; see [storage.As].
func (s *agedStore) As(target any) bool {
	switch t := target.(type) {
	case *storage.Ledger:
		return assign(s.Store, t)
	case *storage.Pruner:
		return assign(s.Store, t)
	case *storage.Index:
		return assign(s.Store, t)
	case *storage.Compactor:
		return assign(s.Store, t)
	case *storage.Checker:
		return assign(s.Store, t)
	}
	return false
}

func assign[T any](s storage.Store, to *T) (ok bool) {
	*to, ok = storage.As[T](s)
	return ok
}

// Append implements [storage.Store].
func (s *agedStore) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	text, err := os.ReadFile(s.age)
	if os.IsNotExist(err) {
		return s.Store.Append(ctx, records)
	}
	hours, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("read the age: %w", err)
	}
	records = slices.Clone(records)
	for i := range records {
		records[i].Born -= storage.Hour(hours)
	}
	return s.Store.Append(ctx, records)
}
