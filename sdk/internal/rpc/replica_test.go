package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// fakeHost is a host that records its last call, panics if the call exceeds the limits, and
// returns its fields.
type fakeHost struct {
	call string
	wait func(context.Context) // called by Load

	page  peersync.LogPage
	keys  []peersync.Key
	sums  []peersync.Sum
	parts []peersync.Part
	value []byte
	err   error
}

func (h *fakeHost) record(broken error, format string, args ...any) error {
	if broken != nil {
		panic("the host was called beyond the limits: " + broken.Error())
	}
	h.call = fmt.Sprintf(format, args...)
	return h.err
}

func (h *fakeHost) Log(_ context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	_, _, err := req.Bounds()
	return h.page, h.record(err, "log %v", req)
}

func (h *fakeHost) Keys(_ context.Context, in peersync.Range, max int) ([]peersync.Key, error) {
	return h.keys, h.record(peersync.CheckKeys(max), "keys %v %d", in, max)
}

func (h *fakeHost) RangeSum(_ context.Context, ranges []peersync.Range) ([]peersync.Sum, error) {
	return h.sums, h.record(peersync.CheckRanges(ranges), "range sum %v", ranges)
}

func (h *fakeHost) Split(_ context.Context, in peersync.Range, parts int) ([]peersync.Part, error) {
	return h.parts, h.record(peersync.CheckParts(parts), "split %v %d", in, parts)
}

func (h *fakeHost) Send(_ context.Context, to peersync.Peer, message []byte) error {
	return h.record(peersync.CheckMessage(message), "send %d %q", to, message)
}

func (h *fakeHost) Transfer(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	return h.record(peersync.CheckIDs(ids), "transfer %d %v", to, ids)
}

func (h *fakeHost) Request(_ context.Context, from peersync.Peer, ids []storage.ID) error {
	return h.record(peersync.CheckIDs(ids), "request %d %v", from, ids)
}

func (h *fakeHost) Drop(_ context.Context, peer peersync.Peer, reason string) error {
	return h.record(peersync.CheckText(reason), "drop %d %s", peer, reason)
}

func (h *fakeHost) Save(_ context.Context, name string, value []byte) error {
	return h.record(peersync.CheckCursor(name, value), "save %s %q", name, value)
}

func (h *fakeHost) Load(ctx context.Context, name string) ([]byte, error) {
	if h.wait != nil {
		h.wait(ctx)
	}
	return h.value, h.record(peersync.CheckCursor(name, nil), "load %s", name)
}

func (h *fakeHost) Report(_ context.Context, r peersync.Report) error {
	return h.record(r.Check(), "report %v", r)
}

// replicatorFunc is a replicator with the function as its Handle.
type replicatorFunc func(context.Context, []peersync.Event) error

func (h replicatorFunc) Handle(ctx context.Context, events []peersync.Event) error {
	return h(ctx, events)
}
func (replicatorFunc) Close() error { return nil }

// rawPlugin is a plugin that may send anything on the stream of a Handle.
type rawPlugin struct {
	pb.UnimplementedPeerSyncServer
	handle func(grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]) error
}

func (p *rawPlugin) Handle(stream grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]) error {
	return p.handle(stream)
}

// servePeerSync serves a plugin over gRPC and returns a client of it.
func servePeerSync(t *testing.T, s pb.PeerSyncServer) pb.PeerSyncClient {
	t.Helper()
	listener, server := bufconn.Listen(1<<20), grpc.NewServer()
	pb.RegisterPeerSyncServer(server, s)
	go server.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///plugin",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
	})
	return pb.NewPeerSyncClient(conn)
}

// runDuringHandle calls do within a Handle of a plugin with the host h.
func runDuringHandle(t *testing.T, h peersync.HostServices, do func(context.Context, peersync.HostServices) error) error {
	t.Helper()
	remote := &HostClient{}
	plugin := servePeerSync(t, NewPeerSyncServer(func() (Lease[peersync.Replicator], error) {
		return Lease[peersync.Replicator]{
			Implementation: replicatorFunc(func(ctx context.Context, _ []peersync.Event) error { return do(ctx, remote) }),
			Release:        func() {},
		}, nil
	}, remote))
	return HandleEvents(t.Context(), plugin, h, EncodeHandleRequest([]peersync.Event{peersync.Tick{}}))
}

func TestHostCallsCrossTheWire(t *testing.T) {
	key := peersync.Key{Born: 1 << 31, ID: storage.ID{1, 31: 2}}
	in := peersync.Range{Lo: key, Hi: peersync.Key{Born: 3}}
	sum := peersync.Sum{Count: 4, IDs: [32]byte{5, 31: 6}}
	h := &fakeHost{
		page: peersync.LogPage{Epoch: storage.Epoch{7}, Last: 9, Entries: []peersync.Entry{{Seq: 8, Key: key, Size: 9, Via: 10}}},
		keys: []peersync.Key{key, in.Hi}, sums: []peersync.Sum{sum, {}}, parts: []peersync.Part{{First: key, Last: in.Hi, Sum: sum}},
		value: []byte("value"),
	}
	if err := runDuringHandle(t, h, func(ctx context.Context, r peersync.HostServices) error {
		checkEveryHostCall(ctx, t, h, r, key, in)
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// checkEveryHostCall makes each call to r, the plugin's side of the host h.
func checkEveryHostCall(ctx context.Context, t *testing.T, h *fakeHost, r peersync.HostServices, key peersync.Key, in peersync.Range) {
	ids := []storage.ID{{1}, {2}}
	report := peersync.Report{Summary: "well", Peers: []peersync.PeerReport{{Peer: 1, Summary: "so so", Lacks: 2, Missing: 3}}}
	calls := []struct {
		line string
		call func() (any, error)
		want any
	}{
		{"log {3 4}", func() (any, error) { return r.Log(ctx, peersync.LogRequest{From: 3, Max: 4}) }, h.page},
		{fmt.Sprintf("keys %v 5", in), func() (any, error) { return r.Keys(ctx, in, 5) }, h.keys},
		{fmt.Sprintf("range sum %v", []peersync.Range{in, {}}), func() (any, error) { return r.RangeSum(ctx, []peersync.Range{in, {}}) }, h.sums},
		{fmt.Sprintf("split %v 6", in), func() (any, error) { return r.Split(ctx, in, 6) }, h.parts},
		{`send 7 "hello"`, func() (any, error) { return nil, r.Send(ctx, 7, []byte("hello")) }, nil},
		{fmt.Sprintf("transfer 8 %v", ids), func() (any, error) { return nil, r.Transfer(ctx, 8, ids) }, nil},
		{fmt.Sprintf("request 9 %v", ids), func() (any, error) { return nil, r.Request(ctx, 9, ids) }, nil},
		{"drop 10 rude", func() (any, error) { return nil, r.Drop(ctx, 10, "rude") }, nil},
		{`save a "b"`, func() (any, error) { return nil, r.Save(ctx, "a", []byte("b")) }, nil},
		{"load a", func() (any, error) { return r.Load(ctx, "a") }, h.value},
		{fmt.Sprintf("report %v", report), func() (any, error) { return nil, r.Report(ctx, report) }, nil},
	}
	for _, c := range calls {
		h.err = nil
		if got, err := c.call(); err != nil || h.call != c.line || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: the host got the call %s and returned %v, %v", c.line, h.call, got, err)
		}
		for _, m := range PeerSyncErrors {
			h.err = fmt.Errorf("what happened: %w", m.err)
			if _, err := c.call(); !errors.Is(err, m.err) || !strings.Contains(err.Error(), "what happened") {
				t.Errorf("%s: the host failed with %v, the plugin sees %v", c.line, h.err, err)
			}
		}
	}
}

// TestCallsBeyondLimitsDoNotReachTheHost answers calls that no plugin may make.
func TestCallsBeyondLimitsDoNotReachTheHost(t *testing.T) {
	h := &fakeHost{} // panics if a call reaches it
	for name, call := range map[string]*pb.HostCall{
		"log":          {Call: &pb.HostCall_Log{Log: &pb.ReplicaLogRequest{Max: peersync.MaxEntries + 1}}},
		"keys":         {Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Range: make([]byte, 72), Max: 1 << 31}}},
		"no range":     {Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Max: 1}}},
		"half a range": {Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Range: make([]byte, 36), Parts: 1}}},
		"ranges":       {Call: &pb.HostCall_RangeSum{RangeSum: &pb.RangeSumRequest{Ranges: make([]byte, 72*(peersync.MaxRanges+1))}}},
		"parts":        {Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Range: make([]byte, 72)}}},
		"message":      {Call: &pb.HostCall_Send{Send: &pb.SendRequest{}}},
		"long message": {Call: &pb.HostCall_Send{Send: &pb.SendRequest{Message: make([]byte, peersync.MaxMessage+1)}}},
		"ids":          {Call: &pb.HostCall_Transfer{Transfer: &pb.TransferRequest{Ids: make([]byte, 33)}}},
		"many ids":     {Call: &pb.HostCall_Request{Request: &pb.RequestRequest{Ids: make([]byte, 32*(peersync.MaxIDs+1))}}},
		"no ids":       {Call: &pb.HostCall_Request{Request: &pb.RequestRequest{}}},
		"reason":       {Call: &pb.HostCall_Drop{Drop: &pb.DropRequest{Reason: "\n"}}},
		"name":         {Call: &pb.HostCall_Save{Save: &pb.SaveRequest{Name: "../x y"}}},
		"value":        {Call: &pb.HostCall_Save{Save: &pb.SaveRequest{Name: "x", Value: make([]byte, 2000)}}},
		"load":         {Call: &pb.HostCall_Load{Load: &pb.LoadRequest{}}},
		"peers":        {Call: &pb.HostCall_Report{Report: &pb.ReportRequest{Peers: make([]*pb.ReportRequest_Peer, 1000)}}},
		"unknown":      {},
		"nothing":      nil,
	} {
		if got := answerCall(t.Context(), h, call); got.GetCode() == 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestHostCallsFailOutsideOfHandle(t *testing.T) {
	var kept peersync.HostServices
	if err := runDuringHandle(t, &fakeHost{}, func(ctx context.Context, r peersync.HostServices) error {
		kept = r
		_, err := r.Load(ctx, "x")
		return err
	}); err != nil {
		t.Errorf("during a Handle: %v", err)
	}
	for _, r := range []peersync.HostServices{kept, &HostClient{}} {
		if _, err := r.Load(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "outside of Handle") {
			t.Errorf("outside of a Handle: %v", err)
		}
	}
}

var loadCall = &pb.HandleResponse{Call: &pb.HostCall{Call: &pb.HostCall_Load{Load: &pb.LoadRequest{Name: "x"}}}}

// TestCallsEndWithHandle shows that a call under way ends before HandleEvents returns.
func TestCallsEndWithHandle(t *testing.T) {
	begun, ended := make(chan struct{}), false
	h := &fakeHost{wait: func(ctx context.Context) {
		close(begun)
		<-ctx.Done()
		ended = true
	}}
	plugin := servePeerSync(t, &rawPlugin{handle: func(stream grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]) error {
		if err := stream.Send(loadCall); err != nil {
			return err
		}
		<-begun
		return nil
	}})
	if err := HandleEvents(t.Context(), plugin, h, &pb.HandleRequest{}); err != nil {
		t.Error(err)
	}
	if !ended {
		t.Error("a call was left under way")
	}
}

// TestCallBeforeTheAnswerBreaksTheContract shows that a plugin that does not wait for answers breaks the
// contract. Otherwise it could have the relay hold any number of calls.
func TestCallBeforeTheAnswerBreaksTheContract(t *testing.T) {
	calls := 0
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	h := &fakeHost{wait: func(ctx context.Context) {
		calls++
		<-ctx.Done()
	}}
	plugin := servePeerSync(t, &rawPlugin{handle: func(stream grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]) error {
		for range 1000 {
			if err := stream.Send(loadCall); err != nil {
				return err
			}
		}
		<-stream.Context().Done()
		return stream.Context().Err()
	}})
	var broken *ContractError
	if err := HandleEvents(ctx, plugin, h, &pb.HandleRequest{}); !errors.As(err, &broken) || calls != 1 {
		t.Errorf("got %v after %d calls of the host", err, calls)
	}
}

// TestTooLongCallBreaksTheContract shows that a call that is longer than any valid one breaks the contract.
func TestTooLongCallBreaksTheContract(t *testing.T) {
	plugin := servePeerSync(t, &rawPlugin{handle: func(stream grpc.BidiStreamingServer[pb.HandleRequest, pb.HandleResponse]) error {
		return stream.Send(&pb.HandleResponse{Call: &pb.HostCall{Call: &pb.HostCall_Send{Send: &pb.SendRequest{Message: make([]byte, maxHostCall)}}}})
	}})
	var broken *ContractError
	if err := HandleEvents(t.Context(), plugin, &fakeHost{}, &pb.HandleRequest{}); !errors.As(PeerSyncErrors.FromStatus(err), &broken) {
		t.Errorf("got %v", err)
	}
}

// TestLateAnswerIsDropped shows that the answer to a call that was given up is not taken for the answer
// to the next one.
func TestLateAnswerIsDropped(t *testing.T) {
	h := &fakeHost{value: []byte("value"), sums: []peersync.Sum{{Count: 1}}}
	called, release := make(chan struct{}), make(chan struct{})
	h.wait = func(context.Context) {
		close(called)
		<-release
	}
	err := runDuringHandle(t, h, func(ctx context.Context, r peersync.HostServices) error {
		brief, cancel := context.WithCancel(ctx)
		go func() {
			<-called
			cancel()
		}()
		if _, err := r.Load(brief, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("the call that was given up: %v", err)
		}
		if _, err := r.Load(brief, "x"); !errors.Is(err, context.Canceled) {
			t.Errorf("a call with a context that has ended: %v", err)
		}
		close(release)
		sums, err := r.RangeSum(ctx, make([]peersync.Range, 1))
		if err == nil && !reflect.DeepEqual(sums, h.sums) {
			t.Errorf("the next call gave %v", sums)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestHostCallsComeOneAtATime calls the host from several goroutines of a plugin.
func TestHostCallsComeOneAtATime(t *testing.T) {
	var mu sync.Mutex
	h := &fakeHost{wait: func(context.Context) {
		if !mu.TryLock() {
			t.Error("two calls at a time")
			return
		}
		runtime.Gosched()
		mu.Unlock()
	}}
	if err := runDuringHandle(t, h, func(ctx context.Context, r peersync.HostServices) error {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					if _, err := r.Load(ctx, "x"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// FuzzHostRequests answers arbitrary calls of a plugin. fakeHost panics if a call exceeds the
// limits.
func FuzzHostRequests(f *testing.F) {
	in := packRanges(peersync.Range{Lo: peersync.Key{Born: 1}})
	for _, call := range []*pb.HostCall{
		{Call: &pb.HostCall_Log{Log: &pb.ReplicaLogRequest{From: 1, Max: 2}}},
		{Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Range: in, Max: 1}}},
		{Call: &pb.HostCall_RangeSum{RangeSum: &pb.RangeSumRequest{Ranges: in}}},
		{Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Range: in, Parts: 2}}},
		{Call: &pb.HostCall_Send{Send: &pb.SendRequest{Peer: 1, Message: []byte{1}}}},
		{Call: &pb.HostCall_Transfer{Transfer: &pb.TransferRequest{Peer: 1, Ids: make([]byte, 64)}}},
		{Call: &pb.HostCall_Request{Request: &pb.RequestRequest{Peer: 1, Ids: make([]byte, 32)}}},
		{Call: &pb.HostCall_Drop{Drop: &pb.DropRequest{Peer: 1, Reason: "x"}}},
		{Call: &pb.HostCall_Save{Save: &pb.SaveRequest{Name: "a", Value: []byte{1}}}},
		{Call: &pb.HostCall_Load{Load: &pb.LoadRequest{Name: "a"}}},
		{Call: &pb.HostCall_Report{Report: encodeReport(peersync.Report{Summary: "x", Peers: []peersync.PeerReport{{Peer: 1}}})}},
	} {
		data, err := proto.Marshal(call)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(_ *testing.T, data []byte) {
		var call pb.HostCall
		if proto.Unmarshal(data, &call) == nil {
			answerCall(context.Background(), &fakeHost{}, &call)
		}
	})
}

// FuzzHostAnswers decodes arbitrary answers of a relay. Accepted answers fit the request.
func FuzzHostAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		encodeLogPage(peersync.LogPage{Last: 3, Entries: []peersync.Entry{{Seq: 2}, {Seq: 3}}}),
		&pb.ReplicaKeysResponse{Keys: make([]byte, 2*keySize)},
		encodeSums(make([]peersync.Sum, 2)), encodeParts(make([]peersync.Part, 2)),
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var page pb.ReplicaLogResponse
		var keys pb.ReplicaKeysResponse
		var sums pb.RangeSumResponse
		var parts pb.SplitResponse
		if proto.Unmarshal(data, &page) == nil {
			if p, err := decodeLogPage(&page, peersync.LogRequest{From: 2, Max: 2}); err == nil {
				next := storage.Seq(2)
				for _, e := range p.Entries {
					if e.Seq < next || e.Seq > p.Last {
						t.Fatalf("entry %d after %d in a log up to %d", e.Seq, next, p.Last)
					}
					next = e.Seq + 1
				}
				if len(p.Entries) > 2 {
					t.Fatalf("%d entries", len(p.Entries))
				}
			}
		}
		if proto.Unmarshal(data, &keys) == nil {
			if k, err := unpackKeys(keys.GetKeys(), 2); err == nil && (len(k) > 2 || string(packKeys(k...)) != string(keys.GetKeys())) {
				t.Fatalf("keys %v", k)
			}
		}
		if proto.Unmarshal(data, &sums) == nil {
			if s, err := decodeSums(&sums, 2); err == nil && len(s) != 2 {
				t.Fatalf("%d sums", len(s))
			}
		}
		if proto.Unmarshal(data, &parts) == nil {
			if p, err := decodeParts(&parts, 2); err == nil && len(p) > 2 {
				t.Fatalf("%d parts", len(p))
			}
		}
	})
}
