package fault_test

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// silent is a plugin that answers every call with nothing.
type silent struct{}

func (silent) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

func (silent) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, io.EOF
}

// call is one call without a connection.
type call struct {
	ctx  context.Context
	read bool
}

func (c *call) RecvMsg(any) error {
	if c.read {
		return io.EOF
	}
	c.read = true
	return nil
}

func (c *call) SendMsg(any) error            { return nil }
func (c *call) SetHeader(metadata.MD) error  { return nil }
func (c *call) SendHeader(metadata.MD) error { return nil }
func (c *call) SetTrailer(metadata.MD)       {}
func (c *call) Context() context.Context {
	return grpc.NewContextWithServerTransportStream(c.ctx, method{})
}

type method struct{ grpc.ServerTransportStream }

func (method) Method() string { return "/cwtch.relay.plugin.v1.Storage/Append" }
