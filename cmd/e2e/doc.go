// Package e2e tests the programs of this repository as people and their
// machines meet them: the real binaries, built once by the tests, in processes
// of their own that are configured, signalled and killed. It has no code but
// tests.
//
// # What is where
//
//	testdata/script/*.txtar      one behaviour each of cwtch-relay at the command line
//	testdata/script/trap_*       the traps of running plugins as processes, and our answers
//	testdata/script/misbehave_*  programs that are no plugins, in other languages
//	promiseN_*_test.go           the seven promises of docs/architecture.md, by name
//	tor_test.go                  a conversation, and cwtch-demo, over a private Tor network
//	testdata/badstore            an external storage plugin that misbehaves on demand
//
// A promise has its details tested where it is kept, in core, sdk and plugins.
// The tests here show that the pieces keep it together, and fail when any of
// them does not.
//
// # Rules
//
// Tests wait for events, never for time to pass; the deadlines are there to end
// a test that has failed. They need no root. Those few that need more, such as a
// disk of their own, say so and are skipped without it.
package e2e
