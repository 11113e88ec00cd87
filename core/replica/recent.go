package replica

import (
	"sync"

	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// maxRecent is how many envelopes are remembered. They take about 4 MiB.
const maxRecent = 1 << 15

// recent remembers envelopes that were added or read lately: what a peer offers is often among
// them, and what the plugin offers nearly always, so the store need not be asked. It also
// knows which peer an envelope came from, which nothing else does.
type recent struct {
	mu    sync.Mutex
	facts map[storage.ID]facts
	order []storage.ID // a ring, oldest at next
	next  int
}

// facts are what is remembered of an envelope.
type facts struct {
	born storage.Hour
	size uint32        // 0 if unknown
	via  peersync.Peer // 0 if a client posted it, or unknown
	held bool          // in the log
	// lowered means that the Born in the log may be lower, until the log is read again.
	lowered bool
}

// note changes what is remembered of an envelope, and returns it.
func (r *recent) note(id storage.ID, change func(*facts)) facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, known := r.facts[id]
	if !known {
		if r.facts == nil {
			r.facts = make(map[storage.ID]facts)
		}
		if len(r.order) < maxRecent {
			r.order = append(r.order, id)
		} else {
			delete(r.facts, r.order[r.next])
			r.order[r.next] = id
			r.next = (r.next + 1) % maxRecent
		}
	}
	change(&f)
	r.facts[id] = f
	return f
}

// noteEntry notes an envelope that is in the log, and returns what is known of it.
func (r *recent) noteEntry(e storage.Entry) facts {
	return r.note(e.ID, func(f *facts) {
		f.born, f.size, f.held, f.lowered = e.Born, uint32(len(e.Signature)+len(e.Ciphertext)), true, false
	})
}

// doubtBorn notes that the Born of an envelope may have been lowered to that of the key.
func (r *recent) doubtBorn(k storage.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f, known := r.facts[k.ID]; known && k.Born < f.born {
		f.lowered = true
		r.facts[k.ID] = f
	}
}

func (r *recent) find(id storage.ID) facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts[id]
}

// forgetAll forgets all envelopes.
func (r *recent) forgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts, r.order, r.next = nil, nil, 0
}
