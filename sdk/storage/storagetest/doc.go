// Package storagetest proves that a store keeps the contract of the package
// storage. It is for authors of storage plugins in Go, who call [Run] from a
// test, for programs that prove a plugin of any language with [Checks], and
// holds [Memory], a store for tests of whatever uses one.
//
// A plugin is proved over every way it can be called:
//
//	func TestMain(m *testing.M) { plugintest.Main(m, thePlugin) }
//
//	func TestContract(t *testing.T) {
//		for _, transport := range plugintest.Transports(t, thePlugin) {
//			t.Run(transport.Name, func(t *testing.T) {
//				storagetest.Run(t, storagetest.Opener{
//					Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
//						return transport.Open(tb, dir, nil)
//					},
//					Disk: true,
//				})
//			})
//		}
//	}
//
// Run it with the race detector as well: some checks read while they append.
//
// # What it cannot prove
//
// A killed process loses nothing that the operating system has taken over, so
// the suite does not notice a store that never flushes. That it flushes before
// Append returns is for its author to see to.
package storagetest
