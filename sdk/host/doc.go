// Package host is the relay's side of the border to a plugin: it starts the
// process, shakes hands, and gives what is on the other side the Go interface
// of its kind. It is for the supervisor of a relay and for tests of plugins.
//
// A [Process] is one incarnation of a plugin: it is started once, and when it
// has ended there is another one or none. Starting it again, when and how
// often, is for the caller. An [Attached] is a plugin that a developer started.
//
// # What a plugin can do to its host
//
// Crash, hang, print, lie. A crash makes calls fail with the ErrUnavailable of
// the kind, such as [storage.ErrUnavailable], and Exited tells of it. A hang is ended by the
// deadline that every call has. Log lines are cut, counted and paced. An answer that no
// plugin may give, of the wrong length, out of order or beyond the limits, is a
// [ContractError]. Answers are bounded at 1 MiB. The one address the host
// connects to is a socket in the directory that it made for that purpose.
//
// # What it cannot do
//
// Outlive the host: the kernel kills it when the host dies, and it holds the
// read end of a pipe, the lifeline, that tells it so earlier. Leave children
// behind in its process group: they are killed with it. See the environment of
// the relay: it gets a few variables and nothing else.
//
// All this rests on Linux; the package does not build elsewhere yet.
package host
