package rpc

import (
	"encoding/binary"
	"fmt"
	"slices"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// keySize is the size of a key on the wire: the hour and the id.
const keySize = 4 + len(storage.ID{})

func packKeys(keys ...peersync.Key) []byte {
	out := make([]byte, 0, len(keys)*keySize)
	for i := range keys {
		out = binary.BigEndian.AppendUint32(out, uint32(keys[i].Born))
		out = append(out, keys[i].ID[:]...)
	}
	return out
}

// unpackKeys reads at most limit keys.
func unpackKeys(data []byte, limit int) ([]peersync.Key, error) {
	if len(data)%keySize != 0 {
		return nil, fmt.Errorf("keys of %d bytes together", len(data))
	}
	if n := len(data) / keySize; n > limit {
		return nil, fmt.Errorf("%d keys, limit %d: %w", n, limit, peersync.ErrTooLarge)
	}
	keys := make([]peersync.Key, 0, len(data)/keySize)
	for k := range slices.Chunk(data, keySize) {
		keys = append(keys, peersync.Key{Born: storage.Hour(binary.BigEndian.Uint32(k)), ID: storage.ID(k[4:])})
	}
	return keys, nil
}

func packRanges(ranges ...peersync.Range) []byte {
	out := make([]byte, 0, len(ranges)*2*keySize)
	for i := range ranges {
		out = append(out, packKeys(ranges[i].Lo, ranges[i].Hi)...)
	}
	return out
}

// unpackRanges reads at most limit ranges.
func unpackRanges(data []byte, limit int) ([]peersync.Range, error) {
	ends, err := unpackKeys(data, 2*limit)
	if err != nil {
		return nil, err
	}
	if len(ends)%2 != 0 {
		return nil, fmt.Errorf("ranges with %d ends", len(ends))
	}
	ranges := make([]peersync.Range, len(ends)/2)
	for i := range ranges {
		ranges[i] = peersync.Range{Lo: ends[2*i], Hi: ends[2*i+1]}
	}
	return ranges, nil
}

// unpackRange reads exactly one range.
func unpackRange(data []byte) (peersync.Range, error) {
	ranges, err := unpackRanges(data, 1)
	if err != nil {
		return peersync.Range{}, err
	}
	if len(ranges) != 1 {
		return peersync.Range{}, fmt.Errorf("no range")
	}
	return ranges[0], nil
}

func encodeLogPage(page peersync.LogPage) *pb.ReplicaLogResponse {
	out := &pb.ReplicaLogResponse{Epoch: page.Epoch[:], Last: uint64(page.Last)}
	for _, e := range page.Entries {
		out.Entries = append(out.Entries, &pb.ReplicaLogResponse_Entry{
			Seq: uint64(e.Seq), Key: packKeys(e.Key), Size: e.Size, Via: uint32(e.Via),
		})
	}
	return out
}

// decodeLogPage checks and returns the answer to req.
func decodeLogPage(in *pb.ReplicaLogResponse, req peersync.LogRequest) (peersync.LogPage, error) {
	from, limit, err := req.Bounds()
	if err != nil {
		return peersync.LogPage{}, err
	}
	page := peersync.LogPage{Last: storage.Seq(in.GetLast())}
	switch n := len(in.GetEntries()); {
	case !copyExactly(page.Epoch[:], in.GetEpoch()):
		return peersync.LogPage{}, fmt.Errorf("an epoch of %d bytes", len(in.GetEpoch()))
	case n > limit:
		return peersync.LogPage{}, fmt.Errorf("%d entries on a page, %d were allowed", n, limit)
	case page.Last > maxSeq:
		return peersync.LogPage{}, fmt.Errorf("the log ends at %d", page.Last)
	}
	for _, e := range in.GetEntries() {
		keys, err := unpackKeys(e.GetKey(), 1)
		if err != nil || len(keys) != 1 {
			return peersync.LogPage{}, fmt.Errorf("a key of %d bytes", len(e.GetKey()))
		}
		seq := storage.Seq(e.GetSeq())
		if seq < from || seq > page.Last {
			return peersync.LogPage{}, fmt.Errorf("entry %d where the next was %d and the last %d", seq, from, page.Last)
		}
		from = seq + 1
		page.Entries = append(page.Entries, peersync.Entry{Seq: seq, Key: keys[0], Size: e.GetSize(), Via: peersync.Peer(e.GetVia())})
	}
	return page, nil
}

func encodeSum(s peersync.Sum) *pb.Sum { return &pb.Sum{Count: s.Count, Ids: s.IDs[:]} }

func decodeSum(in *pb.Sum) (s peersync.Sum, err error) {
	s.Count = in.GetCount()
	if !copyExactly(s.IDs[:], in.GetIds()) {
		return peersync.Sum{}, fmt.Errorf("a sum of %d bytes", len(in.GetIds()))
	}
	return s, nil
}

func encodeSums(sums []peersync.Sum) *pb.RangeSumResponse {
	out := &pb.RangeSumResponse{}
	for _, s := range sums {
		out.Sums = append(out.Sums, encodeSum(s))
	}
	return out
}

// decodeSums checks and returns the answer for n ranges.
func decodeSums(in *pb.RangeSumResponse, n int) ([]peersync.Sum, error) {
	if got := len(in.GetSums()); got != n {
		return nil, fmt.Errorf("%d sums for %d ranges", got, n)
	}
	sums := make([]peersync.Sum, n)
	for i, s := range in.GetSums() {
		var err error
		if sums[i], err = decodeSum(s); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

func encodeParts(parts []peersync.Part) *pb.SplitResponse {
	out := &pb.SplitResponse{}
	for _, p := range parts {
		out.Parts = append(out.Parts, &pb.SplitResponse_Part{Ends: packKeys(p.First, p.Last), Sum: encodeSum(p.Sum)})
	}
	return out
}

// decodeParts checks and returns the answer to a Split into at most n parts.
func decodeParts(in *pb.SplitResponse, n int) ([]peersync.Part, error) {
	if got := len(in.GetParts()); got > n {
		return nil, fmt.Errorf("%d parts instead of %d", got, n)
	}
	var parts []peersync.Part
	for _, p := range in.GetParts() {
		ends, err := unpackRange(p.GetEnds())
		if err != nil {
			return nil, err
		}
		s, err := decodeSum(p.GetSum())
		if err != nil {
			return nil, err
		}
		parts = append(parts, peersync.Part{First: ends.Lo, Last: ends.Hi, Sum: s})
	}
	return parts, nil
}

func encodeReport(r peersync.Report) *pb.ReportRequest {
	out := &pb.ReportRequest{Summary: r.Summary}
	for _, p := range r.Peers {
		out.Peers = append(out.Peers, &pb.ReportRequest_Peer{
			Peer: uint32(p.Peer), Summary: p.Summary, Lacks: p.Lacks, Missing: p.Missing,
		})
	}
	return out
}

func decodeReport(in *pb.ReportRequest) (peersync.Report, error) {
	r := peersync.Report{Summary: in.GetSummary()}
	for _, p := range in.GetPeers()[:min(len(in.GetPeers()), peersync.MaxPeers+1)] {
		r.Peers = append(r.Peers, peersync.PeerReport{
			Peer: peersync.Peer(p.GetPeer()), Summary: p.GetSummary(), Lacks: p.GetLacks(), Missing: p.GetMissing(),
		})
	}
	return r, r.Check()
}

// unpackSomeIDs reads the ids of a call, which needs at least one.
func unpackSomeIDs(data []byte) ([]storage.ID, error) {
	ids, err := unpackIDs(data, peersync.MaxIDs)
	if err == nil {
		err = peersync.CheckIDs(ids)
	}
	return ids, err
}

// clampSeq keeps arithmetic on an untrusted sequence number from overflowing.
func clampSeq(n uint64) storage.Seq { return storage.Seq(min(n, maxSeq)) }

// clampCount makes an untrusted count an int. Counts above every limit stay above it.
func clampCount(n uint32) int { return int(min(n, 1<<30)) }
