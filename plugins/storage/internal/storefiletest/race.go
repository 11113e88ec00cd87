//go:build race

package storefiletest

const raceEnabled = true
