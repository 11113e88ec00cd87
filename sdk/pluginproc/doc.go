// Package pluginproc runs plugins as processes of their own: it starts a process, reads
// its handshake and its log, connects to it, and ends it. Package host makes the calls.
//
// A [Process] is one run of a plugin. It is never started again: the supervisor decides
// whether and when to start another one. An [Attached] is a plugin that a developer
// started by hand.
//
// # What a plugin can do to its relay
//
// It can end, print and claim. [Process.Exited] tells when it ends. Its log lines are
// cut, cleaned, counted and slowed down, and show nothing of its memory. The relay connects to one
// address only: a socket in the directory that it made for the plugin.
//
// # What it cannot do
//
// It cannot outlive the relay: the kernel kills it when the relay dies. It learns of
// that earlier through its lifeline, a pipe whose other end the relay holds. It cannot leave
// children behind in its process group, which is killed with it. It does not see the
// relay's environment, only a few variables of its own.
//
// The package needs Linux and does not build elsewhere.
package pluginproc
