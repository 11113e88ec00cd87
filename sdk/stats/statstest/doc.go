// Package statstest proves that an exporter keeps the contract of the package
// stats. It is for authors of stats plugins, who call [Run] from a test, and holds
// [Memory], an exporter for tests of whatever uses one.
//
// A plugin is proved over every way it can be called:
//
//	func TestMain(m *testing.M) { plugintest.Main(m, thePlugin) }
//
//	func TestContract(t *testing.T) {
//		for _, transport := range plugintest.Transports(t, thePlugin) {
//			t.Run(transport.Name, func(t *testing.T) {
//				statstest.Run(t, statstest.Opener{
//					Open: func(tb testing.TB, dir string) (*plugintest.Opened, error) {
//						return transport.Open(tb, dir, map[string]any{"path": "numbers.txt"})
//					},
//					Read: func(tb testing.TB, dir string, _ *plugintest.Opened) []stats.Metric {
//						return parse(tb, filepath.Join(dir, "numbers.txt"))
//					},
//				})
//			})
//		}
//	}
//
// # What it cannot prove
//
// What an exporter has made of the numbers is not seen through its interface.
// Without a Read the suite sees only that it takes what it must and refuses what
// it must. And that an exporter keeps to itself what it could learn about those
// who read the numbers is for its author to see to.
package statstest
