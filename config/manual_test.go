package config

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// optionLine matches an option that is commented out in a template.
var optionLine = regexp.MustCompile(`(?m)^( *)#([a-z][a-z0-9_]* = )`)

func TestTemplateLoadsAsDefaults(t *testing.T) {
	text := Template(testPlugins.BuiltIn)
	uncommented := optionLine.ReplaceAllString(text, "$1$2")
	for name, text := range map[string]string{"as written": text, "without the comment signs": uncommented} {
		path := writeConfig(t, text)
		cfg, err := Load(path, testPlugins)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		minimal, err := Load(writeConfig(t, "network \"tor\" {}\nserver \"main\" {}\n"), testPlugins)
		if err != nil {
			t.Fatal(err)
		}
		got, want := cfg.Servers[0].Storage.Msgpack, minimal.Servers[0].Storage.Msgpack
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: storage is configured with %x, want %x", name, got, want)
		}
		if cfg.Log != minimal.Log || cfg.Limits != minimal.Limits || len(cfg.Servers) != 1 || len(cfg.Plugins) != 0 ||
			cfg.Servers[0].Description != "" || len(cfg.Network.Tor.Torrc) != 0 || cfg.Network.Tor.Path != "tor" || cfg.Network.Tor.Control != "" {
			t.Errorf("%s: not the defaults: %+v", name, cfg)
		}
	}
	if formatted := string(hclwrite.Format([]byte(text))); formatted != text {
		t.Errorf("the template is not formatted; it would be\n%s", formatted)
	}
	for line := range strings.Lines(text) {
		if len(line) > 100 {
			t.Errorf("long line: %s", line)
		}
	}
}

// Every option must be in the template and in the manual, those of plugins and
// of blocks that are commented out as well.
func TestManualIsComplete(t *testing.T) {
	text, manual := Template(testPlugins.BuiltIn), Markdown(testPlugins.BuiltIn)
	var check func(s plugin.Schema)
	check = func(s plugin.Schema) {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		for _, a := range s.Attributes {
			if !regexp.MustCompile(`(?m)^[ #]*\b` + a.Name + ` = `).MatchString(text) {
				t.Errorf("%s is missing in the template", a.Name)
			}
			if !strings.Contains(manual, "| `"+a.Name+"` |") {
				t.Errorf("%s is missing in the manual", a.Name)
			}
		}
		for _, b := range s.Blocks {
			check(b.Schema)
		}
	}
	for _, c := range append(manualBlocks, serverBlock) {
		check(c.options)
	}
	check(testSchema)
}
