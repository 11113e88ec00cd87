// Package statstest checks that an exporter keeps the contract of package stats. Authors of
// stats plugins call [Run] from a test. [Memory] is an exporter for other tests.
//
// Check a plugin over every transport:
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
// The interface of an exporter does not show what becomes of the numbers. Without a Read, the
// suite only sees what the exporter accepts and refuses. It cannot see either whether the
// exporter reveals something about those who read the numbers.
package statstest
