package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"reflect"
	"runtime"
	"slices"
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
	keys  [][]peersync.Key
	sums  []peersync.Sum
	parts [][]peersync.Part
	value []byte
	names []string
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

func (h *fakeHost) Keys(_ context.Context, ranges []peersync.Range, max int) ([][]peersync.Key, error) {
	return h.keys, h.record(peersync.CheckKeys(ranges, max), "keys %v %d", ranges, max)
}

func (h *fakeHost) RangeSum(_ context.Context, peer peersync.Peer, ranges []peersync.Range) ([]peersync.Sum, error) {
	return h.sums, h.record(peersync.CheckRanges(ranges), "range sum %d %v", peer, ranges)
}

func (h *fakeHost) Split(_ context.Context, peer peersync.Peer, ranges []peersync.Range, parts int) ([][]peersync.Part, error) {
	return h.parts, h.record(peersync.CheckSplit(ranges, parts), "split %d %v %d", peer, ranges, parts)
}

func (h *fakeHost) Send(_ context.Context, to peersync.Peer, message []byte) error {
	return h.record(peersync.CheckMessage(message), "send %d %q", to, message)
}

func (h *fakeHost) Push(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	return h.record(peersync.CheckIDs(len(ids)), "push %d %v", to, ids)
}

func (h *fakeHost) Offer(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	return h.record(peersync.CheckIDs(len(ids)), "offer %d %v", to, ids)
}

func (h *fakeHost) Request(_ context.Context, from peersync.Peer, keys []peersync.Key) error {
	return h.record(peersync.CheckIDs(len(keys)), "request %d %v", from, keys)
}

func (h *fakeHost) Drop(_ context.Context, peer peersync.Peer, reason string) error {
	return h.record(peersync.CheckText(reason), "drop %d %s", peer, reason)
}

func (h *fakeHost) Rest(_ context.Context, peer peersync.Peer, pause time.Duration) error {
	return h.record(peersync.CheckRest(pause), "rest %d %v", peer, pause)
}

func (h *fakeHost) Save(_ context.Context, cursors ...peersync.Cursor) error {
	return h.record(peersync.CheckCursors(cursors), "save %q", cursors)
}

func (h *fakeHost) List(context.Context) ([]string, error) { return h.names, h.record(nil, "list") }

func (h *fakeHost) Wake(_ context.Context, after time.Duration) error {
	return h.record(peersync.CheckWake(after), "wake %v", after)
}

func (h *fakeHost) Load(ctx context.Context, name string) ([]byte, error) {
	if h.wait != nil {
		h.wait(ctx)
	}
	return h.value, h.record(peersync.CheckCursorName(name), "load %s", name)
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
	in := []peersync.Range{{Lo: peersync.Key{Born: 3}, Hi: key}, {Lo: key}}
	first, last := peersync.Key{Born: 3}, peersync.Key{Born: math.MaxUint32, ID: storage.ID(bytes.Repeat([]byte{255}, 32))}
	sum := peersync.Sum{Count: math.MaxUint64, IDs: [32]byte{5, 31: 6}}
	h := &fakeHost{
		page:  peersync.LogPage{Epoch: storage.Epoch{7}, Last: 9, Entries: []peersync.Entry{{Seq: 8, Key: key, Size: 9, Via: 10}}},
		keys:  [][]peersync.Key{{first}, {key, last}},
		sums:  []peersync.Sum{sum, {}},
		parts: [][]peersync.Part{nil, {{First: key, Last: key, Sum: sum}, {First: key.Next(), Last: last, Sum: sum}}},
		value: []byte("value"),
		names: []string{"a", "b/1"},
	}
	if err := runDuringHandle(t, h, func(ctx context.Context, r peersync.HostServices) error {
		checkEveryHostCall(ctx, t, h, r, in)
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// checkEveryHostCall makes each call to r, the plugin's side of the host h.
func checkEveryHostCall(ctx context.Context, t *testing.T, h *fakeHost, r peersync.HostServices, in []peersync.Range) {
	ids, keys := []storage.ID{{1}, {2}}, []peersync.Key{in[1].Lo, {}}
	report := peersync.Report{Summary: "well", Peers: []peersync.PeerReport{{Peer: 1, Summary: "so so", Lacks: 2, Missing: 3}}}
	cursors := []peersync.Cursor{{Name: "a", Value: []byte("b")}, {Name: "c"}}
	calls := []struct {
		line string
		call func() (any, error)
		want any
	}{
		{"log {3 4}", func() (any, error) { return r.Log(ctx, peersync.LogRequest{From: 3, Max: 4}) }, h.page},
		{fmt.Sprintf("keys %v 5", in), func() (any, error) { return r.Keys(ctx, in, 5) }, h.keys},
		{fmt.Sprintf("range sum 4294967295 %v", in), func() (any, error) { return r.RangeSum(ctx, math.MaxUint32, in) }, h.sums},
		{fmt.Sprintf("split 0 %v 6", in), func() (any, error) { return r.Split(ctx, 0, in, 6) }, h.parts},
		{`send 7 "hello"`, func() (any, error) { return nil, r.Send(ctx, 7, []byte("hello")) }, nil},
		{fmt.Sprintf("push 8 %v", ids), func() (any, error) { return nil, r.Push(ctx, 8, ids) }, nil},
		{fmt.Sprintf("offer 8 %v", ids), func() (any, error) { return nil, r.Offer(ctx, 8, ids) }, nil},
		{fmt.Sprintf("request 9 %v", keys), func() (any, error) { return nil, r.Request(ctx, 9, keys) }, nil},
		{"drop 10 rude", func() (any, error) { return nil, r.Drop(ctx, 10, "rude") }, nil},
		{"rest 10 24h0m0s", func() (any, error) { return nil, r.Rest(ctx, 10, peersync.MaxRest) }, nil},
		{fmt.Sprintf("save %q", cursors), func() (any, error) { return nil, r.Save(ctx, cursors...) }, nil},
		{"load a", func() (any, error) { return r.Load(ctx, "a") }, h.value},
		{"list", func() (any, error) { return r.List(ctx) }, h.names},
		{"wake 0s", func() (any, error) { return nil, r.Wake(ctx, 0) }, nil},
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

// TestLargestCallsCrossTheWire makes calls, and gives answers, that reach the limits.
func TestLargestCallsCrossTheWire(t *testing.T) {
	key := func(n int) peersync.Key {
		return peersync.Key{Born: math.MaxUint32, ID: storage.ID{1: byte(n >> 8), 2: byte(n), 31: 255}}
	}
	h := &fakeHost{sums: make([]peersync.Sum, peersync.MaxRanges), value: make([]byte, peersync.MaxCursor)}
	var ranges []peersync.Range
	for n := range peersync.MaxRanges {
		const each = peersync.MaxKeys / peersync.MaxRanges
		ranges = append(ranges, peersync.Range{Lo: key(each * n), Hi: key(each * (n + 1))})
		var keys []peersync.Key
		var parts []peersync.Part
		for i := range each {
			k := key(each*n + i)
			keys, parts = append(keys, k), append(parts, peersync.Part{First: k, Last: k, Sum: peersync.Sum{Count: math.MaxUint64}})
		}
		h.keys, h.parts = append(h.keys, keys), append(h.parts, parts)
	}
	var ids []storage.ID
	var keys []peersync.Key
	for n := range peersync.MaxIDs {
		ids, keys = append(ids, key(n).ID), append(keys, key(n))
	}
	var cursors []peersync.Cursor
	for n := range peersync.MaxCursors {
		name := fmt.Sprintf("%0*d", peersync.MaxCursorName, n)
		h.names = append(h.names, name)
		cursors = append(cursors, peersync.Cursor{Name: name, Value: make([]byte, peersync.MaxCursor)})
	}
	var report peersync.Report
	for n := range peersync.MaxPeers {
		report.Peers = append(report.Peers, peersync.PeerReport{Peer: math.MaxUint32 - peersync.Peer(n), Summary: strings.Repeat("x", peersync.MaxText), Lacks: math.MaxUint64, Missing: math.MaxUint64})
	}
	err := runDuringHandle(t, h, func(ctx context.Context, r peersync.HostServices) error {
		lists, err := r.Keys(ctx, ranges, peersync.MaxKeys)
		sums, err2 := r.RangeSum(ctx, 1, ranges)
		parts, err3 := r.Split(ctx, 1, ranges, peersync.MaxParts/peersync.MaxRanges)
		names, err4 := r.List(ctx)
		if !reflect.DeepEqual(lists, h.keys) || !reflect.DeepEqual(sums, h.sums) || !reflect.DeepEqual(parts, h.parts) || !slices.Equal(names, h.names) {
			t.Error("the answers are not those of the host")
		}
		return errors.Join(err, err2, err3, err4,
			r.Send(ctx, 1, make([]byte, peersync.MaxMessage)),
			r.Push(ctx, 1, ids), r.Offer(ctx, 1, ids), r.Request(ctx, 1, keys), r.Save(ctx, cursors...), r.Report(ctx, report))
	})
	if err != nil {
		t.Error(err)
	}
}

func saveCall(name string, size int) *pb.HostCall {
	return &pb.HostCall{Call: &pb.HostCall_Save{Save: encodeCursors([]peersync.Cursor{{Name: name, Value: make([]byte, size)}})}}
}

// TestCallsBeyondLimitsDoNotReachTheHost answers calls that no plugin may make.
func TestCallsBeyondLimitsDoNotReachTheHost(t *testing.T) {
	h := &fakeHost{} // panics if a call reaches it
	for name, call := range map[string]*pb.HostCall{
		"log":          {Call: &pb.HostCall_Log{Log: &pb.ReplicaLogRequest{Max: peersync.MaxEntries + 1}}},
		"keys":         {Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Ranges: make([]byte, 72), Max: 1 << 31}}},
		"no range":     {Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Max: 1}}},
		"many ranges":  {Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Max: 1, Ranges: make([]byte, 72*(peersync.MaxRanges+1))}}},
		"half a range": {Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Ranges: make([]byte, 36), Parts: 1}}},
		"ranges":       {Call: &pb.HostCall_RangeSum{RangeSum: &pb.RangeSumRequest{Ranges: make([]byte, 72*(peersync.MaxRanges+1))}}},
		"no ranges":    {Call: &pb.HostCall_RangeSum{RangeSum: &pb.RangeSumRequest{}}},
		"no parts":     {Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Ranges: make([]byte, 72)}}},
		"parts":        {Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Ranges: make([]byte, 72*3), Parts: peersync.MaxParts/3 + 1}}},
		"split none":   {Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Parts: 1}}},
		"message":      {Call: &pb.HostCall_Send{Send: &pb.SendRequest{}}},
		"long message": {Call: &pb.HostCall_Send{Send: &pb.SendRequest{Message: make([]byte, peersync.MaxMessage+1)}}},
		"ids":          {Call: &pb.HostCall_Push{Push: &pb.PushRequest{Ids: make([]byte, 33)}}},
		"push none":    {Call: &pb.HostCall_Push{Push: &pb.PushRequest{}}},
		"offer none":   {Call: &pb.HostCall_Offer{Offer: &pb.OfferRequest{}}},
		"many ids":     {Call: &pb.HostCall_Offer{Offer: &pb.OfferRequest{Ids: make([]byte, 32*(peersync.MaxIDs+1))}}},
		"many keys":    {Call: &pb.HostCall_Request{Request: &pb.RequestRequest{Keys: make([]byte, keySize*(peersync.MaxIDs+1))}}},
		"half a key":   {Call: &pb.HostCall_Request{Request: &pb.RequestRequest{Keys: make([]byte, 32)}}},
		"no keys":      {Call: &pb.HostCall_Request{Request: &pb.RequestRequest{}}},
		"reason":       {Call: &pb.HostCall_Drop{Drop: &pb.DropRequest{Reason: "\n"}}},
		"long rest":    {Call: &pb.HostCall_Rest{Rest: &pb.RestRequest{Pause: int64(peersync.MaxRest) + 1}}},
		"past rest":    {Call: &pb.HostCall_Rest{Rest: &pb.RestRequest{Pause: -1}}},
		"long wake":    {Call: &pb.HostCall_Wake{Wake: &pb.WakeRequest{After: math.MaxInt64}}},
		"past wake":    {Call: &pb.HostCall_Wake{Wake: &pb.WakeRequest{After: math.MinInt64}}},
		"name":         saveCall("../x y", 1),
		"value":        saveCall("x", peersync.MaxCursor+1),
		"cursor twice": {Call: &pb.HostCall_Save{Save: &pb.SaveRequest{Cursors: []*pb.SaveRequest_Cursor{{Name: "x"}, {Name: "x"}}}}},
		"many cursors": {Call: &pb.HostCall_Save{Save: &pb.SaveRequest{Cursors: make([]*pb.SaveRequest_Cursor, 1<<16)}}},
		"no cursors":   {Call: &pb.HostCall_Save{Save: &pb.SaveRequest{}}},
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
		sums, err := r.RangeSum(ctx, 0, make([]peersync.Range, 1))
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
		{Call: &pb.HostCall_Keys{Keys: &pb.ReplicaKeysRequest{Ranges: in, Max: 1}}},
		{Call: &pb.HostCall_RangeSum{RangeSum: &pb.RangeSumRequest{Ranges: in, Peer: 1}}},
		{Call: &pb.HostCall_Split{Split: &pb.SplitRequest{Ranges: in, Parts: 2}}},
		{Call: &pb.HostCall_Send{Send: &pb.SendRequest{Peer: 1, Message: []byte{1}}}},
		{Call: &pb.HostCall_Push{Push: &pb.PushRequest{Peer: 1, Ids: make([]byte, 64)}}},
		{Call: &pb.HostCall_Offer{Offer: &pb.OfferRequest{Peer: 1, Ids: make([]byte, 64)}}},
		{Call: &pb.HostCall_Request{Request: &pb.RequestRequest{Peer: 1, Keys: make([]byte, keySize)}}},
		{Call: &pb.HostCall_Drop{Drop: &pb.DropRequest{Peer: 1, Reason: "x"}}},
		{Call: &pb.HostCall_Rest{Rest: &pb.RestRequest{Peer: 1, Pause: 1}}},
		saveCall("a", 1),
		{Call: &pb.HostCall_Load{Load: &pb.LoadRequest{Name: "a"}}},
		{Call: &pb.HostCall_List{List: &pb.ListRequest{}}},
		{Call: &pb.HostCall_Wake{Wake: &pb.WakeRequest{After: 1}}},
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

// TestAnswersThatDoNotFitTheCallAreRefused gives a plugin answers that no relay may give.
func TestAnswersThatDoNotFitTheCallAreRefused(t *testing.T) {
	key := func(born storage.Hour) peersync.Key { return peersync.Key{Born: born} }
	ranges := []peersync.Range{{Lo: key(1), Hi: key(5)}, {Lo: key(5)}}
	sum := peersync.Sum{Count: 1}
	keys := func(lists ...[]peersync.Key) error {
		_, err := decodeKeyLists(encodeKeyLists(lists), ranges, 3)
		return err
	}
	parts := func(lists ...[]peersync.Part) error {
		_, err := decodeParts(encodeParts(lists), ranges, 2)
		return err
	}
	sums := func(in *pb.RangeSumResponse) error { _, err := decodeSums(in, 2); return err }
	names := func(names ...string) error { _, err := decodeNames(&pb.ListResponse{Names: names}); return err }
	part := func(first, last storage.Hour) peersync.Part {
		return peersync.Part{First: key(first), Last: key(last), Sum: sum}
	}
	last := peersync.Part{First: key(6), Last: peersync.Key{Born: math.MaxUint32, ID: storage.ID(bytes.Repeat([]byte{255}, 32))}, Sum: sum}
	_, rawKeys := decodeKeyLists(&pb.ReplicaKeysResponse{Keys: [][]byte{make([]byte, keySize+1)}}, ranges, 3)
	_, rawPart := decodeParts(&pb.SplitResponse{Ranges: []*pb.SplitResponse_Parts{{Parts: []*pb.SplitResponse_Part{{Ends: make([]byte, keySize), Sum: encodeSum(sum)}}}, {}}}, ranges, 2)
	_, value := decodeValue(&pb.LoadResponse{Value: make([]byte, peersync.MaxCursor+1)})
	for name, err := range map[string]error{
		"more keys than were asked for": keys([]peersync.Key{key(1), key(2)}, []peersync.Key{key(5), key(6)}),
		"more lists than ranges":        keys(nil, nil, nil),
		"a list behind the last key":    keys([]peersync.Key{key(1), key(2), key(3)}, nil),
		"too few lists":                 keys([]peersync.Key{key(1)}),
		"no lists":                      keys(),
		"keys that do not ascend":       keys([]peersync.Key{key(2), key(1)}, nil),
		"a key twice":                   keys([]peersync.Key{key(2), key(2)}, nil),
		"a key before its range":        keys([]peersync.Key{key(0)}, nil),
		"a key behind its range":        keys([]peersync.Key{key(5)}, nil),
		"half a key":                    rawKeys,
		"one sum for two ranges":        sums(encodeSums(make([]peersync.Sum, 1))),
		"three sums for two ranges":     sums(encodeSums(make([]peersync.Sum, 3))),
		"a short sum":                   sums(&pb.RangeSumResponse{Sums: []*pb.Sum{{Ids: make([]byte, 31)}, {Ids: make([]byte, 32)}}}),
		"parts of one range":            parts(nil),
		"parts of three ranges":         parts(nil, nil, nil),
		"too many parts":                parts([]peersync.Part{part(1, 1), part(2, 2), part(3, 3)}, nil),
		"parts out of order":            parts([]peersync.Part{part(3, 3), part(1, 2)}, nil),
		"parts that overlap":            parts([]peersync.Part{part(1, 3), part(3, 4)}, nil),
		"a part behind the last key":    parts(nil, []peersync.Part{last, part(5, 5)}),
		"a part that ends before":       parts([]peersync.Part{part(3, 2)}, nil),
		"a part before its range":       parts([]peersync.Part{part(0, 2)}, nil),
		"a part behind its range":       parts([]peersync.Part{part(2, 5)}, nil),
		"a part without keys":           parts([]peersync.Part{{First: key(1), Last: key(2)}}, nil),
		"a part with one end":           rawPart,
		"names that do not ascend":      names("b", "a"),
		"a name twice":                  names("a", "a"),
		"not a name":                    names("A"),
		"too many names":                names(make([]string, peersync.MaxCursors+1)...),
		"a long value":                  value,
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, err := range map[string]error{
		"as many keys as were asked for": keys([]peersync.Key{key(1), key(2)}, []peersync.Key{key(5)}),
		"keys end in the first range":    keys([]peersync.Key{key(1), key(2), key(4)}),
		"no keys":                        keys(nil, nil),
		"parts":                          parts([]peersync.Part{part(1, 3), part(4, 4)}, []peersync.Part{last}),
		"no parts":                       parts(nil, nil),
		"names":                          names("a", "a/b", "b"),
		"no names":                       names(),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzHostAnswers decodes arbitrary answers of a relay. Accepted answers fit the request.
func FuzzHostAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		encodeLogPage(peersync.LogPage{Last: 3, Entries: []peersync.Entry{{Seq: 2}, {Seq: 3}}}),
		encodeKeyLists([][]peersync.Key{{{}, {Born: 1}}, {}}),
		encodeSums(make([]peersync.Sum, 2)),
		encodeParts([][]peersync.Part{{{Sum: peersync.Sum{Count: 1}}, {First: peersync.Key{Born: 1}, Last: peersync.Key{Born: 1}, Sum: peersync.Sum{Count: 2}}}, nil}),
		&pb.ListResponse{Names: []string{"a", "b"}},
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
			if lists, err := decodeKeyLists(&keys, make([]peersync.Range, 2), 2); err == nil {
				k := slices.Concat(lists...)
				if len(lists) > 2 || len(k) > 2 || len(lists[0]) == 2 && k[0].Compare(k[1]) >= 0 {
					t.Fatalf("keys %v", lists)
				}
			}
		}
		if proto.Unmarshal(data, &sums) == nil {
			if s, err := decodeSums(&sums, 2); err == nil && len(s) != 2 {
				t.Fatalf("%d sums", len(s))
			}
		}
		if proto.Unmarshal(data, &parts) == nil {
			if p, err := decodeParts(&parts, make([]peersync.Range, 2), 2); err == nil && (len(p) != 2 || len(p[0]) > 2 || len(p[1]) > 2) {
				t.Fatalf("parts %v", p)
			}
		}
		var names pb.ListResponse
		if proto.Unmarshal(data, &names) == nil {
			if n, err := decodeNames(&names); err == nil && (len(n) > peersync.MaxCursors || !slices.IsSorted(n)) {
				t.Fatalf("names %q", n)
			}
		}
	})
}
