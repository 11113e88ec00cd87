package storage

import "context"

// Watcher is implemented by a store that several relays share, and by no other. The
// relay keeps one call of Watch under way and learns from it what others have
// appended. The built-in stores are not shared; Watcher is there for a plugin that
// keeps the log in a database of several relays.
//
// The relay does not look for a Watcher with a type assertion but with [As].
type Watcher interface {
	// Watch blocks until the log holds an entry above after, and returns the
	// highest sequence number; or until ctx ends, and returns its error.
	Watch(ctx context.Context, after Seq) (Seq, error)
}

// As returns s as a T and whether s is one, where T is an optional interface of a
// store: [Watcher], [Ledger], [Pruner], [Index], [Compactor] or [Checker].
//
// The type of a store does not always tell. The store of a plugin in another process
// has the methods of all optional interfaces, and which of them the plugin serves is
// known only once it is configured. Such a store has a method
//
//	As(target any) bool
//
// which works as in package errors: target is a *T, which the method sets if it
// returns true. Every other store is a T if it implements T; authors of plugins have
// nothing to do.
func As[T any](s Store) (t T, ok bool) {
	prober, probes := s.(interface{ As(target any) bool })
	if !probes {
		t, ok = s.(T)
		return t, ok
	}
	var found T
	if prober.As(&found) {
		return found, true
	}
	return t, false
}
