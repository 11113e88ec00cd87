package rpc

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Codec is the protobuf codec of gRPC with buffers that fit our messages. The library's
// own takes and clears 1 MiB for every message above 32 KiB
// (defaultBufferPoolSizeExponents in google.golang.org/grpc/mem), five times what a page of
// a log or a batch of posts needs.
var Codec encoding.CodecV2 = codec{newBuffers()}

type codec struct{ buffers mem.BufferPool }

// newBuffers returns a pool with sizes from 1 KiB to 1 MiB, and one for larger messages.
func newBuffers() mem.BufferPool {
	p, err := mem.NewBinaryTieredBufferPool(10, 12, 14, 15, 16, 17, 18, 19, 20)
	if err != nil {
		panic("rpc: " + err.Error()) // only for exponents out of range
	}
	return p
}

// Name replaces gRPC's own codec of this name.
func (codec) Name() string { return "proto" }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("marshal %T: it is no protobuf message", v)
	}
	buf := c.buffers.Get(proto.Size(m))
	out, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buf)[:0], m)
	if err != nil {
		c.buffers.Put(buf)
		return nil, err
	}
	*buf = out
	return mem.BufferSlice{mem.NewBuffer(buf, c.buffers)}, nil
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("unmarshal %T: it is no protobuf message", v)
	}
	buf := data.MaterializeToBuffer(c.buffers)
	defer buf.Free()
	return proto.Unmarshal(buf.ReadOnlyData(), m)
}
