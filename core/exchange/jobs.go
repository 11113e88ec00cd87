package exchange

import (
	"github.com/cwtch-relay/cwtch-relay/core/peerlink"
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
	// Conflict stands for a record that the board refuses, and 0 for one that was lost.
	Outcomes []storage.OutcomeStatus
}

// Found says what is known of an id.
type Found struct {
	Held bool // it is in the log
	Born storage.Hour
	Size uint32 // bytes of ciphertext and signature together; 0 if that costs a read
}

// pending is a job that is not done.
type pending struct {
	p      *peer
	l      *link // which may have ended
	kind   JobKind
	looks  []lookup
	bodies []arrivedBody     // of Store
	fetch  peerlink.BodyKind // of Fetch
}

// NextJob returns the next job for the store. The owner answers each one once with Done.
func (e *Engine) NextJob() (Job, bool) {
	for i := range e.peers {
		p := e.peers[(i+e.jobTurn)%len(e.peers)]
		if p.link == nil {
			continue
		}
		for _, kind := range []JobKind{Store, Look, Fetch, Lower} {
			if p.busy[kind] || !p.link.hasWork(kind) {
				continue
			}
			if job, todo, ok := e.makeJob(p.link, kind); ok {
				e.jobTurn++
				e.lastJob++
				job.Number, job.Kind, job.Peer = e.lastJob, kind, p.cfg.Peer
				todo.p, todo.l, todo.kind = p, p.link, kind
				e.jobs[job.Number] = todo
				p.busy[kind] = true
				return job, true
			}
		}
	}
	return Job{}, false
}

// hasWork reports whether there may be a job of a kind. The owner asks after everything that
// happens, so this is cheap.
func (l *link) hasWork(kind JobKind) bool {
	switch kind {
	case Store:
		return len(l.arrived) > 0
	case Look:
		return len(l.lookups) > 0
	case Fetch:
		return len(l.toFetch[0])+len(l.toFetch[1])+len(l.toFetch[2]) > 0
	default:
		return len(l.lowerings) > 0
	}
}

// makeJob takes the work of a job from a link; ok is false if the link has no work that can be done now.
func (e *Engine) makeJob(l *link, kind JobKind) (job Job, todo *pending, ok bool) {
	todo = &pending{}
	switch kind {
	case Store:
		todo.bodies = l.takeArrived()
		for _, b := range todo.bodies {
			job.Records = append(job.Records, b.record)
			l.p.appending += b.size()
		}
		return job, todo, len(todo.bodies) > 0
	case Look:
		n := min(len(l.lookups), MaxLook)
		todo.looks, l.lookups = l.lookups[:n:n], l.lookups[n:]
		for _, look := range todo.looks {
			job.IDs = append(job.IDs, look.id)
		}
		return job, todo, n > 0
	case Fetch:
		todo.fetch, job.IDs = l.nextFetch()
		l.p.fetching = len(job.IDs)
		return job, todo, len(job.IDs) > 0
	default:
		job.Keys, l.lowerings = l.lowerings, nil
		return job, todo, len(job.Keys) > 0
	}
}

// Done passes the result of a job. The engine keeps what the result points to.
func (e *Engine) Done(job Job, result Result) {
	todo := e.jobs[job.Number]
	delete(e.jobs, job.Number)
	p, l := todo.p, todo.l
	p.busy[todo.kind] = false
	switch todo.kind {
	case Store:
		p.appending = 0
		e.finishStore(p, l, todo.bodies, result)
	case Look:
		if p.link == l {
			e.finishLook(l, todo.looks, result)
		}
	case Fetch:
		p.fetching = 0
		if p.link == l {
			e.addFetched(l, todo.fetch, job.IDs, result)
		}
	}
}

func (e *Engine) finishLook(l *link, looks []lookup, result Result) {
	for i, look := range looks {
		var found Found
		if result.Err == nil {
			found = result.Found[i]
		}
		if look.out {
			e.announceFound(l, look.id, found, result.Err != nil)
		} else {
			e.decideFound(l, look.id, found, result.Err != nil)
		}
	}
}
