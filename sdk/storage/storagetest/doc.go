// Package storagetest proves that a store keeps the contract of the package
// storage. Authors of storage plugins in Go call [Run] from a test. Programs prove
// plugins of any language with [Checks]. [Memory] is a store for tests of code that
// uses a store.
//
// A plugin is proved over every transport:
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
// the suite does not notice a store that never flushes. Its author has to make sure
// that it flushes before Append returns.
package storagetest
