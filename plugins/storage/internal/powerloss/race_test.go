//go:build race

package powerloss

// slower divides the number of states that are sampled: the race detector makes
// each ten times slower, and the checks use one goroutine.
const slower = 4
