package schema

import (
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

var one, hour = new(int64(1)), new(int64(time.Hour))

func TestAcceptsAndExample(t *testing.T) {
	for _, c := range []struct {
		a                plugin.Attribute
		accepts, example string
	}{
		{plugin.Attribute{Name: "path", Type: plugin.String}, "a string", `"PATH"`},
		{plugin.Attribute{Type: plugin.String, Default: "${a}"}, "a string", `"$${a}"`},
		{plugin.Attribute{Type: plugin.String, OneOf: []string{"a", "b"}}, `one of "a", "b"`, `"a"`},
		{plugin.Attribute{Type: plugin.Bool}, "true or false", "true"},
		{plugin.Attribute{Type: plugin.Int}, "a whole number", "1"},
		{plugin.Attribute{Type: plugin.Int, Default: "5", Max: one}, "a whole number of at most 1", "5"},
		{plugin.Attribute{Type: plugin.Int, Min: one}, "a whole number of at least 1", "1"},
		{plugin.Attribute{Type: plugin.Duration}, "a duration", `"90s"`},
		{plugin.Attribute{Type: plugin.Duration, Min: one, Max: hour}, "a duration from 1ns to 1h", `"1ns"`},
		{plugin.Attribute{Type: plugin.Bytes}, "a size", `"64MiB"`},
		{plugin.Attribute{Type: plugin.Bytes, Max: new(int64(1 << 20))}, "a size of at most 1MiB", `"1MiB"`},
		{plugin.Attribute{Type: plugin.StringList}, "a list of strings", `["TEXT"]`},
		{plugin.Attribute{Type: plugin.StringList, Max: one, OneOf: []string{"a"}}, `a list of strings out of "a" of at most 1 elements`, `["a"]`},
	} {
		if got := Accepts(c.a); got != c.accepts {
			t.Errorf("%+v accepts %s, want %s", c.a, got, c.accepts)
		}
		if got := Example(c.a); got != c.example {
			t.Errorf("%+v has the example %s, want %s", c.a, got, c.example)
		}
	}
}

// An example that is wrong would send an operator in circles.
func TestExamplesAreAccepted(t *testing.T) {
	for _, a := range []plugin.Attribute{
		{Type: plugin.String}, {Type: plugin.String, OneOf: []string{"b"}}, {Type: plugin.Bool},
		{Type: plugin.Int}, {Type: plugin.Int, Min: new(int64(7))}, {Type: plugin.Int, Max: new(int64(-7))},
		{Type: plugin.Duration}, {Type: plugin.Duration, Max: one}, {Type: plugin.Duration, Min: hour},
		{Type: plugin.Bytes}, {Type: plugin.Bytes, Max: one}, {Type: plugin.Bytes, Min: new(int64(1<<40 + 1))},
		{Type: plugin.StringList}, {Type: plugin.StringList, OneOf: []string{"c"}},
	} {
		a.Name, a.Required = "name", true
		text := a.Name + " = " + Example(a)
		value, _, diags := Decode(body(t, text), plugin.Schema{Attributes: []plugin.Attribute{a}}, nil)
		if diags.HasErrors() {
			t.Errorf("%s: %v", text, diags)
		} else if v := value.GetAttr("name"); a.Check(v) != nil {
			t.Errorf("%s gives %#v", text, v)
		}
	}
}

func body(t *testing.T, text string) hcl.Body {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(text), "test.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return file.Body
}

// Text may stand for a number, as functions give only text; not the other way
// round.
func TestConversions(t *testing.T) {
	n := func(n int64) cty.Value { return cty.NumberIntVal(n) }
	for _, c := range []struct {
		kind plugin.Type
		text string
		want cty.Value // NilVal: refused
	}{
		{plugin.String, `"5"`, cty.StringVal("5")},
		{plugin.String, `5`, cty.NilVal},
		{plugin.String, `true`, cty.NilVal},
		{plugin.String, `["a"]`, cty.NilVal},
		{plugin.String, `null`, cty.NullVal(cty.String)},
		{plugin.Int, `5`, n(5)},
		{plugin.Int, `"5"`, n(5)},
		{plugin.Int, `-5`, n(-5)},
		{plugin.Int, `5.5`, cty.NilVal},
		{plugin.Int, `9223372036854775808`, cty.NilVal},
		{plugin.Int, `"x"`, cty.NilVal},
		{plugin.Int, `true`, cty.NilVal},
		{plugin.Bool, `true`, cty.True},
		{plugin.Bool, `"false"`, cty.False},
		{plugin.Bool, `1`, cty.NilVal},
		{plugin.Duration, `"1m30s"`, n(int64(90 * time.Second))},
		{plugin.Duration, `90`, cty.NilVal},
		{plugin.Duration, `"90"`, cty.NilVal},
		{plugin.Bytes, `"2KiB"`, n(2048)},
		{plugin.Bytes, `2048`, n(2048)},
		{plugin.Bytes, `"2KB"`, cty.NilVal},
		{plugin.Bytes, `-1`, cty.NilVal},
		{plugin.Bytes, `true`, cty.NilVal},
		{plugin.StringList, `["a"]`, cty.ListVal([]cty.Value{cty.StringVal("a")})},
		{plugin.StringList, `[]`, cty.ListValEmpty(cty.String)},
		{plugin.StringList, `"a"`, cty.NilVal},
		{plugin.StringList, `[["a"]]`, cty.NilVal},
		{plugin.StringList, `[null]`, cty.NilVal},
		{plugin.StringList, `{ a = "b" }`, cty.NilVal},
	} {
		s := plugin.Schema{Attributes: []plugin.Attribute{{Name: "name", Type: c.kind}}}
		value, _, diags := Decode(body(t, "name = "+c.text), s, nil)
		switch {
		case c.want == cty.NilVal && !diags.HasErrors():
			t.Errorf("%v takes %s for %#v", c.kind, c.text, value)
		case c.want != cty.NilVal && diags.HasErrors():
			t.Errorf("%v refuses %s: %v", c.kind, c.text, diags)
		case c.want != cty.NilVal && !value.GetAttr("name").RawEquals(c.want):
			t.Errorf("%v takes %s for %#v", c.kind, c.text, value)
		}
	}
}

func TestOthers(t *testing.T) {
	text := "other \"a\" {}\nname = \"x\"\nthird {}\nother \"b\" { more = 1 }\n"
	s := plugin.Schema{Attributes: []plugin.Attribute{{Name: "name", Type: plugin.String}}}
	_, blocks, diags := Decode(body(t, text), s, nil,
		hcl.BlockHeaderSchema{Type: "other", LabelNames: []string{"name"}}, hcl.BlockHeaderSchema{Type: "third"})
	if diags.HasErrors() || len(blocks) != 3 || blocks[0].Labels[0] != "a" || blocks[1].Type != "third" || blocks[2].Labels[0] != "b" {
		t.Errorf("got %v, %v", blocks, diags)
	}
}

func TestSuggest(t *testing.T) {
	for _, c := range []struct {
		name  string
		known []string
		want  string
	}{
		{"pathh", []string{"size", "path"}, `Did you mean "path"?`},
		{"paht", []string{"wait", "path"}, `Did you mean "path"?`},
		{"paht", []string{"path", "wait"}, `Did you mean "path"?`},
		{"pth", []string{"path"}, `Did you mean "path"?`},
		{"apth", []string{"path"}, `Did you mean "path"?`},
		{"nwe", []string{"sum", "new"}, `Did you mean "new"?`}, // neighbours exchanged are one slip
		{"list", []string{"test", "new"}, "Known options: new, test."},
		{"s", []string{"sum", "new"}, "Known options: new, sum."},
		{"inv", []string{"init", "invite"}, `Did you mean "invite"?`},
		{"plug", []string{"plugin", "plugin", "sum"}, `Did you mean "plugin"?`},
		{"st", []string{"storage", "status"}, "Known options: status, storage."},
		{"colour", []string{"size", "path"}, "Known options: path, size."},
		{"colour", nil, "There are no options here."},
		{"", []string{"ab"}, "Known options: ab."},
		{"xy", []string{"ab"}, "Known options: ab."},
	} {
		if got := Suggest(c.name, "options", c.known); got != c.want {
			t.Errorf("%q: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{
		"2h": "2h", "90m": "1h30m", "30s": "30s", "100ms": "100ms", "0s": "0s", "1h0m5s": "1h0m5s", "168h": "7d", "24h": "24h", "49h": "49h", "2160h": "90d", "10m": "10m",
	} {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := formatDuration(d); got != want {
			t.Errorf("%s is written %s, want %s", text, got, want)
		}
	}
}
