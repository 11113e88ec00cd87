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

// unpackRanges reads the ranges of a call.
func unpackRanges(data []byte) ([]peersync.Range, error) {
	ends, err := unpackKeys(data, 2*peersync.MaxRanges)
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

func encodeKeyLists(lists [][]peersync.Key) *pb.ReplicaKeysResponse {
	out := &pb.ReplicaKeysResponse{}
	for _, keys := range lists {
		out.Keys = append(out.Keys, packKeys(keys...))
	}
	return out
}

// decodeKeyLists checks and returns the answer to Keys.
func decodeKeyLists(in *pb.ReplicaKeysResponse, ranges []peersync.Range, max int) ([][]peersync.Key, error) {
	if n := len(in.GetKeys()); n > len(ranges) {
		return nil, fmt.Errorf("%d lists of keys for %d ranges", n, len(ranges))
	}
	lists, left := make([][]peersync.Key, 0, len(in.GetKeys())), max
	for i, data := range in.GetKeys() {
		if left == 0 {
			return nil, fmt.Errorf("a list of keys behind the last of %d keys", max)
		}
		keys, err := unpackKeys(data, left)
		if err != nil {
			return nil, err
		}
		if err := checkAscending(keys, ranges[i]); err != nil {
			return nil, err
		}
		left -= len(keys)
		lists = append(lists, keys)
	}
	if left > 0 && len(lists) < len(ranges) {
		return nil, fmt.Errorf("%d lists of keys for %d ranges, although %d more keys were asked for", len(lists), len(ranges), left)
	}
	return lists, nil
}

// checkAscending returns an error if keys do not ascend, or are not all in a range.
func checkAscending(keys []peersync.Key, in peersync.Range) error {
	for i, k := range keys {
		if !in.Has(k) {
			return fmt.Errorf("a key that is not in its range")
		}
		if i > 0 && k.Compare(keys[i-1]) <= 0 {
			return fmt.Errorf("keys that do not ascend")
		}
	}
	return nil
}

// unpackRange reads exactly one range.
func unpackRange(data []byte) (peersync.Range, error) {
	ends, err := unpackKeys(data, 2)
	if err != nil {
		return peersync.Range{}, err
	}
	if len(ends) != 2 {
		return peersync.Range{}, fmt.Errorf("%d ends where a range has two", len(ends))
	}
	return peersync.Range{Lo: ends[0], Hi: ends[1]}, nil
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

func encodeParts(lists [][]peersync.Part) *pb.SplitResponse {
	out := &pb.SplitResponse{}
	for _, parts := range lists {
		list := &pb.SplitResponse_Parts{}
		for _, p := range parts {
			list.Parts = append(list.Parts, &pb.SplitResponse_Part{Ends: packKeys(p.First, p.Last), Sum: encodeSum(p.Sum)})
		}
		out.Ranges = append(out.Ranges, list)
	}
	return out
}

// decodeParts checks and returns the answer to a Split into at most n parts each.
func decodeParts(in *pb.SplitResponse, ranges []peersync.Range, n int) ([][]peersync.Part, error) {
	if got := len(in.GetRanges()); got != len(ranges) {
		return nil, fmt.Errorf("the parts of %d ranges instead of %d", got, len(ranges))
	}
	lists := make([][]peersync.Part, len(ranges))
	for i, list := range in.GetRanges() {
		if got := len(list.GetParts()); got > n {
			return nil, fmt.Errorf("%d parts instead of %d", got, n)
		}
		for at, p := range list.GetParts() {
			part, err := decodePart(p, ranges[i])
			if err != nil {
				return nil, err
			}
			if at > 0 && part.First.Compare(lists[i][at-1].Last) <= 0 {
				return nil, fmt.Errorf("a part that is not behind the one before")
			}
			lists[i] = append(lists[i], part)
		}
	}
	return lists, nil
}

// decodePart checks and returns a part, which must be within a range.
func decodePart(in *pb.SplitResponse_Part, within peersync.Range) (peersync.Part, error) {
	ends, err := unpackRange(in.GetEnds())
	if err != nil {
		return peersync.Part{}, err
	}
	s, err := decodeSum(in.GetSum())
	if err != nil {
		return peersync.Part{}, err
	}
	switch {
	case !within.Has(ends.Lo) || !within.Has(ends.Hi) || ends.Lo.Compare(ends.Hi) > 0:
		return peersync.Part{}, fmt.Errorf("a part that is not within its range")
	case s.Count == 0:
		return peersync.Part{}, fmt.Errorf("a part without keys")
	}
	return peersync.Part{First: ends.Lo, Last: ends.Hi, Sum: s}, nil
}

func encodeCursors(cursors []peersync.Cursor) *pb.SaveRequest {
	out := &pb.SaveRequest{}
	for _, c := range cursors {
		out.Cursors = append(out.Cursors, &pb.SaveRequest_Cursor{Name: c.Name, Value: c.Value})
	}
	return out
}

func decodeCursors(in *pb.SaveRequest) ([]peersync.Cursor, error) {
	var cursors []peersync.Cursor
	for _, c := range in.GetCursors()[:min(len(in.GetCursors()), peersync.MaxCursors+1)] {
		cursors = append(cursors, peersync.Cursor{Name: c.GetName(), Value: c.GetValue()})
	}
	return cursors, peersync.CheckCursors(cursors)
}

// decodeValue checks and returns the answer to Load.
func decodeValue(in *pb.LoadResponse) ([]byte, error) {
	if n := len(in.GetValue()); n > peersync.MaxCursor {
		return nil, fmt.Errorf("a cursor of %d bytes", n)
	}
	return in.GetValue(), nil
}

// decodeNames checks and returns the answer to List.
func decodeNames(in *pb.ListResponse) ([]string, error) {
	names := in.GetNames()
	if n := len(names); n > peersync.MaxCursors {
		return nil, fmt.Errorf("%d names of cursors", n)
	}
	for i, name := range names {
		if err := peersync.CheckCursorName(name); err != nil {
			return nil, err
		}
		if i > 0 && name <= names[i-1] {
			return nil, fmt.Errorf("names of cursors that do not ascend")
		}
	}
	return names, nil
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
		err = peersync.CheckIDs(len(ids))
	}
	return ids, err
}

// unpackSomeKeys reads the keys of a call, which needs at least one.
func unpackSomeKeys(data []byte) ([]peersync.Key, error) {
	keys, err := unpackKeys(data, peersync.MaxIDs)
	if err == nil {
		err = peersync.CheckIDs(len(keys))
	}
	return keys, err
}

// clampSeq keeps arithmetic on an untrusted sequence number from overflowing.
func clampSeq(n uint64) storage.Seq { return storage.Seq(min(n, maxSeq)) }

// clampCount makes an untrusted count an int. Counts above every limit stay above it.
func clampCount(n uint32) int { return int(min(n, 1<<30)) }
