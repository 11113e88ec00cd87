// Package fault injects faults between a relay and a plugin. It passes calls on in both
// directions as they are, without understanding them, and makes some of them go wrong, as
// a seed decides. It is for authors who want to know what their plugin, or a relay, does
// when the other side misbehaves; cwtch-fault is the program.
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
// Describe, Validate, Configure, Drain and Shutdown never go wrong. Only the name of the
// plugin changes: "bolt" becomes "faulty_bolt", so that nobody mistakes one for the other.
// Streams (the Handle of a peersync plugin) are not passed on, so it works with storage and
// stats plugins and not with peersync plugins.
//
// # Seed
//
// The fault of the n-th call follows from the seed and n. The order of concurrent calls
// varies, so a seed gives the same sequence of faults, but not always at the same calls.
package fault
