package plugin

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"
)

type sampleConfig struct {
	Path  string        `cty:"path"`
	Size  int64         `cty:"size"`
	Wait  time.Duration `cty:"wait"`
	Tries int           `cty:"tries"`
	Sync  bool          `cty:"sync"`
	Mode  string        `cty:"mode"`
	Tags  []string      `cty:"tags"`
	Cache *struct {
		Pages uint16 `cty:"pages"`
	} `cty:"cache"`
	Mirrors []struct {
		To string `cty:"to"`
	} `cty:"mirror"`
	Peers map[string]struct {
		At string `cty:"at"`
	} `cty:"peer"`
	state int
}

func newConfig(t *testing.T, s Schema, config map[string]any) Config {
	t.Helper()
	v, err := s.Value(config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConfig(s, v, "/dir", slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigDecode(t *testing.T) {
	cfg := newConfig(t, sampleSchema, map[string]any{
		"path":   "x.db",
		"wait":   "1m",
		"tags":   []string{"b"},
		"cache":  map[string]any{"pages": 3},
		"mirror": []map[string]any{{"to": "one"}},
		"peer":   map[string]map[string]any{"alice": {}},
	})
	got := sampleConfig{Tries: 5, state: 1} // tries is absent and stays
	if err := cfg.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := sampleConfig{Path: "x.db", Size: 64 << 20, Wait: time.Minute, Tries: 5, Sync: true, Mode: "fast", Tags: []string{"b"}, state: 1}
	want.Cache = &struct {
		Pages uint16 `cty:"pages"`
	}{3}
	want.Mirrors = []struct {
		To string `cty:"to"`
	}{{"one"}}
	want.Peers = map[string]struct {
		At string `cty:"at"`
	}{"alice": {"home"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConfigDecodeLeavesAbsentBlocks(t *testing.T) {
	var got sampleConfig
	if err := newConfig(t, sampleSchema, map[string]any{"path": "x"}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Cache != nil || got.Mirrors != nil || got.Peers != nil {
		t.Errorf("absent blocks became %+v", got)
	}
}

func TestConfigDecodeReportsMistakesOfAuthors(t *testing.T) {
	s := Schema{Attributes: []Attribute{{Name: "n", Type: Int, Default: "300"}}, Blocks: []Block{{Name: "b", Repeated: true}}}
	cfg := newConfig(t, s, map[string]any{"b": []map[string]any{{}}})
	for name, test := range map[string]struct {
		into any
		want string
	}{
		"no pointer":    {struct{}{}, "not a pointer"},
		"nil":           {(*struct{})(nil), "not a pointer"},
		"missing field": {&struct{}{}, "no field for"},
		"extra field": {&struct {
			N int        `cty:"n"`
			B []struct{} `cty:"b"`
			X int        `cty:"x"`
		}{}, `field for "x"`},
		"too narrow": {&struct {
			N uint8      `cty:"n"`
			B []struct{} `cty:"b"`
		}{}, "n: "},
		"no slice": {&struct {
			N int      `cty:"n"`
			B struct{} `cty:"b"`
		}{}, "needs a slice"},
		"no structs": {&struct {
			N int   `cty:"n"`
			B []int `cty:"b"`
		}{}, "needs a struct"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := cfg.Decode(test.into); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
