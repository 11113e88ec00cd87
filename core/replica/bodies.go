package replica

import (
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxBodies bounds the bytes of envelopes in bodyCache.
const maxBodies = 2 << 20

// bodyCache keeps the envelopes that were committed last, or read last with the log. What is new in
// the log is sent to several peers right after, and without it the store would be asked for it by each of them.
type bodyCache struct {
	mu      sync.Mutex
	records map[storage.ID]storage.Record
	order   []storage.ID // oldest first
	bytes   int
}

// keep adds an envelope, and lets go of the oldest ones.
func (c *bodyCache) keep(rec storage.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.records[rec.ID]; known {
		return
	}
	if c.records == nil {
		c.records = make(map[storage.ID]storage.Record)
	}
	c.records[rec.ID] = rec
	c.order = append(c.order, rec.ID)
	for c.bytes += cachedSize(rec); c.bytes > maxBodies; c.order = c.order[1:] {
		c.bytes -= cachedSize(c.records[c.order[0]])
		delete(c.records, c.order[0])
	}
}

// cachedSize is what an envelope takes, with its id and its place in a map.
func cachedSize(rec storage.Record) int { return len(rec.Signature) + len(rec.Ciphertext) + 256 }

func (c *bodyCache) find(id storage.ID) (storage.Record, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rec, ok := c.records[id]
	return rec, ok
}

// forgetAll lets go of all envelopes.
func (c *bodyCache) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.records, c.order, c.bytes = nil, nil, 0
}
