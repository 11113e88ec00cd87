package peersync

import "errors"

// The errors of a [HostServices]. They keep their identity (errors.Is) across the
// process border; any other error is reported by its text.
var (
	// ErrBusy: too much waits for the peer already. Nothing was queued; another
	// attempt at a later Tick may succeed.
	ErrBusy = errors.New("too much is under way to the peer")
	// ErrPeerUnknown: the peer is not up. PeerDown says so too, but may come
	// later.
	ErrPeerUnknown = errors.New("peer unknown")
	// ErrTooLarge: a call exceeds the limits of this package, also by one cursor
	// too many, or something in it does not have the form that it must have.
	// Nothing was done.
	ErrTooLarge = errors.New("beyond the limits of peer sync")
	// ErrUnavailable: the store of the relay, or the relay, cannot be reached
	// now. Another attempt at a later Tick may succeed.
	ErrUnavailable = errors.New("replica unavailable")
)

// ErrNotStarted is what Handle answers, in the place of the replicator, when
// the relay gives events to one that was not given Start: it is another one
// than the relay took it for, as after the death of its process. The relay
// begins anew with Start.
var ErrNotStarted = errors.New("replicator not started")
