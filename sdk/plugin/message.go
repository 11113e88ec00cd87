package plugin

import (
	"errors"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
)

func encodeDescription(d Description) *pb.DescribeResponse {
	out := &pb.DescribeResponse{
		Kind: string(d.Kind), Name: d.Name, Version: d.Version, Doc: d.Doc, Network: d.Network, Contract: uint32(d.Contract),
		Capabilities: encodeCapabilities(d.Capabilities), Schema: encodeSchema(d.Schema),
	}
	for _, v := range d.Protocols {
		out.Protocols = append(out.Protocols, uint32(v))
	}
	return out
}

func encodeCapabilities(capabilities []Capability) (out []pb.Capability) {
	for _, c := range capabilities {
		out = append(out, rpc.Capability(string(c)))
	}
	return out
}

func encodeSchema(s Schema) *pb.Schema {
	out := &pb.Schema{}
	for _, a := range s.Attributes {
		out.Attributes = append(out.Attributes, &pb.Attribute{
			Name: a.Name, Doc: a.Doc, Type: pb.Attribute_Type(a.Type), Required: a.Required,
			Default: a.Default, Min: a.Min, Max: a.Max, OneOf: a.OneOf, Listener: a.Listener,
		})
	}
	for _, b := range s.Blocks {
		out.Blocks = append(out.Blocks, &pb.Block{
			Name: b.Name, Doc: b.Doc, Schema: encodeSchema(b.Schema), Repeated: b.Repeated, Labelled: b.Labelled,
		})
	}
	return out
}

// encodeDiagnostics encodes the [Diagnostics] in err. Without any, the call itself has failed,
// and the error is its status.
func encodeDiagnostics(err error) ([]*pb.Diagnostic, error) {
	var diags Diagnostics
	if !errors.As(err, &diags) {
		return nil, rpc.StorageErrors.ToStatus(err)
	}
	if len(diags) == 0 { // an empty list is an error all the same
		diags = Diagnostics{{Summary: err.Error()}}
	}
	var out []*pb.Diagnostic
	for _, d := range diags {
		out = append(out, &pb.Diagnostic{Summary: d.Summary, Detail: d.Detail, Path: d.Path})
	}
	return out, nil
}
