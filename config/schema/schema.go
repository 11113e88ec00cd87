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
	"errors"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hcldec"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
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
// wire value of it. Types and missing attributes are left to the check:
// hcldec takes a number for a string, and null for a value that is there.
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

// refuseValue says what was expected. It does not show the value, which may come
// from a file of secrets. The range is left to hcldec.
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

// valueOf turns a written value into the one on the wire.
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
	// Text stands for numbers and truth values, so that functions can give
	// them. The other way round is a mistake, save for a size in bytes.
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
