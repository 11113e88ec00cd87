// Package proto holds the protobuf files of the services between a relay and its
// plugins. They are the contract for authors in any language; the relay hands out
// copies of them with a new plugin.
package proto

import "embed"

// Files are below cwtch/relay/plugin/v1.
//
//go:embed cwtch/relay/plugin/v1/*.proto
var Files embed.FS
