//go:build race

package storefiletest

// Crowd is smaller with the race detector, which shows nothing more with many envelopes.
const Crowd = 10_000
