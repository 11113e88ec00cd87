package rpc

import (
	"fmt"
	"slices"
	"time"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// EncodeHandleRequest encodes events. The message aliases them.
func EncodeHandleRequest(events []peersync.Event) *pb.HandleRequest {
	out := make([]*pb.Event, len(events))
	for i, e := range events {
		out[i] = encodeEvent(e)
	}
	return &pb.HandleRequest{Events: out}
}

func encodeEvent(e peersync.Event) *pb.Event {
	switch e := e.(type) {
	case peersync.Start:
		return &pb.Event{Event: &pb.Event_Start{Start: &pb.Start{
			State: encodeState(e.State), Hour: uint32(e.Hour), Seed: e.Seed[:], Peers: encodePeers(e.Peers),
		}}}
	case peersync.PeersChanged:
		return &pb.Event{Event: &pb.Event_PeersChanged{PeersChanged: &pb.PeersChanged{Peers: encodePeers(e.Peers)}}}
	case peersync.LogAdvanced:
		return &pb.Event{Event: &pb.Event_LogAdvanced{LogAdvanced: encodeState(e.State)}}
	case peersync.Tick:
		return &pb.Event{Event: &pb.Event_Tick{Tick: &pb.Tick{Now: int64(e.Now), Hour: uint32(e.Hour)}}}
	case peersync.PeerUp:
		return &pb.Event{Event: &pb.Event_PeerUp{PeerUp: &pb.PeerUp{
			Peer: uint32(e.Peer), Initiator: e.Initiator, State: encodeState(e.State),
			Version: e.Version, Gives: e.Gives, Takes: e.Takes,
		}}}
	case peersync.PeerMoved:
		return &pb.Event{Event: &pb.Event_PeerMoved{PeerMoved: &pb.PeerMoved{Peer: uint32(e.Peer), State: encodeState(e.State)}}}
	case peersync.PeerReady:
		return &pb.Event{Event: &pb.Event_PeerReady{PeerReady: &pb.PeerReady{Peer: uint32(e.Peer)}}}
	case peersync.PeerDown:
		return &pb.Event{Event: &pb.Event_PeerDown{PeerDown: &pb.PeerDown{Peer: uint32(e.Peer)}}}
	case peersync.PeerMessage:
		return &pb.Event{Event: &pb.Event_PeerMessage{PeerMessage: &pb.PeerMessage{Peer: uint32(e.Peer), Data: e.Data}}}
	case peersync.Sent:
		return &pb.Event{Event: &pb.Event_Sent{Sent: encodeMoved(e.Peer, e.Outcomes, e.RetryAfter)}}
	case peersync.Received:
		return &pb.Event{Event: &pb.Event_Received{Received: encodeMoved(e.Peer, e.Outcomes, e.RetryAfter)}}
	}
	return &pb.Event{} // the other side ignores it
}

func encodeState(s peersync.State) *pb.ReplicaState {
	return &pb.ReplicaState{
		Epoch: s.Epoch[:], First: uint64(s.First), Last: uint64(s.Last), Count: s.Count, Floor: uint32(s.Floor),
	}
}

func encodePeers(peers []peersync.Peer) []uint32 {
	var out []uint32
	for _, p := range peers {
		out = append(out, uint32(p))
	}
	return out
}

func encodeMoved(peer peersync.Peer, outcomes []peersync.Outcome, retryAfter time.Duration) *pb.Moved {
	out := &pb.Moved{Peer: uint32(peer), RetryAfter: int64(retryAfter)}
	for _, o := range outcomes {
		out.Ids = append(out.Ids, o.ID[:]...)
		out.Statuses = append(out.Statuses, pb.Moved_Status(o.Status))
	}
	return out
}

// decodeEvents returns the events of a request and leaves out those of unknown types.
// Their messages alias the request.
func decodeEvents(req *pb.HandleRequest) ([]peersync.Event, error) {
	if n := len(req.GetEvents()); n > peersync.MaxEvents {
		return nil, fmt.Errorf("%d events: %w", n, peersync.ErrTooLarge)
	}
	var events []peersync.Event
	for i, in := range req.GetEvents() {
		e, err := decodeEvent(in)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		if e != nil {
			events = append(events, e)
		}
	}
	return events, peersync.CheckEvents(events)
}

func decodeEvent(in *pb.Event) (e peersync.Event, err error) {
	switch in := in.GetEvent().(type) {
	case *pb.Event_Start:
		start := peersync.Start{Hour: storage.Hour(in.Start.GetHour()), Peers: decodePeers(in.Start.GetPeers())}
		if !copyExactly(start.Seed[:], in.Start.GetSeed()) {
			return nil, fmt.Errorf("a seed of %d bytes", len(in.Start.GetSeed()))
		}
		start.State, err = decodeState(in.Start.GetState())
		return start, err
	case *pb.Event_PeersChanged:
		return peersync.PeersChanged{Peers: decodePeers(in.PeersChanged.GetPeers())}, nil
	case *pb.Event_LogAdvanced:
		s, err := decodeState(in.LogAdvanced)
		return peersync.LogAdvanced{State: s}, err
	case *pb.Event_Tick:
		return peersync.Tick{Now: time.Duration(in.Tick.GetNow()), Hour: storage.Hour(in.Tick.GetHour())}, nil
	case *pb.Event_PeerUp:
		up := peersync.PeerUp{
			Peer: peersync.Peer(in.PeerUp.GetPeer()), Initiator: in.PeerUp.GetInitiator(),
			Version: in.PeerUp.GetVersion(), Gives: in.PeerUp.GetGives(), Takes: in.PeerUp.GetTakes(),
		}
		up.State, err = decodeState(in.PeerUp.GetState())
		return up, err
	case *pb.Event_PeerMoved:
		s, err := decodeState(in.PeerMoved.GetState())
		return peersync.PeerMoved{Peer: peersync.Peer(in.PeerMoved.GetPeer()), State: s}, err
	case *pb.Event_PeerReady:
		return peersync.PeerReady{Peer: peersync.Peer(in.PeerReady.GetPeer())}, nil
	case *pb.Event_PeerDown:
		return peersync.PeerDown{Peer: peersync.Peer(in.PeerDown.GetPeer())}, nil
	case *pb.Event_PeerMessage:
		return peersync.PeerMessage{Peer: peersync.Peer(in.PeerMessage.GetPeer()), Data: in.PeerMessage.GetData()}, nil
	case *pb.Event_Sent:
		outcomes, err := decodeOutcomes(in.Sent)
		return peersync.Sent{
			Peer: peersync.Peer(in.Sent.GetPeer()), Outcomes: outcomes, RetryAfter: time.Duration(in.Sent.GetRetryAfter()),
		}, err
	case *pb.Event_Received:
		outcomes, err := decodeOutcomes(in.Received)
		return peersync.Received{
			Peer: peersync.Peer(in.Received.GetPeer()), Outcomes: outcomes, RetryAfter: time.Duration(in.Received.GetRetryAfter()),
		}, err
	}
	return nil, nil
}

// decodePeers reads one peer more than the limit at most, which CheckEvents then finds.
func decodePeers(in []uint32) []peersync.Peer {
	var peers []peersync.Peer
	for _, p := range in[:min(len(in), peersync.MaxPeers+1)] {
		peers = append(peers, peersync.Peer(p))
	}
	return peers
}

func decodeState(in *pb.ReplicaState) (peersync.State, error) {
	s := peersync.State{
		First: storage.Seq(in.GetFirst()), Last: storage.Seq(in.GetLast()),
		Count: in.GetCount(), Floor: storage.Hour(in.GetFloor()),
	}
	switch {
	case !copyExactly(s.Epoch[:], in.GetEpoch()):
		return peersync.State{}, fmt.Errorf("an epoch of %d bytes", len(in.GetEpoch()))
	case s.Last > maxSeq || s.First > s.Last:
		return peersync.State{}, fmt.Errorf("a log from %d to %d", s.First, s.Last)
	}
	return s, nil
}

func decodeOutcomes(in *pb.Moved) ([]peersync.Outcome, error) {
	ids, err := unpackIDs(in.GetIds(), peersync.MaxIDs)
	if err != nil {
		return nil, err
	}
	if len(ids) != len(in.GetStatuses()) {
		return nil, fmt.Errorf("%d outcomes for %d ids", len(in.GetStatuses()), len(ids))
	}
	outcomes := make([]peersync.Outcome, len(ids))
	for i, status := range in.GetStatuses() {
		if status < pb.Moved_STATUS_STORED || status > pb.Moved_STATUS_LOST {
			return nil, fmt.Errorf("the unknown outcome %d", status)
		}
		outcomes[i] = peersync.Outcome{ID: ids[i], Status: peersync.OutcomeStatus(status)}
	}
	return outcomes, nil
}

// packIDs concatenates ids.
func packIDs(ids []storage.ID) []byte {
	out := make([]byte, 0, len(ids)*len(storage.ID{}))
	for i := range ids {
		out = append(out, ids[i][:]...)
	}
	return out
}

// unpackIDs reads at most limit concatenated ids.
func unpackIDs(data []byte, limit int) ([]storage.ID, error) {
	const size = len(storage.ID{})
	if len(data)%size != 0 {
		return nil, fmt.Errorf("ids of %d bytes together", len(data))
	}
	if n := len(data) / size; n > limit {
		return nil, fmt.Errorf("%d ids: %w", n, peersync.ErrTooLarge)
	}
	ids := make([]storage.ID, 0, len(data)/size)
	for id := range slices.Chunk(data, size) {
		ids = append(ids, storage.ID(id))
	}
	return ids, nil
}
