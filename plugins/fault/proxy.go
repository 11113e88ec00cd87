package fault

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/cwtch-relay/cwtch-relay/sdk/host"
)

const maxDelay = 2 * time.Second

// Proxy stands between a relay and a plugin.
type Proxy struct {
	// Plugin is the connection to the plugin.
	Plugin grpc.ClientConnInterface
	Mix    Mix
	Seed   uint64
	// After is the number of calls at the beginning that do not go wrong, so that a relay
	// can start.
	After  int
	Logger *slog.Logger // logs every fault
	// Exit ends the process, for [Crash].
	Exit func()

	dice *dice
}

// Service returns the handler of all calls, for grpc.UnknownServiceHandler. Call it once,
// before the first call.
func (p *Proxy) Service() grpc.StreamHandler {
	p.dice = newDice(p.Seed, p.Mix, p.After)
	return p.handleStream
}

// handleStream passes one call on.
func (p *Proxy) handleStream(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	var request frame
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	if err := stream.RecvMsg(new(frame)); !errors.Is(err, io.EOF) {
		return status.Error(codes.Unimplemented, "cwtch-fault passes on calls with one request only")
	}
	answer, err := p.passCall(stream.Context(), method, request)
	if err != nil {
		return err
	}
	return stream.SendMsg(&answer)
}

func (p *Proxy) passCall(ctx context.Context, method string, request frame) (frame, error) {
	if strings.HasSuffix(method, ".Plugin/Describe") {
		answer, err := p.askPlugin(ctx, method, request)
		if err != nil {
			return nil, err
		}
		return prefixName(answer)
	}
	if strings.Contains(method, ".Plugin/") {
		return p.askPlugin(ctx, method, request)
	}
	f, rng := p.dice.throwFault()
	if f != "" {
		p.Logger.Info("fault", "kind", string(f), "call", method[strings.LastIndex(method, "/")+1:])
	}
	return p.applyFault(ctx, f, rng, func() (frame, error) { return p.askPlugin(ctx, method, request) })
}

// applyFault makes a call with a fault.
func (p *Proxy) applyFault(ctx context.Context, f Fault, rng *rand.Rand, ask func() (frame, error)) (frame, error) {
	late := rng.IntN(2) == 0
	switch f {
	case Delay:
		sleepContext(ctx, time.Duration(rng.Int64N(int64(maxDelay))))
	case Fail:
		reasons := []codes.Code{codes.Unavailable, codes.Internal, codes.Unknown}
		return nil, status.Error(reasons[rng.IntN(len(reasons))], "made up by cwtch-fault")
	case Duplicate:
		ask() //nolint:errcheck // the second answer counts
	case Hang:
		if late {
			ask() //nolint:errcheck // nobody hears of it
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case Crash:
		if late {
			ask() //nolint:errcheck // nobody hears of it
		}
		p.Exit()
	}
	answer, err := ask()
	switch {
	case f == Cut:
		return nil, status.Error(codes.Unavailable, "answer cut off by cwtch-fault")
	case err == nil && (f == Corrupt || f == Truncate || f == Huge):
		return damageAnswer(answer, f, rng), nil
	}
	return answer, err
}

func sleepContext(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// askPlugin makes a call to the plugin.
func (p *Proxy) askPlugin(ctx context.Context, method string, request frame) (frame, error) {
	var answer frame
	err := p.Plugin.Invoke(ctx, method, &request, &answer,
		grpc.ForceCodecV2(Codec), grpc.MaxCallRecvMsgSize(host.MaxMessage), grpc.MaxCallSendMsgSize(host.MaxMessage))
	return answer, err
}

// frame is an encoded message.
type frame []byte

// Codec passes frames as they are. It encodes protobuf messages as gRPC does, for the
// services of go-plugin on the same connection.
var Codec encoding.CodecV2 = codec{encoding.GetCodecV2(proto.Name)}

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{mem.SliceBuffer(*f)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		*f = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}
