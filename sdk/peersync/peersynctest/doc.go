// Package peersynctest proves that a replicator keeps the contract of the
// package peersync. It is for authors of peer-sync plugins in Go, who call [Run]
// from a test, for programs that prove a plugin of any language with [Checks],
// and holds [World], a small simulation of relays for tests of an algorithm's own
// promises.
//
// A plugin is proved over every way it can be called:
//
//	func TestMain(m *testing.M) { plugintest.Main(m, thePlugin) }
//
//	func TestContract(t *testing.T) {
//		for _, transport := range plugintest.Transports(t, thePlugin) {
//			t.Run(transport.Name, func(t *testing.T) {
//				peersynctest.Run(t, peersynctest.Opener{
//					Open: func(tb testing.TB, dir string, host peersync.HostServices) (*plugintest.Opened, error) {
//						return transport.OpenPeerSync(tb, dir, nil, host)
//					},
//					Resumes: true,
//				})
//			})
//		}
//	}
//
// # What it proves
//
// Most of the checks hold for every replicator, also for one that does nothing.
// What an algorithm promises beyond the contract it claims in its [Opener], and
// has it checked.
//
// # What it cannot prove
//
// A replicator in a process of its own is seen by what it asks of its host. What
// exceeds a limit is refused by the sdk before the host sees it, so that only
// the direct call shows a replicator that does not mind the limits.
package peersynctest
