package plugin

import (
	"encoding/json"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
)

var sampleSchema = Schema{
	Attributes: []Attribute{
		{Name: "path", Type: String, Required: true, Doc: "Where the file is."},
		{Name: "size", Type: Bytes, Default: "64MiB", Min: new(int64(1 << 20)), Max: new(int64(1 << 30))},
		{Name: "wait", Type: Duration, Default: "30s", Max: new(int64(3600e9))},
		{Name: "tries", Type: Int, Min: new(int64(-1))},
		{Name: "sync", Type: Bool, Default: "true"},
		{Name: "mode", Type: String, Default: "fast", OneOf: []string{"fast", "safe"}},
		{Name: "tags", Type: StringList, OneOf: []string{"a", "b"}, Max: new(int64(2))},
	},
	Blocks: []Block{
		{Name: "cache", Schema: Schema{Attributes: []Attribute{{Name: "pages", Type: Int, Default: "10", Min: new(int64(1))}}}},
		{Name: "mirror", Repeated: true, Schema: Schema{Attributes: []Attribute{{Name: "to", Type: String, Required: true}}}},
		{Name: "peer", Labelled: true, Schema: Schema{Attributes: []Attribute{{Name: "at", Type: String, Default: "home"}}}},
	},
}

func TestSchemaValidate(t *testing.T) {
	if err := sampleSchema.Validate(); err != nil {
		t.Fatal(err)
	}
	deep := Schema{}
	for range MaxSchemaDepth + 1 {
		deep = Schema{Blocks: []Block{{Name: "b", Schema: deep}}}
	}
	one := func(a Attribute) Schema { return Schema{Attributes: []Attribute{a}} }
	for name, test := range map[string]struct {
		schema Schema
		want   string
	}{
		"upper case":         {one(Attribute{Name: "Path", Type: String}), "not a name"},
		"empty name":         {one(Attribute{Type: String}), "not a name"},
		"long name":          {one(Attribute{Name: strings.Repeat("a", 65), Type: String}), "not a name"},
		"no type":            {one(Attribute{Name: "a"}), "unknown type 0"},
		"unknown type":       {one(Attribute{Name: "a", Type: 7}), "unknown type 7"},
		"twice":              {Schema{Attributes: []Attribute{{Name: "a", Type: Int}}, Blocks: []Block{{Name: "a"}}}, "twice"},
		"deep":               {deep, "deeper"},
		"many":               {Schema{Blocks: make([]Block, MaxSchemaItems+1)}, "more than"},
		"long doc":           {one(Attribute{Name: "a", Type: Int, Doc: strings.Repeat("x", MaxSchemaText+1)}), "longer"},
		"terminal codes":     {one(Attribute{Name: "a", Type: Int, Doc: "\x1b[2J"}), "control"},
		"bad UTF-8":          {one(Attribute{Name: "a", Type: Int, Doc: "\xff"}), "control"},
		"bounds of a string": {one(Attribute{Name: "a", Type: String, Min: new(int64(1))}), "neither min nor max"},
		"min above max":      {one(Attribute{Name: "a", Type: Int, Min: new(int64(2)), Max: new(int64(1))}), "min is above max"},
		"choices of an int":  {one(Attribute{Name: "a", Type: Int, OneOf: []string{"1"}}), "no choices"},
		"required default":   {one(Attribute{Name: "a", Type: Int, Required: true, Default: "1"}), "required"},
		"list default":       {one(Attribute{Name: "a", Type: StringList, Default: "x"}), "list has no default"},
		"default of a type":  {one(Attribute{Name: "a", Type: Int, Default: "x"}), "not a whole number"},
		"default out of it":  {one(Attribute{Name: "a", Type: Int, Default: "1", Min: new(int64(2))}), "at least 2"},
		"both kinds":         {Schema{Blocks: []Block{{Name: "b", Repeated: true, Labelled: true}}}, "both"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.schema.Validate(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestSchemaJSON(t *testing.T) {
	data, err := json.Marshal(sampleSchema)
	if err != nil {
		t.Fatal(err)
	}
	var got Schema
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sampleSchema) {
		t.Errorf("got %+v, want %+v", got, sampleSchema)
	}
}

// completeConfig makes a configuration of Go values, sends it over the wire and
// completes it.
func completeConfig(t *testing.T, s Schema, config map[string]any) (cty.Value, Diagnostics) {
	t.Helper()
	v, err := s.Value(config)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if v, err = s.Decode(data); err != nil {
		t.Fatal(err)
	}
	return s.Complete(v)
}

func TestCompleteFillsDefaults(t *testing.T) {
	v, diags := completeConfig(t, sampleSchema, map[string]any{
		"path":   "x.db",
		"tags":   []string{"a"},
		"cache":  map[string]any{},
		"mirror": []map[string]any{{"to": "one"}, {"to": "two"}},
		"peer":   map[string]map[string]any{"alice": {}, "bob": {"at": "work"}},
	})
	if diags != nil {
		t.Fatal(diags)
	}
	want := cty.ObjectVal(map[string]cty.Value{
		"path":  cty.StringVal("x.db"),
		"size":  cty.NumberIntVal(64 << 20),
		"wait":  cty.NumberIntVal(30e9),
		"tries": cty.NullVal(cty.Number),
		"sync":  cty.True,
		"mode":  cty.StringVal("fast"),
		"tags":  cty.ListVal([]cty.Value{cty.StringVal("a")}),
		"cache": cty.ObjectVal(map[string]cty.Value{"pages": cty.NumberIntVal(10)}),
		"mirror": cty.ListVal([]cty.Value{
			cty.ObjectVal(map[string]cty.Value{"to": cty.StringVal("one")}),
			cty.ObjectVal(map[string]cty.Value{"to": cty.StringVal("two")}),
		}),
		"peer": cty.MapVal(map[string]cty.Value{
			"alice": cty.ObjectVal(map[string]cty.Value{"at": cty.StringVal("home")}),
			"bob":   cty.ObjectVal(map[string]cty.Value{"at": cty.StringVal("work")}),
		}),
	})
	if !v.RawEquals(want) {
		t.Errorf("got %#v, want %#v", v, want)
	}
}

func TestCompleteReportsEveryFault(t *testing.T) {
	_, diags := completeConfig(t, sampleSchema, map[string]any{
		"size":   "1KiB",
		"wait":   "2h",
		"tries":  -2,
		"mode":   "slow",
		"tags":   []string{"a", "c"},
		"cache":  map[string]any{"pages": 0},
		"mirror": []map[string]any{{"to": "one"}, {}},
	})
	var got []string
	for _, d := range diags {
		got = append(got, d.String())
	}
	want := []string{
		"path: path is missing",
		"size: size must be at least 1MiB",
		"wait: wait must be at most 1h0m0s",
		"tries: tries must be at least -1",
		`mode: mode must be one of ["fast" "safe"]`,
		`tags: tags must be one of ["a" "b"]`,
		"cache.pages: pages must be at least 1",
		"mirror.1.to: to is missing",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCompleteRefusesWhatTheSchemaDoesNotDescribe(t *testing.T) {
	for _, v := range []cty.Value{
		cty.NilVal,
		cty.NullVal(sampleSchema.CtyType()),
		cty.UnknownVal(sampleSchema.CtyType()),
		cty.EmptyObjectVal,
		cty.StringVal("x"),
	} {
		if _, diags := sampleSchema.Complete(v); diags == nil {
			t.Errorf("%#v was accepted", v)
		}
	}
	fraction := Attribute{Name: "n", Type: Int}
	for _, v := range []cty.Value{cty.NumberFloatVal(1.5), cty.MustParseNumberVal("1e30"), cty.UnknownVal(cty.Number)} {
		if err := fraction.Check(v); err == nil {
			t.Errorf("%#v was accepted as an int", v)
		}
	}
}

func TestSizesAsText(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "7": 7, "7B": 7, "2KiB": 2048, "64 MiB": 64 << 20, "3GiB": 3 << 30, "1TiB": 1 << 40,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "1kb", "9000000TiB", "9223372036854775808"} {
		if n, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d", text, n)
		}
	}
	for n, want := range map[int64]string{0: "0B", 1000: "1000B", 1 << 10: "1KiB", 3 << 20: "3MiB", 1<<30 + 1<<20: "1025MiB", 5 << 40: "5TiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("FormatBytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func FuzzDecodeConfig(f *testing.F) {
	v, err := sampleSchema.Value(map[string]any{"path": "x", "peer": map[string]map[string]any{"a": {}}})
	if err != nil {
		f.Fatal(err)
	}
	data, err := sampleSchema.Encode(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Add([]byte{0xc0})
	f.Add([]byte{0xd4, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := sampleSchema.Decode(data)
		if err != nil {
			return
		}
		done, diags := sampleSchema.Complete(v)
		if diags != nil {
			return
		}
		if _, err := sampleSchema.Encode(done); err != nil {
			t.Errorf("a complete configuration cannot be encoded: %v", err)
		}
	})
}

func TestDurationsAsText(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "-5m": -5 * time.Minute, "0": 0, "90d": 90 * 24 * time.Hour, "0d": 0, "1d12h30m": 36*time.Hour + 30*time.Minute, "1d0s": 24 * time.Hour,
	} {
		if d, err := parseDuration(text); err != nil || d != want {
			t.Errorf("%q is %v, %v; want %v", text, d, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "+1d", "1.5d", "1d24h", "1d-1h", "1d+1h", "1d1d", "1h1d", "1d ", "106751d", "99999999999999999999d", "1dx"} {
		if d, err := parseDuration(text); err == nil {
			t.Errorf("%q is %v", text, d)
		}
	}
}

func TestListenerAttributes(t *testing.T) {
	listen := Attribute{Name: "listen", Type: String, Listener: true, Default: "127.0.0.1:9464"}
	schema := Schema{Attributes: []Attribute{listen}, Blocks: []Block{{Name: "more", Schema: Schema{Attributes: []Attribute{{Name: "at", Type: String, Listener: true}}}}}}
	value := func(config map[string]any) (cty.Value, Diagnostics) {
		v, err := schema.Value(config)
		if err != nil {
			t.Fatal(err)
		}
		return schema.Complete(v)
	}
	for address, loopback := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:65535": true, "[::1]:9": true, "[::ffff:127.0.0.1]:9": true,
		"0.0.0.0:1": false, "[::]:1": false, "10.0.0.1:1": false, "[::ffff:10.0.0.1]:1": false, "[::127.0.0.1]:1": false,
	} {
		v, faults := value(map[string]any{"listen": address, "more": map[string]any{"at": "[::1]:2"}})
		if len(faults) > 0 {
			t.Errorf("%s: %v", address, faults)
			continue
		}
		got := schema.ListenAddresses(v)
		if len(got) != 2 || got[0].Name() != "listen" || got[0].Address != address || got[1].Name() != "more.at" || got[0].Loopback() != loopback {
			t.Errorf("%s: %+v", address, got)
		}
	}
	for _, address := range []string{"localhost:9464", "127.0.0.1", "127.0.0.1:0", ":9464", "127.0.0.1:http", "[fe80::1%lo]:1", "127.1:1", "/run/x", "127.0.0.1:65536"} {
		if _, faults := value(map[string]any{"listen": address}); len(faults) != 1 || faults[0].Path[0] != "listen" {
			t.Errorf("%s: %v", address, faults)
		}
	}
	if v, faults := value(map[string]any{"listen": ""}); len(faults) > 0 || len(schema.ListenAddresses(v)) > 0 {
		t.Errorf("no address: %v, %v", faults, schema.ListenAddresses(v))
	}
	labelled := Block{Name: "b", Labelled: true, Schema: Schema{Attributes: []Attribute{listen}}}
	for name, s := range map[string]Schema{
		"of a number":         {Attributes: []Attribute{{Name: "n", Type: Int, Listener: true}}},
		"default that is one": {Attributes: []Attribute{{Name: "n", Type: String, Listener: true, Default: "localhost:1"}}},
		"in a labelled block": {Blocks: []Block{labelled}},
		"deeper in one":       {Blocks: []Block{{Name: "c", Repeated: true, Schema: Schema{Blocks: []Block{{Name: "d", Schema: Schema{Attributes: []Attribute{listen}}}}}}}},
	} {
		if err := s.Validate(); err == nil {
			t.Errorf("%s: it is valid", name)
		}
	}
	d := Description{Kind: KindStorage, Name: "x", Version: "1", Schema: schema}
	if err := d.Validate(); err == nil {
		t.Error("a storage plugin has a listener")
	}
	if d.Kind = KindStats; d.Validate() != nil {
		t.Error(d.Validate())
	}
}

// TestPluginListensWithoutRelay: without a relay the plugin listens itself.
func TestPluginListensWithoutRelay(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	schema := Schema{Attributes: []Attribute{{Name: "listen", Type: String, Listener: true}}}
	config := func(in map[string]any) Config {
		v, err := schema.Value(in)
		if err != nil {
			t.Fatal(err)
		}
		c, err := NewConfig(schema, v, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	l, err := config(map[string]any{"listen": address}).Listener("listen")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Addr().String() != address {
		t.Errorf("listens at %v", l.Addr())
	}
	for _, c := range []Config{config(nil), config(map[string]any{"listen": ""}), {}} {
		if l, err := c.Listener("listen"); err == nil {
			t.Errorf("without an address: %v", l.Addr())
		}
	}
	if l, err := config(nil).Listener("listens"); err == nil {
		t.Errorf("of no attribute: %v", l.Addr())
	}
}
