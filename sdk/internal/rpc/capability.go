package rpc

import pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"

// Capabilities maps the numbers on the wire to the names in the sdk.
var Capabilities = map[pb.Capability]string{
	pb.Capability_CAPABILITY_STORAGE_WATCH:   "storage.watch",
	pb.Capability_CAPABILITY_STORAGE_LEDGER:  "storage.ledger",
	pb.Capability_CAPABILITY_STORAGE_PRUNE:   "storage.prune",
	pb.Capability_CAPABILITY_STORAGE_INDEX:   "storage.index",
	pb.Capability_CAPABILITY_STORAGE_COMPACT: "storage.compact",
	pb.Capability_CAPABILITY_STORAGE_CHECK:   "storage.check",
}

// Capability returns the number of a name, or CAPABILITY_UNSPECIFIED.
func Capability(name string) pb.Capability {
	for number, n := range Capabilities {
		if n == name {
			return number
		}
	}
	return pb.Capability_CAPABILITY_UNSPECIFIED
}
