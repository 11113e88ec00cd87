package exchange

import (
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// JobKind is what a job asks of the store.
type JobKind uint8

const (
	// Look asks which of IDs are in the log, and with which Born and size.
	Look JobKind = iota + 1
	// Fetch asks for the envelopes IDs, of which there are at most 64.
	Fetch
	// Store asks to append Records, which keep to the limits of one storage Append. They came
	// from Peer.
	Store
	// Lower asks to append the envelopes Keys, which are in the log, once more with the lower
	// Born of the key. Its outcome does not matter.
	Lower
)

// Job is work for the store. Jobs of one peer do not depend on each other: the owner may do them
// in any order, or at the same time. There is at most one of each kind for one peer.
type Job struct {
	Number  uint64 // identifies the job
	Kind    JobKind
	Peer    peersync.Peer
	IDs     []storage.ID     // of Look, at most MaxLook, and of Fetch
	Keys    []storage.Key    // of Lower, at most MaxLower
	Records []storage.Record // of Store
}

// Counts that bound a job.
const (
	MaxLook  = 1024
	MaxFetch = 64
	MaxLower = 64
)

// Result is what became of a job.
type Result struct {
	// Err says that the store has failed; then the other fields do not matter.
	Err error
	// Found is the answer to Look: one for each id, in order.
	Found []Found
	// Records is the answer to Fetch: those that are in the log, in the order of IDs. The
	// others are left out.
	Records []storage.Record
	// Outcomes is the answer to Store: one for each record, as Append has returned them.
	Outcomes []storage.OutcomeStatus
}

// Found says what is known of an id.
type Found struct {
	Held bool // it is in the log
	Born storage.Hour
	Size uint32 // bytes of ciphertext and signature together; 0 if that costs a read
}

// NextJob returns the next job for the store. The owner answers each one once with Done.
func (e *Engine) NextJob() (Job, bool) { return Job{}, false }

// Done passes the result of a job. The engine keeps what the result points to.
func (e *Engine) Done(job Job, result Result) {}
