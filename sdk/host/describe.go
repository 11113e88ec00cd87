package host

import (
	"fmt"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc"
	pb "github.com/cwtch-relay/cwtch-relay/sdk/internal/rpc/pluginv1"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Bounds on what a plugin says about a configuration or itself.
const (
	maxReason      = 1 << 10 // bytes
	maxDiagnostics = 100
	maxStep        = 256 // bytes
	maxPath        = 2 * (plugin.MaxSchemaDepth + 1)
	maxProtocols   = 256 // read; a valid description has fewer
)

// decodeDescription returns a valid description or a [ContractError].
func decodeDescription(resp *pb.DescribeResponse) (plugin.Description, error) {
	items := 0
	schema, err := decodeSchema(resp.GetSchema(), plugin.MaxSchemaDepth, &items)
	if err != nil {
		return plugin.Description{}, err
	}
	d := plugin.Description{
		Kind: plugin.Kind(resp.GetKind()), Name: resp.GetName(), Version: resp.GetVersion(), Doc: resp.GetDoc(),
		Contract:  decodeContract(plugin.Kind(resp.GetKind()), resp.GetContract()),
		Protocols: decodeProtocols(resp.GetProtocols()), Network: resp.GetNetwork(),
		Capabilities: decodeCapabilities(resp.GetCapabilities()), Schema: schema,
	}
	if err := d.Validate(); err != nil {
		return plugin.Description{}, &ContractError{What: err.Error()}
	}
	return d, nil
}

// decodeContract reads the version of the contract. Plugins of storage and stats did not say it
// at first.
func decodeContract(kind plugin.Kind, n uint32) int {
	if n == 0 && kind != plugin.KindPeerSync {
		return 1
	}
	return int(n)
}

// decodeProtocols reads the versions of the framing. An empty list stands for version 1. A
// longer list than maxProtocols is cut, and still refused for its length.
func decodeProtocols(in []uint32) []int {
	if len(in) == 0 {
		return []int{1}
	}
	var out []int
	for _, v := range in[:min(len(in), maxProtocols)] {
		out = append(out, int(v))
	}
	return out
}

// decodeCapabilities reads the capabilities that this version knows, each once and in ascending
// order. Newer plugins may have others.
func decodeCapabilities(in []pb.Capability) []plugin.Capability {
	var out []plugin.Capability
	for number, name := range rpc.Capabilities {
		if slices.Contains(in, number) {
			out = append(out, plugin.Capability(name))
		}
	}
	slices.Sort(out)
	return out
}

// decodeSchema copies a schema and counts items first: a message can hold millions of empty
// attributes.
func decodeSchema(in *pb.Schema, depth int, items *int) (plugin.Schema, error) {
	if *items += len(in.GetAttributes()) + len(in.GetBlocks()); *items > plugin.MaxSchemaItems || depth < 0 {
		return plugin.Schema{}, &ContractError{What: fmt.Sprintf("a schema of more than %d items or %d levels", plugin.MaxSchemaItems, plugin.MaxSchemaDepth)}
	}
	var out plugin.Schema
	for _, a := range in.GetAttributes() {
		if t := a.GetType(); t < 0 || t > 255 {
			return plugin.Schema{}, &ContractError{What: fmt.Sprintf("the unknown attribute type %d", t)}
		}
		out.Attributes = append(out.Attributes, plugin.Attribute{
			Name: a.GetName(), Doc: a.GetDoc(), Type: plugin.Type(a.GetType()), Required: a.GetRequired(),
			Default: a.GetDefault(), Min: a.Min, Max: a.Max, OneOf: a.GetOneOf(), Listener: a.GetListener(),
		})
	}
	for _, b := range in.GetBlocks() {
		body, err := decodeSchema(b.GetSchema(), depth-1, items)
		if err != nil {
			return plugin.Schema{}, err
		}
		out.Blocks = append(out.Blocks, plugin.Block{
			Name: b.GetName(), Doc: b.GetDoc(), Schema: body, Repeated: b.GetRepeated(), Labelled: b.GetLabelled(),
		})
	}
	return out, nil
}

// decodeDiagnostics returns the faults that a plugin found as [plugin.Diagnostics], or nil.
func decodeDiagnostics(in []*pb.Diagnostic) error {
	var out plugin.Diagnostics
	for _, d := range in[:min(len(in), maxDiagnostics)] {
		diag := plugin.Diagnostic{Summary: rpc.Clean(d.GetSummary(), maxReason), Detail: rpc.Clean(d.GetDetail(), maxReason)}
		for _, step := range d.GetPath()[:min(len(d.GetPath()), maxPath)] {
			diag.Path = append(diag.Path, rpc.Clean(step, maxStep))
		}
		out = append(out, diag)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
