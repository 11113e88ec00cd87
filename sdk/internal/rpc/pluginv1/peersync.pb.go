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

// Code generated by protoc-gen-go. DO NOT EDIT.
// versions:
// 	protoc-gen-go v1.36.12
// 	protoc        v3.21.12
// source: cwtch/relay/plugin/v1/peersync.proto

package pluginv1

import (
	protoreflect "google.golang.org/protobuf/reflect/protoreflect"
	protoimpl "google.golang.org/protobuf/runtime/protoimpl"
	reflect "reflect"
	sync "sync"
	unsafe "unsafe"
)

const (
	// Verify that this generated code is sufficiently up-to-date.
	_ = protoimpl.EnforceVersion(20 - protoimpl.MinVersion)
	// Verify that runtime/protoimpl is sufficiently up-to-date.
	_ = protoimpl.EnforceVersion(protoimpl.MaxVersion - 20)
)

type Moved_Status int32

const (
	Moved_STATUS_UNSPECIFIED Moved_Status = 0 // never sent
	Moved_STATUS_STORED      Moved_Status = 1 // new, and durable in the log of the relay that received it
	Moved_STATUS_KNOWN       Moved_Status = 2 // was in that log before
	Moved_STATUS_UNDER_WAY   Moved_Status = 3 // another peer is sending it; if its outcome there is not STORED, it can be requested again
	Moved_STATUS_GONE        Moved_Status = 4 // the sender does not have it, or no longer
	Moved_STATUS_TOO_OLD     Moved_Status = 5 // not stored: born below the floor of the relay that received it
	Moved_STATUS_OVER_QUOTA  Moved_Status = 6 // not stored: the sender has used up what its operator allows it
	Moved_STATUS_NOT_ALLOWED Moved_Status = 7 // not stored: the relay takes nothing from the sender
	Moved_STATUS_INVALID     Moved_Status = 8 // not stored: not the envelope that has the id, or none at all
	Moved_STATUS_LOST        Moved_Status = 9 // the link broke before, or the store of the relay that received it failed
)

// Enum value maps for Moved_Status.
var (
	Moved_Status_name = map[int32]string{
		0: "STATUS_UNSPECIFIED",
		1: "STATUS_STORED",
		2: "STATUS_KNOWN",
		3: "STATUS_UNDER_WAY",
		4: "STATUS_GONE",
		5: "STATUS_TOO_OLD",
		6: "STATUS_OVER_QUOTA",
		7: "STATUS_NOT_ALLOWED",
		8: "STATUS_INVALID",
		9: "STATUS_LOST",
	}
	Moved_Status_value = map[string]int32{
		"STATUS_UNSPECIFIED": 0,
		"STATUS_STORED":      1,
		"STATUS_KNOWN":       2,
		"STATUS_UNDER_WAY":   3,
		"STATUS_GONE":        4,
		"STATUS_TOO_OLD":     5,
		"STATUS_OVER_QUOTA":  6,
		"STATUS_NOT_ALLOWED": 7,
		"STATUS_INVALID":     8,
		"STATUS_LOST":        9,
	}
)

func (x Moved_Status) Enum() *Moved_Status {
	p := new(Moved_Status)
	*p = x
	return p
}

func (x Moved_Status) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (Moved_Status) Descriptor() protoreflect.EnumDescriptor {
	return file_cwtch_relay_plugin_v1_peersync_proto_enumTypes[0].Descriptor()
}

func (Moved_Status) Type() protoreflect.EnumType {
	return &file_cwtch_relay_plugin_v1_peersync_proto_enumTypes[0]
}

func (x Moved_Status) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use Moved_Status.Descriptor instead.
func (Moved_Status) EnumDescriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{14, 0}
}

type HandleRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Events        []*Event               `protobuf:"bytes,1,rep,name=events,proto3" json:"events,omitempty"` // of the first message
	Answer        *HostAnswer            `protobuf:"bytes,2,opt,name=answer,proto3" json:"answer,omitempty"` // of each later one
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HandleRequest) Reset() {
	*x = HandleRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[0]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HandleRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HandleRequest) ProtoMessage() {}

func (x *HandleRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[0]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HandleRequest.ProtoReflect.Descriptor instead.
func (*HandleRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{0}
}

func (x *HandleRequest) GetEvents() []*Event {
	if x != nil {
		return x.Events
	}
	return nil
}

func (x *HandleRequest) GetAnswer() *HostAnswer {
	if x != nil {
		return x.Answer
	}
	return nil
}

type HandleResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Call          *HostCall              `protobuf:"bytes,1,opt,name=call,proto3" json:"call,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HandleResponse) Reset() {
	*x = HandleResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[1]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HandleResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HandleResponse) ProtoMessage() {}

func (x *HandleResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[1]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HandleResponse.ProtoReflect.Descriptor instead.
func (*HandleResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{1}
}

func (x *HandleResponse) GetCall() *HostCall {
	if x != nil {
		return x.Call
	}
	return nil
}

// HostCall is a call of the plugin to the relay.
type HostCall struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Types that are valid to be assigned to Call:
	//
	//	*HostCall_Log
	//	*HostCall_Keys
	//	*HostCall_RangeSum
	//	*HostCall_Split
	//	*HostCall_Send
	//	*HostCall_Push
	//	*HostCall_Offer
	//	*HostCall_Request
	//	*HostCall_Drop
	//	*HostCall_Rest
	//	*HostCall_Save
	//	*HostCall_Load
	//	*HostCall_List
	//	*HostCall_Wake
	//	*HostCall_Report
	Call          isHostCall_Call `protobuf_oneof:"call"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HostCall) Reset() {
	*x = HostCall{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[2]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HostCall) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HostCall) ProtoMessage() {}

func (x *HostCall) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[2]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HostCall.ProtoReflect.Descriptor instead.
func (*HostCall) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{2}
}

func (x *HostCall) GetCall() isHostCall_Call {
	if x != nil {
		return x.Call
	}
	return nil
}

func (x *HostCall) GetLog() *ReplicaLogRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Log); ok {
			return x.Log
		}
	}
	return nil
}

func (x *HostCall) GetKeys() *ReplicaKeysRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Keys); ok {
			return x.Keys
		}
	}
	return nil
}

func (x *HostCall) GetRangeSum() *RangeSumRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_RangeSum); ok {
			return x.RangeSum
		}
	}
	return nil
}

func (x *HostCall) GetSplit() *SplitRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Split); ok {
			return x.Split
		}
	}
	return nil
}

func (x *HostCall) GetSend() *SendRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Send); ok {
			return x.Send
		}
	}
	return nil
}

func (x *HostCall) GetPush() *PushRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Push); ok {
			return x.Push
		}
	}
	return nil
}

func (x *HostCall) GetOffer() *OfferRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Offer); ok {
			return x.Offer
		}
	}
	return nil
}

func (x *HostCall) GetRequest() *RequestRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Request); ok {
			return x.Request
		}
	}
	return nil
}

func (x *HostCall) GetDrop() *DropRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Drop); ok {
			return x.Drop
		}
	}
	return nil
}

func (x *HostCall) GetRest() *RestRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Rest); ok {
			return x.Rest
		}
	}
	return nil
}

func (x *HostCall) GetSave() *SaveRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Save); ok {
			return x.Save
		}
	}
	return nil
}

func (x *HostCall) GetLoad() *LoadRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Load); ok {
			return x.Load
		}
	}
	return nil
}

func (x *HostCall) GetList() *ListRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_List); ok {
			return x.List
		}
	}
	return nil
}

func (x *HostCall) GetWake() *WakeRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Wake); ok {
			return x.Wake
		}
	}
	return nil
}

func (x *HostCall) GetReport() *ReportRequest {
	if x != nil {
		if x, ok := x.Call.(*HostCall_Report); ok {
			return x.Report
		}
	}
	return nil
}

type isHostCall_Call interface {
	isHostCall_Call()
}

type HostCall_Log struct {
	// Reads entries of the log from a sequence number on, ascending, up to the limit. No
	// entries: the log ends before.
	Log *ReplicaLogRequest `protobuf:"bytes,1,opt,name=log,proto3,oneof"`
}

type HostCall_Keys struct {
	// Reads the keys of ranges, ascending within each, and at most max in all. There is a
	// list for each range, unless max ends the answer: then the last list may lack keys, and
	// those of later ranges are left out. This and the next two calls fail with UNAVAILABLE
	// until the relay has read the keys of its store, and while it has more than it can hold.
	Keys *ReplicaKeysRequest `protobuf:"bytes,2,opt,name=keys,proto3,oneof"`
}

type HostCall_RangeSum struct {
	// Computes a sum for each range, in their order.
	RangeSum *RangeSumRequest `protobuf:"bytes,3,opt,name=range_sum,json=rangeSum,proto3,oneof"`
}

type HostCall_Split struct {
	// Cuts each range into parts of equal count, in order: of n keys in the range, the first
	// n mod parts of the parts have one key more than the others. Parts without keys are
	// left out, so an empty range has none.
	Split *SplitRequest `protobuf:"bytes,4,opt,name=split,proto3,oneof"`
}

type HostCall_Send struct {
	// Queues a message for the twin at a peer. Messages arrive in the order of Send. When
	// the link breaks they are lost; only PeerDown says so. This and the next five calls
	// are only for peers that are up: from PeerUp until PeerDown.
	Send *SendRequest `protobuf:"bytes,5,opt,name=send,proto3,oneof"`
}

type HostCall_Push struct {
	// Sends envelopes to the peer, without asking whether it has them. Each id is settled
	// once by a Moved of `sent`.
	Push *PushRequest `protobuf:"bytes,6,opt,name=push,proto3,oneof"`
}

type HostCall_Offer struct {
	// Tells the relay of the peer the keys of envelopes, and sends it those that it lacks.
	// Each id is settled once by a Moved of `sent`. It takes a turn longer than push, and
	// costs 40 bytes for an envelope that the peer has.
	Offer *OfferRequest `protobuf:"bytes,7,opt,name=offer,proto3,oneof"`
}

type HostCall_Request struct {
	// Asks the peer for envelopes, with the keys that they have there. A plugin that does not
	// know the hour there passes a later one; the envelope comes with the true one. Each id is
	// settled once by a Moved of `received`. An id that is in the log already is settled as KNOWN,
	// one that another peer is sending as UNDER_WAY; for neither is the peer asked.
	Request *RequestRequest `protobuf:"bytes,8,opt,name=request,proto3,oneof"`
}

type HostCall_Drop struct {
	// Closes the link to a peer that breaks the protocol, and keeps it closed for a while,
	// longer each time. PeerDown follows.
	Drop *DropRequest `protobuf:"bytes,9,opt,name=drop,proto3,oneof"`
}

type HostCall_Rest struct {
	// Closes the link to a peer, without blame, and keeps it closed for a time. PeerDown
	// follows.
	Rest *RestRequest `protobuf:"bytes,10,opt,name=rest,proto3,oneof"`
}

type HostCall_Save struct {
	// Stores values under their names, all or none of them, and replaces those before. They
	// are durable when the answer comes. If a Save survives a crash, so does every Save
	// before it.
	Save *SaveRequest `protobuf:"bytes,11,opt,name=save,proto3,oneof"`
}

type HostCall_Load struct {
	// Reads the value under a name. It is empty if there is none.
	Load *LoadRequest `protobuf:"bytes,12,opt,name=load,proto3,oneof"`
}

type HostCall_List struct {
	// Reads the names of all cursors.
	List *ListRequest `protobuf:"bytes,13,opt,name=list,proto3,oneof"`
}

type HostCall_Wake struct {
	// Asks for a tick as soon as `now` has grown by a time, and replaces an earlier wake. With
	// 0 the tick comes when this Handle has ended, and the relay has done what is more
	// urgent: so long work is cut into pieces.
	Wake *WakeRequest `protobuf:"bytes,14,opt,name=wake,proto3,oneof"`
}

type HostCall_Report struct {
	// Replaces what the relay shows its operator about the replication.
	Report *ReportRequest `protobuf:"bytes,15,opt,name=report,proto3,oneof"`
}

func (*HostCall_Log) isHostCall_Call() {}

func (*HostCall_Keys) isHostCall_Call() {}

func (*HostCall_RangeSum) isHostCall_Call() {}

func (*HostCall_Split) isHostCall_Call() {}

func (*HostCall_Send) isHostCall_Call() {}

func (*HostCall_Push) isHostCall_Call() {}

func (*HostCall_Offer) isHostCall_Call() {}

func (*HostCall_Request) isHostCall_Call() {}

func (*HostCall_Drop) isHostCall_Call() {}

func (*HostCall_Rest) isHostCall_Call() {}

func (*HostCall_Save) isHostCall_Call() {}

func (*HostCall_Load) isHostCall_Call() {}

func (*HostCall_List) isHostCall_Call() {}

func (*HostCall_Wake) isHostCall_Call() {}

func (*HostCall_Report) isHostCall_Call() {}

// HostAnswer is the answer to a HostCall: an error, or the result, which has the name of
// the call. A call without a result has an empty answer.
type HostAnswer struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	Code  uint32                 `protobuf:"varint,1,opt,name=code,proto3" json:"code,omitempty"` // of gRPC; 0: the call succeeded
	Text  string                 `protobuf:"bytes,2,opt,name=text,proto3" json:"text,omitempty"`  // of the error
	// Types that are valid to be assigned to Answer:
	//
	//	*HostAnswer_Log
	//	*HostAnswer_Keys
	//	*HostAnswer_RangeSum
	//	*HostAnswer_Split
	//	*HostAnswer_Load
	//	*HostAnswer_List
	Answer        isHostAnswer_Answer `protobuf_oneof:"answer"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HostAnswer) Reset() {
	*x = HostAnswer{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[3]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HostAnswer) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HostAnswer) ProtoMessage() {}

func (x *HostAnswer) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[3]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HostAnswer.ProtoReflect.Descriptor instead.
func (*HostAnswer) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{3}
}

func (x *HostAnswer) GetCode() uint32 {
	if x != nil {
		return x.Code
	}
	return 0
}

func (x *HostAnswer) GetText() string {
	if x != nil {
		return x.Text
	}
	return ""
}

func (x *HostAnswer) GetAnswer() isHostAnswer_Answer {
	if x != nil {
		return x.Answer
	}
	return nil
}

func (x *HostAnswer) GetLog() *ReplicaLogResponse {
	if x != nil {
		if x, ok := x.Answer.(*HostAnswer_Log); ok {
			return x.Log
		}
	}
	return nil
}

func (x *HostAnswer) GetKeys() *ReplicaKeysResponse {
	if x != nil {
		if x, ok := x.Answer.(*HostAnswer_Keys); ok {
			return x.Keys
		}
	}
	return nil
}

func (x *HostAnswer) GetRangeSum() *RangeSumResponse {
	if x != nil {
		if x, ok := x.Answer.(*HostAnswer_RangeSum); ok {
			return x.RangeSum
		}
	}
	return nil
}

func (x *HostAnswer) GetSplit() *SplitResponse {
	if x != nil {
		if x, ok := x.Answer.(*HostAnswer_Split); ok {
			return x.Split
		}
	}
	return nil
}

func (x *HostAnswer) GetLoad() *LoadResponse {
	if x != nil {
		if x, ok := x.Answer.(*HostAnswer_Load); ok {
			return x.Load
		}
	}
	return nil
}

func (x *HostAnswer) GetList() *ListResponse {
	if x != nil {
		if x, ok := x.Answer.(*HostAnswer_List); ok {
			return x.List
		}
	}
	return nil
}

type isHostAnswer_Answer interface {
	isHostAnswer_Answer()
}

type HostAnswer_Log struct {
	Log *ReplicaLogResponse `protobuf:"bytes,3,opt,name=log,proto3,oneof"`
}

type HostAnswer_Keys struct {
	Keys *ReplicaKeysResponse `protobuf:"bytes,4,opt,name=keys,proto3,oneof"`
}

type HostAnswer_RangeSum struct {
	RangeSum *RangeSumResponse `protobuf:"bytes,5,opt,name=range_sum,json=rangeSum,proto3,oneof"`
}

type HostAnswer_Split struct {
	Split *SplitResponse `protobuf:"bytes,6,opt,name=split,proto3,oneof"`
}

type HostAnswer_Load struct {
	Load *LoadResponse `protobuf:"bytes,7,opt,name=load,proto3,oneof"`
}

type HostAnswer_List struct {
	List *ListResponse `protobuf:"bytes,8,opt,name=list,proto3,oneof"`
}

func (*HostAnswer_Log) isHostAnswer_Answer() {}

func (*HostAnswer_Keys) isHostAnswer_Answer() {}

func (*HostAnswer_RangeSum) isHostAnswer_Answer() {}

func (*HostAnswer_Split) isHostAnswer_Answer() {}

func (*HostAnswer_Load) isHostAnswer_Answer() {}

func (*HostAnswer_List) isHostAnswer_Answer() {}

// Event is one of these. A plugin ignores events that it does not know.
type Event struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Types that are valid to be assigned to Event:
	//
	//	*Event_Start
	//	*Event_LogAdvanced
	//	*Event_Tick
	//	*Event_PeersChanged
	//	*Event_PeerUp
	//	*Event_PeerMoved
	//	*Event_PeerReady
	//	*Event_PeerDown
	//	*Event_PeerMessage
	//	*Event_Sent
	//	*Event_Received
	Event         isEvent_Event `protobuf_oneof:"event"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Event) Reset() {
	*x = Event{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[4]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Event) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Event) ProtoMessage() {}

func (x *Event) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[4]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Event.ProtoReflect.Descriptor instead.
func (*Event) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{4}
}

func (x *Event) GetEvent() isEvent_Event {
	if x != nil {
		return x.Event
	}
	return nil
}

func (x *Event) GetStart() *Start {
	if x != nil {
		if x, ok := x.Event.(*Event_Start); ok {
			return x.Start
		}
	}
	return nil
}

func (x *Event) GetLogAdvanced() *ReplicaState {
	if x != nil {
		if x, ok := x.Event.(*Event_LogAdvanced); ok {
			return x.LogAdvanced
		}
	}
	return nil
}

func (x *Event) GetTick() *Tick {
	if x != nil {
		if x, ok := x.Event.(*Event_Tick); ok {
			return x.Tick
		}
	}
	return nil
}

func (x *Event) GetPeersChanged() *PeersChanged {
	if x != nil {
		if x, ok := x.Event.(*Event_PeersChanged); ok {
			return x.PeersChanged
		}
	}
	return nil
}

func (x *Event) GetPeerUp() *PeerUp {
	if x != nil {
		if x, ok := x.Event.(*Event_PeerUp); ok {
			return x.PeerUp
		}
	}
	return nil
}

func (x *Event) GetPeerMoved() *PeerMoved {
	if x != nil {
		if x, ok := x.Event.(*Event_PeerMoved); ok {
			return x.PeerMoved
		}
	}
	return nil
}

func (x *Event) GetPeerReady() *PeerReady {
	if x != nil {
		if x, ok := x.Event.(*Event_PeerReady); ok {
			return x.PeerReady
		}
	}
	return nil
}

func (x *Event) GetPeerDown() *PeerDown {
	if x != nil {
		if x, ok := x.Event.(*Event_PeerDown); ok {
			return x.PeerDown
		}
	}
	return nil
}

func (x *Event) GetPeerMessage() *PeerMessage {
	if x != nil {
		if x, ok := x.Event.(*Event_PeerMessage); ok {
			return x.PeerMessage
		}
	}
	return nil
}

func (x *Event) GetSent() *Moved {
	if x != nil {
		if x, ok := x.Event.(*Event_Sent); ok {
			return x.Sent
		}
	}
	return nil
}

func (x *Event) GetReceived() *Moved {
	if x != nil {
		if x, ok := x.Event.(*Event_Received); ok {
			return x.Received
		}
	}
	return nil
}

type isEvent_Event interface {
	isEvent_Event()
}

type Event_Start struct {
	// The first event. No peer is up, and nothing is under way.
	Start *Start `protobuf:"bytes,1,opt,name=start,proto3,oneof"`
}

type Event_LogAdvanced struct {
	// The log or the floor has moved, or the epoch has changed. One event may stand for
	// many changes.
	LogAdvanced *ReplicaState `protobuf:"bytes,2,opt,name=log_advanced,json=logAdvanced,proto3,oneof"`
}

type Event_Tick struct {
	// The time: about every second while a peer is up, otherwise about every ten seconds
	// or with a log_advanced, and when a wake is due. Its frequency means nothing; calculate
	// with now.
	Tick *Tick `protobuf:"bytes,3,opt,name=tick,proto3,oneof"`
}

type Event_PeersChanged struct {
	// Other peers are configured now. Those that are gone are down.
	PeersChanged *PeersChanged `protobuf:"bytes,4,opt,name=peers_changed,json=peersChanged,proto3,oneof"`
}

type Event_PeerUp struct {
	// The link to a peer and the twin there are ready.
	PeerUp *PeerUp `protobuf:"bytes,5,opt,name=peer_up,json=peerUp,proto3,oneof"`
}

type Event_PeerMoved struct {
	// The epoch or the floor of a peer's replica has changed, or its log has moved.
	PeerMoved *PeerMoved `protobuf:"bytes,6,opt,name=peer_moved,json=peerMoved,proto3,oneof"`
}

type Event_PeerReady struct {
	// A call for a peer may succeed that was answered with ABORTED before.
	PeerReady *PeerReady `protobuf:"bytes,7,opt,name=peer_ready,json=peerReady,proto3,oneof"`
}

type Event_PeerDown struct {
	// The link is gone. No message of the peer follows, and every id is settled.
	PeerDown *PeerDown `protobuf:"bytes,8,opt,name=peer_down,json=peerDown,proto3,oneof"`
}

type Event_PeerMessage struct {
	// A message from the twin at a peer.
	PeerMessage *PeerMessage `protobuf:"bytes,9,opt,name=peer_message,json=peerMessage,proto3,oneof"`
}

type Event_Sent struct {
	// Settles ids of a Push or an Offer. Whether the peer's relay took them is its word:
	// STORED, KNOWN, TOO_OLD, OVER_QUOTA, NOT_ALLOWED or INVALID. What did not get so far is
	// GONE or LOST.
	Sent *Moved `protobuf:"bytes,10,opt,name=sent,proto3,oneof"`
}

type Event_Received struct {
	// Settles ids of a Request. It also reports envelopes that the peer pushed or offered;
	// those are never GONE or LOST, and KNOWN says that the peer has it as well.
	Received *Moved `protobuf:"bytes,11,opt,name=received,proto3,oneof"`
}

func (*Event_Start) isEvent_Event() {}

func (*Event_LogAdvanced) isEvent_Event() {}

func (*Event_Tick) isEvent_Event() {}

func (*Event_PeersChanged) isEvent_Event() {}

func (*Event_PeerUp) isEvent_Event() {}

func (*Event_PeerMoved) isEvent_Event() {}

func (*Event_PeerReady) isEvent_Event() {}

func (*Event_PeerDown) isEvent_Event() {}

func (*Event_PeerMessage) isEvent_Event() {}

func (*Event_Sent) isEvent_Event() {}

func (*Event_Received) isEvent_Event() {}

// ReplicaState describes a board.
type ReplicaState struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	Epoch []byte                 `protobuf:"bytes,1,opt,name=epoch,proto3" json:"epoch,omitempty"`  // 16 bytes; sequence numbers of another epoch mean nothing
	First uint64                 `protobuf:"varint,2,opt,name=first,proto3" json:"first,omitempty"` // lowest sequence number kept; 0: the log is empty
	Last  uint64                 `protobuf:"varint,3,opt,name=last,proto3" json:"last,omitempty"`   // highest ever assigned, at most 2^63-1; 0: none yet
	Count uint64                 `protobuf:"varint,4,opt,name=count,proto3" json:"count,omitempty"` // envelopes kept
	// Hour below which the relay neither keeps nor accepts envelopes: what was born before is
	// in no answer, and is TOO_OLD when it comes. It only rises within an epoch.
	Floor         uint32 `protobuf:"varint,5,opt,name=floor,proto3" json:"floor,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReplicaState) Reset() {
	*x = ReplicaState{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[5]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReplicaState) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReplicaState) ProtoMessage() {}

func (x *ReplicaState) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[5]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReplicaState.ProtoReflect.Descriptor instead.
func (*ReplicaState) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{5}
}

func (x *ReplicaState) GetEpoch() []byte {
	if x != nil {
		return x.Epoch
	}
	return nil
}

func (x *ReplicaState) GetFirst() uint64 {
	if x != nil {
		return x.First
	}
	return 0
}

func (x *ReplicaState) GetLast() uint64 {
	if x != nil {
		return x.Last
	}
	return 0
}

func (x *ReplicaState) GetCount() uint64 {
	if x != nil {
		return x.Count
	}
	return 0
}

func (x *ReplicaState) GetFloor() uint32 {
	if x != nil {
		return x.Floor
	}
	return 0
}

type Start struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	State         *ReplicaState          `protobuf:"bytes,1,opt,name=state,proto3" json:"state,omitempty"`
	Hour          uint32                 `protobuf:"varint,2,opt,name=hour,proto3" json:"hour,omitempty"`          // as in Tick
	Seed          []byte                 `protobuf:"bytes,3,opt,name=seed,proto3" json:"seed,omitempty"`           // 32 bytes, the only randomness; every Start has a new one, and nobody else knows it
	Peers         []uint32               `protobuf:"varint,4,rep,packed,name=peers,proto3" json:"peers,omitempty"` // all that are configured, ascending, up to max_peers
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Start) Reset() {
	*x = Start{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[6]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Start) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Start) ProtoMessage() {}

func (x *Start) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[6]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Start.ProtoReflect.Descriptor instead.
func (*Start) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{6}
}

func (x *Start) GetState() *ReplicaState {
	if x != nil {
		return x.State
	}
	return nil
}

func (x *Start) GetHour() uint32 {
	if x != nil {
		return x.Hour
	}
	return 0
}

func (x *Start) GetSeed() []byte {
	if x != nil {
		return x.Seed
	}
	return nil
}

func (x *Start) GetPeers() []uint32 {
	if x != nil {
		return x.Peers
	}
	return nil
}

type PeersChanged struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peers         []uint32               `protobuf:"varint,1,rep,packed,name=peers,proto3" json:"peers,omitempty"` // as in Start
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PeersChanged) Reset() {
	*x = PeersChanged{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[7]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PeersChanged) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PeersChanged) ProtoMessage() {}

func (x *PeersChanged) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[7]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PeersChanged.ProtoReflect.Descriptor instead.
func (*PeersChanged) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{7}
}

func (x *PeersChanged) GetPeers() []uint32 {
	if x != nil {
		return x.Peers
	}
	return nil
}

type Tick struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Now           int64                  `protobuf:"varint,1,opt,name=now,proto3" json:"now,omitempty"`   // nanoseconds since Start; never falls
	Hour          uint32                 `protobuf:"varint,2,opt,name=hour,proto3" json:"hour,omitempty"` // by the clock of the relay, which may be wrong and may jump
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Tick) Reset() {
	*x = Tick{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[8]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Tick) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Tick) ProtoMessage() {}

func (x *Tick) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[8]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Tick.ProtoReflect.Descriptor instead.
func (*Tick) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{8}
}

func (x *Tick) GetNow() int64 {
	if x != nil {
		return x.Now
	}
	return 0
}

func (x *Tick) GetHour() uint32 {
	if x != nil {
		return x.Hour
	}
	return 0
}

type PeerUp struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Initiator     bool                   `protobuf:"varint,2,opt,name=initiator,proto3" json:"initiator,omitempty"` // true at exactly one of the two ends
	State         *ReplicaState          `protobuf:"bytes,3,opt,name=state,proto3" json:"state,omitempty"`          // of the peer's replica, as the peer claims
	Version       string                 `protobuf:"bytes,4,opt,name=version,proto3" json:"version,omitempty"`      // of the twin's plugin, which has the same name, as the peer claims
	Gives         bool                   `protobuf:"varint,5,opt,name=gives,proto3" json:"gives,omitempty"`         // this relay stores envelopes from the peer; if not, they are NOT_ALLOWED
	Takes         bool                   `protobuf:"varint,6,opt,name=takes,proto3" json:"takes,omitempty"`         // the peer's relay stores envelopes from here, as the peer claims
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PeerUp) Reset() {
	*x = PeerUp{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[9]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PeerUp) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PeerUp) ProtoMessage() {}

func (x *PeerUp) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[9]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PeerUp.ProtoReflect.Descriptor instead.
func (*PeerUp) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{9}
}

func (x *PeerUp) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *PeerUp) GetInitiator() bool {
	if x != nil {
		return x.Initiator
	}
	return false
}

func (x *PeerUp) GetState() *ReplicaState {
	if x != nil {
		return x.State
	}
	return nil
}

func (x *PeerUp) GetVersion() string {
	if x != nil {
		return x.Version
	}
	return ""
}

func (x *PeerUp) GetGives() bool {
	if x != nil {
		return x.Gives
	}
	return false
}

func (x *PeerUp) GetTakes() bool {
	if x != nil {
		return x.Takes
	}
	return false
}

// PeerMoved comes after a change of epoch or floor at once, and else now and then.
type PeerMoved struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	State         *ReplicaState          `protobuf:"bytes,2,opt,name=state,proto3" json:"state,omitempty"` // of the peer's replica, as the peer claims
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PeerMoved) Reset() {
	*x = PeerMoved{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[10]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PeerMoved) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PeerMoved) ProtoMessage() {}

func (x *PeerMoved) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[10]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PeerMoved.ProtoReflect.Descriptor instead.
func (*PeerMoved) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{10}
}

func (x *PeerMoved) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *PeerMoved) GetState() *ReplicaState {
	if x != nil {
		return x.State
	}
	return nil
}

type PeerReady struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PeerReady) Reset() {
	*x = PeerReady{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[11]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PeerReady) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PeerReady) ProtoMessage() {}

func (x *PeerReady) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[11]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PeerReady.ProtoReflect.Descriptor instead.
func (*PeerReady) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{11}
}

func (x *PeerReady) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

type PeerDown struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PeerDown) Reset() {
	*x = PeerDown{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[12]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PeerDown) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PeerDown) ProtoMessage() {}

func (x *PeerDown) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[12]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PeerDown.ProtoReflect.Descriptor instead.
func (*PeerDown) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{12}
}

func (x *PeerDown) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

type PeerMessage struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Data          []byte                 `protobuf:"bytes,2,opt,name=data,proto3" json:"data,omitempty"` // 1 to max_message bytes, which may be anything
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PeerMessage) Reset() {
	*x = PeerMessage{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[13]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PeerMessage) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PeerMessage) ProtoMessage() {}

func (x *PeerMessage) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[13]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PeerMessage.ProtoReflect.Descriptor instead.
func (*PeerMessage) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{13}
}

func (x *PeerMessage) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *PeerMessage) GetData() []byte {
	if x != nil {
		return x.Data
	}
	return nil
}

// Moved says what became of envelopes.
type Moved struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Ids           []byte                 `protobuf:"bytes,2,opt,name=ids,proto3" json:"ids,omitempty"`                                                           // 1 to max_ids
	Statuses      []Moved_Status         `protobuf:"varint,3,rep,packed,name=statuses,proto3,enum=cwtch.relay.plugin.v1.Moved_Status" json:"statuses,omitempty"` // one for each id
	RetryAfter    int64                  `protobuf:"varint,4,opt,name=retry_after,json=retryAfter,proto3" json:"retry_after,omitempty"`                          // nanoseconds for which nothing more is taken, with OVER_QUOTA
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Moved) Reset() {
	*x = Moved{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[14]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Moved) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Moved) ProtoMessage() {}

func (x *Moved) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[14]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Moved.ProtoReflect.Descriptor instead.
func (*Moved) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{14}
}

func (x *Moved) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *Moved) GetIds() []byte {
	if x != nil {
		return x.Ids
	}
	return nil
}

func (x *Moved) GetStatuses() []Moved_Status {
	if x != nil {
		return x.Statuses
	}
	return nil
}

func (x *Moved) GetRetryAfter() int64 {
	if x != nil {
		return x.RetryAfter
	}
	return 0
}

type ReplicaLogRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	From          uint64                 `protobuf:"varint,1,opt,name=from,proto3" json:"from,omitempty"` // sequence number of the first entry wanted; 0 is read as 1
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`   // entries; 0: max_entries
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReplicaLogRequest) Reset() {
	*x = ReplicaLogRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[15]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReplicaLogRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReplicaLogRequest) ProtoMessage() {}

func (x *ReplicaLogRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[15]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReplicaLogRequest.ProtoReflect.Descriptor instead.
func (*ReplicaLogRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{15}
}

func (x *ReplicaLogRequest) GetFrom() uint64 {
	if x != nil {
		return x.From
	}
	return 0
}

func (x *ReplicaLogRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

type ReplicaLogResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// 16 bytes: the epoch of the log at the time of reading. If it differs from the one that
	// the plugin knows, `from` belongs to a log that no longer exists.
	Epoch   []byte                      `protobuf:"bytes,1,opt,name=epoch,proto3" json:"epoch,omitempty"`
	Entries []*ReplicaLogResponse_Entry `protobuf:"bytes,2,rep,name=entries,proto3" json:"entries,omitempty"`
	// Highest sequence number of the log at the time of reading. The reader is at the end if
	// the page contains it or is empty.
	Last          uint64 `protobuf:"varint,3,opt,name=last,proto3" json:"last,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReplicaLogResponse) Reset() {
	*x = ReplicaLogResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[16]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReplicaLogResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReplicaLogResponse) ProtoMessage() {}

func (x *ReplicaLogResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[16]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReplicaLogResponse.ProtoReflect.Descriptor instead.
func (*ReplicaLogResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{16}
}

func (x *ReplicaLogResponse) GetEpoch() []byte {
	if x != nil {
		return x.Epoch
	}
	return nil
}

func (x *ReplicaLogResponse) GetEntries() []*ReplicaLogResponse_Entry {
	if x != nil {
		return x.Entries
	}
	return nil
}

func (x *ReplicaLogResponse) GetLast() uint64 {
	if x != nil {
		return x.Last
	}
	return 0
}

type ReplicaKeysRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Ranges        []byte                 `protobuf:"bytes,1,opt,name=ranges,proto3" json:"ranges,omitempty"` // 72 bytes each, see "Keys" above
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`      // keys in all, 1 to max_keys
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReplicaKeysRequest) Reset() {
	*x = ReplicaKeysRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[17]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReplicaKeysRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReplicaKeysRequest) ProtoMessage() {}

func (x *ReplicaKeysRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[17]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReplicaKeysRequest.ProtoReflect.Descriptor instead.
func (*ReplicaKeysRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{17}
}

func (x *ReplicaKeysRequest) GetRanges() []byte {
	if x != nil {
		return x.Ranges
	}
	return nil
}

func (x *ReplicaKeysRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

type ReplicaKeysResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Keys          [][]byte               `protobuf:"bytes,1,rep,name=keys,proto3" json:"keys,omitempty"` // of one range each
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReplicaKeysResponse) Reset() {
	*x = ReplicaKeysResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[18]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReplicaKeysResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReplicaKeysResponse) ProtoMessage() {}

func (x *ReplicaKeysResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[18]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReplicaKeysResponse.ProtoReflect.Descriptor instead.
func (*ReplicaKeysResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{18}
}

func (x *ReplicaKeysResponse) GetKeys() [][]byte {
	if x != nil {
		return x.Keys
	}
	return nil
}

// Sum describes a set of envelopes. Sums of disjoint sets add up. Sums for a peer are keyed:
// in the place of each id is SHA-256(secret ‖ id), with a secret of 32 bytes that only the two
// ends of the present link know. Both ends compute the same sum for the same envelopes, and
// nobody else can craft ids whose sums agree.
type Sum struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Count         uint64                 `protobuf:"varint,1,opt,name=count,proto3" json:"count,omitempty"`
	Ids           []byte                 `protobuf:"bytes,2,opt,name=ids,proto3" json:"ids,omitempty"` // 32 bytes: the sum of the ids, or of what is in their place, each a little-endian number, modulo 2^256; little-endian
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Sum) Reset() {
	*x = Sum{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[19]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Sum) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Sum) ProtoMessage() {}

func (x *Sum) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[19]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Sum.ProtoReflect.Descriptor instead.
func (*Sum) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{19}
}

func (x *Sum) GetCount() uint64 {
	if x != nil {
		return x.Count
	}
	return 0
}

func (x *Sum) GetIds() []byte {
	if x != nil {
		return x.Ids
	}
	return nil
}

type RangeSumRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Ranges        []byte                 `protobuf:"bytes,1,opt,name=ranges,proto3" json:"ranges,omitempty"` // 72 bytes each
	Peer          uint32                 `protobuf:"varint,2,opt,name=peer,proto3" json:"peer,omitempty"`    // whose sums; 0: those of the ids themselves
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RangeSumRequest) Reset() {
	*x = RangeSumRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[20]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RangeSumRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RangeSumRequest) ProtoMessage() {}

func (x *RangeSumRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[20]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RangeSumRequest.ProtoReflect.Descriptor instead.
func (*RangeSumRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{20}
}

func (x *RangeSumRequest) GetRanges() []byte {
	if x != nil {
		return x.Ranges
	}
	return nil
}

func (x *RangeSumRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

type RangeSumResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Sums          []*Sum                 `protobuf:"bytes,1,rep,name=sums,proto3" json:"sums,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RangeSumResponse) Reset() {
	*x = RangeSumResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[21]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RangeSumResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RangeSumResponse) ProtoMessage() {}

func (x *RangeSumResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[21]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RangeSumResponse.ProtoReflect.Descriptor instead.
func (*RangeSumResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{21}
}

func (x *RangeSumResponse) GetSums() []*Sum {
	if x != nil {
		return x.Sums
	}
	return nil
}

type SplitRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Ranges        []byte                 `protobuf:"bytes,1,opt,name=ranges,proto3" json:"ranges,omitempty"` // 72 bytes each
	Parts         uint32                 `protobuf:"varint,2,opt,name=parts,proto3" json:"parts,omitempty"`  // of each range, at least 1; times the number of ranges at most max_parts
	Peer          uint32                 `protobuf:"varint,3,opt,name=peer,proto3" json:"peer,omitempty"`    // as in RangeSumRequest
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SplitRequest) Reset() {
	*x = SplitRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[22]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SplitRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SplitRequest) ProtoMessage() {}

func (x *SplitRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[22]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SplitRequest.ProtoReflect.Descriptor instead.
func (*SplitRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{22}
}

func (x *SplitRequest) GetRanges() []byte {
	if x != nil {
		return x.Ranges
	}
	return nil
}

func (x *SplitRequest) GetParts() uint32 {
	if x != nil {
		return x.Parts
	}
	return 0
}

func (x *SplitRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

type SplitResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Ranges        []*SplitResponse_Parts `protobuf:"bytes,1,rep,name=ranges,proto3" json:"ranges,omitempty"` // one for each range
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SplitResponse) Reset() {
	*x = SplitResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[23]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SplitResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SplitResponse) ProtoMessage() {}

func (x *SplitResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[23]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SplitResponse.ProtoReflect.Descriptor instead.
func (*SplitResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{23}
}

func (x *SplitResponse) GetRanges() []*SplitResponse_Parts {
	if x != nil {
		return x.Ranges
	}
	return nil
}

type SendRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Message       []byte                 `protobuf:"bytes,2,opt,name=message,proto3" json:"message,omitempty"` // 1 to max_message bytes
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SendRequest) Reset() {
	*x = SendRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[24]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SendRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SendRequest) ProtoMessage() {}

func (x *SendRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[24]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SendRequest.ProtoReflect.Descriptor instead.
func (*SendRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{24}
}

func (x *SendRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *SendRequest) GetMessage() []byte {
	if x != nil {
		return x.Message
	}
	return nil
}

type PushRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Ids           []byte                 `protobuf:"bytes,2,opt,name=ids,proto3" json:"ids,omitempty"` // 1 to max_ids
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PushRequest) Reset() {
	*x = PushRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[25]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PushRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PushRequest) ProtoMessage() {}

func (x *PushRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[25]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PushRequest.ProtoReflect.Descriptor instead.
func (*PushRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{25}
}

func (x *PushRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *PushRequest) GetIds() []byte {
	if x != nil {
		return x.Ids
	}
	return nil
}

type OfferRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Ids           []byte                 `protobuf:"bytes,2,opt,name=ids,proto3" json:"ids,omitempty"` // 1 to max_ids
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *OfferRequest) Reset() {
	*x = OfferRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[26]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *OfferRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*OfferRequest) ProtoMessage() {}

func (x *OfferRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[26]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use OfferRequest.ProtoReflect.Descriptor instead.
func (*OfferRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{26}
}

func (x *OfferRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *OfferRequest) GetIds() []byte {
	if x != nil {
		return x.Ids
	}
	return nil
}

type RequestRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Keys          []byte                 `protobuf:"bytes,2,opt,name=keys,proto3" json:"keys,omitempty"` // 1 to max_ids, 36 bytes each
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RequestRequest) Reset() {
	*x = RequestRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[27]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RequestRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RequestRequest) ProtoMessage() {}

func (x *RequestRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[27]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RequestRequest.ProtoReflect.Descriptor instead.
func (*RequestRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{27}
}

func (x *RequestRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *RequestRequest) GetKeys() []byte {
	if x != nil {
		return x.Keys
	}
	return nil
}

type DropRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Reason        string                 `protobuf:"bytes,2,opt,name=reason,proto3" json:"reason,omitempty"` // for the operators on this side, with the limits of a summary in ReportRequest
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *DropRequest) Reset() {
	*x = DropRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[28]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *DropRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*DropRequest) ProtoMessage() {}

func (x *DropRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[28]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use DropRequest.ProtoReflect.Descriptor instead.
func (*DropRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{28}
}

func (x *DropRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *DropRequest) GetReason() string {
	if x != nil {
		return x.Reason
	}
	return ""
}

type RestRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Pause         int64                  `protobuf:"varint,2,opt,name=pause,proto3" json:"pause,omitempty"` // nanoseconds, up to max_rest
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RestRequest) Reset() {
	*x = RestRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[29]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RestRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RestRequest) ProtoMessage() {}

func (x *RestRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[29]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RestRequest.ProtoReflect.Descriptor instead.
func (*RestRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{29}
}

func (x *RestRequest) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *RestRequest) GetPause() int64 {
	if x != nil {
		return x.Pause
	}
	return 0
}

type SaveRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Cursors       []*SaveRequest_Cursor  `protobuf:"bytes,1,rep,name=cursors,proto3" json:"cursors,omitempty"` // 1 to max_cursors
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SaveRequest) Reset() {
	*x = SaveRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[30]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SaveRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SaveRequest) ProtoMessage() {}

func (x *SaveRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[30]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SaveRequest.ProtoReflect.Descriptor instead.
func (*SaveRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{30}
}

func (x *SaveRequest) GetCursors() []*SaveRequest_Cursor {
	if x != nil {
		return x.Cursors
	}
	return nil
}

type LoadRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Name          string                 `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LoadRequest) Reset() {
	*x = LoadRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[31]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LoadRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LoadRequest) ProtoMessage() {}

func (x *LoadRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[31]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LoadRequest.ProtoReflect.Descriptor instead.
func (*LoadRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{31}
}

func (x *LoadRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

type LoadResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Value         []byte                 `protobuf:"bytes,1,opt,name=value,proto3" json:"value,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LoadResponse) Reset() {
	*x = LoadResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[32]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LoadResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LoadResponse) ProtoMessage() {}

func (x *LoadResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[32]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LoadResponse.ProtoReflect.Descriptor instead.
func (*LoadResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{32}
}

func (x *LoadResponse) GetValue() []byte {
	if x != nil {
		return x.Value
	}
	return nil
}

type ListRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ListRequest) Reset() {
	*x = ListRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[33]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ListRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ListRequest) ProtoMessage() {}

func (x *ListRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[33]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ListRequest.ProtoReflect.Descriptor instead.
func (*ListRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{33}
}

type ListResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Names         []string               `protobuf:"bytes,1,rep,name=names,proto3" json:"names,omitempty"` // ascending
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ListResponse) Reset() {
	*x = ListResponse{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[34]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ListResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ListResponse) ProtoMessage() {}

func (x *ListResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[34]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ListResponse.ProtoReflect.Descriptor instead.
func (*ListResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{34}
}

func (x *ListResponse) GetNames() []string {
	if x != nil {
		return x.Names
	}
	return nil
}

type WakeRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	After         int64                  `protobuf:"varint,1,opt,name=after,proto3" json:"after,omitempty"` // nanoseconds, up to max_wake
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WakeRequest) Reset() {
	*x = WakeRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[35]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WakeRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WakeRequest) ProtoMessage() {}

func (x *WakeRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[35]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WakeRequest.ProtoReflect.Descriptor instead.
func (*WakeRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{35}
}

func (x *WakeRequest) GetAfter() int64 {
	if x != nil {
		return x.After
	}
	return 0
}

// ReportRequest is for the operator. Summaries are at most max_text bytes of UTF-8 without
// control characters, and contain no ids.
type ReportRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Summary       string                 `protobuf:"bytes,1,opt,name=summary,proto3" json:"summary,omitempty"`
	Peers         []*ReportRequest_Peer  `protobuf:"bytes,2,rep,name=peers,proto3" json:"peers,omitempty"` // each at most once, up to max_peers
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReportRequest) Reset() {
	*x = ReportRequest{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[36]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReportRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReportRequest) ProtoMessage() {}

func (x *ReportRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[36]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReportRequest.ProtoReflect.Descriptor instead.
func (*ReportRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{36}
}

func (x *ReportRequest) GetSummary() string {
	if x != nil {
		return x.Summary
	}
	return ""
}

func (x *ReportRequest) GetPeers() []*ReportRequest_Peer {
	if x != nil {
		return x.Peers
	}
	return nil
}

type ReplicaLogResponse_Entry struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Seq           uint64                 `protobuf:"varint,1,opt,name=seq,proto3" json:"seq,omitempty"`
	Key           []byte                 `protobuf:"bytes,2,opt,name=key,proto3" json:"key,omitempty"`    // 36 bytes
	Size          uint32                 `protobuf:"varint,3,opt,name=size,proto3" json:"size,omitempty"` // bytes of ciphertext and signature together
	Via           uint32                 `protobuf:"varint,4,opt,name=via,proto3" json:"via,omitempty"`   // the peer that it came from; 0: a client posted it here, or the relay no longer knows
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReplicaLogResponse_Entry) Reset() {
	*x = ReplicaLogResponse_Entry{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[37]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReplicaLogResponse_Entry) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReplicaLogResponse_Entry) ProtoMessage() {}

func (x *ReplicaLogResponse_Entry) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[37]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReplicaLogResponse_Entry.ProtoReflect.Descriptor instead.
func (*ReplicaLogResponse_Entry) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{16, 0}
}

func (x *ReplicaLogResponse_Entry) GetSeq() uint64 {
	if x != nil {
		return x.Seq
	}
	return 0
}

func (x *ReplicaLogResponse_Entry) GetKey() []byte {
	if x != nil {
		return x.Key
	}
	return nil
}

func (x *ReplicaLogResponse_Entry) GetSize() uint32 {
	if x != nil {
		return x.Size
	}
	return 0
}

func (x *ReplicaLogResponse_Entry) GetVia() uint32 {
	if x != nil {
		return x.Via
	}
	return 0
}

type SplitResponse_Part struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Ends          []byte                 `protobuf:"bytes,1,opt,name=ends,proto3" json:"ends,omitempty"` // two keys: the first and the last in it
	Sum           *Sum                   `protobuf:"bytes,2,opt,name=sum,proto3" json:"sum,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SplitResponse_Part) Reset() {
	*x = SplitResponse_Part{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[38]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SplitResponse_Part) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SplitResponse_Part) ProtoMessage() {}

func (x *SplitResponse_Part) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[38]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SplitResponse_Part.ProtoReflect.Descriptor instead.
func (*SplitResponse_Part) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{23, 0}
}

func (x *SplitResponse_Part) GetEnds() []byte {
	if x != nil {
		return x.Ends
	}
	return nil
}

func (x *SplitResponse_Part) GetSum() *Sum {
	if x != nil {
		return x.Sum
	}
	return nil
}

type SplitResponse_Parts struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Parts         []*SplitResponse_Part  `protobuf:"bytes,1,rep,name=parts,proto3" json:"parts,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SplitResponse_Parts) Reset() {
	*x = SplitResponse_Parts{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[39]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SplitResponse_Parts) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SplitResponse_Parts) ProtoMessage() {}

func (x *SplitResponse_Parts) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[39]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SplitResponse_Parts.ProtoReflect.Descriptor instead.
func (*SplitResponse_Parts) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{23, 1}
}

func (x *SplitResponse_Parts) GetParts() []*SplitResponse_Part {
	if x != nil {
		return x.Parts
	}
	return nil
}

type SaveRequest_Cursor struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Name          string                 `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`   // a-z, 0-9 and "./_-"; once in a call
	Value         []byte                 `protobuf:"bytes,2,opt,name=value,proto3" json:"value,omitempty"` // empty: deletes the cursor
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SaveRequest_Cursor) Reset() {
	*x = SaveRequest_Cursor{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[40]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SaveRequest_Cursor) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SaveRequest_Cursor) ProtoMessage() {}

func (x *SaveRequest_Cursor) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[40]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SaveRequest_Cursor.ProtoReflect.Descriptor instead.
func (*SaveRequest_Cursor) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{30, 0}
}

func (x *SaveRequest_Cursor) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *SaveRequest_Cursor) GetValue() []byte {
	if x != nil {
		return x.Value
	}
	return nil
}

type ReportRequest_Peer struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Peer          uint32                 `protobuf:"varint,1,opt,name=peer,proto3" json:"peer,omitempty"`
	Summary       string                 `protobuf:"bytes,2,opt,name=summary,proto3" json:"summary,omitempty"`
	Lacks         uint64                 `protobuf:"varint,3,opt,name=lacks,proto3" json:"lacks,omitempty"`     // envelopes that the peer is known to lack
	Missing       uint64                 `protobuf:"varint,4,opt,name=missing,proto3" json:"missing,omitempty"` // envelopes that the peer has and this relay is known to lack
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReportRequest_Peer) Reset() {
	*x = ReportRequest_Peer{}
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[41]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReportRequest_Peer) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReportRequest_Peer) ProtoMessage() {}

func (x *ReportRequest_Peer) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[41]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReportRequest_Peer.ProtoReflect.Descriptor instead.
func (*ReportRequest_Peer) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP(), []int{36, 0}
}

func (x *ReportRequest_Peer) GetPeer() uint32 {
	if x != nil {
		return x.Peer
	}
	return 0
}

func (x *ReportRequest_Peer) GetSummary() string {
	if x != nil {
		return x.Summary
	}
	return ""
}

func (x *ReportRequest_Peer) GetLacks() uint64 {
	if x != nil {
		return x.Lacks
	}
	return 0
}

func (x *ReportRequest_Peer) GetMissing() uint64 {
	if x != nil {
		return x.Missing
	}
	return 0
}

var File_cwtch_relay_plugin_v1_peersync_proto protoreflect.FileDescriptor

const file_cwtch_relay_plugin_v1_peersync_proto_rawDesc = "" +
	"\n" +
	"$cwtch/relay/plugin/v1/peersync.proto\x12\x15cwtch.relay.plugin.v1\"\x80\x01\n" +
	"\rHandleRequest\x124\n" +
	"\x06events\x18\x01 \x03(\v2\x1c.cwtch.relay.plugin.v1.EventR\x06events\x129\n" +
	"\x06answer\x18\x02 \x01(\v2!.cwtch.relay.plugin.v1.HostAnswerR\x06answer\"E\n" +
	"\x0eHandleResponse\x123\n" +
	"\x04call\x18\x01 \x01(\v2\x1f.cwtch.relay.plugin.v1.HostCallR\x04call\"\xa5\a\n" +
	"\bHostCall\x12<\n" +
	"\x03log\x18\x01 \x01(\v2(.cwtch.relay.plugin.v1.ReplicaLogRequestH\x00R\x03log\x12?\n" +
	"\x04keys\x18\x02 \x01(\v2).cwtch.relay.plugin.v1.ReplicaKeysRequestH\x00R\x04keys\x12E\n" +
	"\trange_sum\x18\x03 \x01(\v2&.cwtch.relay.plugin.v1.RangeSumRequestH\x00R\brangeSum\x12;\n" +
	"\x05split\x18\x04 \x01(\v2#.cwtch.relay.plugin.v1.SplitRequestH\x00R\x05split\x128\n" +
	"\x04send\x18\x05 \x01(\v2\".cwtch.relay.plugin.v1.SendRequestH\x00R\x04send\x128\n" +
	"\x04push\x18\x06 \x01(\v2\".cwtch.relay.plugin.v1.PushRequestH\x00R\x04push\x12;\n" +
	"\x05offer\x18\a \x01(\v2#.cwtch.relay.plugin.v1.OfferRequestH\x00R\x05offer\x12A\n" +
	"\arequest\x18\b \x01(\v2%.cwtch.relay.plugin.v1.RequestRequestH\x00R\arequest\x128\n" +
	"\x04drop\x18\t \x01(\v2\".cwtch.relay.plugin.v1.DropRequestH\x00R\x04drop\x128\n" +
	"\x04rest\x18\n" +
	" \x01(\v2\".cwtch.relay.plugin.v1.RestRequestH\x00R\x04rest\x128\n" +
	"\x04save\x18\v \x01(\v2\".cwtch.relay.plugin.v1.SaveRequestH\x00R\x04save\x128\n" +
	"\x04load\x18\f \x01(\v2\".cwtch.relay.plugin.v1.LoadRequestH\x00R\x04load\x128\n" +
	"\x04list\x18\r \x01(\v2\".cwtch.relay.plugin.v1.ListRequestH\x00R\x04list\x128\n" +
	"\x04wake\x18\x0e \x01(\v2\".cwtch.relay.plugin.v1.WakeRequestH\x00R\x04wake\x12>\n" +
	"\x06report\x18\x0f \x01(\v2$.cwtch.relay.plugin.v1.ReportRequestH\x00R\x06reportB\x06\n" +
	"\x04call\"\xbb\x03\n" +
	"\n" +
	"HostAnswer\x12\x12\n" +
	"\x04code\x18\x01 \x01(\rR\x04code\x12\x12\n" +
	"\x04text\x18\x02 \x01(\tR\x04text\x12=\n" +
	"\x03log\x18\x03 \x01(\v2).cwtch.relay.plugin.v1.ReplicaLogResponseH\x00R\x03log\x12@\n" +
	"\x04keys\x18\x04 \x01(\v2*.cwtch.relay.plugin.v1.ReplicaKeysResponseH\x00R\x04keys\x12F\n" +
	"\trange_sum\x18\x05 \x01(\v2'.cwtch.relay.plugin.v1.RangeSumResponseH\x00R\brangeSum\x12<\n" +
	"\x05split\x18\x06 \x01(\v2$.cwtch.relay.plugin.v1.SplitResponseH\x00R\x05split\x129\n" +
	"\x04load\x18\a \x01(\v2#.cwtch.relay.plugin.v1.LoadResponseH\x00R\x04load\x129\n" +
	"\x04list\x18\b \x01(\v2#.cwtch.relay.plugin.v1.ListResponseH\x00R\x04listB\b\n" +
	"\x06answer\"\xc8\x05\n" +
	"\x05Event\x124\n" +
	"\x05start\x18\x01 \x01(\v2\x1c.cwtch.relay.plugin.v1.StartH\x00R\x05start\x12H\n" +
	"\flog_advanced\x18\x02 \x01(\v2#.cwtch.relay.plugin.v1.ReplicaStateH\x00R\vlogAdvanced\x121\n" +
	"\x04tick\x18\x03 \x01(\v2\x1b.cwtch.relay.plugin.v1.TickH\x00R\x04tick\x12J\n" +
	"\rpeers_changed\x18\x04 \x01(\v2#.cwtch.relay.plugin.v1.PeersChangedH\x00R\fpeersChanged\x128\n" +
	"\apeer_up\x18\x05 \x01(\v2\x1d.cwtch.relay.plugin.v1.PeerUpH\x00R\x06peerUp\x12A\n" +
	"\n" +
	"peer_moved\x18\x06 \x01(\v2 .cwtch.relay.plugin.v1.PeerMovedH\x00R\tpeerMoved\x12A\n" +
	"\n" +
	"peer_ready\x18\a \x01(\v2 .cwtch.relay.plugin.v1.PeerReadyH\x00R\tpeerReady\x12>\n" +
	"\tpeer_down\x18\b \x01(\v2\x1f.cwtch.relay.plugin.v1.PeerDownH\x00R\bpeerDown\x12G\n" +
	"\fpeer_message\x18\t \x01(\v2\".cwtch.relay.plugin.v1.PeerMessageH\x00R\vpeerMessage\x122\n" +
	"\x04sent\x18\n" +
	" \x01(\v2\x1c.cwtch.relay.plugin.v1.MovedH\x00R\x04sent\x12:\n" +
	"\breceived\x18\v \x01(\v2\x1c.cwtch.relay.plugin.v1.MovedH\x00R\breceivedB\a\n" +
	"\x05event\"z\n" +
	"\fReplicaState\x12\x14\n" +
	"\x05epoch\x18\x01 \x01(\fR\x05epoch\x12\x14\n" +
	"\x05first\x18\x02 \x01(\x04R\x05first\x12\x12\n" +
	"\x04last\x18\x03 \x01(\x04R\x04last\x12\x14\n" +
	"\x05count\x18\x04 \x01(\x04R\x05count\x12\x14\n" +
	"\x05floor\x18\x05 \x01(\rR\x05floor\"\x80\x01\n" +
	"\x05Start\x129\n" +
	"\x05state\x18\x01 \x01(\v2#.cwtch.relay.plugin.v1.ReplicaStateR\x05state\x12\x12\n" +
	"\x04hour\x18\x02 \x01(\rR\x04hour\x12\x12\n" +
	"\x04seed\x18\x03 \x01(\fR\x04seed\x12\x14\n" +
	"\x05peers\x18\x04 \x03(\rR\x05peers\"$\n" +
	"\fPeersChanged\x12\x14\n" +
	"\x05peers\x18\x01 \x03(\rR\x05peers\",\n" +
	"\x04Tick\x12\x10\n" +
	"\x03now\x18\x01 \x01(\x03R\x03now\x12\x12\n" +
	"\x04hour\x18\x02 \x01(\rR\x04hour\"\xbb\x01\n" +
	"\x06PeerUp\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x1c\n" +
	"\tinitiator\x18\x02 \x01(\bR\tinitiator\x129\n" +
	"\x05state\x18\x03 \x01(\v2#.cwtch.relay.plugin.v1.ReplicaStateR\x05state\x12\x18\n" +
	"\aversion\x18\x04 \x01(\tR\aversion\x12\x14\n" +
	"\x05gives\x18\x05 \x01(\bR\x05gives\x12\x14\n" +
	"\x05takes\x18\x06 \x01(\bR\x05takes\"Z\n" +
	"\tPeerMoved\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x129\n" +
	"\x05state\x18\x02 \x01(\v2#.cwtch.relay.plugin.v1.ReplicaStateR\x05state\"\x1f\n" +
	"\tPeerReady\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\"\x1e\n" +
	"\bPeerDown\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\"5\n" +
	"\vPeerMessage\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x12\n" +
	"\x04data\x18\x02 \x01(\fR\x04data\"\xe6\x02\n" +
	"\x05Moved\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x10\n" +
	"\x03ids\x18\x02 \x01(\fR\x03ids\x12?\n" +
	"\bstatuses\x18\x03 \x03(\x0e2#.cwtch.relay.plugin.v1.Moved.StatusR\bstatuses\x12\x1f\n" +
	"\vretry_after\x18\x04 \x01(\x03R\n" +
	"retryAfter\"\xd4\x01\n" +
	"\x06Status\x12\x16\n" +
	"\x12STATUS_UNSPECIFIED\x10\x00\x12\x11\n" +
	"\rSTATUS_STORED\x10\x01\x12\x10\n" +
	"\fSTATUS_KNOWN\x10\x02\x12\x14\n" +
	"\x10STATUS_UNDER_WAY\x10\x03\x12\x0f\n" +
	"\vSTATUS_GONE\x10\x04\x12\x12\n" +
	"\x0eSTATUS_TOO_OLD\x10\x05\x12\x15\n" +
	"\x11STATUS_OVER_QUOTA\x10\x06\x12\x16\n" +
	"\x12STATUS_NOT_ALLOWED\x10\a\x12\x12\n" +
	"\x0eSTATUS_INVALID\x10\b\x12\x0f\n" +
	"\vSTATUS_LOST\x10\t\"9\n" +
	"\x11ReplicaLogRequest\x12\x12\n" +
	"\x04from\x18\x01 \x01(\x04R\x04from\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\"\xdc\x01\n" +
	"\x12ReplicaLogResponse\x12\x14\n" +
	"\x05epoch\x18\x01 \x01(\fR\x05epoch\x12I\n" +
	"\aentries\x18\x02 \x03(\v2/.cwtch.relay.plugin.v1.ReplicaLogResponse.EntryR\aentries\x12\x12\n" +
	"\x04last\x18\x03 \x01(\x04R\x04last\x1aQ\n" +
	"\x05Entry\x12\x10\n" +
	"\x03seq\x18\x01 \x01(\x04R\x03seq\x12\x10\n" +
	"\x03key\x18\x02 \x01(\fR\x03key\x12\x12\n" +
	"\x04size\x18\x03 \x01(\rR\x04size\x12\x10\n" +
	"\x03via\x18\x04 \x01(\rR\x03via\">\n" +
	"\x12ReplicaKeysRequest\x12\x16\n" +
	"\x06ranges\x18\x01 \x01(\fR\x06ranges\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\")\n" +
	"\x13ReplicaKeysResponse\x12\x12\n" +
	"\x04keys\x18\x01 \x03(\fR\x04keys\"-\n" +
	"\x03Sum\x12\x14\n" +
	"\x05count\x18\x01 \x01(\x04R\x05count\x12\x10\n" +
	"\x03ids\x18\x02 \x01(\fR\x03ids\"=\n" +
	"\x0fRangeSumRequest\x12\x16\n" +
	"\x06ranges\x18\x01 \x01(\fR\x06ranges\x12\x12\n" +
	"\x04peer\x18\x02 \x01(\rR\x04peer\"B\n" +
	"\x10RangeSumResponse\x12.\n" +
	"\x04sums\x18\x01 \x03(\v2\x1a.cwtch.relay.plugin.v1.SumR\x04sums\"P\n" +
	"\fSplitRequest\x12\x16\n" +
	"\x06ranges\x18\x01 \x01(\fR\x06ranges\x12\x14\n" +
	"\x05parts\x18\x02 \x01(\rR\x05parts\x12\x12\n" +
	"\x04peer\x18\x03 \x01(\rR\x04peer\"\xe7\x01\n" +
	"\rSplitResponse\x12B\n" +
	"\x06ranges\x18\x01 \x03(\v2*.cwtch.relay.plugin.v1.SplitResponse.PartsR\x06ranges\x1aH\n" +
	"\x04Part\x12\x12\n" +
	"\x04ends\x18\x01 \x01(\fR\x04ends\x12,\n" +
	"\x03sum\x18\x02 \x01(\v2\x1a.cwtch.relay.plugin.v1.SumR\x03sum\x1aH\n" +
	"\x05Parts\x12?\n" +
	"\x05parts\x18\x01 \x03(\v2).cwtch.relay.plugin.v1.SplitResponse.PartR\x05parts\";\n" +
	"\vSendRequest\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x18\n" +
	"\amessage\x18\x02 \x01(\fR\amessage\"3\n" +
	"\vPushRequest\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x10\n" +
	"\x03ids\x18\x02 \x01(\fR\x03ids\"4\n" +
	"\fOfferRequest\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x10\n" +
	"\x03ids\x18\x02 \x01(\fR\x03ids\"8\n" +
	"\x0eRequestRequest\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x12\n" +
	"\x04keys\x18\x02 \x01(\fR\x04keys\"9\n" +
	"\vDropRequest\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x16\n" +
	"\x06reason\x18\x02 \x01(\tR\x06reason\"7\n" +
	"\vRestRequest\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x14\n" +
	"\x05pause\x18\x02 \x01(\x03R\x05pause\"\x86\x01\n" +
	"\vSaveRequest\x12C\n" +
	"\acursors\x18\x01 \x03(\v2).cwtch.relay.plugin.v1.SaveRequest.CursorR\acursors\x1a2\n" +
	"\x06Cursor\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x14\n" +
	"\x05value\x18\x02 \x01(\fR\x05value\"!\n" +
	"\vLoadRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\"$\n" +
	"\fLoadResponse\x12\x14\n" +
	"\x05value\x18\x01 \x01(\fR\x05value\"\r\n" +
	"\vListRequest\"$\n" +
	"\fListResponse\x12\x14\n" +
	"\x05names\x18\x01 \x03(\tR\x05names\"#\n" +
	"\vWakeRequest\x12\x14\n" +
	"\x05after\x18\x01 \x01(\x03R\x05after\"\xd0\x01\n" +
	"\rReportRequest\x12\x18\n" +
	"\asummary\x18\x01 \x01(\tR\asummary\x12?\n" +
	"\x05peers\x18\x02 \x03(\v2).cwtch.relay.plugin.v1.ReportRequest.PeerR\x05peers\x1ad\n" +
	"\x04Peer\x12\x12\n" +
	"\x04peer\x18\x01 \x01(\rR\x04peer\x12\x18\n" +
	"\asummary\x18\x02 \x01(\tR\asummary\x12\x14\n" +
	"\x05lacks\x18\x03 \x01(\x04R\x05lacks\x12\x18\n" +
	"\amissing\x18\x04 \x01(\x04R\amissing2e\n" +
	"\bPeerSync\x12Y\n" +
	"\x06Handle\x12$.cwtch.relay.plugin.v1.HandleRequest\x1a%.cwtch.relay.plugin.v1.HandleResponse(\x010\x01B>Z<github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1b\x06proto3"

var (
	file_cwtch_relay_plugin_v1_peersync_proto_rawDescOnce sync.Once
	file_cwtch_relay_plugin_v1_peersync_proto_rawDescData []byte
)

func file_cwtch_relay_plugin_v1_peersync_proto_rawDescGZIP() []byte {
	file_cwtch_relay_plugin_v1_peersync_proto_rawDescOnce.Do(func() {
		file_cwtch_relay_plugin_v1_peersync_proto_rawDescData = protoimpl.X.CompressGZIP(unsafe.Slice(unsafe.StringData(file_cwtch_relay_plugin_v1_peersync_proto_rawDesc), len(file_cwtch_relay_plugin_v1_peersync_proto_rawDesc)))
	})
	return file_cwtch_relay_plugin_v1_peersync_proto_rawDescData
}

var file_cwtch_relay_plugin_v1_peersync_proto_enumTypes = make([]protoimpl.EnumInfo, 1)
var file_cwtch_relay_plugin_v1_peersync_proto_msgTypes = make([]protoimpl.MessageInfo, 42)
var file_cwtch_relay_plugin_v1_peersync_proto_goTypes = []any{
	(Moved_Status)(0),                // 0: cwtch.relay.plugin.v1.Moved.Status
	(*HandleRequest)(nil),            // 1: cwtch.relay.plugin.v1.HandleRequest
	(*HandleResponse)(nil),           // 2: cwtch.relay.plugin.v1.HandleResponse
	(*HostCall)(nil),                 // 3: cwtch.relay.plugin.v1.HostCall
	(*HostAnswer)(nil),               // 4: cwtch.relay.plugin.v1.HostAnswer
	(*Event)(nil),                    // 5: cwtch.relay.plugin.v1.Event
	(*ReplicaState)(nil),             // 6: cwtch.relay.plugin.v1.ReplicaState
	(*Start)(nil),                    // 7: cwtch.relay.plugin.v1.Start
	(*PeersChanged)(nil),             // 8: cwtch.relay.plugin.v1.PeersChanged
	(*Tick)(nil),                     // 9: cwtch.relay.plugin.v1.Tick
	(*PeerUp)(nil),                   // 10: cwtch.relay.plugin.v1.PeerUp
	(*PeerMoved)(nil),                // 11: cwtch.relay.plugin.v1.PeerMoved
	(*PeerReady)(nil),                // 12: cwtch.relay.plugin.v1.PeerReady
	(*PeerDown)(nil),                 // 13: cwtch.relay.plugin.v1.PeerDown
	(*PeerMessage)(nil),              // 14: cwtch.relay.plugin.v1.PeerMessage
	(*Moved)(nil),                    // 15: cwtch.relay.plugin.v1.Moved
	(*ReplicaLogRequest)(nil),        // 16: cwtch.relay.plugin.v1.ReplicaLogRequest
	(*ReplicaLogResponse)(nil),       // 17: cwtch.relay.plugin.v1.ReplicaLogResponse
	(*ReplicaKeysRequest)(nil),       // 18: cwtch.relay.plugin.v1.ReplicaKeysRequest
	(*ReplicaKeysResponse)(nil),      // 19: cwtch.relay.plugin.v1.ReplicaKeysResponse
	(*Sum)(nil),                      // 20: cwtch.relay.plugin.v1.Sum
	(*RangeSumRequest)(nil),          // 21: cwtch.relay.plugin.v1.RangeSumRequest
	(*RangeSumResponse)(nil),         // 22: cwtch.relay.plugin.v1.RangeSumResponse
	(*SplitRequest)(nil),             // 23: cwtch.relay.plugin.v1.SplitRequest
	(*SplitResponse)(nil),            // 24: cwtch.relay.plugin.v1.SplitResponse
	(*SendRequest)(nil),              // 25: cwtch.relay.plugin.v1.SendRequest
	(*PushRequest)(nil),              // 26: cwtch.relay.plugin.v1.PushRequest
	(*OfferRequest)(nil),             // 27: cwtch.relay.plugin.v1.OfferRequest
	(*RequestRequest)(nil),           // 28: cwtch.relay.plugin.v1.RequestRequest
	(*DropRequest)(nil),              // 29: cwtch.relay.plugin.v1.DropRequest
	(*RestRequest)(nil),              // 30: cwtch.relay.plugin.v1.RestRequest
	(*SaveRequest)(nil),              // 31: cwtch.relay.plugin.v1.SaveRequest
	(*LoadRequest)(nil),              // 32: cwtch.relay.plugin.v1.LoadRequest
	(*LoadResponse)(nil),             // 33: cwtch.relay.plugin.v1.LoadResponse
	(*ListRequest)(nil),              // 34: cwtch.relay.plugin.v1.ListRequest
	(*ListResponse)(nil),             // 35: cwtch.relay.plugin.v1.ListResponse
	(*WakeRequest)(nil),              // 36: cwtch.relay.plugin.v1.WakeRequest
	(*ReportRequest)(nil),            // 37: cwtch.relay.plugin.v1.ReportRequest
	(*ReplicaLogResponse_Entry)(nil), // 38: cwtch.relay.plugin.v1.ReplicaLogResponse.Entry
	(*SplitResponse_Part)(nil),       // 39: cwtch.relay.plugin.v1.SplitResponse.Part
	(*SplitResponse_Parts)(nil),      // 40: cwtch.relay.plugin.v1.SplitResponse.Parts
	(*SaveRequest_Cursor)(nil),       // 41: cwtch.relay.plugin.v1.SaveRequest.Cursor
	(*ReportRequest_Peer)(nil),       // 42: cwtch.relay.plugin.v1.ReportRequest.Peer
}
var file_cwtch_relay_plugin_v1_peersync_proto_depIdxs = []int32{
	5,  // 0: cwtch.relay.plugin.v1.HandleRequest.events:type_name -> cwtch.relay.plugin.v1.Event
	4,  // 1: cwtch.relay.plugin.v1.HandleRequest.answer:type_name -> cwtch.relay.plugin.v1.HostAnswer
	3,  // 2: cwtch.relay.plugin.v1.HandleResponse.call:type_name -> cwtch.relay.plugin.v1.HostCall
	16, // 3: cwtch.relay.plugin.v1.HostCall.log:type_name -> cwtch.relay.plugin.v1.ReplicaLogRequest
	18, // 4: cwtch.relay.plugin.v1.HostCall.keys:type_name -> cwtch.relay.plugin.v1.ReplicaKeysRequest
	21, // 5: cwtch.relay.plugin.v1.HostCall.range_sum:type_name -> cwtch.relay.plugin.v1.RangeSumRequest
	23, // 6: cwtch.relay.plugin.v1.HostCall.split:type_name -> cwtch.relay.plugin.v1.SplitRequest
	25, // 7: cwtch.relay.plugin.v1.HostCall.send:type_name -> cwtch.relay.plugin.v1.SendRequest
	26, // 8: cwtch.relay.plugin.v1.HostCall.push:type_name -> cwtch.relay.plugin.v1.PushRequest
	27, // 9: cwtch.relay.plugin.v1.HostCall.offer:type_name -> cwtch.relay.plugin.v1.OfferRequest
	28, // 10: cwtch.relay.plugin.v1.HostCall.request:type_name -> cwtch.relay.plugin.v1.RequestRequest
	29, // 11: cwtch.relay.plugin.v1.HostCall.drop:type_name -> cwtch.relay.plugin.v1.DropRequest
	30, // 12: cwtch.relay.plugin.v1.HostCall.rest:type_name -> cwtch.relay.plugin.v1.RestRequest
	31, // 13: cwtch.relay.plugin.v1.HostCall.save:type_name -> cwtch.relay.plugin.v1.SaveRequest
	32, // 14: cwtch.relay.plugin.v1.HostCall.load:type_name -> cwtch.relay.plugin.v1.LoadRequest
	34, // 15: cwtch.relay.plugin.v1.HostCall.list:type_name -> cwtch.relay.plugin.v1.ListRequest
	36, // 16: cwtch.relay.plugin.v1.HostCall.wake:type_name -> cwtch.relay.plugin.v1.WakeRequest
	37, // 17: cwtch.relay.plugin.v1.HostCall.report:type_name -> cwtch.relay.plugin.v1.ReportRequest
	17, // 18: cwtch.relay.plugin.v1.HostAnswer.log:type_name -> cwtch.relay.plugin.v1.ReplicaLogResponse
	19, // 19: cwtch.relay.plugin.v1.HostAnswer.keys:type_name -> cwtch.relay.plugin.v1.ReplicaKeysResponse
	22, // 20: cwtch.relay.plugin.v1.HostAnswer.range_sum:type_name -> cwtch.relay.plugin.v1.RangeSumResponse
	24, // 21: cwtch.relay.plugin.v1.HostAnswer.split:type_name -> cwtch.relay.plugin.v1.SplitResponse
	33, // 22: cwtch.relay.plugin.v1.HostAnswer.load:type_name -> cwtch.relay.plugin.v1.LoadResponse
	35, // 23: cwtch.relay.plugin.v1.HostAnswer.list:type_name -> cwtch.relay.plugin.v1.ListResponse
	7,  // 24: cwtch.relay.plugin.v1.Event.start:type_name -> cwtch.relay.plugin.v1.Start
	6,  // 25: cwtch.relay.plugin.v1.Event.log_advanced:type_name -> cwtch.relay.plugin.v1.ReplicaState
	9,  // 26: cwtch.relay.plugin.v1.Event.tick:type_name -> cwtch.relay.plugin.v1.Tick
	8,  // 27: cwtch.relay.plugin.v1.Event.peers_changed:type_name -> cwtch.relay.plugin.v1.PeersChanged
	10, // 28: cwtch.relay.plugin.v1.Event.peer_up:type_name -> cwtch.relay.plugin.v1.PeerUp
	11, // 29: cwtch.relay.plugin.v1.Event.peer_moved:type_name -> cwtch.relay.plugin.v1.PeerMoved
	12, // 30: cwtch.relay.plugin.v1.Event.peer_ready:type_name -> cwtch.relay.plugin.v1.PeerReady
	13, // 31: cwtch.relay.plugin.v1.Event.peer_down:type_name -> cwtch.relay.plugin.v1.PeerDown
	14, // 32: cwtch.relay.plugin.v1.Event.peer_message:type_name -> cwtch.relay.plugin.v1.PeerMessage
	15, // 33: cwtch.relay.plugin.v1.Event.sent:type_name -> cwtch.relay.plugin.v1.Moved
	15, // 34: cwtch.relay.plugin.v1.Event.received:type_name -> cwtch.relay.plugin.v1.Moved
	6,  // 35: cwtch.relay.plugin.v1.Start.state:type_name -> cwtch.relay.plugin.v1.ReplicaState
	6,  // 36: cwtch.relay.plugin.v1.PeerUp.state:type_name -> cwtch.relay.plugin.v1.ReplicaState
	6,  // 37: cwtch.relay.plugin.v1.PeerMoved.state:type_name -> cwtch.relay.plugin.v1.ReplicaState
	0,  // 38: cwtch.relay.plugin.v1.Moved.statuses:type_name -> cwtch.relay.plugin.v1.Moved.Status
	38, // 39: cwtch.relay.plugin.v1.ReplicaLogResponse.entries:type_name -> cwtch.relay.plugin.v1.ReplicaLogResponse.Entry
	20, // 40: cwtch.relay.plugin.v1.RangeSumResponse.sums:type_name -> cwtch.relay.plugin.v1.Sum
	40, // 41: cwtch.relay.plugin.v1.SplitResponse.ranges:type_name -> cwtch.relay.plugin.v1.SplitResponse.Parts
	41, // 42: cwtch.relay.plugin.v1.SaveRequest.cursors:type_name -> cwtch.relay.plugin.v1.SaveRequest.Cursor
	42, // 43: cwtch.relay.plugin.v1.ReportRequest.peers:type_name -> cwtch.relay.plugin.v1.ReportRequest.Peer
	20, // 44: cwtch.relay.plugin.v1.SplitResponse.Part.sum:type_name -> cwtch.relay.plugin.v1.Sum
	39, // 45: cwtch.relay.plugin.v1.SplitResponse.Parts.parts:type_name -> cwtch.relay.plugin.v1.SplitResponse.Part
	1,  // 46: cwtch.relay.plugin.v1.PeerSync.Handle:input_type -> cwtch.relay.plugin.v1.HandleRequest
	2,  // 47: cwtch.relay.plugin.v1.PeerSync.Handle:output_type -> cwtch.relay.plugin.v1.HandleResponse
	47, // [47:48] is the sub-list for method output_type
	46, // [46:47] is the sub-list for method input_type
	46, // [46:46] is the sub-list for extension type_name
	46, // [46:46] is the sub-list for extension extendee
	0,  // [0:46] is the sub-list for field type_name
}

func init() { file_cwtch_relay_plugin_v1_peersync_proto_init() }
func file_cwtch_relay_plugin_v1_peersync_proto_init() {
	if File_cwtch_relay_plugin_v1_peersync_proto != nil {
		return
	}
	file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[2].OneofWrappers = []any{
		(*HostCall_Log)(nil),
		(*HostCall_Keys)(nil),
		(*HostCall_RangeSum)(nil),
		(*HostCall_Split)(nil),
		(*HostCall_Send)(nil),
		(*HostCall_Push)(nil),
		(*HostCall_Offer)(nil),
		(*HostCall_Request)(nil),
		(*HostCall_Drop)(nil),
		(*HostCall_Rest)(nil),
		(*HostCall_Save)(nil),
		(*HostCall_Load)(nil),
		(*HostCall_List)(nil),
		(*HostCall_Wake)(nil),
		(*HostCall_Report)(nil),
	}
	file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[3].OneofWrappers = []any{
		(*HostAnswer_Log)(nil),
		(*HostAnswer_Keys)(nil),
		(*HostAnswer_RangeSum)(nil),
		(*HostAnswer_Split)(nil),
		(*HostAnswer_Load)(nil),
		(*HostAnswer_List)(nil),
	}
	file_cwtch_relay_plugin_v1_peersync_proto_msgTypes[4].OneofWrappers = []any{
		(*Event_Start)(nil),
		(*Event_LogAdvanced)(nil),
		(*Event_Tick)(nil),
		(*Event_PeersChanged)(nil),
		(*Event_PeerUp)(nil),
		(*Event_PeerMoved)(nil),
		(*Event_PeerReady)(nil),
		(*Event_PeerDown)(nil),
		(*Event_PeerMessage)(nil),
		(*Event_Sent)(nil),
		(*Event_Received)(nil),
	}
	type x struct{}
	out := protoimpl.TypeBuilder{
		File: protoimpl.DescBuilder{
			GoPackagePath: reflect.TypeOf(x{}).PkgPath(),
			RawDescriptor: unsafe.Slice(unsafe.StringData(file_cwtch_relay_plugin_v1_peersync_proto_rawDesc), len(file_cwtch_relay_plugin_v1_peersync_proto_rawDesc)),
			NumEnums:      1,
			NumMessages:   42,
			NumExtensions: 0,
			NumServices:   1,
		},
		GoTypes:           file_cwtch_relay_plugin_v1_peersync_proto_goTypes,
		DependencyIndexes: file_cwtch_relay_plugin_v1_peersync_proto_depIdxs,
		EnumInfos:         file_cwtch_relay_plugin_v1_peersync_proto_enumTypes,
		MessageInfos:      file_cwtch_relay_plugin_v1_peersync_proto_msgTypes,
	}.Build()
	File_cwtch_relay_plugin_v1_peersync_proto = out.File
	file_cwtch_relay_plugin_v1_peersync_proto_goTypes = nil
	file_cwtch_relay_plugin_v1_peersync_proto_depIdxs = nil
}
