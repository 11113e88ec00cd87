// Package fault is a liar between a relay and a plugin. It passes every call on
// as it is, in both directions and without understanding it, except that now
// and then, as a seed decides, something goes wrong. It is for authors who want
// to know what their plugin, or a relay, does when the other side misbehaves;
// the program cwtch-fault is it.
//
// # What goes wrong
//
//	delay      the call is answered up to two seconds late
//	fail       the call fails, and never reached the plugin
//	cut        the plugin has done what was asked, and the answer is lost
//	duplicate  the plugin is asked twice; the second answer counts
//	corrupt    bytes of the answer are flipped, left out or added
//	truncate   the answer ends in the middle, or its lengths lie
//	huge       the answer is 20 MiB long
//	hang       the call is never answered
//	crash      the process ends, before or after the plugin was asked
//
// # What does not
//
// Describe, Validate, Configure, Drain and Shutdown pass as they are, but for
// the name: a plugin "bolt" becomes "faulty_bolt", so that nobody mistakes one
// for the other. Calls of a stream (the Handle of a peersync plugin) are not
// passed on, so storage and stats plugins can stand behind it, and peersync
// plugins cannot.
//
// # Seed
//
// What happens to the n-th call follows from the seed and n. Calls that are made
// at the same time come in an order of their own, so a seed gives the same
// sequence of faults, not always at the same calls.
package fault
