package pluginproc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
)

// serveFlood serves a plugin on a socket and floods a stream of go-plugin with message(i).
// It sends to ended how many messages were taken and what ended the flood.
func serveFlood(t *testing.T, method string, message func(i uint64) []byte, ended chan<- floodEnd) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	server := grpc.NewServer()
	pb.RegisterPluginServer(server, pb.UnimplementedPluginServer{})
	server.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: name, ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, s grpc.ServerStream) error {
			for i := uint64(0); ; i++ {
				m := &emptypb.Empty{}
				m.ProtoReflect().SetUnknown(message(i))
				if err := s.SendMsg(m); err != nil {
					ended <- floodEnd{i, err}
					return err
				}
			}
		},
	}}}, nil)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return socket
}

type floodEnd struct {
	taken uint64
	err   error
}

// TestAnnouncementsAreNotKept: go-plugin alone would keep every announcement to its broker until
// the plugin ends.
func TestAnnouncementsAreNotKept(t *testing.T) {
	text := strings.Repeat("x", 1<<10)
	ended := make(chan floodEnd, 1)
	socket := serveFlood(t, brokerStream, func(i uint64) (m []byte) { // plugin.ConnInfo
		m = protowire.AppendVarint(protowire.AppendTag(m, 1, protowire.VarintType), i)
		m = protowire.AppendString(protowire.AppendTag(m, 3, protowire.BytesType), text)
		knock := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
		return protowire.AppendBytes(protowire.AppendTag(m, 4, protowire.BytesType), knock)
	}, ended)
	a, err := Attach(t.Context(), AttachConfig{Socket: socket, PID: 1, Protocol: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Kill()
	select {
	case f := <-ended: // with all that fits into the windows of the connection
		if limit := uint64(32 << 10); f.taken > limit {
			t.Errorf("%d announcements were taken, limit %d", f.taken, limit)
		}
	case <-time.After(10 * time.Second):
		t.Error("announcements are taken without end")
	}
}

// TestPrintsAreReadSlowly: printed text is read no faster than the log, even empty texts of an
// unknown channel.
func TestPrintsAreReadSlowly(t *testing.T) {
	s := pacedStream{endlessStream{ctx: t.Context()}, rate.NewLimiter(logRate, logBurst)}
	begin := time.Now()
	for range logBurst + logRate/4 {
		if err := s.RecvMsg(nil); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("read within %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s = pacedStream{endlessStream{ctx: ctx}, rate.NewLimiter(logRate, logBurst)}
	if err := s.RecvMsg(nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

// endlessStream always has another message.
type endlessStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (e endlessStream) Context() context.Context { return e.ctx }
func (endlessStream) RecvMsg(any) error          { return nil }

// TestOutputInPlaceOfHandshakeIsShown: it tells an operator what kind of program this is.
func TestOutputInPlaceOfHandshakeIsShown(t *testing.T) {
	_, err := Start(t.Context(), StartConfig{
		Command: Command{Path: "/bin/sh", Args: []string{"-c", `printf '\033[2J\033]0;all is well\007 hello\n'; exec sleep 60`}},
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err == nil || !strings.Contains(err.Error(), "hello") || strings.ContainsFunc(err.Error(), unicode.IsControl) {
		t.Errorf("got %q", err)
	}
}

// TestStandardOutputIsReadSlowly: go-plugin reads and discards it until the process ends.
func TestStandardOutputIsReadSlowly(t *testing.T) {
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	paced := 0
	out := &stdout{pipe: from, slowDown: func(n int) { paced += n }, parsed: &Handshake{}}
	io.WriteString(to, "hello")
	to.Close()
	defer out.Close()
	if text, err := io.ReadAll(out); err != nil || string(text) != "" || out.printedBytes != 5 || paced != len("hello") {
		t.Errorf("read %q, %v; printed %d, paced %d bytes", text, err, out.printedBytes, paced)
	}
}
