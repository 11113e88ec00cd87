package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// aHost notes the last call, checks that it keeps the limits, and answers with
// what is set.
type aHost struct {
	call string
	wait func(context.Context) // called by Load

	page  peersync.LogPage
	keys  []peersync.Key
	sums  []peersync.Sum
	parts []peersync.Part
	value []byte
	err   error
}

func (h *aHost) note(broken error, format string, args ...any) error {
	if broken != nil {
		panic("the host was called beyond the limits: " + broken.Error())
	}
	h.call = fmt.Sprintf(format, args...)
	return h.err
}

func (h *aHost) Log(_ context.Context, req peersync.LogRequest) (peersync.LogPage, error) {
	_, _, err := req.Bounds()
	return h.page, h.note(err, "log %v", req)
}

func (h *aHost) Keys(_ context.Context, in peersync.Range, max int) ([]peersync.Key, error) {
	return h.keys, h.note(peersync.CheckKeys(max), "keys %v %d", in, max)
}

func (h *aHost) RangeSum(_ context.Context, ranges []peersync.Range) ([]peersync.Sum, error) {
	return h.sums, h.note(peersync.CheckRanges(ranges), "range sum %v", ranges)
}

func (h *aHost) Split(_ context.Context, in peersync.Range, parts int) ([]peersync.Part, error) {
	return h.parts, h.note(peersync.CheckParts(parts), "split %v %d", in, parts)
}

func (h *aHost) Send(_ context.Context, to peersync.Peer, message []byte) error {
	return h.note(peersync.CheckMessage(message), "send %d %q", to, message)
}

func (h *aHost) Transfer(_ context.Context, to peersync.Peer, ids []storage.ID) error {
	return h.note(peersync.CheckIDs(ids), "transfer %d %v", to, ids)
}

func (h *aHost) Request(_ context.Context, from peersync.Peer, ids []storage.ID) error {
	return h.note(peersync.CheckIDs(ids), "request %d %v", from, ids)
}

func (h *aHost) Drop(_ context.Context, peer peersync.Peer, reason string) error {
	return h.note(peersync.CheckText(reason), "drop %d %s", peer, reason)
}

func (h *aHost) Save(_ context.Context, name string, value []byte) error {
	return h.note(peersync.CheckCursor(name, value), "save %s %q", name, value)
}

func (h *aHost) Load(ctx context.Context, name string) ([]byte, error) {
	if h.wait != nil {
		h.wait(ctx)
	}
	return h.value, h.note(peersync.CheckCursor(name, nil), "load %s", name)
}

func (h *aHost) Report(_ context.Context, r peersync.Report) error {
	return h.note(r.Check(), "report %v", r)
}

// remote serves a host over gRPC, and gives what a plugin sees of it.
func remote(t *testing.T, s *PeerSyncHostServer) peersync.Host {
	t.Helper()
	listener, server := bufconn.Listen(1<<20), s.NewServer()
	go server.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///host", append(HostDialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
	})
	return NewPeerSyncHost(conn)
}

// during makes a Handle be under way until the test ends.
func during(t *testing.T, s *PeerSyncHostServer) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	begun := make(chan struct{})
	wg.Go(func() {
		s.During(ctx, func(ctx context.Context) error {
			close(begun)
			<-ctx.Done()
			return nil
		})
	})
	<-begun
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func TestHostCallsCrossTheWire(t *testing.T) {
	key := peersync.Key{Born: 1 << 31, ID: storage.ID{1, 31: 2}}
	in := peersync.Range{Lo: key, Hi: peersync.Key{Born: 3}}
	sum := peersync.Sum{Count: 4, IDs: [32]byte{5, 31: 6}}
	h := &aHost{
		page: peersync.LogPage{Epoch: storage.Epoch{7}, Last: 9, Entries: []peersync.Entry{{Seq: 8, Key: key, Size: 9, Via: 10}}},
		keys: []peersync.Key{key, in.Hi}, sums: []peersync.Sum{sum, {}}, parts: []peersync.Part{{First: key, Last: in.Hi, Sum: sum}},
		value: []byte("value"),
	}
	s := ServePeerSyncHost(h)
	r := remote(t, s)
	during(t, s)
	ctx := t.Context()
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
			t.Errorf("%s: the host was asked for %s and gave %v, %v", c.line, h.call, got, err)
		}
		for _, m := range PeerSyncErrors {
			h.err = fmt.Errorf("what happened: %w", m.err)
			if _, err := c.call(); !errors.Is(err, m.err) || !strings.Contains(err.Error(), "what happened") {
				t.Errorf("%s: the host failed with %v, the plugin sees %v", c.line, h.err, err)
			}
		}
	}
}

// TestRefusedBeforeTheHost makes a plugin of another language ask for too much.
func TestRefusedBeforeTheHost(t *testing.T) {
	s := ServePeerSyncHost(&aHost{}) // which panics
	during(t, s)
	ctx := t.Context()
	for name, call := range map[string]func() (any, error){
		"log":          func() (any, error) { return s.Log(ctx, &pb.ReplicaLogRequest{Max: peersync.MaxEntries + 1}) },
		"keys":         func() (any, error) { return s.Keys(ctx, &pb.KeysRequest{Range: make([]byte, 72), Max: 1 << 31}) },
		"no range":     func() (any, error) { return s.Keys(ctx, &pb.KeysRequest{Max: 1}) },
		"half a range": func() (any, error) { return s.Split(ctx, &pb.SplitRequest{Range: make([]byte, 36), Parts: 1}) },
		"ranges": func() (any, error) {
			return s.RangeSum(ctx, &pb.RangeSumRequest{Ranges: make([]byte, 72*(peersync.MaxRanges+1))})
		},
		"parts":   func() (any, error) { return s.Split(ctx, &pb.SplitRequest{Range: make([]byte, 72)}) },
		"message": func() (any, error) { return s.Send(ctx, &pb.SendRequest{}) },
		"ids":     func() (any, error) { return s.Transfer(ctx, &pb.TransferRequest{Ids: make([]byte, 33)}) },
		"many ids": func() (any, error) {
			return s.Request(ctx, &pb.RequestRequest{Ids: make([]byte, 32*(peersync.MaxIDs+1))})
		},
		"no ids": func() (any, error) { return s.Request(ctx, &pb.RequestRequest{}) },
		"reason": func() (any, error) { return s.Drop(ctx, &pb.DropRequest{Reason: "\n"}) },
		"name":   func() (any, error) { return s.Save(ctx, &pb.SaveRequest{Name: "../x y"}) },
		"value":  func() (any, error) { return s.Save(ctx, &pb.SaveRequest{Name: "x", Value: make([]byte, 2000)}) },
		"load":   func() (any, error) { return s.Load(ctx, &pb.LoadRequest{}) },
		"peers": func() (any, error) {
			return s.Report(ctx, &pb.ReportRequest{Peers: make([]*pb.ReportRequest_Peer, 1000)})
		},
	} {
		if got, err := call(); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOnlyDuringHandle(t *testing.T) {
	s := ServePeerSyncHost(&aHost{})
	r := remote(t, s)
	if _, err := r.Load(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "outside of Handle") {
		t.Errorf("before a Handle: %v", err)
	}
	if err := s.During(t.Context(), func(ctx context.Context) error {
		_, err := r.Load(ctx, "x")
		return err
	}); err != nil {
		t.Errorf("during a Handle: %v", err)
	}
	if _, err := r.Load(t.Context(), "x"); err == nil {
		t.Error("after a Handle the host was called")
	}
}

// TestCallsEndWithHandle shows that nothing is done for a plugin once its Handle
// is over: what is under way is ended, and waited for.
func TestCallsEndWithHandle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		s := ServePeerSyncHost(&aHost{wait: func(ctx context.Context) {
			<-ctx.Done()
			time.Sleep(time.Minute)
			ended = true
		}})
		var wg sync.WaitGroup
		s.During(t.Context(), func(context.Context) error {
			wg.Go(func() { s.Load(context.Background(), &pb.LoadRequest{Name: "x"}) })
			synctest.Wait()
			return nil
		})
		if !ended {
			t.Error("a call was left under way")
		}
		wg.Wait()
	})
}

// TestOneCallAtATime makes a plugin call the host from many places.
func TestOneCallAtATime(t *testing.T) {
	var mu sync.Mutex
	s := ServePeerSyncHost(&aHost{wait: func(context.Context) {
		if !mu.TryLock() {
			t.Error("two calls at a time")
			return
		}
		time.Sleep(time.Microsecond)
		mu.Unlock()
	}})
	r := remote(t, s)
	during(t, s)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := r.Load(t.Context(), "x"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzHostRequests is a plugin that asks for whatever comes to its mind. aHost
// panics when it is asked for more than it may be.
func FuzzHostRequests(f *testing.F) {
	in := packRanges(peersync.Range{Lo: peersync.Key{Born: 1}})
	for method, m := range []proto.Message{
		&pb.ReplicaLogRequest{From: 1, Max: 2}, &pb.KeysRequest{Range: in, Max: 1}, &pb.RangeSumRequest{Ranges: in},
		&pb.SplitRequest{Range: in, Parts: 2}, &pb.SendRequest{Peer: 1, Message: []byte{1}}, &pb.TransferRequest{Peer: 1, Ids: make([]byte, 64)},
		&pb.RequestRequest{Peer: 1, Ids: make([]byte, 32)}, &pb.DropRequest{Peer: 1, Reason: "x"}, &pb.SaveRequest{Name: "a", Value: []byte{1}},
		&pb.LoadRequest{Name: "a"}, reportMessage(peersync.Report{Summary: "x", Peers: []peersync.PeerReport{{Peer: 1}}}),
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(method), data)
	}
	s := ServePeerSyncHost(&aHost{})
	s.set(context.Background())
	f.Fuzz(func(_ *testing.T, method byte, data []byte) {
		ask := hostMethods[int(method)%len(hostMethods)]
		ask(s, data)
	})
}

// asking makes a method of the server one that takes bytes.
func asking[Q proto.Message, R any](call func(*PeerSyncHostServer, context.Context, Q) (R, error)) func(*PeerSyncHostServer, []byte) {
	return func(s *PeerSyncHostServer, data []byte) {
		var q Q
		q = q.ProtoReflect().Type().New().Interface().(Q)
		if proto.Unmarshal(data, q) == nil {
			call(s, context.Background(), q)
		}
	}
}

var hostMethods = []func(*PeerSyncHostServer, []byte){
	asking((*PeerSyncHostServer).Log), asking((*PeerSyncHostServer).Keys), asking((*PeerSyncHostServer).RangeSum),
	asking((*PeerSyncHostServer).Split), asking((*PeerSyncHostServer).Send), asking((*PeerSyncHostServer).Transfer),
	asking((*PeerSyncHostServer).Request), asking((*PeerSyncHostServer).Drop), asking((*PeerSyncHostServer).Save),
	asking((*PeerSyncHostServer).Load), asking((*PeerSyncHostServer).Report),
}

// FuzzHostAnswers is a relay that answers whatever it likes: what is accepted is
// what was asked for.
func FuzzHostAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		logPageMessage(peersync.LogPage{Last: 3, Entries: []peersync.Entry{{Seq: 2}, {Seq: 3}}}),
		&pb.KeysResponse{Keys: make([]byte, 2*keySize)},
		sumMessages(make([]peersync.Sum, 2)), partMessages(make([]peersync.Part, 2)),
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var page pb.ReplicaLogResponse
		var keys pb.KeysResponse
		var sums pb.RangeSumResponse
		var parts pb.SplitResponse
		if proto.Unmarshal(data, &page) == nil {
			if p, err := logPage(&page, peersync.LogRequest{From: 2, Max: 2}); err == nil {
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
			if s, err := rangeSums(&sums, 2); err == nil && len(s) != 2 {
				t.Fatalf("%d sums", len(s))
			}
		}
		if proto.Unmarshal(data, &parts) == nil {
			if p, err := splitParts(&parts, 2); err == nil && len(p) > 2 {
				t.Fatalf("%d parts", len(p))
			}
		}
	})
}
