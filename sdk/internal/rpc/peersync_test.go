package rpc

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

var someEvents = []peersync.Event{
	peersync.Start{State: peersync.State{Epoch: storage.Epoch{1}, First: 2, Last: 3, Count: 4, Floor: 5}, Hour: 6, Seed: [32]byte{7}},
	peersync.Start{Hour: math.MaxUint32, Peers: []peersync.Peer{1, 3, math.MaxUint32}},
	peersync.PeersChanged{Peers: []peersync.Peer{2}},
	peersync.PeersChanged{},
	peersync.LogAdvanced{State: peersync.State{Epoch: storage.Epoch{1}, Last: 3}},
	peersync.Tick{Now: -time.Second, Hour: 1},
	peersync.PeerUp{
		Peer: 1, Initiator: true, State: peersync.State{Epoch: storage.Epoch{2}, Floor: 3},
		Version: strings.Repeat("v", peersync.MaxVersion), Gives: true,
	},
	peersync.PeerUp{Peer: 2, Takes: true},
	peersync.PeerMoved{Peer: 1, State: peersync.State{Epoch: storage.Epoch{2}, First: 1, Last: math.MaxInt64, Count: math.MaxUint64, Floor: math.MaxUint32}},
	peersync.PeerReady{Peer: math.MaxUint32},
	peersync.PeerDown{Peer: 1},
	peersync.PeerMessage{Peer: 1, Data: []byte("hello")},
	peersync.Sent{Peer: 1, Outcomes: []peersync.Outcome{{ID: storage.ID{1}, Status: peersync.OverQuota}, {ID: storage.ID{2}, Status: peersync.Lost}}, RetryAfter: time.Hour},
	peersync.Received{Peer: 1, Outcomes: []peersync.Outcome{{ID: storage.ID{3}, Status: peersync.Stored}}, RetryAfter: math.MaxInt64},
}

func TestEventsCrossTheWire(t *testing.T) {
	got, err := decodeEvents(roundTrip(t, EncodeHandleRequest(someEvents), &pb.HandleRequest{}))
	if err != nil || !reflect.DeepEqual(got, someEvents) {
		t.Errorf("got %+v, %v; want %+v", got, err, someEvents)
	}
	type later struct{ peersync.Event }
	got, err = decodeEvents(roundTrip(t, EncodeHandleRequest([]peersync.Event{later{}, peersync.Tick{}}), &pb.HandleRequest{}))
	if err != nil || !reflect.DeepEqual(got, []peersync.Event{peersync.Tick{}}) {
		t.Errorf("an event of an unknown type: %+v, %v", got, err)
	}
}

func TestOutcomeNumbersAreThoseOfPeerSync(t *testing.T) {
	for s := peersync.Stored; s <= peersync.Lost; s++ {
		want := "STATUS_" + strings.ToUpper(strings.ReplaceAll(s.String(), " ", "_"))
		if got := pb.Moved_Status(s).String(); got != want {
			t.Errorf("status %d is %s on the wire, want %s", s, got, want)
		}
	}
}

func TestInvalidEventsAreRefused(t *testing.T) {
	state := &pb.ReplicaState{Epoch: make([]byte, 16)}
	id := make([]byte, 32)
	for name, e := range map[string]*pb.Event{
		"no seed":        {Event: &pb.Event_Start{Start: &pb.Start{State: state}}},
		"no state":       {Event: &pb.Event_Start{Start: &pb.Start{Seed: id}}},
		"short epoch":    {Event: &pb.Event_LogAdvanced{LogAdvanced: &pb.ReplicaState{Epoch: make([]byte, 15)}}},
		"backwards":      {Event: &pb.Event_LogAdvanced{LogAdvanced: &pb.ReplicaState{Epoch: make([]byte, 16), First: 2, Last: 1}}},
		"endless":        {Event: &pb.Event_LogAdvanced{LogAdvanced: &pb.ReplicaState{Epoch: make([]byte, 16), Last: 1 << 63}}},
		"empty message":  {Event: &pb.Event_PeerMessage{PeerMessage: &pb.PeerMessage{}}},
		"half an id":     {Event: &pb.Event_Sent{Sent: &pb.Moved{Ids: id[:16], Statuses: []pb.Moved_Status{1}}}},
		"no outcome":     {Event: &pb.Event_Sent{Sent: &pb.Moved{Ids: id}}},
		"other outcome":  {Event: &pb.Event_Sent{Sent: &pb.Moved{Ids: id, Statuses: []pb.Moved_Status{10}}}},
		"no outcomes":    {Event: &pb.Event_Received{Received: &pb.Moved{}}},
		"negative":       {Event: &pb.Event_Received{Received: &pb.Moved{Ids: id, Statuses: []pb.Moved_Status{-1}}}},
		"zero outcome":   {Event: &pb.Event_Sent{Sent: &pb.Moved{Ids: id, Statuses: []pb.Moved_Status{0}}}},
		"past retry":     {Event: &pb.Event_Sent{Sent: &pb.Moved{Ids: id, Statuses: []pb.Moved_Status{6}, RetryAfter: -1}}},
		"retry before":   {Event: &pb.Event_Received{Received: &pb.Moved{Ids: id, Statuses: []pb.Moved_Status{6}, RetryAfter: -1}}},
		"unsorted peers": {Event: &pb.Event_Start{Start: &pb.Start{State: state, Seed: id, Peers: []uint32{2, 1}}}},
		"a peer twice":   {Event: &pb.Event_PeersChanged{PeersChanged: &pb.PeersChanged{Peers: []uint32{1, 1}}}},
		"peer 0":         {Event: &pb.Event_PeersChanged{PeersChanged: &pb.PeersChanged{Peers: []uint32{0, 1}}}},
		"too many peers": {Event: &pb.Event_PeersChanged{PeersChanged: &pb.PeersChanged{Peers: make([]uint32, 1<<16)}}},
		"long version":   {Event: &pb.Event_PeerUp{PeerUp: &pb.PeerUp{State: state, Version: strings.Repeat("v", peersync.MaxVersion+1)}}},
		"bad version":    {Event: &pb.Event_PeerUp{PeerUp: &pb.PeerUp{State: state, Version: "1\n2"}}},
		"moved nowhere":  {Event: &pb.Event_PeerMoved{PeerMoved: &pb.PeerMoved{Peer: 1}}},
		"nothing inside": {Event: &pb.Event_PeerUp{}},
	} {
		if got, err := decodeEvents(&pb.HandleRequest{Events: []*pb.Event{e}}); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// FuzzEvents decodes requests of a relay. Accepted events keep the limits, and encode and decode
// to the same events.
func FuzzEvents(f *testing.F) {
	for _, e := range someEvents {
		data, err := proto.Marshal(EncodeHandleRequest([]peersync.Event{e, e}))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(bytes.Repeat([]byte{0x0a, 0}, peersync.MaxEvents+1))
	f.Fuzz(func(t *testing.T, data []byte) {
		var req pb.HandleRequest
		if proto.Unmarshal(data, &req) != nil {
			return
		}
		events, err := decodeEvents(&req)
		if err != nil {
			return
		}
		if err := peersync.CheckEvents(events); err != nil {
			t.Fatal(err)
		}
		again, err := decodeEvents(roundTrip(t, EncodeHandleRequest(events), &pb.HandleRequest{}))
		if err != nil || len(again) != len(events) {
			t.Fatalf("%d events became %d, %v", len(events), len(again), err)
		}
		for i := range events {
			if !reflect.DeepEqual(again[i], events[i]) {
				t.Fatalf("event %d: %+v became %+v", i, events[i], again[i])
			}
		}
	})
}
