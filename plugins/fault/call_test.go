package fault_test

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// silentPlugin is a plugin with empty answers.
type silentPlugin struct{}

func (silentPlugin) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

func (silentPlugin) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, io.EOF
}

// callStream is the stream of one call, without a connection.
type callStream struct {
	ctx  context.Context
	read bool
}

func (c *callStream) RecvMsg(any) error {
	if c.read {
		return io.EOF
	}
	c.read = true
	return nil
}

func (c *callStream) SendMsg(any) error            { return nil }
func (c *callStream) SetHeader(metadata.MD) error  { return nil }
func (c *callStream) SendHeader(metadata.MD) error { return nil }
func (c *callStream) SetTrailer(metadata.MD)       {}
func (c *callStream) Context() context.Context {
	return grpc.NewContextWithServerTransportStream(c.ctx, methodName{})
}

type methodName struct{ grpc.ServerTransportStream }

func (methodName) Method() string { return "/cwtch.relay.plugin.v1.Storage/Append" }
