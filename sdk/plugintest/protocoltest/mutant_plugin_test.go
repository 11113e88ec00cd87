package protocoltest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	protobuf "google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/peersync"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// mutantPlugin is a plugin that is written without package plugin, as in another language, and
// has a fault. It forwards calls unchanged to a correct plugin.
type mutantPlugin struct {
	fault string
	inner *grpc.ClientConn

	mu         sync.Mutex
	last       *pb.ConfigureRequest
	underWay   sync.WaitGroup // calls of the kind
	closed     bool           // refuses calls of the kind
	describes  int            // for a description
	isShutDown bool

	writing atomic.Int64 // calls under way that write

	busy  sync.Mutex    // held by one call at a time of a "busy" plugin
	slots chan struct{} // bounds calls at the same time
}

// hasFault reports whether one is in a list of faults, separated by "+".
func hasFault(faults, one string) bool { return slices.Contains(strings.Split(faults, "+"), one) }

func (m *mutantPlugin) hasFault(one string) bool { return hasFault(m.fault, one) }

func serveMutant(kind, fault string) error {
	if hasFault(fault, "versions") && os.Getenv("PLUGIN_PROTOCOL_VERSIONS") != "1" {
		return errors.New("the relay speaks something else")
	}
	syscall.Umask(0o077)
	if hasFault(fault, "umask") {
		syscall.Umask(0)
	}
	if !hasFault(fault, "signals") {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	}
	m := &mutantPlugin{fault: fault, slots: make(chan struct{}, 64)}
	if hasFault(fault, "eight") {
		m.slots = make(chan struct{}, 4)
	}
	if err := m.connectInner(plugin.NewServer(innerPlugin(kind, fault), slog.New(slog.DiscardHandler))); err != nil {
		return err
	}
	config, der, err := m.makeTLSConfig()
	if err != nil {
		return err
	}
	limit := 16 << 20
	if hasFault(fault, "requests") {
		limit = 4 << 20
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)), grpc.MaxRecvMsgSize(limit),
		grpc.ForceServerCodecV2(rawCodec), grpc.UnknownServiceHandler(m.handleCall))
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "s")
	line := fmt.Sprintf("1|1|unix|%s|grpc|%s\n", path, base64.RawStdEncoding.EncodeToString(der))
	if hasFault(fault, "socket") {
		os.Stdout.WriteString(line)
		time.Sleep(300 * time.Millisecond)
		line = ""
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	os.Stdout.WriteString(line)
	go m.watchLifeline()
	if hasFault(fault, "stdout") {
		go func() {
			for range time.Tick(50 * time.Millisecond) {
				fmt.Println("all is well")
			}
		}()
	}
	return server.Serve(l)
}

// connectInner connects to the correct plugin.
func (m *mutantPlugin) connectInner(s *grpc.Server) (err error) {
	l := bufconn.Listen(1 << 20)
	go s.Serve(l)
	m.inner, err = grpc.NewClient("passthrough:///inner", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec), grpc.MaxCallRecvMsgSize(32<<20), grpc.MaxCallSendMsgSize(32<<20)))
	return err
}

func (m *mutantPlugin) makeTLSConfig() (*tls.Config, []byte, error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM([]byte(os.Getenv("PLUGIN_CLIENT_CERT"))) {
		return nil, nil, errors.New("the relay gave no certificate")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	switch {
	case m.hasFault("certificate begins now"):
		template.NotBefore = time.Now()
	case m.hasFault("certificate ends"):
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS13,
	}
	switch {
	case m.hasFault("client without"):
		config.ClientAuth = tls.VerifyClientCertIfGiven
	case m.hasFault("client with any"):
		config.ClientAuth = tls.RequireAnyClientCert
	}
	return config, der, nil
}

func (m *mutantPlugin) watchLifeline() {
	fd, err := strconv.Atoi(os.Getenv("CWTCH_RELAY_PLUGIN_LIFELINE"))
	if err != nil {
		panic(err)
	}
	io.Copy(io.Discard, os.NewFile(uintptr(fd), "lifeline"))
	m.mu.Lock()
	isShutDown := m.isShutDown
	m.mu.Unlock()
	switch {
	case m.hasFault("lifeline") && !isShutDown, m.hasFault("stays") && isShutDown:
		select {}
	case m.hasFault("status") && isShutDown:
		os.Exit(3)
	}
	os.Exit(0)
}

func (m *mutantPlugin) handleCall(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	if strings.HasSuffix(method, "/Handle") {
		return m.countCall(func() error { return m.forwardStream(stream, method) })
	}
	var request, answer rawMessage
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	var err error
	if strings.Contains(method, ".Plugin/") {
		answer, err = m.handlePluginCall(stream.Context(), method, request)
	} else {
		err = m.countCall(func() (err error) {
			answer, err = m.handleKindCall(stream.Context(), method, request)
			return err
		})
	}
	if err != nil {
		return err
	}
	return stream.SendMsg(&answer)
}

// countCall makes a call of the kind unless the plugin drains.
func (m *mutantPlugin) countCall(call func() error) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return status.Error(codes.Unavailable, "draining")
	}
	m.underWay.Add(1)
	m.mu.Unlock()
	defer m.underWay.Done()
	m.slots <- struct{}{}
	defer func() { <-m.slots }()
	return call()
}

func (m *mutantPlugin) forward(ctx context.Context, method string, request rawMessage) (answer rawMessage, err error) {
	err = m.inner.Invoke(ctx, method, &request, &answer)
	return answer, err
}

// forwardStream forwards a bidirectional stream.
func (m *mutantPlugin) forwardStream(stream grpc.ServerStream, method string) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	inner, err := m.inner.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	go func() {
		for {
			var f rawMessage
			if err := stream.RecvMsg(&f); err != nil {
				inner.CloseSend()
				return
			}
			inner.SendMsg(&f)
		}
	}()
	for {
		var f rawMessage
		if err := inner.RecvMsg(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(&f); err != nil {
			return err
		}
	}
}

const (
	slow   = 1200 * time.Millisecond // longer than Health may take
	slower = 3 * time.Second         // longer than any check waits
)

func (m *mutantPlugin) handleKindCall(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	writes := strings.HasSuffix(method, "/Append") || strings.HasSuffix(method, "/Export")
	alone := m.writing.Add(1) == 1
	defer m.writing.Add(-1)
	if m.hasFault("busy") && writes {
		m.busy.Lock()
		defer m.busy.Unlock()
	}
	if strings.HasSuffix(method, "/Append") && (m.hasFault("takes all") || m.hasFault("logs")) {
		if answer, err, ok := m.inspectAppend(request); ok {
			return answer, err
		}
	}
	if strings.HasSuffix(method, "/Keys") && m.hasFault("takes any range") {
		return nil, nil // no keys
	}
	answer, err := m.forward(ctx, method, request)
	switch {
	case err != nil || !writes || alone:
	case m.hasFault("busy"):
		time.Sleep(slow)
	case m.hasFault("drain hasty"), m.hasFault("other hasty"):
		time.Sleep(slower)
	}
	return answer, err
}

// inspectAppend accepts a malformed Append, or logs an id.
func (m *mutantPlugin) inspectAppend(request rawMessage) (rawMessage, error, bool) {
	var req pb.AppendRequest
	if err := protobuf.Unmarshal(request, &req); err != nil {
		return nil, err, true
	}
	for _, r := range req.GetRecords() {
		if m.hasFault("logs") {
			fmt.Fprintf(os.Stderr, "{\"@level\":\"debug\",\"@message\":\"stored\",\"id\":%q}\n", base64.StdEncoding.EncodeToString(r.GetId()))
		}
		if n := len(r.GetNullifier()); m.hasFault("takes all") && n > 0 && n < 32 {
			out, err := protobuf.Marshal(&pb.AppendResponse{Outcomes: []*pb.Outcome{{Status: pb.Outcome_STATUS_STORED, Seq: 1}}})
			return out, err, true
		}
	}
	return nil, nil, false
}

func (m *mutantPlugin) handlePluginCall(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	switch method[strings.LastIndex(method, "/")+1:] {
	case "Describe":
		return m.handleDescribe(ctx, method, request)
	case "Validate":
		m.mu.Lock()
		configured := m.last != nil
		m.mu.Unlock()
		switch {
		case m.hasFault("validates all"):
			return rawMessage{}, nil
		case m.hasFault("validates late") && !configured:
			return nil, status.Error(codes.Internal, "not configured")
		}
	case "Configure":
		return m.handleConfigure(ctx, method, request)
	case "Health":
		return m.handleHealth(ctx, method, request)
	case "Drain":
		return m.handleDrain(ctx, method, request)
	case "Shutdown":
		m.mu.Lock()
		m.isShutDown = true
		m.mu.Unlock()
		if m.hasFault("shutdown") {
			return rawMessage{}, nil
		}
	}
	return m.forward(ctx, method, request)
}

func (m *mutantPlugin) handleDescribe(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	answer, err := m.forward(ctx, method, request)
	if m.fault != "describes anew" || err != nil {
		return answer, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.describes++
	var d pb.DescribeResponse
	if err := protobuf.Unmarshal(answer, &d); err != nil {
		return nil, err
	}
	d.Version = fmt.Sprint(m.describes)
	return protobuf.Marshal(&d)
}

func (m *mutantPlugin) handleConfigure(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	req := &pb.ConfigureRequest{}
	if err := protobuf.Unmarshal(request, req); err != nil {
		return nil, err
	}
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	same := last != nil && protobuf.Equal(req, last)
	elsewhere := func() rawMessage { // the correct plugin takes it for another configuration
		out, err := protobuf.Marshal(&pb.ConfigureRequest{Config: last.GetConfig(), Dir: filepath.Dir(filepath.Clean(last.GetDir()) + "/x/y")})
		if err != nil {
			panic(err)
		}
		os.MkdirAll(filepath.Join(last.GetDir(), "x"), 0o700)
		return out
	}
	another := last != nil && !same && m.isGood(ctx, req)
	switch {
	case m.hasFault("other") && another:
		return rawMessage{}, nil
	case m.hasFault("same") && same:
		return m.forward(ctx, method, elsewhere())
	case m.hasFault("other hasty") && another && len(m.slots) > 0: // else there is nothing to wait for
		go m.forward(context.WithoutCancel(ctx), method, request)
		return rawMessage{}, nil
	}
	answer, err := m.forward(ctx, method, request)
	if err == nil && m.isGood(ctx, req) {
		m.mu.Lock()
		m.last = req
		m.mu.Unlock()
	}
	if m.hasFault("refused") && last != nil && !same && !another {
		m.forward(ctx, method, elsewhere())
	}
	if another {
		m.underWay.Wait()
	}
	return answer, err
}

// isGood reports whether the correct plugin accepts a configuration and the directory exists.
func (m *mutantPlugin) isGood(ctx context.Context, req *pb.ConfigureRequest) bool {
	request, err := protobuf.Marshal(&pb.ValidateRequest{Config: req.GetConfig()})
	if err != nil {
		panic(err)
	}
	answer, err := m.forward(ctx, "/cwtch.relay.plugin.v1.Plugin/Validate", request)
	_, errDir := os.Stat(req.GetDir())
	return err == nil && len(answer) == 0 && errDir == nil
}

func (m *mutantPlugin) handleHealth(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	switch {
	case m.hasFault("health"):
		time.Sleep(slow)
	case m.hasFault("busy"):
		m.busy.Lock()
		defer m.busy.Unlock()
	case m.hasFault("failed"):
		return protobuf.Marshal(&pb.HealthResponse{Status: pb.HealthResponse_STATUS_READY})
	}
	return m.forward(ctx, method, request)
}

func (m *mutantPlugin) handleDrain(ctx context.Context, method string, request rawMessage) (rawMessage, error) {
	switch {
	case m.hasFault("drain open"):
		m.underWay.Wait()
		return rawMessage{}, nil
	case m.hasFault("drain hasty"):
		m.mu.Lock()
		m.closed = true
		m.mu.Unlock()
		go m.forward(context.WithoutCancel(ctx), method, request)
		return rawMessage{}, nil
	}
	answer, err := m.forward(ctx, method, request)
	m.underWay.Wait()
	return answer, err
}

// rawMessage is an encoded message.
type rawMessage []byte

var rawCodec encoding.CodecV2 = rawMessageCodec{encoding.GetCodecV2(proto.Name)}

type rawMessageCodec struct{ encoding.CodecV2 }

func (c rawMessageCodec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(*f)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c rawMessageCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*rawMessage); ok {
		*f = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// innerPlugin is the correct plugin, apart from a few faults.
func innerPlugin(kind, fault string) plugin.Plugin {
	p := plugin.Plugin{Name: "mutant", Version: "1", Schema: plugin.Schema{Attributes: []plugin.Attribute{
		{Name: "pages", Type: plugin.Int, Default: "4"},
	}}}
	p.Validate = func(cfg plugin.Config) error {
		pages, err := decodePages(kind, cfg)
		if err != nil {
			return err
		}
		if pages%2 != 0 {
			return plugin.Invalid("Pages come in pairs", "", map[bool]string{true: "leaves", false: "pages"}[hasFault(fault, "diagnosed elsewhere")])
		}
		return nil
	}
	mark := func(cfg plugin.Config) error {
		mode := os.FileMode(0o600)
		path := filepath.Join(cfg.Dir, "data")
		err := os.WriteFile(path, []byte(cfg.Dir), mode)
		if hasFault(fault, "file mode") {
			err = errors.Join(err, os.Chmod(path, 0o644))
		}
		return err
	}
	switch kind {
	case "storage":
		p.Storage = func(_ context.Context, cfg plugin.Config) (storage.Store, error) {
			if hasFault(fault, "drain open") {
				return struct{ storage.Store }{storagetest.NewMemory()}, mark(cfg)
			}
			return storagetest.NewMemory(), mark(cfg)
		}
		if !hasFault(fault, "drain open") {
			p.Capabilities = plugin.Capabilities()
		}
	case "stats":
		p.Schema.Attributes = append(p.Schema.Attributes, plugin.Attribute{Name: "listen", Type: plugin.String, Listener: true})
		p.Stats = func(_ context.Context, cfg plugin.Config) (stats.Exporter, error) {
			l, err := cfg.Listener("listen") // fails if it opened the address itself: the relay has it
			if err != nil {
				return nil, err
			}
			return exporter{fault: fault, listener: l}, mark(cfg)
		}
	case "peersync":
		p.PeerSync = func(_ context.Context, cfg plugin.Config, host peersync.HostServices) (peersync.Replicator, error) {
			return replicator{host}, mark(cfg)
		}
	}
	return p
}

func decodePages(kind string, cfg plugin.Config) (int, error) {
	if kind == "stats" {
		var c struct {
			Pages  int     `cty:"pages"`
			Listen *string `cty:"listen"`
		}
		err := cfg.Decode(&c)
		return c.Pages, err
	}
	var c struct {
		Pages int `cty:"pages"`
	}
	err := cfg.Decode(&c)
	return c.Pages, err
}

type exporter struct {
	fault    string
	listener net.Listener
}

func (exporter) Export(context.Context, stats.Snapshot) error { return nil }
func (exporter) ForceFlush(context.Context) error             { return nil }

func (e exporter) Close() error {
	if e.listener == nil {
		return nil
	}
	if e.fault == "listener" {
		file, err := e.listener.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		defer file.Close()
		syscall.Shutdown(int(file.Fd()), syscall.SHUT_RDWR)
	}
	return e.listener.Close()
}

// replicator calls its host in every Handle.
type replicator struct{ host peersync.HostServices }

func (r replicator) Handle(ctx context.Context, events []peersync.Event) error {
	if len(events) == 0 {
		return nil
	}
	r.host.Load(ctx, "a")
	return nil
}

func (replicator) Close() error { return nil }
