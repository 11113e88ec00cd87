package rpc

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
)

// TestCodecRoundTrip encodes and decodes messages of all sizes, in one buffer or in several. Decoded
// messages keep no buffers, which are used again.
func TestCodecRoundTrip(t *testing.T) {
	var kept []*pb.FindRequest
	sizes := []int{0, 1, 100, 1 << 10, 40 << 10, 200 << 10, 1 << 20, 3 << 20}
	for i, n := range sizes {
		in := &pb.FindRequest{Signature: bytes.Repeat([]byte{byte(i + 1)}, n)}
		wire, err := Codec.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := proto.Marshal(in); err != nil || !bytes.Equal(wire.Materialize(), want) {
			t.Errorf("%d bytes: the encoding differs from protobuf's own", n)
		}
		whole := wire.Materialize()
		wire.Free()
		parts := mem.BufferSlice{mem.SliceBuffer(whole[:len(whole)/2]), mem.SliceBuffer(whole[len(whole)/2:])}
		out := &pb.FindRequest{}
		if err := Codec.Unmarshal(parts, out); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, out)
	}
	for i, n := range sizes {
		if !bytes.Equal(kept[i].GetSignature(), bytes.Repeat([]byte{byte(i + 1)}, n)) {
			t.Errorf("%d bytes changed after they were decoded", n)
		}
	}
}

func TestCodecRefusesOtherTypes(t *testing.T) {
	if _, err := Codec.Marshal("text"); err == nil {
		t.Error("a string was encoded as a message")
	}
	if err := Codec.Unmarshal(nil, new(string)); err == nil {
		t.Error("a message was decoded into a string")
	}
	broken := mem.BufferSlice{mem.SliceBuffer([]byte{0x0a, 0x05, 1})}
	if err := Codec.Unmarshal(broken, &pb.FindRequest{}); err == nil {
		t.Error("a broken message was decoded")
	}
}
