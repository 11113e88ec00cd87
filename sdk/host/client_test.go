package host

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// fakePlugin answers as a test tells it.
type fakePlugin struct {
	pb.UnimplementedPluginServer
	pb.UnimplementedStorageServer
	describe  *pb.DescribeResponse
	configure *pb.ConfigureResponse
	health    *pb.HealthResponse
	append    func(context.Context, *pb.AppendRequest) (*pb.AppendResponse, error)

	configured []*pb.ConfigureRequest
}

func (l *fakePlugin) Describe(context.Context, *pb.DescribeRequest) (*pb.DescribeResponse, error) {
	return l.describe, nil
}

func (l *fakePlugin) Configure(_ context.Context, req *pb.ConfigureRequest) (*pb.ConfigureResponse, error) {
	l.configured = append(l.configured, req)
	return l.configure, nil
}

func (l *fakePlugin) Health(context.Context, *pb.HealthRequest) (*pb.HealthResponse, error) {
	return l.health, nil
}

func (l *fakePlugin) Append(ctx context.Context, req *pb.AppendRequest) (*pb.AppendResponse, error) {
	return l.append(ctx, req)
}

func dialPlugin(t *testing.T, l *fakePlugin) *Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	pb.RegisterPluginServer(server, l)
	pb.RegisterStorageServer(server, l)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return dialListener(t, listener)
}

func dialListener(t *testing.T, listener *bufconn.Listener) *Client {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///liar", append(DialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return NewClient(conn)
}

func TestDescribe(t *testing.T) {
	c := dialPlugin(t, &fakePlugin{describe: &pb.DescribeResponse{
		Kind: "storage", Name: "x", Version: "1", Doc: "A store.",
		Schema: &pb.Schema{
			Attributes: []*pb.Attribute{{Name: "n", Type: pb.Attribute_TYPE_INT, Default: "3", Min: new(int64(1)), Max: new(int64(9))}},
			Blocks:     []*pb.Block{{Name: "b", Labelled: true, Schema: &pb.Schema{Attributes: []*pb.Attribute{{Name: "s", Type: pb.Attribute_TYPE_STRING, OneOf: []string{"a"}, Required: true}}}}},
		},
	}})
	got, err := c.Describe(t.Context())
	want := plugin.Description{
		Kind: plugin.KindStorage, Name: "x", Version: "1", Contract: 1, Doc: "A store.", Protocols: []int{1},
		Schema: plugin.Schema{
			Attributes: []plugin.Attribute{{Name: "n", Type: plugin.Int, Default: "3", Min: new(int64(1)), Max: new(int64(9))}},
			Blocks:     []plugin.Block{{Name: "b", Labelled: true, Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "s", Type: plugin.String, OneOf: []string{"a"}, Required: true}}}}},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// TestContracts tells which versions of the contract of each kind the relay uses.
func TestContracts(t *testing.T) {
	for _, c := range []struct {
		kind plugin.Kind
		says uint32
		want string // in the error; empty: it is used
	}{
		{plugin.KindStorage, 0, ""}, {plugin.KindStorage, 1, ""},
		{plugin.KindStorage, 2, "built for version 2 of the contract of storage, and this release knows version 1"},
		{plugin.KindStats, 0, ""}, {plugin.KindStats, 1, ""},
		{plugin.KindPeerSync, 0, "built for an earlier contract of peersync than version 1: build it anew"},
		{plugin.KindPeerSync, 1, ""},
		{plugin.KindPeerSync, math.MaxUint32, "and this release knows version 1: run a later release"},
	} {
		client := dialPlugin(t, &fakePlugin{describe: &pb.DescribeResponse{Kind: string(c.kind), Name: "x", Version: "1", Contract: c.says}})
		d, err := client.Describe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := d.CheckContract(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s that says %d: %v, want %q", c.kind, c.says, err, c.want)
		}
	}
}

func TestTypeNumbersAreThoseOfPlugin(t *testing.T) {
	for n := plugin.String; n <= plugin.StringList; n++ {
		want := "TYPE_" + map[plugin.Type]string{
			plugin.String: "STRING", plugin.Int: "INT", plugin.Bool: "BOOL",
			plugin.Duration: "DURATION", plugin.Bytes: "BYTES", plugin.StringList: "STRING_LIST",
		}[n]
		if got := pb.Attribute_Type(n).String(); got != want {
			t.Errorf("%v is %s on the wire", n, got)
		}
	}
}

func TestHostileDescriptionsAreRefused(t *testing.T) {
	deep := &pb.Schema{}
	for range 100 {
		deep = &pb.Schema{Blocks: []*pb.Block{{Name: "b", Schema: deep}}}
	}
	many := &pb.Schema{Attributes: make([]*pb.Attribute, 100_000)}
	for i := range many.Attributes {
		many.Attributes[i] = &pb.Attribute{}
	}
	for name, d := range map[string]*pb.DescribeResponse{
		"empty":         {},
		"deep":          {Kind: "storage", Name: "x", Version: "1", Schema: deep},
		"many":          {Kind: "storage", Name: "x", Version: "1", Schema: many},
		"type":          {Kind: "storage", Name: "x", Version: "1", Schema: &pb.Schema{Attributes: []*pb.Attribute{{Name: "a", Type: 257}}}},
		"kind":          {Kind: "shell", Name: "x", Version: "1"},
		"name":          {Kind: "storage", Name: "../x", Version: "1"},
		"terminal":      {Kind: "storage", Name: "x", Version: "\x1b[2J"},
		"two lines":     {Kind: "storage", Name: "x", Version: "1\n2"},
		"C1":            {Kind: "storage", Name: "x", Version: "1", Doc: "\u009b2J"},
		"right to left": {Kind: "storage", Name: "x", Version: "1", Network: "\u202e"},
		"network":       {Kind: "storage", Name: "x", Version: "1", Network: strings.Repeat("x", plugin.MaxSchemaText+1)},
		"of two kinds":  {Kind: "stats", Name: "x", Version: "1", Capabilities: []pb.Capability{pb.Capability_CAPABILITY_STORAGE_WATCH}},
		"protocols":     {Kind: "storage", Name: "x", Version: "1", Protocols: make([]uint32, 200_000)},
		"protocol":      {Kind: "storage", Name: "x", Version: "1", Protocols: []uint32{1 << 31}},
		"choices":       {Kind: "storage", Name: "x", Version: "1", Schema: &pb.Schema{Attributes: []*pb.Attribute{{Name: "a", Type: pb.Attribute_TYPE_STRING, OneOf: make([]string, 100_000)}}}},
		"long version":  {Kind: "storage", Name: "x", Version: strings.Repeat("1", 1000)},
		"large":         {Kind: "storage", Name: "x", Version: "1", Doc: strings.Repeat("x", 20<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dialPlugin(t, &fakePlugin{describe: d}).Describe(t.Context())
			var broken *ContractError
			if !errors.As(err, &broken) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDiagnosticsAreBounded(t *testing.T) {
	many := make([]*pb.Diagnostic, 200)
	for i := range many {
		many[i] = &pb.Diagnostic{Summary: strings.Repeat("x\n", 1000), Path: make([]string, 100)}
	}
	err := dialPlugin(t, &fakePlugin{configure: &pb.ConfigureResponse{Diagnostics: many}}).Configure(t.Context(), nil, "/dir")
	var diags plugin.Diagnostics
	if !errors.As(err, &diags) || len(diags) != maxDiagnostics || len(diags[0].Summary) != maxReason || strings.Contains(diags[0].Summary, "\n") || len(diags[0].Path) != maxPath {
		t.Errorf("got %T", err)
	}
}

func TestUnknownHealthIsABrokenContract(t *testing.T) {
	h, err := dialPlugin(t, &fakePlugin{health: &pb.HealthResponse{Status: pb.HealthResponse_STATUS_DEGRADED, Reason: "disk\nfull"}}).Health(t.Context())
	if err != nil || h != (Health{State: Degraded, Reason: "disk full"}) {
		t.Errorf("%+v, %v", h, err)
	}
	for _, n := range []pb.HealthResponse_Status{0, 4, -1} {
		var broken *ContractError
		if _, err := dialPlugin(t, &fakePlugin{health: &pb.HealthResponse{Status: n}}).Health(t.Context()); !errors.As(err, &broken) {
			t.Errorf("status %d: %v", n, err)
		}
	}
}

func TestStoreWatchesOnlyWithCapability(t *testing.T) {
	for name, capabilities := range map[string][]pb.Capability{"none": nil, "unknown": {99}, "watch": {99, pb.Capability_CAPABILITY_STORAGE_WATCH}} {
		c := dialPlugin(t, &fakePlugin{configure: &pb.ConfigureResponse{Capabilities: capabilities}})
		if err := c.Configure(t.Context(), nil, "/dir"); err != nil {
			t.Fatal(err)
		}
		if _, ok := storage.As[storage.Watcher](c.Storage()); ok != (name == "watch") {
			t.Errorf("%s: watcher is %v", name, ok)
		}
	}
}

// TestInspect shows that a plugin that knows nothing of inspection is not configured, and
// that one which does not keep its word is not used.
func TestInspect(t *testing.T) {
	check := []pb.Capability{pb.Capability_CAPABILITY_STORAGE_CHECK}
	description := func(c []pb.Capability) *pb.DescribeResponse {
		return &pb.DescribeResponse{Kind: "storage", Name: "bolt", Version: "1", Capabilities: c}
	}
	for name, c := range map[string]struct {
		declared, offered []pb.Capability
		want              string
		broken            bool
		configured        int
	}{
		"good":               {declared: check, offered: check, configured: 1},
		"without inspection": {want: `the storage plugin "bolt" cannot open its store for inspection, since it lacks the capability storage.check`},
		"liar":               {declared: check, want: "it was asked for an inspection and does not offer storage.check", broken: true, configured: 1},
	} {
		l := &fakePlugin{describe: description(c.declared), configure: &pb.ConfigureResponse{Capabilities: c.offered}}
		client := dialPlugin(t, l)
		err := client.Inspect(t.Context(), nil, "/dir")
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || errors.Is(err, storage.ErrCorrupt) != c.broken {
			t.Errorf("%s: %v", name, err)
		}
		if len(l.configured) != c.configured || c.configured > 0 && !l.configured[0].GetInspect() {
			t.Errorf("%s: configured with %v", name, l.configured)
		}
		if _, ok := storage.As[storage.Checker](client.Storage()); ok != (err == nil) {
			t.Errorf("%s: checker is %v", name, ok)
		}
	}
}

func TestDeadlineOfTheCaller(t *testing.T) {
	hang := func(ctx context.Context, _ *pb.AppendRequest) (*pb.AppendResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	store := dialPlugin(t, &fakePlugin{append: hang}).Storage()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := store.Append(ctx, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("the caller's deadline: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if _, err := store.Append(ctx, nil); !errors.Is(err, context.Canceled) || errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("cancelled by the caller: %v", err)
	}
	for _, gaveUp := range []error{context.DeadlineExceeded, context.Canceled} {
		store := dialPlugin(t, &fakePlugin{append: func(context.Context, *pb.AppendRequest) (*pb.AppendResponse, error) { return nil, gaveUp }}).Storage()
		if _, err := store.Append(t.Context(), nil); err == nil || errors.Is(err, gaveUp) {
			t.Errorf("given up by the plugin: %v", err)
		}
	}
}

func TestDeadlineOfTheRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		_, err := runCall(t.Context(), storageErrors, "append", CallTimeout, func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != CallTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestRequestThatIsTooLargeIsNotSent(t *testing.T) {
	store := dialPlugin(t, &fakePlugin{}).Storage()
	if _, err := store.Append(t.Context(), []storage.Record{{Ciphertext: make([]byte, 17<<20)}}); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("append: %v", err)
	}
	if _, err := store.Find(t.Context(), make([]byte, 17<<20)); !errors.Is(err, storage.ErrTooLarge) {
		t.Errorf("find: %v", err)
	}
}

func TestAnswerThatIsTooLargeIsABrokenContract(t *testing.T) {
	store := dialPlugin(t, &fakePlugin{append: func(context.Context, *pb.AppendRequest) (*pb.AppendResponse, error) {
		resp := &pb.AppendResponse{}
		for range 1 << 16 {
			resp.Outcomes = append(resp.Outcomes, &pb.Outcome{})
		}
		return resp, nil
	}}).Storage()
	var broken *ContractError
	if _, err := store.Append(t.Context(), make([]storage.Record, 1)); !errors.As(err, &broken) {
		t.Errorf("got %v", err)
	}
}

func TestMissingServiceIsABrokenContract(t *testing.T) {
	var broken *ContractError
	if _, err := dialPlugin(t, &fakePlugin{}).Storage().Info(t.Context()); !errors.As(err, &broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzDescribeResponse(f *testing.F) {
	schema := &pb.Schema{
		Attributes: []*pb.Attribute{{Name: "a", Type: pb.Attribute_TYPE_BYTES, Default: "1MiB", Min: new(int64(1))}},
		Blocks:     []*pb.Block{{Name: "b", Repeated: true, Schema: &pb.Schema{Attributes: []*pb.Attribute{{Name: "l", Type: pb.Attribute_TYPE_STRING_LIST, OneOf: []string{"q"}}}}}},
	}
	for _, seed := range []*pb.DescribeResponse{
		{Kind: "storage", Name: "x", Version: "1", Doc: "d", Schema: schema, Capabilities: []pb.Capability{1, 2, 1, 99, -1}, Protocols: []uint32{1, 2}},
		{Kind: "stats", Name: "x", Version: "1", Network: "To be scraped.", Protocols: []uint32{0}},
		{Kind: "peersync", Name: "x", Version: "1", Capabilities: []pb.Capability{1}},
	} {
		data, _ := proto.Marshal(seed)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var resp pb.DescribeResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		d, err := decodeDescription(&resp)
		if err != nil {
			var broken *ContractError
			if !errors.As(err, &broken) {
				t.Errorf("got %v", err)
			}
			return
		}
		if len(d.Capabilities) > len(plugin.Capabilities()) || len(d.Protocols) > maxProtocols {
			t.Errorf("%d capabilities, %d protocols", len(d.Capabilities), len(d.Protocols))
		}
		// What the relay accepts it can also work with.
		v, err := d.Schema.Value(nil)
		if err != nil {
			t.Fatal(err)
		}
		if done, diags := d.Schema.Complete(v); len(diags) == 0 {
			data, err := d.Schema.Encode(done)
			if err == nil {
				_, err = d.Schema.Decode(data)
			}
			if err != nil {
				t.Errorf("a complete configuration: %v", err)
			}
		}
		if _, err := json.Marshal(d); err != nil {
			t.Error(err)
		}
	})
}

func FuzzConfigureResponse(f *testing.F) {
	for _, seed := range []*pb.ConfigureResponse{
		{Diagnostics: []*pb.Diagnostic{{Summary: "s", Detail: "d\u009b", Path: []string{"a", "b"}}}},
		{Capabilities: []pb.Capability{2, 1, 0, -1, 1 << 30}},
	} {
		data, _ := proto.Marshal(seed)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var resp pb.ConfigureResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		err := decodeDiagnostics(resp.GetDiagnostics())
		if (err == nil) != (len(resp.GetDiagnostics()) == 0) || err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
			t.Errorf("got %q", err)
		}
		if got := decodeCapabilities(resp.GetCapabilities()); len(got) > len(plugin.Capabilities()) {
			t.Errorf("capabilities %v", got)
		}
	})
}

func FuzzHealthResponse(f *testing.F) {
	data, _ := proto.Marshal(&pb.HealthResponse{Status: pb.HealthResponse_STATUS_DEGRADED, Reason: "disk\nfull"})
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var resp pb.HealthResponse
		if proto.Unmarshal(data, &resp) != nil {
			return
		}
		h, err := decodeHealth(&resp)
		if err == nil && (h.State < Ready || h.State > Failed || len(h.Reason) > maxReason || strings.ContainsFunc(h.Reason, unicode.IsControl)) {
			t.Errorf("got %+v", h)
		}
	})
}

func TestInvalidSnapshotIsNotSent(t *testing.T) {
	exporter := dialPlugin(t, &fakePlugin{}).Stats() // which does not know the service
	if err := exporter.Export(t.Context(), stats.Snapshot{}); !errors.Is(err, stats.ErrInvalid) {
		t.Errorf("an invalid one: %v", err)
	}
	var broken *ContractError
	if err := exporter.Export(t.Context(), stats.Snapshot{Epoch: stats.NewEpoch(), Seq: 1}); !errors.As(err, &broken) {
		t.Errorf("a valid one: %v", err)
	}
	if err := exporter.ForceFlush(t.Context()); !errors.As(err, &broken) {
		t.Errorf("force flush: %v", err)
	}
}
