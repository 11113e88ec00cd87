// Package schema decodes the body of a block by a [plugin.Schema]. It is for
// package config, which describes its own blocks in the same way as plugins
// describe theirs, so that there is one set of rules, one kind of error and
// one table to write the manual from.
//
// # Errors
//
// Everything that is wrong in a body is reported at once, each fault with the
// range of the text at fault and with what may stand there instead. The order
// is undefined.
//
// # Values
//
// The value of a body is of the type that [plugin.Schema.CtyType] gives, with
// defaults filled in and bounds checked; what package plugin says of a value
// on the wire holds for it.
package schema

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Decode returns the value of a body. Blocks of the types in others belong to
// somebody else: they are returned as they are, in the order of the file. The
// value is meaningless if there are diagnostics; the blocks are not.
//
// The schema must be valid (see [plugin.Schema.Validate]).
func Decode(body hcl.Body, s plugin.Schema, ctx *hcl.EvalContext, others ...hcl.BlockHeaderSchema) (cty.Value, hcl.Blocks, hcl.Diagnostics) {
	reader := body
	if native, ok := body.(*hclsyntax.Body); ok {
		reader = strict{native, others}
	}
	value, diags := hcldec.Decode(reader, specOf(s), ctx)
	content, _, more := body.PartialContent(&hcl.BodySchema{Blocks: others})
	return value, content.Blocks, append(diags, more...)
}

// specOf is the decoder specification of a schema.
func specOf(s plugin.Schema) hcldec.ObjectSpec {
	spec := make(hcldec.ObjectSpec, len(s.Attributes)+len(s.Blocks))
	for _, a := range s.Attributes {
		spec[a.Name] = attrSpec(a)
	}
	for _, b := range s.Blocks {
		switch nested := specOf(b.Schema); {
		case b.Repeated:
			spec[b.Name] = &hcldec.BlockListSpec{TypeName: b.Name, Nested: nested}
		case b.Labelled:
			spec[b.Name] = &hcldec.BlockMapSpec{TypeName: b.Name, LabelNames: []string{"name"}, Nested: nested}
		default:
			spec[b.Name] = &hcldec.BlockSpec{TypeName: b.Name, Nested: nested}
		}
	}
	return spec
}

// attrSpec reads an attribute as it is written, checks it and then makes the
// wire value of it. A missing attribute is left to the check as well, since
// hcldec takes `name = null` for one that is there.
func attrSpec(a plugin.Attribute) hcldec.Spec {
	return &hcldec.TransformFuncSpec{
		Wrapped: &hcldec.ValidateSpec{
			Wrapped: &hcldec.AttrSpec{Name: a.Name, Type: writtenType(a.Type)},
			Func: func(written cty.Value) hcl.Diagnostics {
				if _, err := valueOf(a, written); err != nil {
					return hcl.Diagnostics{{
						Severity: hcl.DiagError,
						Summary:  about(a.Name, err),
						Detail:   "Expected " + Accepts(a) + ".",
					}}
				}
				return nil
			},
		},
		Func: function.New(&function.Spec{
			Params: []function.Parameter{{Name: "written", Type: writtenType(a.Type), AllowNull: true}},
			Type:   function.StaticReturnType(a.Type.CtyType()),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				return valueOf(a, args[0])
			},
		}),
	}
}

// about puts a name before an error of package plugin: one that speaks of the
// value starts with a quote, all others go on from the name.
func about(name string, err error) string {
	if text := err.Error(); strings.HasPrefix(text, `"`) {
		return name + ": " + text
	}
	return name + " " + err.Error()
}

// writtenType is the type of an attribute as operators write it: durations and
// sizes are text.
func writtenType(t plugin.Type) cty.Type {
	switch t {
	case plugin.Duration, plugin.Bytes:
		return cty.String
	}
	return t.CtyType()
}

// valueOf turns a written value into the one on the wire.
func valueOf(a plugin.Attribute, written cty.Value) (cty.Value, error) {
	switch {
	case written.IsNull() && a.Default != "":
		return a.Parse(a.Default)
	case written.IsNull():
		value := cty.NullVal(a.Type.CtyType())
		return value, a.Check(value)
	case a.Type == plugin.Duration || a.Type == plugin.Bytes:
		return a.Parse(written.AsString())
	}
	return written, a.Check(written)
}
