//go:build linux && amd64

package powerloss

import "testing"

// pruningSteps is what a process does with a store that it prunes and compacts.
var pruningSteps = []step{
	{Do: "open"},
	{Do: "append", First: 0, N: 40},
	{Do: "append", First: 40, N: 40},
	{Do: "prune", First: 20, N: 9},
	{Do: "append", First: 80, N: 5},
	{Do: "prune", First: 48, N: 100},
	{Do: "compact"},
	{Do: "append", First: 85, N: 17},
	{Do: "prune", First: 64, N: 100},
	{Do: "compact"},
	{Do: "append", First: 102, N: 1},
}

// TestPowerCutWhilePruning cuts the power while a store is pruned and compacted: nothing that is
// not below the floor is lost, nothing below it comes back, and no token can be spent again.
func TestPowerCutWhilePruning(t *testing.T) {
	l := newExperiment(t, "sqlite")
	r := l.runFresh(pruningSteps, failure{})
	l.mustSucceed(r)
	l.checkCuts(r, 300*effort())
	l.report()
}
