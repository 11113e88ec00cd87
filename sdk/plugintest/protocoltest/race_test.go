//go:build race

package protocoltest_test

const raceEnabled = true
