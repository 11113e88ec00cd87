package pluginproc

import (
	"context"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// Streams that go-plugin opens to every plugin and reads by itself. It bounds neither what
// it reads nor what it keeps.
const (
	brokerStream = "/plugin.GRPCBroker/StartStream"
	stdioStream  = "/plugin.GRPCStdio/StreamStdio"
)

// boundStreams is a [grpc.StreamClientInterceptor] that bounds those streams. On the
// broker's stream a plugin announces sockets to connect to. A relay connects to none, but
// go-plugin would keep every announcement: the first one ends the stream. What a plugin
// prints is read as slowly as what it logs.
func boundStreams(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if method == brokerStream || method == stdioStream {
		opts = append(opts, grpc.MaxCallRecvMsgSize(maxStreamed))
	}
	stream, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	switch method {
	case brokerStream:
		return noMessageStream{stream}, nil
	case stdioStream:
		return pacedStream{stream, rate.NewLimiter(logRate, logBurst)}, nil
	}
	return stream, nil
}

// maxStreamed bounds a message of such a stream, in bytes. go-plugin sends 1 KiB at most.
const maxStreamed = 64 << 10

// noMessageStream fails at the first message.
type noMessageStream struct{ grpc.ClientStream }

func (s noMessageStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return &host.ContractError{What: "announces a socket to go-plugin's broker, but a relay connects to none"}
}

// pacedStream limits the rate of messages.
type pacedStream struct {
	grpc.ClientStream
	messages *rate.Limiter
}

func (s pacedStream) RecvMsg(m any) error {
	if err := s.messages.Wait(s.Context()); err != nil {
		return err
	}
	return s.ClientStream.RecvMsg(m)
}
