// Package peersynctest checks that a replicator keeps the contract of package peersync. Authors
// of peer-sync plugins in Go call [Run] from a test; programs check plugins in any language
// with [Checks]. [World] is a small simulation of relays for tests of an algorithm's own
// promises.
//
// Check a plugin over every transport:
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
//					Converges: true, Resumes: true,
//				})
//			})
//		}
//	}
//
// # What it proves
//
// Most checks hold for every replicator, even one that does nothing. An [Opener] can claim
// further promises of an algorithm, which are then checked as well.
//
// # The simulated world
//
// A [World] has relays, links between them and a clock that moves only in [World.RunFor]. A test
// starts a replicator at each relay, posts, connects, and makes the world as bad as it likes:
// slow or damaging lines ([World.SetLine]), quotas and mirrors ([Replica.SetTerms]), floors, new
// epochs, wrong clocks, peers that come and go, calls that fail ([Replica.Refuse]), relays that
// never answer ([Replica.Silent]) and hostile twins ([NewTwist]). A line for each call of the
// host is in [Replica.Calls]. What is a breach of the contract is in [Replica.Faults], and a
// test should fail if there are any.
//
//	w := peersynctest.NewWorld(seed, 2)
//	for i, r := range w.Replicas {
//		w.Start(i, newReplicator(r))
//	}
//	w.Post(0, 100)
//	w.Connect(0, 1)
//	if err := w.RunFor(ctx, time.Minute); err != nil { … }
//	if err := w.Equal(); err != nil { … }
//
// # What it cannot prove
//
// A replicator in a process of its own shows only its calls to the host. The sdk
// refuses calls beyond a limit before the host sees them, so only the direct transport shows
// a replicator that ignores the limits.
package peersynctest
