// Package difftest compares sdk/negentropy with the implementation of Negentropy V1 in go-nostr.
// It is a module of its own, so that go-nostr is no dependency of the relay.
package difftest
