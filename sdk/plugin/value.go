package plugin

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"
	"github.com/zclconf/go-cty/cty/msgpack"
)

// MaxConfig bounds the encoded configuration of a plugin, in bytes.
const MaxConfig = 1 << 20

// CtyType is the type of an encoded configuration. Durations are numbers of nanoseconds, sizes
// numbers of bytes. A repeated block is a list of objects, a labelled one a map, any other an
// object or null. An attribute that has neither value nor default is null.
func (s Schema) CtyType() cty.Type {
	fields := make(map[string]cty.Type, len(s.Attributes)+len(s.Blocks))
	for _, a := range s.Attributes {
		fields[a.Name] = a.Type.CtyType()
	}
	for _, b := range s.Blocks {
		switch body := b.Schema.CtyType(); {
		case b.Repeated:
			fields[b.Name] = cty.List(body)
		case b.Labelled:
			fields[b.Name] = cty.Map(body)
		default:
			fields[b.Name] = body
		}
	}
	return cty.Object(fields)
}

// CtyType is the type of an attribute's encoded value.
func (t Type) CtyType() cty.Type {
	switch t {
	case String:
		return cty.String
	case Bool:
		return cty.Bool
	case StringList:
		return cty.List(cty.String)
	default:
		return cty.Number
	}
}

// Parse parses and checks the text of a value: a default, or a duration or size in quotes.
func (a Attribute) Parse(text string) (cty.Value, error) {
	v, err := a.Type.parseText(text)
	if err != nil {
		return cty.NilVal, err
	}
	return v, a.Check(v)
}

func (t Type) parseText(text string) (cty.Value, error) {
	switch t {
	case String:
		return cty.StringVal(text), nil
	case Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return cty.NilVal, fmt.Errorf("%.40q is not a whole number", text)
		}
		return cty.NumberIntVal(n), nil
	case Bool:
		switch text {
		case "true":
			return cty.True, nil
		case "false":
			return cty.False, nil
		}
		return cty.NilVal, fmt.Errorf("%.40q is neither true nor false", text)
	case Duration:
		d, err := parseDuration(text)
		if err != nil {
			return cty.NilVal, fmt.Errorf("%.40q is not a duration such as \"90s\", \"10m\", \"1h30m\" or \"90d\"", text)
		}
		return cty.NumberIntVal(int64(d)), nil
	case Bytes:
		n, err := ParseBytes(text)
		if err != nil {
			return cty.NilVal, err
		}
		return cty.NumberIntVal(n), nil
	}
	return cty.NilVal, fmt.Errorf("a %v cannot be written as text", t)
}

// parseDuration is [time.ParseDuration] with a number of whole days, of 24 hours each, that
// may stand in front.
func parseDuration(text string) (time.Duration, error) {
	front, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	const longest = uint64(math.MaxInt64 / (24 * time.Hour))
	days, err := strconv.ParseUint(front, 10, 32)
	if err != nil || days >= longest {
		return 0, fmt.Errorf("%.40q is not a number of days", front)
	}
	d := time.Duration(days) * 24 * time.Hour
	if rest == "" {
		return d, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more >= 24*time.Hour || rest[0] == '+' {
		return 0, fmt.Errorf("%.40q is not less than a day", rest)
	}
	return d + more, nil
}

// Check reports whether a value has the attribute's type and keeps Min, Max and OneOf. Null
// is a fault only if the attribute is required.
func (a Attribute) Check(v cty.Value) error {
	switch {
	case !v.Type().Equals(a.Type.CtyType()) || !v.IsWhollyKnown():
		return fmt.Errorf("must be a %v", a.Type)
	case v.IsNull() && a.Required:
		return errors.New("is missing")
	case v.IsNull():
		return nil
	}
	switch a.Type {
	case Int, Duration, Bytes:
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != big.Exact {
			return errors.New("must be a whole number of at most 63 bits")
		}
		if a.Type == Bytes && n < 0 {
			return errors.New("must not be negative")
		}
		return a.checkBounds(n)
	case String:
		if a.Listener {
			if err := checkListenAddress(v.AsString()); err != nil {
				return err
			}
		}
		return a.checkChoice(v)
	case StringList:
		for _, e := range v.AsValueSlice() {
			if e.IsNull() {
				return errors.New("must hold strings only")
			}
			if err := a.checkChoice(e); err != nil {
				return err
			}
		}
		return a.checkBounds(int64(v.LengthInt()))
	}
	return nil
}

func (a Attribute) checkBounds(n int64) error {
	switch {
	case a.Min != nil && n < *a.Min:
		return fmt.Errorf("must be at least %s", a.formatBound(*a.Min))
	case a.Max != nil && n > *a.Max:
		return fmt.Errorf("must be at most %s", a.formatBound(*a.Max))
	}
	return nil
}

func (a Attribute) checkChoice(v cty.Value) error {
	if len(a.OneOf) > 0 && !slices.Contains(a.OneOf, v.AsString()) {
		return fmt.Errorf("must be one of %q", a.OneOf)
	}
	return nil
}

// formatBound formats a bound as an operator would write it.
func (a Attribute) formatBound(n int64) string {
	switch a.Type {
	case Duration:
		return time.Duration(n).String()
	case Bytes:
		return FormatBytes(n)
	case StringList:
		return fmt.Sprintf("%d long", n)
	}
	return strconv.FormatInt(n, 10)
}

// Complete replaces nulls by defaults and checks the whole value, which must be of
// s.CtyType(). It reports all faults.
func (s Schema) Complete(v cty.Value) (cty.Value, Diagnostics) {
	if v == cty.NilVal || !v.Type().Equals(s.CtyType()) || v.IsNull() || !v.IsWhollyKnown() {
		return cty.NilVal, Diagnostics{{Summary: "The configuration is not of the type that the schema asks for"}}
	}
	return s.completeValue(v, nil)
}

func (s Schema) completeValue(v cty.Value, path []string) (cty.Value, Diagnostics) {
	var diags Diagnostics
	fields := v.AsValueMap()
	for _, a := range s.Attributes {
		if fields[a.Name].IsNull() && a.Default != "" {
			fields[a.Name], _ = a.parseDefault()
		}
		if err := a.Check(fields[a.Name]); err != nil {
			diags = append(diags, Diagnostic{
				Summary: fmt.Sprintf("%s %v", a.Name, err),
				Path:    append(slices.Clone(path), a.Name),
			})
		}
	}
	for _, b := range s.Blocks {
		var more Diagnostics
		fields[b.Name], more = b.completeValue(fields[b.Name], append(slices.Clone(path), b.Name))
		diags = append(diags, more...)
	}
	return cty.ObjectVal(fields), diags
}

func (a Attribute) parseDefault() (cty.Value, error) {
	v, err := a.Type.parseText(a.Default)
	if err != nil {
		return cty.NullVal(a.Type.CtyType()), err
	}
	return v, nil
}

func (b Block) completeValue(v cty.Value, path []string) (cty.Value, Diagnostics) {
	if v.IsNull() {
		return v, nil
	}
	if !b.Repeated && !b.Labelled {
		return b.Schema.completeValue(v, path)
	}
	var diags Diagnostics
	list, labelled := []cty.Value{}, map[string]cty.Value{}
	n := 0
	for key, body := range v.Elements() {
		label := strconv.Itoa(n)
		if b.Labelled {
			label = key.AsString()
		}
		n++
		if body.IsNull() {
			return v, Diagnostics{{Summary: b.Name + " must not be null", Path: path}}
		}
		complete, more := b.Schema.completeValue(body, append(slices.Clone(path), label))
		diags = append(diags, more...)
		list, labelled[label] = append(list, complete), complete
	}
	switch {
	case n == 0:
		return v, nil
	case b.Labelled:
		return cty.MapVal(labelled), diags
	default:
		return cty.ListVal(list), diags
	}
}

// Encode encodes a configuration in msgpack, as go-cty does for a value of s.CtyType().
func (s Schema) Encode(v cty.Value) ([]byte, error) {
	data, err := msgpack.Marshal(v, s.CtyType())
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	if len(data) > MaxConfig {
		return nil, fmt.Errorf("encode configuration: %d bytes are more than %d", len(data), MaxConfig)
	}
	return data, nil
}

// Decode decodes what Encode returned. No bytes stand for an empty configuration.
func (s Schema) Decode(data []byte) (cty.Value, error) {
	if len(data) > MaxConfig {
		return cty.NilVal, fmt.Errorf("decode configuration: %d bytes are more than %d", len(data), MaxConfig)
	}
	if len(data) == 0 {
		return s.emptyValue(), nil
	}
	v, err := msgpack.Unmarshal(data, s.CtyType())
	if err != nil {
		return cty.NilVal, fmt.Errorf("decode configuration: %w", err)
	}
	return v, nil
}

func (s Schema) emptyValue() cty.Value {
	fields := make(map[string]cty.Value)
	for name, t := range s.CtyType().AttributeTypes() {
		fields[name] = cty.NullVal(t)
	}
	return cty.ObjectVal(fields)
}

// Value makes a configuration out of Go values, for tests and programs that configure a plugin
// without a file. Attributes are strings (durations and sizes as an operator writes them),
// numbers, bools, []string or time.Duration. A block is a map[string]any, a repeated one a
// []map[string]any, and a labelled one a map[string]map[string]any.
func (s Schema) Value(config map[string]any) (cty.Value, error) {
	fields := s.emptyValue().AsValueMap()
	if fields == nil {
		fields = make(map[string]cty.Value)
	}
	for name, in := range config {
		want, ok := fields[name]
		if !ok {
			return cty.NilVal, fmt.Errorf("configuration: there is no %q", name)
		}
		v, err := s.valueOf(name, in, want.Type())
		if err != nil {
			return cty.NilVal, fmt.Errorf("configuration: %s: %w", name, err)
		}
		fields[name] = v
	}
	return cty.ObjectVal(fields), nil
}

func (s Schema) valueOf(name string, in any, want cty.Type) (cty.Value, error) {
	for _, a := range s.Attributes {
		if text, ok := in.(string); a.Name == name && ok {
			return a.Type.parseText(text)
		}
	}
	for _, b := range s.Blocks {
		if b.Name == name {
			return b.valueOf(in)
		}
	}
	return gocty.ToCtyValue(in, want)
}

func (b Block) valueOf(in any) (cty.Value, error) {
	switch in := in.(type) {
	case map[string]any:
		return b.Schema.Value(in)
	case []map[string]any:
		var list []cty.Value
		for _, body := range in {
			v, err := b.Schema.Value(body)
			if err != nil {
				return cty.NilVal, err
			}
			list = append(list, v)
		}
		if len(list) > 0 {
			return cty.ListVal(list), nil
		}
		return cty.ListValEmpty(b.Schema.CtyType()), nil
	case map[string]map[string]any:
		labelled := make(map[string]cty.Value)
		for label, body := range in {
			v, err := b.Schema.Value(body)
			if err != nil {
				return cty.NilVal, err
			}
			labelled[label] = v
		}
		if len(labelled) > 0 {
			return cty.MapVal(labelled), nil
		}
		return cty.MapValEmpty(b.Schema.CtyType()), nil
	}
	return cty.NilVal, fmt.Errorf("%T cannot be a block", in)
}

var byteUnits = []struct {
	suffix string
	size   int64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}, {"", 1},
}

// ParseBytes parses a size: a whole number, alone or followed by B, KiB, MiB, GiB or TiB.
func ParseBytes(text string) (int64, error) {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.size {
			break
		}
		return n * u.size, nil
	}
	return 0, fmt.Errorf("%.40q is not a size such as \"512KiB\", \"64MiB\" or \"2GiB\"", text)
}

// FormatBytes formats a size with the largest unit that leaves a whole number.
func FormatBytes(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := byteUnits[i]; n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}
