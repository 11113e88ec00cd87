// The service of storage plugins: an append-only log of envelopes, and a set of
// spent tokens. These comments are the whole contract. The Go package sdk/storage
// says the same to authors in Go, and a test compares the limits and the codes.
//
// This is version 1, and it is frozen: a plugin that keeps to this file works with every
// later relay of version 1. Calls, rules, limits, codes and numbers stay as they are. What
// may be added are calls with a capability of their own, without which a plugin serves as
// before, and fields whose zero value means what their absence means now. So a plugin
// ignores fields that it does not know, as protobuf libraries do.
//
// A store knows nothing about connections, groups or people, and cannot find out: an
// envelope is ciphertext and a signature that only the members of its group can check.
//
// Guarantees of a store.
//
//   Durable         When Append answers OK, every outcome in the answer survives the
//                   death of the process and of the machine: the batch is flushed to
//                   the disk (fsync) before the answer.
//   Atomic          A batch is applied whole or not at all, and an envelope is never
//                   kept without the token that paid for it, nor the other way round.
//   Ordered         Sequence numbers start at 1, rise by one with every stored envelope
//                   and are never reused within an epoch. Once a reader has seen number
//                   s, nothing appears at or below s.
//   At one moment   Log, Find, Info, Spendings, Hours, Keys and Get show all that an
//                   Append changes, all tokens of a Spend, or all that a Prune hides,
//                   from the same moment on, and not before it is durable.
//   Idempotent      An envelope is stored once, however often it is appended.
//
// Calls. All calls may come at the same time, also several of the same method; a relay
// has at most one Append and one Prune under way. If a call is cancelled or its deadline
// passes, the store may finish it or give it up, but never does half of it. Repeating a
// call does no harm.
//
// Bytes. Signatures and ciphertexts are opaque and may be empty. Hours are whole hours
// since 1970-01-01 00:00 UTC; no finer time is stored.
//
// Keys. A key is 36 bytes: the hour in which the envelope was born (4 bytes,
// big-endian) and the id. Keys are ordered like their bytes. A field of ids or keys
// holds them one after the other. A range is two keys: the first in it, and the first
// after it. 36 zeros as the second key mean no upper bound.
//
// Floor. A store with CAPABILITY_STORAGE_PRUNE has a floor: an hour that starts at 0,
// only rises, and is as durable as the epoch. An envelope that was born before the floor
// is pruned: it is not in the log, whether it has been removed yet or not, and Append
// refuses it. Sequence numbers of pruned envelopes are not used again. Spent tokens stay
// spent; once an envelope is pruned, a store may forget which token paid for it. What
// was removed leaves the disk too, overwritten or cut off, within a time that the
// documentation of the store states.
//
// Inspection. A plugin with CAPABILITY_STORAGE_CHECK in its description can open a store to
// be looked at as it is, however damaged (ConfigureRequest.inspect). Nothing on the disk
// changes then, not even what an ordinary start would repair or upgrade. The relay calls
// Check, and Info, Log, Find, Spendings, Hours, Keys and Get as far as the answer to
// Configure has their capabilities, and nothing that changes the store. They answer with
// what can be read and is whole, and leave out the rest; Info may say more than Log answers
// with. A page is still empty at the end only. Configure fails only if nothing at all can be
// read.
//
// Limits. The relay keeps to them. A store refuses calls beyond them with OUT_OF_RANGE
// and changes nothing. Numbers alone are counts, the others bytes.
//
//   max_batch        256      records of one Append
//   max_batch_bytes  1 MiB    signatures and ciphertexts of one Append
//   max_envelope     16 KiB   signature and ciphertext of one record; a signature in Find
//   max_page         1024     entries of one LogResponse
//   page_bytes       256 KiB  signatures and ciphertexts of one LogResponse; one entry is
//                             always allowed
//   max_spent_tokens 1024     spendings of one SpendingsResponse and of one SpendRequest
//   max_hours        1024     hours of one HoursResponse
//   max_prune        4096     envelopes that one Prune removes
//   max_keys         4096     keys of one KeysResponse
//   max_get          256      ids of one GetRequest
//   max_aging        24       hours by which the hour of an envelope is lowered, see Append
//   max_compact      64 MiB   that one Compact moves
//   min_compact      64 KiB   that every Compact may move, so that a store need not divide
//                             what it keeps together
//   max_faults       256      faults of one CheckResponse
//   max_check_state  64       bytes of CheckResponse.next and CheckRequest.after
//   max_fault_text   256      bytes of each text of a Fault; the relay cuts off the rest
//
// Errors. A call fails with one of these codes. The relay acts on the code. The first
// 1 KiB of the text is for the operator: what, where, and what to do.
//
//   NOT_FOUND            ErrNotFound: no envelope has the signature of a Find. The relay
//                        replays from the beginning of the log.
//   OUT_OF_RANGE         ErrTooLarge: a batch, a record or a request exceeds the limits.
//                        Nothing was changed.
//   FAILED_PRECONDITION  ErrFull: there is no room (a full disk, a quota, a limit on the
//                        size of files, the room of a Compact). Nothing was changed. The
//                        store goes on serving reads, and accepts appends again once there
//                        is room. The relay refuses the posts, and tries the next ones.
//   DATA_LOSS            ErrCorrupt: the store contradicts itself and must not be used
//                        further. The relay stops serving the board until the operator
//                        acts.
//   UNAVAILABLE          ErrUnavailable: not now. An Append may or may not have been
//                        applied. The relay repeats an Append until the posts have
//                        waited too long, and a Log or an Info once. If calls of one
//                        method fail with this code for 30 s (Compact and Check: 120 s),
//                        it starts a new process.
//   INVALID_ARGUMENT     a request that no relay sends, such as an id of 31 bytes.
//   INTERNAL             a defect of the plugin, such as an uncaught exception. The relay
//                        refuses the posts of the batch, or ends the replay, and goes on.
//   UNKNOWN              anything else, with the same consequences.
//
// gRPC libraries do not produce these codes by themselves, except UNAVAILABLE, which
// means the same there. They answer a call that was given up with CANCELLED or
// DEADLINE_EXCEEDED; both are fine. A full store must not answer RESOURCE_EXHAUSTED,
// which libraries use for messages that are too large. The relay takes that code,
// UNIMPLEMENTED, and any answer that breaks a rule of this file for a broken contract,
// and acts as after DATA_LOSS.

// Code generated by protoc-gen-go. DO NOT EDIT.
// versions:
// 	protoc-gen-go v1.36.12
// 	protoc        v3.21.12
// source: cwtch/relay/plugin/v1/storage.proto

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

type Outcome_Status int32

const (
	Outcome_STATUS_UNSPECIFIED Outcome_Status = 0 // never sent
	Outcome_STATUS_STORED      Outcome_Status = 1 // new, and in the log at seq; its nullifier is spent
	Outcome_STATUS_DUPLICATE   Outcome_Status = 2 // was in the log before, at seq; its nullifier was unspent and is now spent
	Outcome_STATUS_SPENT       Outcome_Status = 3 // the nullifier had paid for another envelope, or for this one, but it is not in the log; nothing changed
	Outcome_STATUS_REPLAYED    Outcome_Status = 4 // the nullifier had paid for this very envelope, which is in the log at seq; nothing changed
	Outcome_STATUS_CONFLICT    Outcome_Status = 5 // another envelope with this signature is in the log; nothing changed, the nullifier is not spent
	Outcome_STATUS_EXPIRED     Outcome_Status = 6 // the envelope was born before the floor; nothing changed, the nullifier is not spent
)

// Enum value maps for Outcome_Status.
var (
	Outcome_Status_name = map[int32]string{
		0: "STATUS_UNSPECIFIED",
		1: "STATUS_STORED",
		2: "STATUS_DUPLICATE",
		3: "STATUS_SPENT",
		4: "STATUS_REPLAYED",
		5: "STATUS_CONFLICT",
		6: "STATUS_EXPIRED",
	}
	Outcome_Status_value = map[string]int32{
		"STATUS_UNSPECIFIED": 0,
		"STATUS_STORED":      1,
		"STATUS_DUPLICATE":   2,
		"STATUS_SPENT":       3,
		"STATUS_REPLAYED":    4,
		"STATUS_CONFLICT":    5,
		"STATUS_EXPIRED":     6,
	}
)

func (x Outcome_Status) Enum() *Outcome_Status {
	p := new(Outcome_Status)
	*p = x
	return p
}

func (x Outcome_Status) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (Outcome_Status) Descriptor() protoreflect.EnumDescriptor {
	return file_cwtch_relay_plugin_v1_storage_proto_enumTypes[0].Descriptor()
}

func (Outcome_Status) Type() protoreflect.EnumType {
	return &file_cwtch_relay_plugin_v1_storage_proto_enumTypes[0]
}

func (x Outcome_Status) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use Outcome_Status.Descriptor instead.
func (Outcome_Status) EnumDescriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{4, 0}
}

type InfoRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *InfoRequest) Reset() {
	*x = InfoRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[0]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *InfoRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*InfoRequest) ProtoMessage() {}

func (x *InfoRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[0]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use InfoRequest.ProtoReflect.Descriptor instead.
func (*InfoRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{0}
}

type InfoResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// 16 bytes. Random and new whenever a store is created, or restored by means of its own.
	// Otherwise it never changes.
	Epoch         []byte `protobuf:"bytes,1,opt,name=epoch,proto3" json:"epoch,omitempty"`
	First         uint64 `protobuf:"varint,2,opt,name=first,proto3" json:"first,omitempty"`              // lowest sequence number in the log; 0: the log is empty
	Last          uint64 `protobuf:"varint,3,opt,name=last,proto3" json:"last,omitempty"`                // highest ever assigned, at most 2^63-1; 0: none yet
	Count         uint64 `protobuf:"varint,4,opt,name=count,proto3" json:"count,omitempty"`              // envelopes in the log
	Bytes         uint64 `protobuf:"varint,5,opt,name=bytes,proto3" json:"bytes,omitempty"`              // size of the store, that of a compaction under way included, as far as it can tell
	Tokens        uint64 `protobuf:"varint,6,opt,name=tokens,proto3" json:"tokens,omitempty"`            // spent tokens, including those of Spend
	Floor         uint32 `protobuf:"varint,7,opt,name=floor,proto3" json:"floor,omitempty"`              // see Floor above
	InUse         uint64 `protobuf:"varint,8,opt,name=in_use,json=inUse,proto3" json:"in_use,omitempty"` // how much of bytes is not free for reuse; 0: the store cannot tell
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *InfoResponse) Reset() {
	*x = InfoResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[1]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *InfoResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*InfoResponse) ProtoMessage() {}

func (x *InfoResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[1]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use InfoResponse.ProtoReflect.Descriptor instead.
func (*InfoResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{1}
}

func (x *InfoResponse) GetEpoch() []byte {
	if x != nil {
		return x.Epoch
	}
	return nil
}

func (x *InfoResponse) GetFirst() uint64 {
	if x != nil {
		return x.First
	}
	return 0
}

func (x *InfoResponse) GetLast() uint64 {
	if x != nil {
		return x.Last
	}
	return 0
}

func (x *InfoResponse) GetCount() uint64 {
	if x != nil {
		return x.Count
	}
	return 0
}

func (x *InfoResponse) GetBytes() uint64 {
	if x != nil {
		return x.Bytes
	}
	return 0
}

func (x *InfoResponse) GetTokens() uint64 {
	if x != nil {
		return x.Tokens
	}
	return 0
}

func (x *InfoResponse) GetFloor() uint32 {
	if x != nil {
		return x.Floor
	}
	return 0
}

func (x *InfoResponse) GetInUse() uint64 {
	if x != nil {
		return x.InUse
	}
	return 0
}

// Record is an envelope to append.
type Record struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// 32 bytes, computed by the relay: SHA-256 of "cwtch-relay/envelope/v1", the length
	// of the signature (4 bytes, big-endian), the signature, the length of the ciphertext
	// and the ciphertext. A store takes it as given; equal ids are equal envelopes.
	Id         []byte `protobuf:"bytes,1,opt,name=id,proto3" json:"id,omitempty"`
	Born       uint32 `protobuf:"varint,2,opt,name=born,proto3" json:"born,omitempty"`            // hour in which the first relay accepted it
	Signature  []byte `protobuf:"bytes,3,opt,name=signature,proto3" json:"signature,omitempty"`   // 0 bytes or more, opaque
	Ciphertext []byte `protobuf:"bytes,4,opt,name=ciphertext,proto3" json:"ciphertext,omitempty"` // 0 bytes or more, opaque
	// 32 bytes: what remains of the token that pays. Empty: no token pays. A store need only
	// keep the first 16 bytes of its SHA-256, see Spending.
	Nullifier     []byte `protobuf:"bytes,5,opt,name=nullifier,proto3" json:"nullifier,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Record) Reset() {
	*x = Record{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[2]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Record) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Record) ProtoMessage() {}

func (x *Record) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[2]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Record.ProtoReflect.Descriptor instead.
func (*Record) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{2}
}

func (x *Record) GetId() []byte {
	if x != nil {
		return x.Id
	}
	return nil
}

func (x *Record) GetBorn() uint32 {
	if x != nil {
		return x.Born
	}
	return 0
}

func (x *Record) GetSignature() []byte {
	if x != nil {
		return x.Signature
	}
	return nil
}

func (x *Record) GetCiphertext() []byte {
	if x != nil {
		return x.Ciphertext
	}
	return nil
}

func (x *Record) GetNullifier() []byte {
	if x != nil {
		return x.Nullifier
	}
	return nil
}

type AppendRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Records       []*Record              `protobuf:"bytes,1,rep,name=records,proto3" json:"records,omitempty"` // 0 to max_batch
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AppendRequest) Reset() {
	*x = AppendRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[3]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AppendRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AppendRequest) ProtoMessage() {}

func (x *AppendRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[3]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AppendRequest.ProtoReflect.Descriptor instead.
func (*AppendRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{3}
}

func (x *AppendRequest) GetRecords() []*Record {
	if x != nil {
		return x.Records
	}
	return nil
}

type Outcome struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Status        Outcome_Status         `protobuf:"varint,1,opt,name=status,proto3,enum=cwtch.relay.plugin.v1.Outcome_Status" json:"status,omitempty"`
	Seq           uint64                 `protobuf:"varint,2,opt,name=seq,proto3" json:"seq,omitempty"` // of the envelope in the log; 0 with STATUS_SPENT, STATUS_CONFLICT and STATUS_EXPIRED
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Outcome) Reset() {
	*x = Outcome{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[4]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Outcome) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Outcome) ProtoMessage() {}

func (x *Outcome) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[4]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Outcome.ProtoReflect.Descriptor instead.
func (*Outcome) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{4}
}

func (x *Outcome) GetStatus() Outcome_Status {
	if x != nil {
		return x.Status
	}
	return Outcome_STATUS_UNSPECIFIED
}

func (x *Outcome) GetSeq() uint64 {
	if x != nil {
		return x.Seq
	}
	return 0
}

type AppendResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Outcomes      []*Outcome             `protobuf:"bytes,1,rep,name=outcomes,proto3" json:"outcomes,omitempty"` // as many as there are records, in their order
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AppendResponse) Reset() {
	*x = AppendResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[5]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AppendResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AppendResponse) ProtoMessage() {}

func (x *AppendResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[5]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AppendResponse.ProtoReflect.Descriptor instead.
func (*AppendResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{5}
}

func (x *AppendResponse) GetOutcomes() []*Outcome {
	if x != nil {
		return x.Outcomes
	}
	return nil
}

type LogRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	From          uint64                 `protobuf:"varint,1,opt,name=from,proto3" json:"from,omitempty"`                         // sequence number of the first entry wanted; 0 is read as 1
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`                           // entries; 0: max_page. More than that is OUT_OF_RANGE
	MaxBytes      uint32                 `protobuf:"varint,3,opt,name=max_bytes,json=maxBytes,proto3" json:"max_bytes,omitempty"` // of signatures and ciphertexts; 0: page_bytes. More than that is OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LogRequest) Reset() {
	*x = LogRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[6]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LogRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LogRequest) ProtoMessage() {}

func (x *LogRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[6]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LogRequest.ProtoReflect.Descriptor instead.
func (*LogRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{6}
}

func (x *LogRequest) GetFrom() uint64 {
	if x != nil {
		return x.From
	}
	return 0
}

func (x *LogRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

func (x *LogRequest) GetMaxBytes() uint32 {
	if x != nil {
		return x.MaxBytes
	}
	return 0
}

// Entry is an envelope in the log, with the fields of its Record; born may be lower, see
// Append.
type Entry struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Seq           uint64                 `protobuf:"varint,1,opt,name=seq,proto3" json:"seq,omitempty"`
	Id            []byte                 `protobuf:"bytes,2,opt,name=id,proto3" json:"id,omitempty"` // 32 bytes
	Born          uint32                 `protobuf:"varint,3,opt,name=born,proto3" json:"born,omitempty"`
	Signature     []byte                 `protobuf:"bytes,4,opt,name=signature,proto3" json:"signature,omitempty"`
	Ciphertext    []byte                 `protobuf:"bytes,5,opt,name=ciphertext,proto3" json:"ciphertext,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Entry) Reset() {
	*x = Entry{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[7]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Entry) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Entry) ProtoMessage() {}

func (x *Entry) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[7]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Entry.ProtoReflect.Descriptor instead.
func (*Entry) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{7}
}

func (x *Entry) GetSeq() uint64 {
	if x != nil {
		return x.Seq
	}
	return 0
}

func (x *Entry) GetId() []byte {
	if x != nil {
		return x.Id
	}
	return nil
}

func (x *Entry) GetBorn() uint32 {
	if x != nil {
		return x.Born
	}
	return 0
}

func (x *Entry) GetSignature() []byte {
	if x != nil {
		return x.Signature
	}
	return nil
}

func (x *Entry) GetCiphertext() []byte {
	if x != nil {
		return x.Ciphertext
	}
	return nil
}

type LogResponse struct {
	state   protoimpl.MessageState `protogen:"open.v1"`
	Entries []*Entry               `protobuf:"bytes,1,rep,name=entries,proto3" json:"entries,omitempty"`
	// Highest sequence number ever assigned at the time of reading. The reader is at the
	// end if the page contains it or is empty.
	Last          uint64 `protobuf:"varint,2,opt,name=last,proto3" json:"last,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LogResponse) Reset() {
	*x = LogResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[8]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LogResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LogResponse) ProtoMessage() {}

func (x *LogResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[8]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LogResponse.ProtoReflect.Descriptor instead.
func (*LogResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{8}
}

func (x *LogResponse) GetEntries() []*Entry {
	if x != nil {
		return x.Entries
	}
	return nil
}

func (x *LogResponse) GetLast() uint64 {
	if x != nil {
		return x.Last
	}
	return 0
}

type FindRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Signature     []byte                 `protobuf:"bytes,1,opt,name=signature,proto3" json:"signature,omitempty"` // at most max_envelope bytes, else OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *FindRequest) Reset() {
	*x = FindRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[9]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *FindRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*FindRequest) ProtoMessage() {}

func (x *FindRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[9]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use FindRequest.ProtoReflect.Descriptor instead.
func (*FindRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{9}
}

func (x *FindRequest) GetSignature() []byte {
	if x != nil {
		return x.Signature
	}
	return nil
}

type FindResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Seq           uint64                 `protobuf:"varint,1,opt,name=seq,proto3" json:"seq,omitempty"` // 1 or more
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *FindResponse) Reset() {
	*x = FindResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[10]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *FindResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*FindResponse) ProtoMessage() {}

func (x *FindResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[10]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use FindResponse.ProtoReflect.Descriptor instead.
func (*FindResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{10}
}

func (x *FindResponse) GetSeq() uint64 {
	if x != nil {
		return x.Seq
	}
	return 0
}

type WatchRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	After         uint64                 `protobuf:"varint,1,opt,name=after,proto3" json:"after,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WatchRequest) Reset() {
	*x = WatchRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[11]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WatchRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WatchRequest) ProtoMessage() {}

func (x *WatchRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[11]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WatchRequest.ProtoReflect.Descriptor instead.
func (*WatchRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{11}
}

func (x *WatchRequest) GetAfter() uint64 {
	if x != nil {
		return x.After
	}
	return 0
}

type WatchResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Last          uint64                 `protobuf:"varint,1,opt,name=last,proto3" json:"last,omitempty"` // highest sequence number, above after
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WatchResponse) Reset() {
	*x = WatchResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[12]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WatchResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WatchResponse) ProtoMessage() {}

func (x *WatchResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[12]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WatchResponse.ProtoReflect.Descriptor instead.
func (*WatchResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{12}
}

func (x *WatchResponse) GetLast() uint64 {
	if x != nil {
		return x.Last
	}
	return 0
}

// Spending is a spent token and the envelope that it paid for.
type Spending struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Token         []byte                 `protobuf:"bytes,1,opt,name=token,proto3" json:"token,omitempty"` // the first 16 bytes of SHA-256(nullifier); two nullifiers with the same ones are one token
	Id            []byte                 `protobuf:"bytes,2,opt,name=id,proto3" json:"id,omitempty"`       // 32 bytes; zeros if the store has forgotten it, see Floor above
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Spending) Reset() {
	*x = Spending{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[13]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Spending) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Spending) ProtoMessage() {}

func (x *Spending) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[13]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Spending.ProtoReflect.Descriptor instead.
func (*Spending) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{13}
}

func (x *Spending) GetToken() []byte {
	if x != nil {
		return x.Token
	}
	return nil
}

func (x *Spending) GetId() []byte {
	if x != nil {
		return x.Id
	}
	return nil
}

type SpendingsRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	After         []byte                 `protobuf:"bytes,1,opt,name=after,proto3" json:"after,omitempty"` // 16 bytes: the last token of the previous page; empty: from the first on
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`    // 0: max_spent_tokens. More than that is OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SpendingsRequest) Reset() {
	*x = SpendingsRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[14]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SpendingsRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SpendingsRequest) ProtoMessage() {}

func (x *SpendingsRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[14]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SpendingsRequest.ProtoReflect.Descriptor instead.
func (*SpendingsRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{14}
}

func (x *SpendingsRequest) GetAfter() []byte {
	if x != nil {
		return x.After
	}
	return nil
}

func (x *SpendingsRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

type SpendingsResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Spendings     []*Spending            `protobuf:"bytes,1,rep,name=spendings,proto3" json:"spendings,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SpendingsResponse) Reset() {
	*x = SpendingsResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[15]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SpendingsResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SpendingsResponse) ProtoMessage() {}

func (x *SpendingsResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[15]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SpendingsResponse.ProtoReflect.Descriptor instead.
func (*SpendingsResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{15}
}

func (x *SpendingsResponse) GetSpendings() []*Spending {
	if x != nil {
		return x.Spendings
	}
	return nil
}

type SpendRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Spendings     []*Spending            `protobuf:"bytes,1,rep,name=spendings,proto3" json:"spendings,omitempty"` // at most max_spent_tokens, else OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SpendRequest) Reset() {
	*x = SpendRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[16]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SpendRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SpendRequest) ProtoMessage() {}

func (x *SpendRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[16]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SpendRequest.ProtoReflect.Descriptor instead.
func (*SpendRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{16}
}

func (x *SpendRequest) GetSpendings() []*Spending {
	if x != nil {
		return x.Spendings
	}
	return nil
}

type SpendResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SpendResponse) Reset() {
	*x = SpendResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[17]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SpendResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SpendResponse) ProtoMessage() {}

func (x *SpendResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[17]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SpendResponse.ProtoReflect.Descriptor instead.
func (*SpendResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{17}
}

type HoursRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	From          uint32                 `protobuf:"varint,1,opt,name=from,proto3" json:"from,omitempty"` // first hour wanted
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`   // 0: max_hours. More than that is OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HoursRequest) Reset() {
	*x = HoursRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[18]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HoursRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HoursRequest) ProtoMessage() {}

func (x *HoursRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[18]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HoursRequest.ProtoReflect.Descriptor instead.
func (*HoursRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{18}
}

func (x *HoursRequest) GetFrom() uint32 {
	if x != nil {
		return x.From
	}
	return 0
}

func (x *HoursRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

// HourSize says what the log holds of one hour.
type HourSize struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Hour          uint32                 `protobuf:"varint,1,opt,name=hour,proto3" json:"hour,omitempty"`
	Count         uint64                 `protobuf:"varint,2,opt,name=count,proto3" json:"count,omitempty"` // envelopes that were born in it, 1 or more
	Bytes         uint64                 `protobuf:"varint,3,opt,name=bytes,proto3" json:"bytes,omitempty"` // of their signatures and ciphertexts
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HourSize) Reset() {
	*x = HourSize{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[19]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HourSize) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HourSize) ProtoMessage() {}

func (x *HourSize) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[19]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HourSize.ProtoReflect.Descriptor instead.
func (*HourSize) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{19}
}

func (x *HourSize) GetHour() uint32 {
	if x != nil {
		return x.Hour
	}
	return 0
}

func (x *HourSize) GetCount() uint64 {
	if x != nil {
		return x.Count
	}
	return 0
}

func (x *HourSize) GetBytes() uint64 {
	if x != nil {
		return x.Bytes
	}
	return 0
}

type HoursResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Hours         []*HourSize            `protobuf:"bytes,1,rep,name=hours,proto3" json:"hours,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HoursResponse) Reset() {
	*x = HoursResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[20]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HoursResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HoursResponse) ProtoMessage() {}

func (x *HoursResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[20]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HoursResponse.ProtoReflect.Descriptor instead.
func (*HoursResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{20}
}

func (x *HoursResponse) GetHours() []*HourSize {
	if x != nil {
		return x.Hours
	}
	return nil
}

type PruneRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Floor         uint32                 `protobuf:"varint,1,opt,name=floor,proto3" json:"floor,omitempty"`
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"` // envelopes to remove; 0: max_prune. More than that is OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PruneRequest) Reset() {
	*x = PruneRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[21]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PruneRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PruneRequest) ProtoMessage() {}

func (x *PruneRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[21]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PruneRequest.ProtoReflect.Descriptor instead.
func (*PruneRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{21}
}

func (x *PruneRequest) GetFloor() uint32 {
	if x != nil {
		return x.Floor
	}
	return 0
}

func (x *PruneRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

type PruneResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Floor         uint32                 `protobuf:"varint,1,opt,name=floor,proto3" json:"floor,omitempty"`         // of the store now: that of the request, or a higher one
	Envelopes     uint64                 `protobuf:"varint,2,opt,name=envelopes,proto3" json:"envelopes,omitempty"` // that this call has removed
	Bytes         uint64                 `protobuf:"varint,3,opt,name=bytes,proto3" json:"bytes,omitempty"`         // of their signatures and ciphertexts
	More          bool                   `protobuf:"varint,4,opt,name=more,proto3" json:"more,omitempty"`           // whether pruned envelopes are left to be removed; then this call has removed max
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *PruneResponse) Reset() {
	*x = PruneResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[22]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *PruneResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*PruneResponse) ProtoMessage() {}

func (x *PruneResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[22]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use PruneResponse.ProtoReflect.Descriptor instead.
func (*PruneResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{22}
}

func (x *PruneResponse) GetFloor() uint32 {
	if x != nil {
		return x.Floor
	}
	return 0
}

func (x *PruneResponse) GetEnvelopes() uint64 {
	if x != nil {
		return x.Envelopes
	}
	return 0
}

func (x *PruneResponse) GetBytes() uint64 {
	if x != nil {
		return x.Bytes
	}
	return 0
}

func (x *PruneResponse) GetMore() bool {
	if x != nil {
		return x.More
	}
	return false
}

type KeysRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Range         []byte                 `protobuf:"bytes,1,opt,name=range,proto3" json:"range,omitempty"` // 72 bytes, see Keys above
	Max           uint32                 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`    // 0: max_keys. More than that is OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *KeysRequest) Reset() {
	*x = KeysRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[23]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *KeysRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*KeysRequest) ProtoMessage() {}

func (x *KeysRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[23]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use KeysRequest.ProtoReflect.Descriptor instead.
func (*KeysRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{23}
}

func (x *KeysRequest) GetRange() []byte {
	if x != nil {
		return x.Range
	}
	return nil
}

func (x *KeysRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

type KeysResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Keys          []byte                 `protobuf:"bytes,1,opt,name=keys,proto3" json:"keys,omitempty"` // 36 bytes each
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *KeysResponse) Reset() {
	*x = KeysResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[24]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *KeysResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*KeysResponse) ProtoMessage() {}

func (x *KeysResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[24]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use KeysResponse.ProtoReflect.Descriptor instead.
func (*KeysResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{24}
}

func (x *KeysResponse) GetKeys() []byte {
	if x != nil {
		return x.Keys
	}
	return nil
}

type GetRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Ids           []byte                 `protobuf:"bytes,1,opt,name=ids,proto3" json:"ids,omitempty"` // 32 bytes each, at most max_get, else OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *GetRequest) Reset() {
	*x = GetRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[25]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *GetRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*GetRequest) ProtoMessage() {}

func (x *GetRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[25]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use GetRequest.ProtoReflect.Descriptor instead.
func (*GetRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{25}
}

func (x *GetRequest) GetIds() []byte {
	if x != nil {
		return x.Ids
	}
	return nil
}

type GetResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Entries       []*Entry               `protobuf:"bytes,1,rep,name=entries,proto3" json:"entries,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *GetResponse) Reset() {
	*x = GetResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[26]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *GetResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*GetResponse) ProtoMessage() {}

func (x *GetResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[26]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use GetResponse.ProtoReflect.Descriptor instead.
func (*GetResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{26}
}

func (x *GetResponse) GetEntries() []*Entry {
	if x != nil {
		return x.Entries
	}
	return nil
}

type CompactRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// How many bytes the store may take on the disk beside those that it takes without a
	// compaction.
	Room uint64 `protobuf:"varint,1,opt,name=room,proto3" json:"room,omitempty"`
	// Bytes to move; 0: max_compact, less than min_compact: min_compact. More than max_compact
	// is OUT_OF_RANGE.
	Max           uint32 `protobuf:"varint,2,opt,name=max,proto3" json:"max,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *CompactRequest) Reset() {
	*x = CompactRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[27]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *CompactRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*CompactRequest) ProtoMessage() {}

func (x *CompactRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[27]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use CompactRequest.ProtoReflect.Descriptor instead.
func (*CompactRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{27}
}

func (x *CompactRequest) GetRoom() uint64 {
	if x != nil {
		return x.Room
	}
	return 0
}

func (x *CompactRequest) GetMax() uint32 {
	if x != nil {
		return x.Max
	}
	return 0
}

type CompactResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Moved         uint64                 `protobuf:"varint,1,opt,name=moved,proto3" json:"moved,omitempty"` // bytes that this call has written, at most max
	More          bool                   `protobuf:"varint,2,opt,name=more,proto3" json:"more,omitempty"`   // whether the compaction is not finished
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *CompactResponse) Reset() {
	*x = CompactResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[28]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *CompactResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*CompactResponse) ProtoMessage() {}

func (x *CompactResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[28]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use CompactResponse.ProtoReflect.Descriptor instead.
func (*CompactResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{28}
}

func (x *CompactResponse) GetMoved() uint64 {
	if x != nil {
		return x.Moved
	}
	return 0
}

func (x *CompactResponse) GetMore() bool {
	if x != nil {
		return x.More
	}
	return false
}

type CheckRequest struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	After         []byte                 `protobuf:"bytes,1,opt,name=after,proto3" json:"after,omitempty"` // CheckResponse.next of the part before; empty for the first part. More than max_check_state is OUT_OF_RANGE
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *CheckRequest) Reset() {
	*x = CheckRequest{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[29]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *CheckRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*CheckRequest) ProtoMessage() {}

func (x *CheckRequest) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[29]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use CheckRequest.ProtoReflect.Descriptor instead.
func (*CheckRequest) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{29}
}

func (x *CheckRequest) GetAfter() []byte {
	if x != nil {
		return x.After
	}
	return nil
}

// Fault is damage in a store. Its texts are for the operator. They hold no ids,
// signatures, ciphertexts or tokens.
type Fault struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Place         string                 `protobuf:"bytes,1,opt,name=place,proto3" json:"place,omitempty"` // such as "messages.db, page 17"
	Text          string                 `protobuf:"bytes,2,opt,name=text,proto3" json:"text,omitempty"`   // what is wrong there and, if that is known, what is lost
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Fault) Reset() {
	*x = Fault{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[30]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Fault) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Fault) ProtoMessage() {}

func (x *Fault) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[30]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Fault.ProtoReflect.Descriptor instead.
func (*Fault) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{30}
}

func (x *Fault) GetPlace() string {
	if x != nil {
		return x.Place
	}
	return ""
}

func (x *Fault) GetText() string {
	if x != nil {
		return x.Text
	}
	return ""
}

type CheckResponse struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	Faults        []*Fault               `protobuf:"bytes,1,rep,name=faults,proto3" json:"faults,omitempty"` // at most max_faults
	Next          []byte                 `protobuf:"bytes,2,opt,name=next,proto3" json:"next,omitempty"`     // where the next part begins, at most max_check_state, not as in the request; empty after the last part
	Done          uint64                 `protobuf:"varint,3,opt,name=done,proto3" json:"done,omitempty"`    // bytes of the store that are verified so far, at most total
	Total         uint64                 `protobuf:"varint,4,opt,name=total,proto3" json:"total,omitempty"`  // bytes of the store; done is the same after the last part of a store that is whole
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *CheckResponse) Reset() {
	*x = CheckResponse{}
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[31]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *CheckResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*CheckResponse) ProtoMessage() {}

func (x *CheckResponse) ProtoReflect() protoreflect.Message {
	mi := &file_cwtch_relay_plugin_v1_storage_proto_msgTypes[31]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use CheckResponse.ProtoReflect.Descriptor instead.
func (*CheckResponse) Descriptor() ([]byte, []int) {
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP(), []int{31}
}

func (x *CheckResponse) GetFaults() []*Fault {
	if x != nil {
		return x.Faults
	}
	return nil
}

func (x *CheckResponse) GetNext() []byte {
	if x != nil {
		return x.Next
	}
	return nil
}

func (x *CheckResponse) GetDone() uint64 {
	if x != nil {
		return x.Done
	}
	return 0
}

func (x *CheckResponse) GetTotal() uint64 {
	if x != nil {
		return x.Total
	}
	return 0
}

var File_cwtch_relay_plugin_v1_storage_proto protoreflect.FileDescriptor

const file_cwtch_relay_plugin_v1_storage_proto_rawDesc = "" +
	"\n" +
	"#cwtch/relay/plugin/v1/storage.proto\x12\x15cwtch.relay.plugin.v1\"\r\n" +
	"\vInfoRequest\"\xbf\x01\n" +
	"\fInfoResponse\x12\x14\n" +
	"\x05epoch\x18\x01 \x01(\fR\x05epoch\x12\x14\n" +
	"\x05first\x18\x02 \x01(\x04R\x05first\x12\x12\n" +
	"\x04last\x18\x03 \x01(\x04R\x04last\x12\x14\n" +
	"\x05count\x18\x04 \x01(\x04R\x05count\x12\x14\n" +
	"\x05bytes\x18\x05 \x01(\x04R\x05bytes\x12\x16\n" +
	"\x06tokens\x18\x06 \x01(\x04R\x06tokens\x12\x14\n" +
	"\x05floor\x18\a \x01(\rR\x05floor\x12\x15\n" +
	"\x06in_use\x18\b \x01(\x04R\x05inUse\"\x88\x01\n" +
	"\x06Record\x12\x0e\n" +
	"\x02id\x18\x01 \x01(\fR\x02id\x12\x12\n" +
	"\x04born\x18\x02 \x01(\rR\x04born\x12\x1c\n" +
	"\tsignature\x18\x03 \x01(\fR\tsignature\x12\x1e\n" +
	"\n" +
	"ciphertext\x18\x04 \x01(\fR\n" +
	"ciphertext\x12\x1c\n" +
	"\tnullifier\x18\x05 \x01(\fR\tnullifier\"H\n" +
	"\rAppendRequest\x127\n" +
	"\arecords\x18\x01 \x03(\v2\x1d.cwtch.relay.plugin.v1.RecordR\arecords\"\xf6\x01\n" +
	"\aOutcome\x12=\n" +
	"\x06status\x18\x01 \x01(\x0e2%.cwtch.relay.plugin.v1.Outcome.StatusR\x06status\x12\x10\n" +
	"\x03seq\x18\x02 \x01(\x04R\x03seq\"\x99\x01\n" +
	"\x06Status\x12\x16\n" +
	"\x12STATUS_UNSPECIFIED\x10\x00\x12\x11\n" +
	"\rSTATUS_STORED\x10\x01\x12\x14\n" +
	"\x10STATUS_DUPLICATE\x10\x02\x12\x10\n" +
	"\fSTATUS_SPENT\x10\x03\x12\x13\n" +
	"\x0fSTATUS_REPLAYED\x10\x04\x12\x13\n" +
	"\x0fSTATUS_CONFLICT\x10\x05\x12\x12\n" +
	"\x0eSTATUS_EXPIRED\x10\x06\"L\n" +
	"\x0eAppendResponse\x12:\n" +
	"\boutcomes\x18\x01 \x03(\v2\x1e.cwtch.relay.plugin.v1.OutcomeR\boutcomes\"O\n" +
	"\n" +
	"LogRequest\x12\x12\n" +
	"\x04from\x18\x01 \x01(\x04R\x04from\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\x12\x1b\n" +
	"\tmax_bytes\x18\x03 \x01(\rR\bmaxBytes\"{\n" +
	"\x05Entry\x12\x10\n" +
	"\x03seq\x18\x01 \x01(\x04R\x03seq\x12\x0e\n" +
	"\x02id\x18\x02 \x01(\fR\x02id\x12\x12\n" +
	"\x04born\x18\x03 \x01(\rR\x04born\x12\x1c\n" +
	"\tsignature\x18\x04 \x01(\fR\tsignature\x12\x1e\n" +
	"\n" +
	"ciphertext\x18\x05 \x01(\fR\n" +
	"ciphertext\"Y\n" +
	"\vLogResponse\x126\n" +
	"\aentries\x18\x01 \x03(\v2\x1c.cwtch.relay.plugin.v1.EntryR\aentries\x12\x12\n" +
	"\x04last\x18\x02 \x01(\x04R\x04last\"+\n" +
	"\vFindRequest\x12\x1c\n" +
	"\tsignature\x18\x01 \x01(\fR\tsignature\" \n" +
	"\fFindResponse\x12\x10\n" +
	"\x03seq\x18\x01 \x01(\x04R\x03seq\"$\n" +
	"\fWatchRequest\x12\x14\n" +
	"\x05after\x18\x01 \x01(\x04R\x05after\"#\n" +
	"\rWatchResponse\x12\x12\n" +
	"\x04last\x18\x01 \x01(\x04R\x04last\"0\n" +
	"\bSpending\x12\x14\n" +
	"\x05token\x18\x01 \x01(\fR\x05token\x12\x0e\n" +
	"\x02id\x18\x02 \x01(\fR\x02id\":\n" +
	"\x10SpendingsRequest\x12\x14\n" +
	"\x05after\x18\x01 \x01(\fR\x05after\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\"R\n" +
	"\x11SpendingsResponse\x12=\n" +
	"\tspendings\x18\x01 \x03(\v2\x1f.cwtch.relay.plugin.v1.SpendingR\tspendings\"M\n" +
	"\fSpendRequest\x12=\n" +
	"\tspendings\x18\x01 \x03(\v2\x1f.cwtch.relay.plugin.v1.SpendingR\tspendings\"\x0f\n" +
	"\rSpendResponse\"4\n" +
	"\fHoursRequest\x12\x12\n" +
	"\x04from\x18\x01 \x01(\rR\x04from\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\"J\n" +
	"\bHourSize\x12\x12\n" +
	"\x04hour\x18\x01 \x01(\rR\x04hour\x12\x14\n" +
	"\x05count\x18\x02 \x01(\x04R\x05count\x12\x14\n" +
	"\x05bytes\x18\x03 \x01(\x04R\x05bytes\"F\n" +
	"\rHoursResponse\x125\n" +
	"\x05hours\x18\x01 \x03(\v2\x1f.cwtch.relay.plugin.v1.HourSizeR\x05hours\"6\n" +
	"\fPruneRequest\x12\x14\n" +
	"\x05floor\x18\x01 \x01(\rR\x05floor\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\"m\n" +
	"\rPruneResponse\x12\x14\n" +
	"\x05floor\x18\x01 \x01(\rR\x05floor\x12\x1c\n" +
	"\tenvelopes\x18\x02 \x01(\x04R\tenvelopes\x12\x14\n" +
	"\x05bytes\x18\x03 \x01(\x04R\x05bytes\x12\x12\n" +
	"\x04more\x18\x04 \x01(\bR\x04more\"5\n" +
	"\vKeysRequest\x12\x14\n" +
	"\x05range\x18\x01 \x01(\fR\x05range\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\"\"\n" +
	"\fKeysResponse\x12\x12\n" +
	"\x04keys\x18\x01 \x01(\fR\x04keys\"\x1e\n" +
	"\n" +
	"GetRequest\x12\x10\n" +
	"\x03ids\x18\x01 \x01(\fR\x03ids\"E\n" +
	"\vGetResponse\x126\n" +
	"\aentries\x18\x01 \x03(\v2\x1c.cwtch.relay.plugin.v1.EntryR\aentries\"6\n" +
	"\x0eCompactRequest\x12\x12\n" +
	"\x04room\x18\x01 \x01(\x04R\x04room\x12\x10\n" +
	"\x03max\x18\x02 \x01(\rR\x03max\";\n" +
	"\x0fCompactResponse\x12\x14\n" +
	"\x05moved\x18\x01 \x01(\x04R\x05moved\x12\x12\n" +
	"\x04more\x18\x02 \x01(\bR\x04more\"$\n" +
	"\fCheckRequest\x12\x14\n" +
	"\x05after\x18\x01 \x01(\fR\x05after\"1\n" +
	"\x05Fault\x12\x14\n" +
	"\x05place\x18\x01 \x01(\tR\x05place\x12\x12\n" +
	"\x04text\x18\x02 \x01(\tR\x04text\"\x83\x01\n" +
	"\rCheckResponse\x124\n" +
	"\x06faults\x18\x01 \x03(\v2\x1c.cwtch.relay.plugin.v1.FaultR\x06faults\x12\x12\n" +
	"\x04next\x18\x02 \x01(\fR\x04next\x12\x12\n" +
	"\x04done\x18\x03 \x01(\x04R\x04done\x12\x14\n" +
	"\x05total\x18\x04 \x01(\x04R\x05total2\xcd\b\n" +
	"\aStorage\x12O\n" +
	"\x04Info\x12\".cwtch.relay.plugin.v1.InfoRequest\x1a#.cwtch.relay.plugin.v1.InfoResponse\x12U\n" +
	"\x06Append\x12$.cwtch.relay.plugin.v1.AppendRequest\x1a%.cwtch.relay.plugin.v1.AppendResponse\x12L\n" +
	"\x03Log\x12!.cwtch.relay.plugin.v1.LogRequest\x1a\".cwtch.relay.plugin.v1.LogResponse\x12O\n" +
	"\x04Find\x12\".cwtch.relay.plugin.v1.FindRequest\x1a#.cwtch.relay.plugin.v1.FindResponse\x12R\n" +
	"\x05Watch\x12#.cwtch.relay.plugin.v1.WatchRequest\x1a$.cwtch.relay.plugin.v1.WatchResponse\x12^\n" +
	"\tSpendings\x12'.cwtch.relay.plugin.v1.SpendingsRequest\x1a(.cwtch.relay.plugin.v1.SpendingsResponse\x12R\n" +
	"\x05Spend\x12#.cwtch.relay.plugin.v1.SpendRequest\x1a$.cwtch.relay.plugin.v1.SpendResponse\x12R\n" +
	"\x05Hours\x12#.cwtch.relay.plugin.v1.HoursRequest\x1a$.cwtch.relay.plugin.v1.HoursResponse\x12R\n" +
	"\x05Prune\x12#.cwtch.relay.plugin.v1.PruneRequest\x1a$.cwtch.relay.plugin.v1.PruneResponse\x12O\n" +
	"\x04Keys\x12\".cwtch.relay.plugin.v1.KeysRequest\x1a#.cwtch.relay.plugin.v1.KeysResponse\x12L\n" +
	"\x03Get\x12!.cwtch.relay.plugin.v1.GetRequest\x1a\".cwtch.relay.plugin.v1.GetResponse\x12X\n" +
	"\aCompact\x12%.cwtch.relay.plugin.v1.CompactRequest\x1a&.cwtch.relay.plugin.v1.CompactResponse\x12R\n" +
	"\x05Check\x12#.cwtch.relay.plugin.v1.CheckRequest\x1a$.cwtch.relay.plugin.v1.CheckResponseB>Z<github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1b\x06proto3"

var (
	file_cwtch_relay_plugin_v1_storage_proto_rawDescOnce sync.Once
	file_cwtch_relay_plugin_v1_storage_proto_rawDescData []byte
)

func file_cwtch_relay_plugin_v1_storage_proto_rawDescGZIP() []byte {
	file_cwtch_relay_plugin_v1_storage_proto_rawDescOnce.Do(func() {
		file_cwtch_relay_plugin_v1_storage_proto_rawDescData = protoimpl.X.CompressGZIP(unsafe.Slice(unsafe.StringData(file_cwtch_relay_plugin_v1_storage_proto_rawDesc), len(file_cwtch_relay_plugin_v1_storage_proto_rawDesc)))
	})
	return file_cwtch_relay_plugin_v1_storage_proto_rawDescData
}

var file_cwtch_relay_plugin_v1_storage_proto_enumTypes = make([]protoimpl.EnumInfo, 1)
var file_cwtch_relay_plugin_v1_storage_proto_msgTypes = make([]protoimpl.MessageInfo, 32)
var file_cwtch_relay_plugin_v1_storage_proto_goTypes = []any{
	(Outcome_Status)(0),       // 0: cwtch.relay.plugin.v1.Outcome.Status
	(*InfoRequest)(nil),       // 1: cwtch.relay.plugin.v1.InfoRequest
	(*InfoResponse)(nil),      // 2: cwtch.relay.plugin.v1.InfoResponse
	(*Record)(nil),            // 3: cwtch.relay.plugin.v1.Record
	(*AppendRequest)(nil),     // 4: cwtch.relay.plugin.v1.AppendRequest
	(*Outcome)(nil),           // 5: cwtch.relay.plugin.v1.Outcome
	(*AppendResponse)(nil),    // 6: cwtch.relay.plugin.v1.AppendResponse
	(*LogRequest)(nil),        // 7: cwtch.relay.plugin.v1.LogRequest
	(*Entry)(nil),             // 8: cwtch.relay.plugin.v1.Entry
	(*LogResponse)(nil),       // 9: cwtch.relay.plugin.v1.LogResponse
	(*FindRequest)(nil),       // 10: cwtch.relay.plugin.v1.FindRequest
	(*FindResponse)(nil),      // 11: cwtch.relay.plugin.v1.FindResponse
	(*WatchRequest)(nil),      // 12: cwtch.relay.plugin.v1.WatchRequest
	(*WatchResponse)(nil),     // 13: cwtch.relay.plugin.v1.WatchResponse
	(*Spending)(nil),          // 14: cwtch.relay.plugin.v1.Spending
	(*SpendingsRequest)(nil),  // 15: cwtch.relay.plugin.v1.SpendingsRequest
	(*SpendingsResponse)(nil), // 16: cwtch.relay.plugin.v1.SpendingsResponse
	(*SpendRequest)(nil),      // 17: cwtch.relay.plugin.v1.SpendRequest
	(*SpendResponse)(nil),     // 18: cwtch.relay.plugin.v1.SpendResponse
	(*HoursRequest)(nil),      // 19: cwtch.relay.plugin.v1.HoursRequest
	(*HourSize)(nil),          // 20: cwtch.relay.plugin.v1.HourSize
	(*HoursResponse)(nil),     // 21: cwtch.relay.plugin.v1.HoursResponse
	(*PruneRequest)(nil),      // 22: cwtch.relay.plugin.v1.PruneRequest
	(*PruneResponse)(nil),     // 23: cwtch.relay.plugin.v1.PruneResponse
	(*KeysRequest)(nil),       // 24: cwtch.relay.plugin.v1.KeysRequest
	(*KeysResponse)(nil),      // 25: cwtch.relay.plugin.v1.KeysResponse
	(*GetRequest)(nil),        // 26: cwtch.relay.plugin.v1.GetRequest
	(*GetResponse)(nil),       // 27: cwtch.relay.plugin.v1.GetResponse
	(*CompactRequest)(nil),    // 28: cwtch.relay.plugin.v1.CompactRequest
	(*CompactResponse)(nil),   // 29: cwtch.relay.plugin.v1.CompactResponse
	(*CheckRequest)(nil),      // 30: cwtch.relay.plugin.v1.CheckRequest
	(*Fault)(nil),             // 31: cwtch.relay.plugin.v1.Fault
	(*CheckResponse)(nil),     // 32: cwtch.relay.plugin.v1.CheckResponse
}
var file_cwtch_relay_plugin_v1_storage_proto_depIdxs = []int32{
	3,  // 0: cwtch.relay.plugin.v1.AppendRequest.records:type_name -> cwtch.relay.plugin.v1.Record
	0,  // 1: cwtch.relay.plugin.v1.Outcome.status:type_name -> cwtch.relay.plugin.v1.Outcome.Status
	5,  // 2: cwtch.relay.plugin.v1.AppendResponse.outcomes:type_name -> cwtch.relay.plugin.v1.Outcome
	8,  // 3: cwtch.relay.plugin.v1.LogResponse.entries:type_name -> cwtch.relay.plugin.v1.Entry
	14, // 4: cwtch.relay.plugin.v1.SpendingsResponse.spendings:type_name -> cwtch.relay.plugin.v1.Spending
	14, // 5: cwtch.relay.plugin.v1.SpendRequest.spendings:type_name -> cwtch.relay.plugin.v1.Spending
	20, // 6: cwtch.relay.plugin.v1.HoursResponse.hours:type_name -> cwtch.relay.plugin.v1.HourSize
	8,  // 7: cwtch.relay.plugin.v1.GetResponse.entries:type_name -> cwtch.relay.plugin.v1.Entry
	31, // 8: cwtch.relay.plugin.v1.CheckResponse.faults:type_name -> cwtch.relay.plugin.v1.Fault
	1,  // 9: cwtch.relay.plugin.v1.Storage.Info:input_type -> cwtch.relay.plugin.v1.InfoRequest
	4,  // 10: cwtch.relay.plugin.v1.Storage.Append:input_type -> cwtch.relay.plugin.v1.AppendRequest
	7,  // 11: cwtch.relay.plugin.v1.Storage.Log:input_type -> cwtch.relay.plugin.v1.LogRequest
	10, // 12: cwtch.relay.plugin.v1.Storage.Find:input_type -> cwtch.relay.plugin.v1.FindRequest
	12, // 13: cwtch.relay.plugin.v1.Storage.Watch:input_type -> cwtch.relay.plugin.v1.WatchRequest
	15, // 14: cwtch.relay.plugin.v1.Storage.Spendings:input_type -> cwtch.relay.plugin.v1.SpendingsRequest
	17, // 15: cwtch.relay.plugin.v1.Storage.Spend:input_type -> cwtch.relay.plugin.v1.SpendRequest
	19, // 16: cwtch.relay.plugin.v1.Storage.Hours:input_type -> cwtch.relay.plugin.v1.HoursRequest
	22, // 17: cwtch.relay.plugin.v1.Storage.Prune:input_type -> cwtch.relay.plugin.v1.PruneRequest
	24, // 18: cwtch.relay.plugin.v1.Storage.Keys:input_type -> cwtch.relay.plugin.v1.KeysRequest
	26, // 19: cwtch.relay.plugin.v1.Storage.Get:input_type -> cwtch.relay.plugin.v1.GetRequest
	28, // 20: cwtch.relay.plugin.v1.Storage.Compact:input_type -> cwtch.relay.plugin.v1.CompactRequest
	30, // 21: cwtch.relay.plugin.v1.Storage.Check:input_type -> cwtch.relay.plugin.v1.CheckRequest
	2,  // 22: cwtch.relay.plugin.v1.Storage.Info:output_type -> cwtch.relay.plugin.v1.InfoResponse
	6,  // 23: cwtch.relay.plugin.v1.Storage.Append:output_type -> cwtch.relay.plugin.v1.AppendResponse
	9,  // 24: cwtch.relay.plugin.v1.Storage.Log:output_type -> cwtch.relay.plugin.v1.LogResponse
	11, // 25: cwtch.relay.plugin.v1.Storage.Find:output_type -> cwtch.relay.plugin.v1.FindResponse
	13, // 26: cwtch.relay.plugin.v1.Storage.Watch:output_type -> cwtch.relay.plugin.v1.WatchResponse
	16, // 27: cwtch.relay.plugin.v1.Storage.Spendings:output_type -> cwtch.relay.plugin.v1.SpendingsResponse
	18, // 28: cwtch.relay.plugin.v1.Storage.Spend:output_type -> cwtch.relay.plugin.v1.SpendResponse
	21, // 29: cwtch.relay.plugin.v1.Storage.Hours:output_type -> cwtch.relay.plugin.v1.HoursResponse
	23, // 30: cwtch.relay.plugin.v1.Storage.Prune:output_type -> cwtch.relay.plugin.v1.PruneResponse
	25, // 31: cwtch.relay.plugin.v1.Storage.Keys:output_type -> cwtch.relay.plugin.v1.KeysResponse
	27, // 32: cwtch.relay.plugin.v1.Storage.Get:output_type -> cwtch.relay.plugin.v1.GetResponse
	29, // 33: cwtch.relay.plugin.v1.Storage.Compact:output_type -> cwtch.relay.plugin.v1.CompactResponse
	32, // 34: cwtch.relay.plugin.v1.Storage.Check:output_type -> cwtch.relay.plugin.v1.CheckResponse
	22, // [22:35] is the sub-list for method output_type
	9,  // [9:22] is the sub-list for method input_type
	9,  // [9:9] is the sub-list for extension type_name
	9,  // [9:9] is the sub-list for extension extendee
	0,  // [0:9] is the sub-list for field type_name
}

func init() { file_cwtch_relay_plugin_v1_storage_proto_init() }
func file_cwtch_relay_plugin_v1_storage_proto_init() {
	if File_cwtch_relay_plugin_v1_storage_proto != nil {
		return
	}
	type x struct{}
	out := protoimpl.TypeBuilder{
		File: protoimpl.DescBuilder{
			GoPackagePath: reflect.TypeOf(x{}).PkgPath(),
			RawDescriptor: unsafe.Slice(unsafe.StringData(file_cwtch_relay_plugin_v1_storage_proto_rawDesc), len(file_cwtch_relay_plugin_v1_storage_proto_rawDesc)),
			NumEnums:      1,
			NumMessages:   32,
			NumExtensions: 0,
			NumServices:   1,
		},
		GoTypes:           file_cwtch_relay_plugin_v1_storage_proto_goTypes,
		DependencyIndexes: file_cwtch_relay_plugin_v1_storage_proto_depIdxs,
		EnumInfos:         file_cwtch_relay_plugin_v1_storage_proto_enumTypes,
		MessageInfos:      file_cwtch_relay_plugin_v1_storage_proto_msgTypes,
	}.Build()
	File_cwtch_relay_plugin_v1_storage_proto = out.File
	file_cwtch_relay_plugin_v1_storage_proto_goTypes = nil
	file_cwtch_relay_plugin_v1_storage_proto_depIdxs = nil
}
