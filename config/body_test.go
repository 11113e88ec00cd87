package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// TestLoadBody reads a body of every type there is; what comes out must be what
// a plugin would be configured with by a whole file.
func TestLoadBody(t *testing.T) {
	s := plugin.Schema{
		Attributes: []plugin.Attribute{
			{Name: "text", Type: plugin.String}, {Name: "other", Type: plugin.String},
			{Name: "number", Type: plugin.Int}, {Name: "flag", Type: plugin.Bool},
			{Name: "time", Type: plugin.Duration, Default: "90s"}, {Name: "size", Type: plugin.Bytes},
			{Name: "list", Type: plugin.StringList},
		},
		Blocks: []plugin.Block{
			{Name: "one", Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "x", Type: plugin.Int}}}},
			{Name: "many", Repeated: true, Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "x", Type: plugin.Int}}}},
			{Name: "named", Labelled: true, Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "x", Type: plugin.Int}}}},
		},
	}
	path := filepath.Join(t.TempDir(), "body.hcl")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`
text   = "a"
number = -7
flag   = true
size   = "64MiB"
list   = ["a", "b"]
one { x = 1 }
many { x = 2 }
many { x = 3 }
named "n" { x = 4 }
`)
	got, err := LoadBody(path, s)
	if err != nil {
		t.Fatal(err)
	}
	value, err := s.Value(got)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Text   string   `cty:"text"`
		Other  string   `cty:"other"`
		Number int      `cty:"number"`
		Flag   bool     `cty:"flag"`
		Time   int64    `cty:"time"`
		Size   int64    `cty:"size"`
		List   []string `cty:"list"`
		One    *struct {
			X int `cty:"x"`
		} `cty:"one"`
		Many []struct {
			X int `cty:"x"`
		} `cty:"many"`
		Named map[string]struct {
			X int `cty:"x"`
		} `cty:"named"`
	}
	cfg, err := plugin.NewConfig(s, value, "/", nil)
	if err == nil {
		err = cfg.Decode(&c)
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.Text != "a" || c.Other != "" || c.Number != -7 || !c.Flag || c.Time != 90e9 || c.Size != 64<<20 || len(c.List) != 2 ||
		c.One == nil || c.One.X != 1 || len(c.Many) != 2 || c.Many[1].X != 3 || c.Named["n"].X != 4 {
		t.Errorf("%+v", c)
	}

	write("txet = 1")
	var wrong *Error
	if _, err := LoadBody(path, s); !errors.As(err, &wrong) || wrong.Diagnostics[0].Range.Line != 1 {
		t.Errorf("an invalid name: %v", err)
	}
}
