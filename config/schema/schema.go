// Package schema decodes the body of a block by a [plugin.Schema]. Package config describes
// its own blocks in the same way as plugins describe theirs. So there is one set of rules, one
// kind of error, and one table from which the manual is written.
//
// # Errors
//
// Everything that is wrong in a body is reported at once. Each fault has the range of the
// text at fault and says what may stand there instead. The order is undefined.
//
// # Values
//
// The value of a body has the type of [plugin.Schema.CtyType]. Defaults are filled in and
// bounds are checked, as package plugin promises for values on the wire.
package schema

import (
	"errors"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Decode returns the value of a body. Blocks of the types in others are returned undecoded,
// in the order of the file. If there are diagnostics the value is meaningless; the blocks are
// not.
//
// The schema must be valid (see [plugin.Schema.Validate]).
func Decode(body hcl.Body, s plugin.Schema, ctx *hcl.EvalContext, others ...hcl.BlockHeaderSchema) (cty.Value, hcl.Blocks, hcl.Diagnostics) {
	reader := body
	if native, ok := body.(*hclsyntax.Body); ok {
		reader = strict{native, others}
	}
	value, diags := hcldec.Decode(reader, specOf(s), ctx)
	known := &hcl.BodySchema{Blocks: others}
	content, _, more := body.PartialContent(known)
	explainLabels(more, known)
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

// attrSpec reads an attribute as it is written, checks it and converts it. It does not let
// hcldec check types and missing attributes, because hcldec accepts a number for a string, and
// null for a value that is there.
func attrSpec(a plugin.Attribute) hcldec.Spec {
	return &hcldec.TransformFuncSpec{
		Wrapped: &hcldec.ValidateSpec{
			Wrapped: &hcldec.AttrSpec{Name: a.Name, Type: cty.DynamicPseudoType},
			Func: func(written cty.Value) hcl.Diagnostics {
				if _, err := valueOf(a, written); err != nil {
					return hcl.Diagnostics{refuseValue(a, written)}
				}
				return nil
			},
		},
		Func: function.New(&function.Spec{
			Params: []function.Parameter{{
				Name: "written", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true,
			}},
			Type: function.StaticReturnType(a.Type.CtyType()),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				return valueOf(a, args[0])
			},
		}),
	}
}

// refuseValue says what was expected. It does not show the value, which may be a secret.
// hcldec adds the range.
func refuseValue(a plugin.Attribute, written cty.Value) *hcl.Diagnostic {
	summary := a.Name + " must be " + Accepts(a)
	if written.IsNull() {
		summary = a.Name + " is missing"
	}
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  summary,
		Detail:   "For example: " + a.Name + " = " + Example(a),
	}
}

// valueOf converts a written value into the one on the wire.
func valueOf(a plugin.Attribute, written cty.Value) (cty.Value, error) {
	if written.IsNull() {
		if a.Default != "" {
			return a.Parse(a.Default)
		}
		value := cty.NullVal(a.Type.CtyType())
		return value, a.Check(value)
	}
	text := a.Type == plugin.Duration || a.Type == plugin.Bytes
	want := a.Type.CtyType()
	if text {
		want = cty.String
	}
	// A text may stand for a number or a truth value, because functions return texts.
	// A number for a text is a mistake, except for a size in bytes.
	given := written.Type()
	if want == cty.String && given != cty.String && !(a.Type == plugin.Bytes && given == cty.Number) {
		return cty.NilVal, errors.New("not a string")
	}
	value, err := convert.Convert(written, want)
	switch {
	case err != nil:
		return cty.NilVal, err
	case text:
		return a.Parse(value.AsString())
	}
	return value, a.Check(value)
}
