package peersync

import "errors"

// The errors of [HostServices]. errors.Is recognises them across processes; of any other error
// only the text arrives.
var (
	// ErrBusy: too much is already under way with the peer. Nothing was queued. PeerReady
	// follows when another attempt may succeed.
	ErrBusy = errors.New("too much is under way to the peer")
	// ErrPeerUnknown: the peer is not up. PeerDown may come later.
	ErrPeerUnknown = errors.New("peer unknown")
	// ErrTooLarge: a call exceeds a limit of this package, for example with one cursor too
	// many, or has an invalid form. Nothing was done.
	ErrTooLarge = errors.New("beyond the limits of peer sync")
	// ErrUnavailable: the store of the relay, or the relay, cannot be reached
	// now. Another attempt at a later Tick may succeed.
	ErrUnavailable = errors.New("replica unavailable")
)

// ErrNotStarted is the answer of the sdk to events before Start: the replicator is a new one,
// for example because its process was restarted. The relay then begins again with Start.
var ErrNotStarted = errors.New("replicator not started")
