// Package rpc is the protocol between a relay and its plugins: the generated protobuf code
// (pluginv1), conversions between it and the types of the sdk, and servers that put an
// implementation on the wire. Protobuf types stay in this package, in sdk/host and in the
// server of sdk/plugin.
//
// Neither side trusts the other: decoding checks everything and bounds what it allocates.
package rpc

import (
	"fmt"
	"math"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// MaxMessage bounds a message in either direction, in bytes.
const MaxMessage = 16 << 20

// maxSeq keeps arithmetic on untrusted sequence numbers from overflowing.
const maxSeq = math.MaxInt64

// EncodeAppendRequest encodes records. The message aliases them.
func EncodeAppendRequest(records []storage.Record) *pb.AppendRequest {
	out := make([]*pb.Record, len(records))
	all := make([]pb.Record, len(records)) // one allocation instead of many
	for i := range records {
		r := &records[i]
		out[i] = &all[i]
		out[i].Id = r.ID[:]
		out[i].Born = uint32(r.Born)
		out[i].Signature = r.Signature
		out[i].Ciphertext = r.Ciphertext
		if r.Nullifier != nil {
			out[i].Nullifier = r.Nullifier[:]
		}
	}
	return &pb.AppendRequest{Records: out}
}

// decodeRecords returns the records of a request. They alias it.
func decodeRecords(req *pb.AppendRequest) ([]storage.Record, error) {
	records := make([]storage.Record, len(req.GetRecords()))
	for i, in := range req.GetRecords() {
		r := &records[i]
		if !copyExactly(r.ID[:], in.GetId()) {
			return nil, fmt.Errorf("record %d: id is %d bytes long", i, len(in.GetId()))
		}
		if len(in.GetNullifier()) > 0 {
			r.Nullifier = new(storage.Nullifier)
			if !copyExactly(r.Nullifier[:], in.GetNullifier()) {
				return nil, fmt.Errorf("record %d: nullifier is %d bytes long", i, len(in.GetNullifier()))
			}
		}
		r.Born = storage.Hour(in.GetBorn())
		r.Signature, r.Ciphertext = in.GetSignature(), in.GetCiphertext()
	}
	return records, nil
}

func encodeAppendResponse(outcomes []storage.Outcome) *pb.AppendResponse {
	out := make([]*pb.Outcome, len(outcomes))
	for i, o := range outcomes {
		out[i] = &pb.Outcome{Status: pb.Outcome_Status(o.Status), Seq: uint64(o.Seq)}
	}
	return &pb.AppendResponse{Outcomes: out}
}

// DecodeOutcomes checks and returns the answer to an Append of n records.
func DecodeOutcomes(resp *pb.AppendResponse, n int) ([]storage.Outcome, error) {
	if got := len(resp.GetOutcomes()); got != n {
		return nil, protocolError("%d outcomes for %d records", got, n)
	}
	outcomes := make([]storage.Outcome, n)
	var last storage.Seq // the last that this batch stored
	for i, in := range resp.GetOutcomes() {
		o := storage.Outcome{Status: storage.OutcomeStatus(in.GetStatus()), Seq: storage.Seq(in.GetSeq())}
		refused := o.Status == storage.Spent || o.Status == storage.Conflict || o.Status == storage.Expired
		switch {
		case in.GetStatus() < pb.Outcome_STATUS_STORED || in.GetStatus() > pb.Outcome_STATUS_EXPIRED:
			return nil, protocolError("outcome %d has the unknown status %d", i, in.GetStatus())
		case refused && o.Seq != 0:
			return nil, protocolError("outcome %d has a sequence number though nothing was stored", i)
		case !refused && (o.Seq == 0 || o.Seq > maxSeq):
			return nil, protocolError("outcome %d has the sequence number %d", i, o.Seq)
		case o.Status == storage.Stored && last != 0 && o.Seq != last+1:
			return nil, protocolError("outcome %d is stored at %d, the previous one at %d", i, o.Seq, last)
		}
		if o.Status == storage.Stored {
			last = o.Seq
		}
		outcomes[i] = o
	}
	return outcomes, nil
}

// encodeLogResponse encodes a page. The message aliases it.
func encodeLogResponse(page storage.Page) *pb.LogResponse {
	return &pb.LogResponse{Entries: encodeEntries(page.Entries), Last: uint64(page.Last)}
}

// encodeEntries encodes entries. The messages alias them.
func encodeEntries(entries []storage.Entry) []*pb.Entry {
	out := make([]*pb.Entry, len(entries))
	all := make([]pb.Entry, len(entries))
	for i := range entries {
		e := &entries[i]
		out[i] = &all[i]
		out[i].Seq = uint64(e.Seq)
		out[i].Id = e.ID[:]
		out[i].Born = uint32(e.Born)
		out[i].Signature = e.Signature
		out[i].Ciphertext = e.Ciphertext
	}
	return out
}

// decodeEntry checks all of an entry but its place, and returns the size of its body. The
// entry aliases the message.
func decodeEntry(e *storage.Entry, in *pb.Entry) (size int, err error) {
	e.Seq, e.Born = storage.Seq(in.GetSeq()), storage.Hour(in.GetBorn())
	e.Signature, e.Ciphertext = in.GetSignature(), in.GetCiphertext()
	size = len(e.Signature) + len(e.Ciphertext)
	switch {
	case !copyExactly(e.ID[:], in.GetId()):
		return 0, protocolError("an id of %d bytes", len(in.GetId()))
	case size > storage.MaxEnvelope:
		return 0, protocolError("entry %d has %d bytes", e.Seq, size)
	}
	return size, nil
}

// DecodePage checks and returns the answer to req. The page aliases the response.
func DecodePage(resp *pb.LogResponse, req storage.LogRequest) (storage.Page, error) {
	_, limit, bytes, err := req.Bounds()
	if err != nil {
		return storage.Page{}, err
	}
	if n := len(resp.GetEntries()); n > limit {
		return storage.Page{}, protocolError("%d entries on a page, %d were allowed", n, limit)
	}
	page := storage.Page{Last: storage.Seq(resp.GetLast()), Entries: make([]storage.Entry, len(resp.GetEntries()))}
	if page.Last > maxSeq {
		return storage.Page{}, protocolError("the log ends at %d", page.Last)
	}
	size, next := 0, max(req.From, 1)
	for i, in := range resp.GetEntries() {
		e := &page.Entries[i]
		body, err := decodeEntry(e, in)
		if err != nil {
			return storage.Page{}, err
		}
		size += body
		switch {
		case e.Seq < next || e.Seq > page.Last:
			return storage.Page{}, protocolError("entry %d where the next was %d and the last %d", e.Seq, next, page.Last)
		case size > bytes && len(page.Entries) > 1:
			return storage.Page{}, protocolError("a page of more than %d bytes", bytes)
		}
		next = e.Seq + 1
	}
	return page, nil
}

func encodeInfoResponse(info storage.Info) *pb.InfoResponse {
	return &pb.InfoResponse{
		Epoch: info.Epoch[:], First: uint64(info.First), Last: uint64(info.Last),
		Count: info.Count, Bytes: info.Bytes, InUse: info.InUse, Tokens: info.Tokens, Floor: uint32(info.Floor),
	}
}

// DecodeInfo checks and returns the state of a store.
func DecodeInfo(resp *pb.InfoResponse) (storage.Info, error) {
	info := storage.Info{
		First: storage.Seq(resp.GetFirst()), Last: storage.Seq(resp.GetLast()),
		Count: resp.GetCount(), Bytes: resp.GetBytes(), InUse: resp.GetInUse(), Tokens: resp.GetTokens(),
		Floor: storage.Hour(resp.GetFloor()),
	}
	switch {
	case !copyExactly(info.Epoch[:], resp.GetEpoch()):
		return storage.Info{}, protocolError("an epoch of %d bytes", len(resp.GetEpoch()))
	case info.Last > maxSeq || info.First > info.Last:
		return storage.Info{}, protocolError("a log from %d to %d", info.First, info.Last)
	case (info.First == 0) != (info.Count == 0), info.Count > 0 && info.Count > uint64(info.Last-info.First)+1:
		return storage.Info{}, protocolError("%d entries in a log from %d to %d", info.Count, info.First, info.Last)
	case info.InUse > info.Bytes:
		return storage.Info{}, protocolError("%d bytes in use of %d", info.InUse, info.Bytes)
	}
	return info, nil
}

// DecodeFound checks and returns the answer to a Find.
func DecodeFound(resp *pb.FindResponse) (storage.Seq, error) {
	if seq := storage.Seq(resp.GetSeq()); seq >= 1 && seq <= maxSeq {
		return seq, nil
	}
	return 0, protocolError("found at %d", resp.GetSeq())
}

// DecodeWatched checks and returns the answer to a Watch.
func DecodeWatched(resp *pb.WatchResponse, after storage.Seq) (storage.Seq, error) {
	if seq := storage.Seq(resp.GetLast()); seq > after && seq <= maxSeq {
		return seq, nil
	}
	return 0, protocolError("a watch after %d ended at %d", after, resp.GetLast())
}

func copyExactly(dst, src []byte) bool { return copy(dst, src) == len(dst) && len(src) == len(dst) }

func protocolError(format string, args ...any) error {
	return &ContractError{What: fmt.Sprintf(format, args...)}
}
