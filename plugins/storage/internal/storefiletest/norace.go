//go:build !race

package storefiletest

const raceEnabled = false
