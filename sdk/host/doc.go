// Package host is a relay's client of its plugins: it asks a plugin over a gRPC
// connection and gives the answers the Go interface of the plugin's kind. Supervisors
// use it, and tests of plugins. Package pluginproc starts the process and connects to it.
//
// # What a plugin can do to its client
//
// It can hang, end and lie. Every call has a deadline. When the process ends, calls fail
// with the ErrUnavailable of the kind, such as [storage.ErrUnavailable]. An answer that no
// plugin may give, because its length, order or numbers are wrong, is a [ContractError].
// An answer has at most 1 MiB; see limits.go.
package host
