// Package e2e tests the real programs of this repository. The tests build the
// binaries once, then configure, signal and kill them in separate processes. The
// package has no code but tests.
//
// # What is where
//
//	testdata/script/*.txtar      scripts at the command line, one behaviour each
//	testdata/script/misbehave_*  programs in other languages that are not plugins
//	promiseN_*_test.go           one test per promise of docs/architecture.md
//	tor_test.go                  a conversation and cwtch-demo, over a private Tor network
//	testdata/badstore            an external storage plugin that misbehaves on demand
//
// The packages in core, sdk and plugins test the details of each promise. The tests
// here show that the pieces keep the promises together.
//
// # Rules
//
// Tests wait for events, never for time to pass. A deadline only ends a test that
// has failed. Tests do not need root. The few that need more, such as a separate
// disk, say so and are skipped without it.
package e2e
