package pluginproc

import (
	"context"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

// Streams that go-plugin opens to every plugin, whatever its kind, and reads on
// its own. It bounds neither what comes by them nor what it keeps of that.
const (
	brokerStream = "/plugin.GRPCBroker/StartStream"
	stdioStream  = "/plugin.GRPCStdio/StreamStdio"
)

// boundStreams is a [grpc.StreamClientInterceptor] that bounds those streams. By
// that of the broker a plugin would announce sockets to be dialled. This host
// dials none, and go-plugin would keep each announcement, some of them for ever:
// the first one ends the stream. What a plugin prints comes no faster than what
// it logs.
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
		return silentStream{stream}, nil
	case stdioStream:
		return pacedStream{stream, rate.NewLimiter(logRate, logBurst)}, nil
	}
	return stream, nil
}

// maxStreamed bounds one message of such a stream, in bytes. What go-plugin sends has
// one KiB.
const maxStreamed = 64 << 10

// silentStream takes no message.
type silentStream struct{ grpc.ClientStream }

func (s silentStream) RecvMsg(m any) error {
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return &host.ContractError{What: "announces a socket to the broker, which this relay dials none of"}
}

// pacedStream takes messages slowly.
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
