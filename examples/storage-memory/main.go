// Command storage-memory is a storage plugin that keeps envelopes in memory:
// the least that keeps the contract of the package sdk/storage, whose sentences
// stand beside the lines that keep them. One sentence it does not keep: it is not
// durable. When its process ends, all is gone, which the relay sees by the epoch.
package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func main() { plugin.Serve(newPlugin()) }

// newPlugin says what the plugin is and how to open its store. A store stays
// until the process ends, so that an operator who changes max_bytes, for which the
// relay closes the store and opens it again, loses nothing.
func newPlugin() plugin.Plugin {
	stores := make(map[string]*store) // by directory
	return plugin.Plugin{
		Name:    "memory",
		Version: "1.0.0",
		Doc:     "Keeps envelopes in memory, until the process ends.",
		Schema: plugin.Schema{Attributes: []plugin.Attribute{
			{Name: "max_bytes", Type: plugin.Bytes, Default: "64MiB", Min: new(int64(1)), Doc: "Space for envelopes. Posts are refused when it is full."},
		}},
		Storage: func(_ context.Context, cfg plugin.Config) (storage.Store, error) {
			var c struct {
				MaxBytes int `cty:"max_bytes"`
			}
			if err := cfg.Decode(&c); err != nil {
				return nil, err
			}
			if stores[cfg.Dir] == nil {
				stores[cfg.Dir] = &store{epoch: storage.NewEpoch(), seqs: map[storage.ID]storage.Seq{}, first: map[string]storage.Seq{}, spent: map[storage.Nullifier]storage.ID{}}
			}
			stores[cfg.Dir].maxBytes = c.MaxBytes
			return stores[cfg.Dir], nil
		},
	}
}

type store struct {
	epoch           storage.Epoch
	mu              sync.Mutex      // all methods may be called at the same time
	log             []storage.Entry // the one with sequence number n is log[n-1]
	seqs            map[storage.ID]storage.Seq
	first           map[string]storage.Seq           // by signature
	spent           map[storage.Nullifier]storage.ID // a token, and the envelope it paid for
	bytes, maxBytes int
}

// lock lets a call begin whose context has not ended and that keeps the limits.
func (s *store) lock(ctx context.Context, limits error) error {
	if err := cmp.Or(ctx.Err(), limits); err != nil {
		return err
	}
	s.mu.Lock()
	return nil
}

func (s *store) Info(ctx context.Context) (storage.Info, error) {
	if err := s.lock(ctx, nil); err != nil {
		return storage.Info{}, err
	}
	defer s.mu.Unlock()
	last := storage.Seq(len(s.log))
	return storage.Info{Epoch: s.epoch, First: min(1, last), Last: last, Count: uint64(last), Bytes: uint64(s.bytes), Tokens: uint64(len(s.spent))}, nil
}

func (s *store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if err := s.lock(ctx, storage.CheckBatch(records)); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	size := 0
	for _, r := range records {
		size += len(r.Signature) + len(r.Ciphertext)
	}
	if s.bytes+size > s.maxBytes { // a batch is applied whole or not at all
		return nil, fmt.Errorf("%w: max_bytes is %d", storage.ErrFull, s.maxBytes)
	}
	outcomes := make([]storage.Outcome, len(records))
	for i, r := range records { // in order: a record meets what those before it did
		outcomes[i] = s.append(r)
	}
	return outcomes, nil
}

// append applies a record: its nullifier is looked at first, its id second, its
// signature third.
func (s *store) append(r storage.Record) storage.Outcome {
	seq, known := s.seqs[r.ID]
	if r.Nullifier != nil {
		if paidFor, spent := s.spent[*r.Nullifier]; spent && paidFor == r.ID {
			return storage.Outcome{Status: storage.Replayed, Seq: seq} // an Append is repeated
		} else if spent {
			return storage.Outcome{Status: storage.Spent}
		}
		if _, signed := s.first[string(r.Signature)]; signed && !known && len(r.Signature) > 0 {
			return storage.Outcome{Status: storage.Conflict} // and the token is not spent
		}
		s.spent[*r.Nullifier] = r.ID
	}
	if known {
		return storage.Outcome{Status: storage.Duplicate, Seq: seq}
	}
	// What a record points to belongs to the caller.
	e := storage.Entry{Seq: storage.Seq(len(s.log) + 1), ID: r.ID, Born: r.Born, Signature: bytes.Clone(r.Signature), Ciphertext: bytes.Clone(r.Ciphertext)}
	s.log = append(s.log, e)
	s.seqs[r.ID] = e.Seq
	if _, signed := s.first[string(r.Signature)]; !signed {
		s.first[string(r.Signature)] = e.Seq
	}
	s.bytes += len(r.Signature) + len(r.Ciphertext)
	return storage.Outcome{Status: storage.Stored, Seq: e.Seq}
}

func (s *store) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, size, err := req.Bounds()
	if err := s.lock(ctx, err); err != nil {
		return page, err
	}
	defer s.mu.Unlock()
	page.Last = storage.Seq(len(s.log))
	for _, e := range s.log[min(from-1, page.Last):] {
		size -= len(e.Signature) + len(e.Ciphertext)
		if len(page.Entries) == entries || size < 0 && len(page.Entries) > 0 { // one always fits
			break
		}
		e.Signature, e.Ciphertext = bytes.Clone(e.Signature), bytes.Clone(e.Ciphertext) // a page is the caller's
		page.Entries = append(page.Entries, e)
	}
	return page, nil
}

func (s *store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, storage.ErrTooLarge
	}
	if err := s.lock(ctx, nil); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	seq, ok := s.first[string(signature)]
	if !ok {
		return 0, storage.ErrNotFound
	}
	return seq, nil
}

func (s *store) Close() error { return nil }
