package storefiletest

import (
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugintest"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// SkipUnderRace skips a test that takes long and calls the store one call after the other, where
// the race detector can find nothing. It runs without.
func SkipUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("long, and one call after the other: make test runs this without the race detector")
	}
}

// ProveContract proves a store over each transport: small, with so little in memory that the
// checks meet all that it does, and shipped as it is shipped, with as large a crowd as the suite
// has. What the crowd costs does not depend on the transport.
//
// With the race detector it proves only small, and only called directly. The store is the same
// behind the other transports, whose own code has the race detector in the tests of plugins/fault
// and sdk/internal/rpc.
func ProveContract(t *testing.T, small, shipped plugin.Plugin) {
	const fewer = 10_000
	transports := plugintest.Transports(t, small)
	if raceEnabled {
		transports = transports[:1]
	}
	for _, transport := range transports {
		t.Run(transport.Name, func(t *testing.T) { prove(t, transport, fewer) })
	}
	if !raceEnabled {
		t.Run("defaults", func(t *testing.T) { prove(t, plugintest.Transports(t, shipped)[0], 0) })
	}
}

func prove(t *testing.T, transport plugintest.Transport, crowd int) {
	storagetest.Run(t, storagetest.Opener{
		Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
			return transport.Open(tb, dir, nil)
		},
		Disk:  true,
		Crowd: crowd,
	})
}
