// Package difftest compares sdk/negentropy with the implementation of Negentropy V1 in go-nostr.
// It is a module of its own, so that go-nostr is no dependency of the relay. "make interop" runs
// it. When go.mod of the relay changes, it may need "go mod tidy".
//
// Their implementation panics on hostile messages, so it is fed only with those of honest ends.
package difftest
