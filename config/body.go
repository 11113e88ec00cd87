package config

import (
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// LoadBody reads a file with the body of one plugin block, without its braces. It returns
// the body in the form that [plugin.Schema.Value] takes, with defaults filled in. Errors are
// those of [Load]. So are the faults that check finds in values that keep to the schema.
func LoadBody(path string, s plugin.Schema, check ...func(map[string]any) plugin.Diagnostics) (map[string]any, error) {
	dir, src, err := readFile(path)
	if err != nil {
		return nil, err
	}
	doc, body, err := parseFile(path, src)
	if err != nil {
		return nil, err
	}
	value, _, diags := schema.Decode(body, s, evalContext(dir, maxSecrets))
	if err := doc.failureOf(diags); err != nil {
		return nil, err
	}
	values := plainMap(value)
	for _, find := range check {
		for _, f := range find(values) {
			at := schema.Locate(body, s, body.MissingItemRange(), f.Path)
			diags = append(diags, faultAt(at, f.Summary, f.Detail)...)
		}
	}
	if err := doc.failureOf(diags); err != nil {
		return nil, err
	}
	return values, nil
}

// plainMap turns an object into a map, without null values.
func plainMap(object cty.Value) map[string]any {
	out := make(map[string]any)
	for name, v := range object.AsValueMap() {
		if !v.IsNull() {
			out[name] = plainValue(v)
		}
	}
	return out
}

func plainValue(v cty.Value) any {
	t := v.Type()
	switch {
	case t == cty.String:
		return v.AsString()
	case t == cty.Bool:
		return v.True()
	case t == cty.Number:
		n, _ := v.AsBigFloat().Int64() // exact: the schema was checked
		return n
	case t.IsObjectType():
		return plainMap(v)
	case t.IsMapType():
		blocks := make(map[string]map[string]any)
		for label, body := range v.AsValueMap() {
			blocks[label] = plainMap(body)
		}
		return blocks
	case t.ElementType().IsObjectType():
		blocks := []map[string]any{}
		for _, body := range v.AsValueSlice() {
			blocks = append(blocks, plainMap(body))
		}
		return blocks
	}
	texts := []string{}
	for _, e := range v.AsValueSlice() {
		texts = append(texts, e.AsString())
	}
	return texts
}
