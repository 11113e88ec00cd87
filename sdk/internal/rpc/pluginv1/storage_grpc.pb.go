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

// Code generated by protoc-gen-go-grpc. DO NOT EDIT.
// versions:
// - protoc-gen-go-grpc v1.6.2
// - protoc             v3.21.12
// source: cwtch/relay/plugin/v1/storage.proto

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
	Storage_Info_FullMethodName      = "/cwtch.relay.plugin.v1.Storage/Info"
	Storage_Append_FullMethodName    = "/cwtch.relay.plugin.v1.Storage/Append"
	Storage_Log_FullMethodName       = "/cwtch.relay.plugin.v1.Storage/Log"
	Storage_Find_FullMethodName      = "/cwtch.relay.plugin.v1.Storage/Find"
	Storage_Watch_FullMethodName     = "/cwtch.relay.plugin.v1.Storage/Watch"
	Storage_Spendings_FullMethodName = "/cwtch.relay.plugin.v1.Storage/Spendings"
	Storage_Spend_FullMethodName     = "/cwtch.relay.plugin.v1.Storage/Spend"
	Storage_Hours_FullMethodName     = "/cwtch.relay.plugin.v1.Storage/Hours"
	Storage_Prune_FullMethodName     = "/cwtch.relay.plugin.v1.Storage/Prune"
	Storage_Keys_FullMethodName      = "/cwtch.relay.plugin.v1.Storage/Keys"
	Storage_Get_FullMethodName       = "/cwtch.relay.plugin.v1.Storage/Get"
	Storage_Compact_FullMethodName   = "/cwtch.relay.plugin.v1.Storage/Compact"
	Storage_Check_FullMethodName     = "/cwtch.relay.plugin.v1.Storage/Check"
)

// StorageClient is the client API for Storage service.
//
// For semantics around ctx use and closing/ending streaming RPCs, please refer to https://pkg.go.dev/google.golang.org/grpc/?tab=doc#ClientConn.NewStream.
type StorageClient interface {
	// Info describes the store as it is now. The relay calls it after Configure, after an
	// Append with an unknown result, for its status, and every ten seconds for its metrics,
	// so it must be cheap. Deadline 5 s or less.
	//
	// A store that comes back with another epoch, or with a last number below what the
	// relay has served, has lost acknowledged envelopes: the relay stops serving the board.
	Info(ctx context.Context, in *InfoRequest, opts ...grpc.CallOption) (*InfoResponse, error)
	// Append applies records in order, in one transaction. It answers with one outcome for
	// each, in their order, when the batch is durable, not before. A record sees the effect
	// of the records before it in the batch. Without records it succeeds without outcomes.
	// For each record the store checks in this order:
	//
	//  1. Its nullifier, if it has one. If the token is spent: STATUS_REPLAYED if it
	//     paid for this very id and the id is in the log, otherwise STATUS_SPENT. Nothing
	//     changes, and no further check follows.
	//  2. Its hour. If it is below the floor: STATUS_EXPIRED, and nothing changes; the
	//     nullifier stays unspent.
	//  3. Its id. If the log has it: STATUS_DUPLICATE, and the nullifier is spent.
	//  4. Its signature, if it is not empty and the record has a nullifier. If Find finds
	//     it: STATUS_CONFLICT, and nothing changes; the nullifier stays unspent.
	//  5. Otherwise it is stored at the next sequence number, and its nullifier is
	//     spent: STATUS_STORED.
	//
	// Two relays may have accepted one envelope in different hours. For them to agree on
	// its key in the end, a store with CAPABILITY_STORAGE_INDEX keeps the lower hour: a
	// STATUS_DUPLICATE whose hour is lower than that of the entry lowers it, but at most to
	// max_aging hours before the one with which the entry was stored (the store keeps both).
	// Without this limit a hostile relay could have every envelope of another pruned at
	// once. In other stores the hour of an entry never changes.
	//
	// A record without a nullifier comes from another relay or store, and is not checked
	// for a conflict. Otherwise a stranger who has seen an envelope at one relay could keep
	// it out of another one, by first posting something else under its signature there.
	//
	// An error says nothing about the batch. After UNAVAILABLE, or without an answer, the
	// relay appends it again, and records that had been applied are then DUPLICATE or
	// REPLAYED. The deadline is what is left of the time for a post (post_timeout, 10 s by
	// default).
	//
	// The cost of a call must not depend on what is stored under a signature: strangers can
	// post any number of envelopes under one, so neither Append nor Find may walk over them.
	Append(ctx context.Context, in *AppendRequest, opts ...grpc.CallOption) (*AppendResponse, error)
	// Log answers with the entries from a sequence number on, ascending and without a
	// gap, as many as fit a page. A page ends at the end of the log, at max entries, or
	// where one more would exceed max_bytes, and never earlier. No entries mean that the log
	// ends before `from`. Entries that were pruned are left out; there is no other reason
	// for a gap.
	//
	// A replay of a whole log is many calls, with seconds or hours between them, so a store
	// must not hold anything between them. Up to eight calls come at the same time. Deadline
	// 15 s for a reader, 30 s for "cwtch-relay storage copy".
	Log(ctx context.Context, in *LogRequest, opts ...grpc.CallOption) (*LogResponse, error)
	// Find answers with the lowest sequence number of an envelope with a signature, or
	// NOT_FOUND. Signatures are not unique. A stranger chooses the signature, so Find must
	// cost the same whatever is stored, and the relay does not repeat it. Up to two calls
	// come at the same time. Deadline 15 s.
	//
	// When the envelope that Find answers with is pruned, its signature is forgotten, even
	// if later envelopes have it; the next one that is stored with it counts as the lowest.
	// A reader that knows the pruned envelope may lack what stands between the two.
	Find(ctx context.Context, in *FindRequest, opts ...grpc.CallOption) (*FindResponse, error)
	// Watch tells a relay what others append to a store that several relays share, such as
	// a database on another machine. It answers once there is an entry above `after`.
	// Otherwise it waits until the relay cancels the call, or until Drain or another
	// Configure ends it with UNAVAILABLE. It has no deadline, and there is always one under
	// way.
	//
	// Only for plugins with CAPABILITY_STORAGE_WATCH. A store that no other relay appends
	// to, such as one in the plugin's own directory, leaves it out. The call would wait
	// forever and take one of the calls that the plugin serves at the same time.
	Watch(ctx context.Context, in *WatchRequest, opts ...grpc.CallOption) (*WatchResponse, error)
	// Spendings answers with the spent tokens after a given one, ascending in the order of
	// their bytes, up to max. No tokens mean that there are no more. A page shows the
	// tokens of one moment. A token that is spent between the calls for two pages may be
	// missing if it belongs before the second page. Deadline 30 s.
	//
	// This and Spend are only for plugins with CAPABILITY_STORAGE_LEDGER. With them
	// "cwtch-relay storage copy" can copy a server to this store, and from it.
	Spendings(ctx context.Context, in *SpendingsRequest, opts ...grpc.CallOption) (*SpendingsResponse, error)
	// Spend records tokens as spent, all of them in one transaction, and answers when that
	// is durable. The envelopes they paid for need not be in the log, and are not added to
	// it. If a token is already spent, even earlier in this batch, the first spending is kept
	// and there is no error. Append and Spend share one set of spent tokens. Deadline 30 s.
	Spend(ctx context.Context, in *SpendRequest, opts ...grpc.CallOption) (*SpendResponse, error)
	// Hours answers with the hours from one on in which envelopes of the log were born,
	// ascending, as many as there are and at most max; none means that there are no more.
	// They are those of one moment. A call costs as much as there are hours, however many
	// envelopes they hold. Deadline 30 s.
	//
	// This and Prune only for plugins with CAPABILITY_STORAGE_PRUNE. Without them a server
	// keeps everything until its disk is full.
	Hours(ctx context.Context, in *HoursRequest, opts ...grpc.CallOption) (*HoursResponse, error)
	// Prune raises the floor and removes pruned envelopes, as many as there are and at most
	// max, all in one transaction, and answers when that is durable. It never lowers the
	// floor: with a lower one, such as 0, it only removes. All envelopes below a new floor
	// leave the log at one moment, however many calls their removal takes. A call costs as
	// much as it removes, however much the store keeps. Deadline 30 s.
	Prune(ctx context.Context, in *PruneRequest, opts ...grpc.CallOption) (*PruneResponse, error)
	// Keys answers with the first keys of a range, ascending, as many as there are and at
	// most max. They are those of one moment. A call costs as much as it answers, however
	// much the store keeps. Deadline 30 s.
	//
	// This and Get only for plugins with CAPABILITY_STORAGE_INDEX. Relays need them to
	// compare their boards.
	Keys(ctx context.Context, in *KeysRequest, opts ...grpc.CallOption) (*KeysResponse, error)
	// Get answers with the entries that have the given ids, in the order of the ids; ids
	// that are not in the log are left out, and one that is there twice is answered twice.
	// The answer ends with the last id, or where one more entry would exceed page_bytes,
	// and never earlier, so none means that no id is in the log. They are those of one
	// moment. Deadline 30 s.
	Get(ctx context.Context, in *GetRequest, opts ...grpc.CallOption) (*GetResponse, error)
	// Compact gives the room of what was removed back to the disk, one step at a time. It
	// moves at most max bytes, so that the store takes less room: it may fill a new file and
	// exchange the files in the last step, or move data within its file. If no compaction
	// is under way, a call begins one. The relay decides when, and calls again until `more`
	// is false. One call comes at a time.
	//
	// All other calls come meanwhile and see what they would see without a compaction,
	// apart from bytes and in_use of InfoResponse. None of them waits for more than a
	// moment, however large the store is. A compaction that is interrupted, at any moment
	// and for any reason, loses nothing: the store resumes it, or gives its room back and
	// begins again.
	//
	// When a compaction ends, what had been removed before it began has left the disk,
	// overwritten or cut off.
	//
	// FAILED_PRECONDITION means that the compaction needs more room than the request has; its
	// text says how much. The compaction is over then, its room is given back, and nothing
	// else was changed.
	//
	// Deadline 120 s; a disk that reads and writes 5 MB/s needs 27 s for max_compact. A call
	// may move less than max to keep to its deadline. Drain, and a Configure with something
	// else, end it with UNAVAILABLE within a second.
	//
	// Only for plugins with CAPABILITY_STORAGE_COMPACT. Without it a store takes care of its
	// room by itself, or never becomes smaller.
	Compact(ctx context.Context, in *CompactRequest, opts ...grpc.CallOption) (*CompactResponse, error)
	// Check verifies the next part of a store that is opened for inspection, as much as a
	// few seconds allow, and answers with the faults that it finds. Together the parts are
	// the whole store: every page of a file, every record and every index. A store that is
	// whole has no faults. Deadline 120 s; Drain ends the call as it ends Compact.
	//
	// Only after a Configure with `inspect`.
	Check(ctx context.Context, in *CheckRequest, opts ...grpc.CallOption) (*CheckResponse, error)
}

type storageClient struct {
	cc grpc.ClientConnInterface
}

func NewStorageClient(cc grpc.ClientConnInterface) StorageClient {
	return &storageClient{cc}
}

func (c *storageClient) Info(ctx context.Context, in *InfoRequest, opts ...grpc.CallOption) (*InfoResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(InfoResponse)
	err := c.cc.Invoke(ctx, Storage_Info_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Append(ctx context.Context, in *AppendRequest, opts ...grpc.CallOption) (*AppendResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(AppendResponse)
	err := c.cc.Invoke(ctx, Storage_Append_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Log(ctx context.Context, in *LogRequest, opts ...grpc.CallOption) (*LogResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(LogResponse)
	err := c.cc.Invoke(ctx, Storage_Log_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Find(ctx context.Context, in *FindRequest, opts ...grpc.CallOption) (*FindResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(FindResponse)
	err := c.cc.Invoke(ctx, Storage_Find_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Watch(ctx context.Context, in *WatchRequest, opts ...grpc.CallOption) (*WatchResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(WatchResponse)
	err := c.cc.Invoke(ctx, Storage_Watch_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Spendings(ctx context.Context, in *SpendingsRequest, opts ...grpc.CallOption) (*SpendingsResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(SpendingsResponse)
	err := c.cc.Invoke(ctx, Storage_Spendings_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Spend(ctx context.Context, in *SpendRequest, opts ...grpc.CallOption) (*SpendResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(SpendResponse)
	err := c.cc.Invoke(ctx, Storage_Spend_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Hours(ctx context.Context, in *HoursRequest, opts ...grpc.CallOption) (*HoursResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(HoursResponse)
	err := c.cc.Invoke(ctx, Storage_Hours_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Prune(ctx context.Context, in *PruneRequest, opts ...grpc.CallOption) (*PruneResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(PruneResponse)
	err := c.cc.Invoke(ctx, Storage_Prune_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Keys(ctx context.Context, in *KeysRequest, opts ...grpc.CallOption) (*KeysResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(KeysResponse)
	err := c.cc.Invoke(ctx, Storage_Keys_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Get(ctx context.Context, in *GetRequest, opts ...grpc.CallOption) (*GetResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(GetResponse)
	err := c.cc.Invoke(ctx, Storage_Get_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Compact(ctx context.Context, in *CompactRequest, opts ...grpc.CallOption) (*CompactResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(CompactResponse)
	err := c.cc.Invoke(ctx, Storage_Compact_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *storageClient) Check(ctx context.Context, in *CheckRequest, opts ...grpc.CallOption) (*CheckResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(CheckResponse)
	err := c.cc.Invoke(ctx, Storage_Check_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StorageServer is the server API for Storage service.
// All implementations must embed UnimplementedStorageServer
// for forward compatibility.
type StorageServer interface {
	// Info describes the store as it is now. The relay calls it after Configure, after an
	// Append with an unknown result, for its status, and every ten seconds for its metrics,
	// so it must be cheap. Deadline 5 s or less.
	//
	// A store that comes back with another epoch, or with a last number below what the
	// relay has served, has lost acknowledged envelopes: the relay stops serving the board.
	Info(context.Context, *InfoRequest) (*InfoResponse, error)
	// Append applies records in order, in one transaction. It answers with one outcome for
	// each, in their order, when the batch is durable, not before. A record sees the effect
	// of the records before it in the batch. Without records it succeeds without outcomes.
	// For each record the store checks in this order:
	//
	//  1. Its nullifier, if it has one. If the token is spent: STATUS_REPLAYED if it
	//     paid for this very id and the id is in the log, otherwise STATUS_SPENT. Nothing
	//     changes, and no further check follows.
	//  2. Its hour. If it is below the floor: STATUS_EXPIRED, and nothing changes; the
	//     nullifier stays unspent.
	//  3. Its id. If the log has it: STATUS_DUPLICATE, and the nullifier is spent.
	//  4. Its signature, if it is not empty and the record has a nullifier. If Find finds
	//     it: STATUS_CONFLICT, and nothing changes; the nullifier stays unspent.
	//  5. Otherwise it is stored at the next sequence number, and its nullifier is
	//     spent: STATUS_STORED.
	//
	// Two relays may have accepted one envelope in different hours. For them to agree on
	// its key in the end, a store with CAPABILITY_STORAGE_INDEX keeps the lower hour: a
	// STATUS_DUPLICATE whose hour is lower than that of the entry lowers it, but at most to
	// max_aging hours before the one with which the entry was stored (the store keeps both).
	// Without this limit a hostile relay could have every envelope of another pruned at
	// once. In other stores the hour of an entry never changes.
	//
	// A record without a nullifier comes from another relay or store, and is not checked
	// for a conflict. Otherwise a stranger who has seen an envelope at one relay could keep
	// it out of another one, by first posting something else under its signature there.
	//
	// An error says nothing about the batch. After UNAVAILABLE, or without an answer, the
	// relay appends it again, and records that had been applied are then DUPLICATE or
	// REPLAYED. The deadline is what is left of the time for a post (post_timeout, 10 s by
	// default).
	//
	// The cost of a call must not depend on what is stored under a signature: strangers can
	// post any number of envelopes under one, so neither Append nor Find may walk over them.
	Append(context.Context, *AppendRequest) (*AppendResponse, error)
	// Log answers with the entries from a sequence number on, ascending and without a
	// gap, as many as fit a page. A page ends at the end of the log, at max entries, or
	// where one more would exceed max_bytes, and never earlier. No entries mean that the log
	// ends before `from`. Entries that were pruned are left out; there is no other reason
	// for a gap.
	//
	// A replay of a whole log is many calls, with seconds or hours between them, so a store
	// must not hold anything between them. Up to eight calls come at the same time. Deadline
	// 15 s for a reader, 30 s for "cwtch-relay storage copy".
	Log(context.Context, *LogRequest) (*LogResponse, error)
	// Find answers with the lowest sequence number of an envelope with a signature, or
	// NOT_FOUND. Signatures are not unique. A stranger chooses the signature, so Find must
	// cost the same whatever is stored, and the relay does not repeat it. Up to two calls
	// come at the same time. Deadline 15 s.
	//
	// When the envelope that Find answers with is pruned, its signature is forgotten, even
	// if later envelopes have it; the next one that is stored with it counts as the lowest.
	// A reader that knows the pruned envelope may lack what stands between the two.
	Find(context.Context, *FindRequest) (*FindResponse, error)
	// Watch tells a relay what others append to a store that several relays share, such as
	// a database on another machine. It answers once there is an entry above `after`.
	// Otherwise it waits until the relay cancels the call, or until Drain or another
	// Configure ends it with UNAVAILABLE. It has no deadline, and there is always one under
	// way.
	//
	// Only for plugins with CAPABILITY_STORAGE_WATCH. A store that no other relay appends
	// to, such as one in the plugin's own directory, leaves it out. The call would wait
	// forever and take one of the calls that the plugin serves at the same time.
	Watch(context.Context, *WatchRequest) (*WatchResponse, error)
	// Spendings answers with the spent tokens after a given one, ascending in the order of
	// their bytes, up to max. No tokens mean that there are no more. A page shows the
	// tokens of one moment. A token that is spent between the calls for two pages may be
	// missing if it belongs before the second page. Deadline 30 s.
	//
	// This and Spend are only for plugins with CAPABILITY_STORAGE_LEDGER. With them
	// "cwtch-relay storage copy" can copy a server to this store, and from it.
	Spendings(context.Context, *SpendingsRequest) (*SpendingsResponse, error)
	// Spend records tokens as spent, all of them in one transaction, and answers when that
	// is durable. The envelopes they paid for need not be in the log, and are not added to
	// it. If a token is already spent, even earlier in this batch, the first spending is kept
	// and there is no error. Append and Spend share one set of spent tokens. Deadline 30 s.
	Spend(context.Context, *SpendRequest) (*SpendResponse, error)
	// Hours answers with the hours from one on in which envelopes of the log were born,
	// ascending, as many as there are and at most max; none means that there are no more.
	// They are those of one moment. A call costs as much as there are hours, however many
	// envelopes they hold. Deadline 30 s.
	//
	// This and Prune only for plugins with CAPABILITY_STORAGE_PRUNE. Without them a server
	// keeps everything until its disk is full.
	Hours(context.Context, *HoursRequest) (*HoursResponse, error)
	// Prune raises the floor and removes pruned envelopes, as many as there are and at most
	// max, all in one transaction, and answers when that is durable. It never lowers the
	// floor: with a lower one, such as 0, it only removes. All envelopes below a new floor
	// leave the log at one moment, however many calls their removal takes. A call costs as
	// much as it removes, however much the store keeps. Deadline 30 s.
	Prune(context.Context, *PruneRequest) (*PruneResponse, error)
	// Keys answers with the first keys of a range, ascending, as many as there are and at
	// most max. They are those of one moment. A call costs as much as it answers, however
	// much the store keeps. Deadline 30 s.
	//
	// This and Get only for plugins with CAPABILITY_STORAGE_INDEX. Relays need them to
	// compare their boards.
	Keys(context.Context, *KeysRequest) (*KeysResponse, error)
	// Get answers with the entries that have the given ids, in the order of the ids; ids
	// that are not in the log are left out, and one that is there twice is answered twice.
	// The answer ends with the last id, or where one more entry would exceed page_bytes,
	// and never earlier, so none means that no id is in the log. They are those of one
	// moment. Deadline 30 s.
	Get(context.Context, *GetRequest) (*GetResponse, error)
	// Compact gives the room of what was removed back to the disk, one step at a time. It
	// moves at most max bytes, so that the store takes less room: it may fill a new file and
	// exchange the files in the last step, or move data within its file. If no compaction
	// is under way, a call begins one. The relay decides when, and calls again until `more`
	// is false. One call comes at a time.
	//
	// All other calls come meanwhile and see what they would see without a compaction,
	// apart from bytes and in_use of InfoResponse. None of them waits for more than a
	// moment, however large the store is. A compaction that is interrupted, at any moment
	// and for any reason, loses nothing: the store resumes it, or gives its room back and
	// begins again.
	//
	// When a compaction ends, what had been removed before it began has left the disk,
	// overwritten or cut off.
	//
	// FAILED_PRECONDITION means that the compaction needs more room than the request has; its
	// text says how much. The compaction is over then, its room is given back, and nothing
	// else was changed.
	//
	// Deadline 120 s; a disk that reads and writes 5 MB/s needs 27 s for max_compact. A call
	// may move less than max to keep to its deadline. Drain, and a Configure with something
	// else, end it with UNAVAILABLE within a second.
	//
	// Only for plugins with CAPABILITY_STORAGE_COMPACT. Without it a store takes care of its
	// room by itself, or never becomes smaller.
	Compact(context.Context, *CompactRequest) (*CompactResponse, error)
	// Check verifies the next part of a store that is opened for inspection, as much as a
	// few seconds allow, and answers with the faults that it finds. Together the parts are
	// the whole store: every page of a file, every record and every index. A store that is
	// whole has no faults. Deadline 120 s; Drain ends the call as it ends Compact.
	//
	// Only after a Configure with `inspect`.
	Check(context.Context, *CheckRequest) (*CheckResponse, error)
	mustEmbedUnimplementedStorageServer()
}

// UnimplementedStorageServer must be embedded to have
// forward compatible implementations.
//
// NOTE: this should be embedded by value instead of pointer to avoid a nil
// pointer dereference when methods are called.
type UnimplementedStorageServer struct{}

func (UnimplementedStorageServer) Info(context.Context, *InfoRequest) (*InfoResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Info not implemented")
}
func (UnimplementedStorageServer) Append(context.Context, *AppendRequest) (*AppendResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Append not implemented")
}
func (UnimplementedStorageServer) Log(context.Context, *LogRequest) (*LogResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Log not implemented")
}
func (UnimplementedStorageServer) Find(context.Context, *FindRequest) (*FindResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Find not implemented")
}
func (UnimplementedStorageServer) Watch(context.Context, *WatchRequest) (*WatchResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Watch not implemented")
}
func (UnimplementedStorageServer) Spendings(context.Context, *SpendingsRequest) (*SpendingsResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Spendings not implemented")
}
func (UnimplementedStorageServer) Spend(context.Context, *SpendRequest) (*SpendResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Spend not implemented")
}
func (UnimplementedStorageServer) Hours(context.Context, *HoursRequest) (*HoursResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Hours not implemented")
}
func (UnimplementedStorageServer) Prune(context.Context, *PruneRequest) (*PruneResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Prune not implemented")
}
func (UnimplementedStorageServer) Keys(context.Context, *KeysRequest) (*KeysResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Keys not implemented")
}
func (UnimplementedStorageServer) Get(context.Context, *GetRequest) (*GetResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Get not implemented")
}
func (UnimplementedStorageServer) Compact(context.Context, *CompactRequest) (*CompactResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Compact not implemented")
}
func (UnimplementedStorageServer) Check(context.Context, *CheckRequest) (*CheckResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Check not implemented")
}
func (UnimplementedStorageServer) mustEmbedUnimplementedStorageServer() {}
func (UnimplementedStorageServer) testEmbeddedByValue()                 {}

// UnsafeStorageServer may be embedded to opt out of forward compatibility for this service.
// Use of this interface is not recommended, as added methods to StorageServer will
// result in compilation errors.
type UnsafeStorageServer interface {
	mustEmbedUnimplementedStorageServer()
}

func RegisterStorageServer(s grpc.ServiceRegistrar, srv StorageServer) {
	// If the following call panics, it indicates UnimplementedStorageServer was
	// embedded by pointer and is nil.  This will cause panics if an
	// unimplemented method is ever invoked, so we test this at initialization
	// time to prevent it from happening at runtime later due to I/O.
	if t, ok := srv.(interface{ testEmbeddedByValue() }); ok {
		t.testEmbeddedByValue()
	}
	s.RegisterService(&Storage_ServiceDesc, srv)
}

func _Storage_Info_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(InfoRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Info(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Info_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Info(ctx, req.(*InfoRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Append_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(AppendRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Append(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Append_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Append(ctx, req.(*AppendRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Log_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(LogRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Log(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Log_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Log(ctx, req.(*LogRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Find_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(FindRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Find(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Find_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Find(ctx, req.(*FindRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Watch_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(WatchRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Watch(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Watch_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Watch(ctx, req.(*WatchRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Spendings_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(SpendingsRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Spendings(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Spendings_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Spendings(ctx, req.(*SpendingsRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Spend_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(SpendRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Spend(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Spend_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Spend(ctx, req.(*SpendRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Hours_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(HoursRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Hours(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Hours_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Hours(ctx, req.(*HoursRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Prune_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(PruneRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Prune(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Prune_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Prune(ctx, req.(*PruneRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Keys_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(KeysRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Keys(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Keys_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Keys(ctx, req.(*KeysRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Get_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(GetRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Get(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Get_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Get(ctx, req.(*GetRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Compact_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(CompactRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Compact(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Compact_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Compact(ctx, req.(*CompactRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _Storage_Check_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(CheckRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(StorageServer).Check(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: Storage_Check_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(StorageServer).Check(ctx, req.(*CheckRequest))
	}
	return interceptor(ctx, in, info, handler)
}

// Storage_ServiceDesc is the grpc.ServiceDesc for Storage service.
// It's only intended for direct use with grpc.RegisterService,
// and not to be introspected or modified (even as a copy)
var Storage_ServiceDesc = grpc.ServiceDesc{
	ServiceName: "cwtch.relay.plugin.v1.Storage",
	HandlerType: (*StorageServer)(nil),
	Methods: []grpc.MethodDesc{
		{
			MethodName: "Info",
			Handler:    _Storage_Info_Handler,
		},
		{
			MethodName: "Append",
			Handler:    _Storage_Append_Handler,
		},
		{
			MethodName: "Log",
			Handler:    _Storage_Log_Handler,
		},
		{
			MethodName: "Find",
			Handler:    _Storage_Find_Handler,
		},
		{
			MethodName: "Watch",
			Handler:    _Storage_Watch_Handler,
		},
		{
			MethodName: "Spendings",
			Handler:    _Storage_Spendings_Handler,
		},
		{
			MethodName: "Spend",
			Handler:    _Storage_Spend_Handler,
		},
		{
			MethodName: "Hours",
			Handler:    _Storage_Hours_Handler,
		},
		{
			MethodName: "Prune",
			Handler:    _Storage_Prune_Handler,
		},
		{
			MethodName: "Keys",
			Handler:    _Storage_Keys_Handler,
		},
		{
			MethodName: "Get",
			Handler:    _Storage_Get_Handler,
		},
		{
			MethodName: "Compact",
			Handler:    _Storage_Compact_Handler,
		},
		{
			MethodName: "Check",
			Handler:    _Storage_Check_Handler,
		},
	},
	Streams:  []grpc.StreamDesc{},
	Metadata: "cwtch/relay/plugin/v1/storage.proto",
}
