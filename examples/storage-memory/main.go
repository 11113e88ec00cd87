// Command storage-memory is a storage plugin that keeps envelopes in memory. It is
// the smallest plugin for the contract of the package sdk/storage, with the
// sentences of the contract beside the code that keeps them. It breaks one sentence:
// it is not durable. When its process ends everything is gone, and the relay notices
// by the epoch.
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

// newPlugin describes the plugin and its constructor. A store lives until the
// process ends. When an operator changes max_bytes, the relay closes the store and
// opens it again, and nothing may be lost.
func newPlugin() plugin.Plugin {
	stores := make(map[string]*store) // by directory
	return plugin.Plugin{
		Name:    "memory",
		Version: "1.0.0",
		Doc:     "Keeps envelopes in memory, until the process ends.",
		// What the store can do beyond storage.Store; see prune.go and index.go.
		Capabilities: []plugin.Capability{plugin.Prune, plugin.Index},
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
				stores[cfg.Dir] = newStore()
			}
			stores[cfg.Dir].maxBytes = c.MaxBytes
			return stores[cfg.Dir], nil
		},
	}
}

type store struct {
	epoch           storage.Epoch
	mu              sync.Mutex      // all methods may be called at the same time
	log             []storage.Entry // log[n-1] has sequence number n, or is empty once it was removed
	seqs            map[storage.ID]storage.Seq
	first           map[string]storage.Seq           // by signature
	spent           map[storage.Nullifier]storage.ID // from a token to the envelope that it paid for
	bytes, maxBytes int

	floor  storage.Hour           // what was born before it is not in the log
	hours  map[storage.Hour]*hour // of all that was not removed
	lowest storage.Seq            // no entry below it is in the log
	stored []storage.Hour         // stored[n-1] is the hour with which entry n was stored
}

func newStore() *store {
	return &store{
		epoch: storage.NewEpoch(), seqs: map[storage.ID]storage.Seq{}, first: map[string]storage.Seq{},
		spent: map[storage.Nullifier]storage.ID{}, hours: map[storage.Hour]*hour{}, lowest: 1,
	}
}

// checkAndLock refuses a call whose context has ended or that exceeds the limits.
// Otherwise it locks the store.
func (s *store) checkAndLock(ctx context.Context, limits error) error {
	if err := cmp.Or(ctx.Err(), limits); err != nil {
		return err
	}
	s.mu.Lock()
	return nil
}

func (s *store) Info(ctx context.Context) (storage.Info, error) {
	if err := s.checkAndLock(ctx, nil); err != nil {
		return storage.Info{}, err
	}
	defer s.mu.Unlock()
	info := storage.Info{Epoch: s.epoch, Last: storage.Seq(len(s.log)), Bytes: uint64(s.bytes), Tokens: uint64(len(s.spent)), Floor: s.floor}
	for at, h := range s.hours {
		if at >= s.floor {
			info.Count += uint64(len(h.seqs))
			info.InUse += h.bytes
		}
	}
	if info.Count > 0 {
		for !s.inLog(s.lowest) {
			s.lowest++
		}
		info.First = s.lowest
	}
	return info, nil
}

// inLog reports whether there is an entry with a sequence number. Entries below the floor
// leave the log at one moment, whether they have been removed yet or not.
func (s *store) inLog(seq storage.Seq) bool {
	return seq > 0 && s.log[seq-1].Seq > 0 && s.log[seq-1].Born >= s.floor
}

func (s *store) Append(ctx context.Context, records []storage.Record) ([]storage.Outcome, error) {
	if err := s.checkAndLock(ctx, storage.CheckBatch(records)); err != nil {
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
	for i, r := range records { // in order: a record meets what the records before it did
		outcomes[i] = s.applyRecord(r)
	}
	return outcomes, nil
}

// applyRecord checks the nullifier of a record first, its hour second, its id third and its
// signature fourth, and then stores the record.
func (s *store) applyRecord(r storage.Record) storage.Outcome {
	seq := s.seqs[r.ID]
	known := s.inLog(seq)
	if r.Nullifier != nil {
		if paidFor, spent := s.spent[*r.Nullifier]; spent && paidFor == r.ID && known {
			return storage.Outcome{Status: storage.Replayed, Seq: seq} // the Append was repeated
		} else if spent {
			return storage.Outcome{Status: storage.Spent}
		}
	}
	if r.Born < s.floor {
		return storage.Outcome{Status: storage.Expired} // the token stays unspent
	}
	signed := s.inLog(s.first[string(r.Signature)])
	if r.Nullifier != nil {
		if signed && !known && len(r.Signature) > 0 {
			return storage.Outcome{Status: storage.Conflict} // the token stays unspent
		}
		s.spent[*r.Nullifier] = r.ID
	}
	if known {
		s.lowerBorn(seq, r.Born)
		return storage.Outcome{Status: storage.Duplicate, Seq: seq}
	}
	// The memory of a record belongs to the caller, so copy it.
	e := storage.Entry{Seq: storage.Seq(len(s.log) + 1), ID: r.ID, Born: r.Born, Signature: bytes.Clone(r.Signature), Ciphertext: bytes.Clone(r.Ciphertext)}
	s.log, s.stored = append(s.log, e), append(s.stored, r.Born)
	s.seqs[r.ID] = e.Seq
	if !signed {
		s.first[string(r.Signature)] = e.Seq
	}
	s.addToHour(e)
	s.bytes += sizeOf(e)
	return storage.Outcome{Status: storage.Stored, Seq: e.Seq}
}

func sizeOf(e storage.Entry) int { return len(e.Signature) + len(e.Ciphertext) }

func (s *store) Log(ctx context.Context, req storage.LogRequest) (page storage.Page, err error) {
	from, entries, size, err := req.Bounds()
	if err := s.checkAndLock(ctx, err); err != nil {
		return page, err
	}
	defer s.mu.Unlock()
	page.Last = storage.Seq(len(s.log))
	for seq := max(from, s.lowest); seq <= page.Last; seq++ {
		if !s.inLog(seq) {
			continue
		}
		size -= sizeOf(s.log[seq-1])
		if len(page.Entries) == entries || size < 0 && len(page.Entries) > 0 { // one entry always fits
			break
		}
		page.Entries = append(page.Entries, s.cloneEntry(seq))
	}
	return page, nil
}

// cloneEntry returns an entry that belongs to the caller.
func (s *store) cloneEntry(seq storage.Seq) storage.Entry {
	e := s.log[seq-1]
	e.Signature, e.Ciphertext = bytes.Clone(e.Signature), bytes.Clone(e.Ciphertext)
	return e
}

func (s *store) Find(ctx context.Context, signature []byte) (storage.Seq, error) {
	if len(signature) > storage.MaxEnvelope {
		return 0, storage.ErrTooLarge
	}
	if err := s.checkAndLock(ctx, nil); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	seq := s.first[string(signature)]
	if !s.inLog(seq) {
		return 0, storage.ErrNotFound
	}
	return seq, nil
}

func (s *store) Close() error { return nil }
