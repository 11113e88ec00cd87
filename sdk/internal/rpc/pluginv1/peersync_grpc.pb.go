// The service of peer-sync plugins: the algorithm that keeps the boards of several
// relays equal. These comments are the whole contract. The Go package sdk/peersync says
// the same to authors in Go, where the calls of the plugin are the interface
// HostServices. A test compares the limits and the codes.
//
// This is version 1 of the contract, and it is frozen: calls, events, numbers of fields and
// limits stay. A plugin says so in its description, by `contract`: 1. The contract before
// had other calls under these numbers, so the relay refuses a plugin that says nothing.
//
// A plugin is only the algorithm. It sees the id of each envelope, the hour in which it
// was born and its place in the log. It exchanges messages with its twin on the other
// relay, and decides which envelopes go where. The relay does the rest: links, flow
// control, quotas, and reading, checking and appending envelopes. A plugin gets no
// ciphertext, no address and no socket.
//
// Two directions, one connection. The relay calls Handle, a stream in both
// directions. Its first message has the events. While the plugin handles them it
// sends one HostCall after the other. The relay answers each with a HostAnswer
// before it takes the next. A plugin that does not wait for the answer breaks
// the contract. The plugin ends the stream with the status of the Handle. So a
// plugin opens no connection, and can call the relay only while a Handle is under
// way.
//
// Determinism. A plugin reads no clock, draws no random numbers, starts no threads
// and does not depend on an order that its language leaves open, such as that of a hash
// table. Time comes with Tick, randomness with Start. The same events and answers
// therefore lead to the same calls, and the algorithm can run in a simulator.
//
// Keys. A key is 36 bytes: the hour (whole hours since 1970-01-01 00:00 UTC, 4 bytes,
// big-endian) in which the first relay accepted the envelope, and the id, 32 bytes. Keys
// are in the order of their bytes, on all relays. A field of ids or keys holds them
// one after the other, 32 or 36 bytes each. A range is two keys: the first in it, and the
// first after it. If the second is 36 zeros, the range has no upper bound.
//
// Peers. A peer is another relay with a replica of the board, and has a number from 1
// on. It keeps the number as long as it is configured, across all restarts. No other peer
// gets the same number later. The peer may be anybody's relay, so everything that comes
// from it may be a lie.
//
// Links. A link carries messages before envelopes. Of the envelopes, those of Push go first,
// then those that were requested, then those of Offer; within each, in the order of the
// calls. Envelopes are under way from the call until their outcome. An id that occurs
// twice in a call is read once. An id that is under way to the peer already is not sent a
// second time: both calls get the outcome.
//
// One key for one envelope. Two relays may have accepted an envelope in different hours.
// Then the earlier hour wins, and its key moves: a relay that learns of an earlier hour
// from an Offer, a Push or a Request lowers its own, by at most 24 hours in all.
//
// Limits. A call beyond a limit fails with OUT_OF_RANGE and does nothing. Numbers alone
// are counts, the others bytes.
//
//   max_message      1 MiB   a message to or from a peer; at least 1 byte
//   max_events       256     events of one Handle
//   max_event_bytes  4 MiB   messages of peers in one Handle
//   max_event_ids    16384   ids of all Moved events of one Handle
//   max_ids          1024    ids of a Push, an Offer, a Request or a Moved; at least 1
//   max_entries      1024    entries of a ReplicaLogResponse
//   max_keys         4096    keys of a ReplicaKeysResponse
//   max_ranges       1024    ranges of a call; at least 1
//   max_parts        4096    parts of a SplitResponse
//   max_under_way    4096    ids pushed or offered to a peer, and as many requested, without
//                            an outcome
//   max_queued       2 MiB   messages that wait for one peer
//   max_wake         1 h     time of a Wake
//   max_rest         24 h    time of a Rest
//   max_cursors      256     cursors
//   max_cursor       1 KiB   value of a cursor
//   max_cursor_name  64      bytes of the name of a cursor; at least 1
//   max_peers        64      peers at a time; their numbers may be higher
//   max_version      128     bytes of the version of a twin
//   max_text         256     bytes of a summary or a reason
//
// Errors. A Handle, or the answer to a HostCall, has one of these codes. The text is for
// the operator (at most 1 KiB).
//
//   NOT_FOUND            ErrPeerUnknown: the peer is not up. PeerDown may come later
//   OUT_OF_RANGE         ErrTooLarge: a call exceeds the limits or has an invalid form.
//                        Nothing was done
//   ABORTED              ErrBusy: too much is already under way with the peer. Nothing was
//                        queued. PeerReady follows when another attempt may succeed
//   FAILED_PRECONDITION  ErrNotStarted: the first event must be a Start. The relay begins
//                        again with Start
//   UNAVAILABLE          ErrUnavailable: not now, for example because the store of the
//                        relay cannot be reached. Another attempt at a later Tick may
//                        succeed
//   INTERNAL             a defect of the side that answers, such as an uncaught exception
//   UNKNOWN              anything else, such as a call that the relay is too old for
//
// Errors of calls to the relay are normal, and no reason for Handle to fail. After a
// Handle that fails with INTERNAL or UNKNOWN the relay replaces the process. The next
// one begins with Start.

// Code generated by protoc-gen-go-grpc. DO NOT EDIT.
// versions:
// - protoc-gen-go-grpc v1.6.2
// - protoc             v3.21.12
// source: cwtch/relay/plugin/v1/peersync.proto

package pluginv1

import (
	context "context"
	grpc "google.golang.org/grpc"
	codes "google.golang.org/grpc/codes"
	status "google.golang.org/grpc/status"
)

// This is a compile-time assertion to ensure that this generated file
// is compatible with the grpc package it is being compiled against.
// Requires gRPC-Go v1.64.0 or later.
const _ = grpc.SupportPackageIsVersion9

const (
	PeerSync_Handle_FullMethodName = "/cwtch.relay.plugin.v1.PeerSync/Handle"
)

// PeerSyncClient is the client API for PeerSync service.
//
// For semantics around ctx use and closing/ending streaming RPCs, please refer to https://pkg.go.dev/google.golang.org/grpc/?tab=doc#ClientConn.NewStream.
//
// PeerSync is served by the plugin.
type PeerSyncClient interface {
	// Handle processes events in order. Without events it succeeds. The relay makes one call
	// at a time. It may take seconds. Deadline 120 s: after that, the relay replaces the
	// process. Longer work is cut into pieces by Wake.
	//
	// The first event after Configure is a Start. To any other one a plugin answers
	// FAILED_PRECONDITION. A later Start means that the relay begins again: the plugin
	// forgets everything but its cursors. The relay does this after every error, when
	// Handle may have done a part of its work.
	//
	// A plugin ignores what it does not understand: messages that make no sense, peers that
	// it has not heard of, and events that a later version of this file adds.
	Handle(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[HandleRequest, HandleResponse], error)
}

type peerSyncClient struct {
	cc grpc.ClientConnInterface
}

func NewPeerSyncClient(cc grpc.ClientConnInterface) PeerSyncClient {
	return &peerSyncClient{cc}
}

func (c *peerSyncClient) Handle(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[HandleRequest, HandleResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &PeerSync_ServiceDesc.Streams[0], PeerSync_Handle_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[HandleRequest, HandleResponse]{ClientStream: stream}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type PeerSync_HandleClient = grpc.BidiStreamingClient[HandleRequest, HandleResponse]

// PeerSyncServer is the server API for PeerSync service.
// All implementations must embed UnimplementedPeerSyncServer
// for forward compatibility.
//
// PeerSync is served by the plugin.
type PeerSyncServer interface {
	// Handle processes events in order. Without events it succeeds. The relay makes one call
	// at a time. It may take seconds. Deadline 120 s: after that, the relay replaces the
	// process. Longer work is cut into pieces by Wake.
	//
	// The first event after Configure is a Start. To any other one a plugin answers
	// FAILED_PRECONDITION. A later Start means that the relay begins again: the plugin
	// forgets everything but its cursors. The relay does this after every error, when
	// Handle may have done a part of its work.
	//
	// A plugin ignores what it does not understand: messages that make no sense, peers that
	// it has not heard of, and events that a later version of this file adds.
	Handle(grpc.BidiStreamingServer[HandleRequest, HandleResponse]) error
	mustEmbedUnimplementedPeerSyncServer()
}

// UnimplementedPeerSyncServer must be embedded to have
// forward compatible implementations.
//
// NOTE: this should be embedded by value instead of pointer to avoid a nil
// pointer dereference when methods are called.
type UnimplementedPeerSyncServer struct{}

func (UnimplementedPeerSyncServer) Handle(grpc.BidiStreamingServer[HandleRequest, HandleResponse]) error {
	return status.Error(codes.Unimplemented, "method Handle not implemented")
}
func (UnimplementedPeerSyncServer) mustEmbedUnimplementedPeerSyncServer() {}
func (UnimplementedPeerSyncServer) testEmbeddedByValue()                  {}

// UnsafePeerSyncServer may be embedded to opt out of forward compatibility for this service.
// Use of this interface is not recommended, as added methods to PeerSyncServer will
// result in compilation errors.
type UnsafePeerSyncServer interface {
	mustEmbedUnimplementedPeerSyncServer()
}

func RegisterPeerSyncServer(s grpc.ServiceRegistrar, srv PeerSyncServer) {
	// If the following call panics, it indicates UnimplementedPeerSyncServer was
	// embedded by pointer and is nil.  This will cause panics if an
	// unimplemented method is ever invoked, so we test this at initialization
	// time to prevent it from happening at runtime later due to I/O.
	if t, ok := srv.(interface{ testEmbeddedByValue() }); ok {
		t.testEmbeddedByValue()
	}
	s.RegisterService(&PeerSync_ServiceDesc, srv)
}

func _PeerSync_Handle_Handler(srv interface{}, stream grpc.ServerStream) error {
	return srv.(PeerSyncServer).Handle(&grpc.GenericServerStream[HandleRequest, HandleResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type PeerSync_HandleServer = grpc.BidiStreamingServer[HandleRequest, HandleResponse]

// PeerSync_ServiceDesc is the grpc.ServiceDesc for PeerSync service.
// It's only intended for direct use with grpc.RegisterService,
// and not to be introspected or modified (even as a copy)
var PeerSync_ServiceDesc = grpc.ServiceDesc{
	ServiceName: "cwtch.relay.plugin.v1.PeerSync",
	HandlerType: (*PeerSyncServer)(nil),
	Methods:     []grpc.MethodDesc{},
	Streams: []grpc.StreamDesc{
		{
			StreamName:    "Handle",
			Handler:       _PeerSync_Handle_Handler,
			ServerStreams: true,
			ClientStreams: true,
		},
	},
	Metadata: "cwtch/relay/plugin/v1/peersync.proto",
}
