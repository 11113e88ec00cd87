package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/cwtch-relay/cwtch-relay/limits"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// TestDataDirOfBrokenFile finds the directory of a relay that runs while its file is
// edited.
func TestDataDirOfBrokenFile(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"whole":                 {"network \"tor\" {}\ndata_dir = \"x\"\n", "x"},
		"default":               {"network \"tor\" {}\n", "data"},
		"empty file":            {"", "data"},
		"no newline at the end": {`data_dir = "x"`, "x"},
		"error in front":        {"network tor = {\n}}\nlog = = 5\ndata_dir = \"x\"\n", "x"},
		"error behind":          {"data_dir = \"x\"\nserver \"main\" {\n", "x"},
		"block never closed":    {"network \"tor\" {\n  data_dir = \"of tor\"\ndata_dir = \"x\"\n", "x"},
		"quote never closed":    {"network \"tor {\n}\ndata_dir = \"x\"\n", "x"},
		"heredoc never closed":  {"a = <<EOT\ndata_dir = \"x\"\n", "x"},
		"that of tor only":      {"network \"tor\" {\n  data_dir = \"of tor\"\n}\n", "data"},
		"that of tor, broken":   {"network \"tor\" {\n  data_dir = \"of tor\"\n", "data"},
		"over several lines":    {"data_dir = (\n\"x\"\n)\n}", "x"},
		"comment behind":        {"data_dir = \"x\" # here\n}", "x"},
		"comment in front":      {"# data_dir = \"y\"\n/* a */ data_dir = \"x\"\n}", "x"},
		"CRLF":                  {"}\r\ndata_dir = \"x\"\r\n", "x"},
		"byte order mark":       {"\xef\xbb\xbfdata_dir = \"x\"\n}", "x"},
		"unknown function else": {"data_dir = \"x\"\nlog { level = lower(\"INFO\") }\n", "x"},
		"wrong type else":       {"data_dir = \"x\"\nlimits = 5\n", "x"},
		"too deep":              {"data_dir = \"x\"\n" + nested, "x"},
	} {
		path := writeConfig(t, c.text)
		got, err := DataDir(path)
		if want := filepath.Join(filepath.Dir(path), c.want); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
	}
}

// What is wrong with data_dir itself is shown where it is.
func TestDataDirErrors(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no value":   {"}\n\n  data_dir =\n", "line 3, column 13"},
		"a variable": {"}\ndata_dir = \"${HOME}/x\"\n", "line 2, column 15:\n  2: data_dir = \"${HOME}/x\""},
		"a tilde":    {"}\n# é\ndata_dir = \"~/x\"\n", "line 3, column 12:\n  3: data_dir = \"~/x\""},
		"a number":   {"server {\ndata_dir = 5\n", "line 2, column 12"},
	} {
		_, err := DataDir(writeConfig(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n\n") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestOtherEncodings loads one configuration as editors on other systems save it.
// Each gives the same as UTF-8 does, or one error.
func TestOtherEncodings(t *testing.T) {
	text := "# café\nnetwork \"tor\" {}\nserver \"main\" {\n  description = <<EOT\nlong\ntext\nEOT\n}\n"
	wide := func(text string, order func(u uint16) []byte) (out []byte) {
		for _, u := range utf16.Encode([]rune(text)) {
			out = append(out, order(u)...)
		}
		return out
	}
	little := func(u uint16) []byte { return []byte{byte(u), byte(u >> 8)} }
	big := func(u uint16) []byte { return []byte{byte(u >> 8), byte(u)} }
	little32 := func(u uint16) []byte { return []byte{byte(u), byte(u >> 8), 0, 0} }
	for name, c := range map[string]struct {
		text []byte
		want string // in the error; empty: none
	}{
		"UTF-8":               {[]byte(text), ""},
		"with a mark":         {[]byte("\xef\xbb\xbf" + text), ""},
		"CRLF":                {[]byte(strings.ReplaceAll(text, "\n", "\r\n")), ""},
		"CRLF with a mark":    {[]byte("\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n")), ""},
		"UTF-16LE":            {wide(text, little), "UTF-16LE"},
		"UTF-16BE":            {wide(text, big), "UTF-16BE"},
		"UTF-16LE and a mark": {wide("\ufeff"+text, little), "UTF-16"},
		"UTF-16BE and a mark": {wide("\ufeff"+text, big), "UTF-16"},
		"UTF-32LE":            {wide(text, little32), "UTF-32LE"},
		"UTF-32LE and a mark": {wide("\ufeff"+text, little32), "UTF-32"},
		"Latin-1":             {bytes.ReplaceAll([]byte(text), []byte("é"), []byte("\xe9")), "not UTF-8 text\n  on server.hcl line 1, column 6"},
		"a program":           {[]byte("\x7fELF\x02\x01\x01\x00\x00\n\n"), "not UTF-8 text"},
		"a zero byte":         {[]byte(text + "\x00"), "line 9, column 1"},
		"compressed":          {[]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"), "not UTF-8 text"},
	} {
		t.Chdir(filepath.Dir(writeConfig(t, string(c.text))))
		_, err := Load("server.hcl", testPlugins)
		_, dirErr := DataDir("server.hcl")
		if c.want == "" {
			if err != nil || dirErr != nil {
				t.Errorf("%s: %v, %v", name, err, dirErr)
			}
			continue
		}
		for _, err := range []error{err, dirErr} {
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Count(err.Error(), "error:") != 1 || strings.Contains(err.Error(), "\n\n") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A file with the ends of lines of an old Mac is one long comment or one long line; it
// must not be taken for an empty one.
func TestCarriageReturns(t *testing.T) {
	path := writeConfig(t, "network \"tor\" {}\rserver \"main\" {}\r")
	if _, err := Load(path, testPlugins); err == nil || strings.Count(err.Error(), "error:") != 1 {
		t.Errorf("got %v", err)
	}
}

// TestEveryPathIsChecked writes a path that a shell would expand into every option that
// holds a text. Those that take it have to be among the ones that hold no path.
func TestEveryPathIsChecked(t *testing.T) {
	t.Setenv("HOME", "/home/ann")
	other := map[string]bool{ // options that are texts, and no paths
		"log.level": true, "log.format": true, "server.description": true, "server.passphrase": true, "tor.control_user": true,
		"console.onion_clients": true,
		"tor.torrc":             true,                                          // whose lines the room of tor checks
		"plugin.checksum":       true, "plugin.args": true, "plugin.env": true, // which the plugin is given as they are
	}
	blocks := map[string]struct {
		options []string
		text    string // a format for the option
	}{
		"file":      {stringOptions(fileOptions), "%s\nnetwork \"tor\" {}\nserver \"main\" {}\n"},
		"tor":       {stringOptions(torOptions), "network \"tor\" {\n%s\n}\nserver \"main\" {}\n"},
		"loopback":  {stringOptions(loopbackOptions), "network \"loopback\" {\n%s\n}\nserver \"main\" {}\n"},
		"console":   {stringOptions(consoleOptions), "console {\n%s\n}\nnetwork \"tor\" {}\n"},
		"log":       {stringOptions(logOptions), "log {\n%s\n}\nnetwork \"tor\" {}\nserver \"main\" {}\n"},
		"limits":    {stringOptions(limits.Schema()), ""},
		"retention": {stringOptions(limits.RetentionSchema()), ""},
		"server":    {stringOptions(serverOptions), "network \"tor\" {}\nserver \"main\" {\n%s\n}\n"},
		"plugin":    {stringOptions(externalOptions), "network \"tor\" {}\nserver \"main\" {}\nplugin \"stats\" \"x\" {\n%s\n}\n"},
		"sandbox":   {stringOptions(sandboxOptions), "network \"tor\" {}\nserver \"main\" {}\nplugin \"stats\" \"x\" {\npath = \"/x\"\ndev = true\nsandbox {\n%s\n}\n}\n"},
	}
	for block, b := range blocks {
		for _, option := range b.options {
			name := block + "." + option
			for _, begin := range []string{"~", "$HOME", "%h"} {
				value := begin + "/relay"
				switch name {
				case "tor.control", "console.listen":
					value = "unix:" + value
				case "tor.control_cookie":
					option = "control = \"127.0.0.1:9051\"\ncontrol_cookie"
				}
				line := option + " = \"" + value + "\""
				if strings.HasPrefix(name, "sandbox.read") || name == "sandbox.sockets" || name == "plugin.args" || name == "plugin.env" || name == "tor.torrc" || name == "console.onion_clients" {
					line = option + " = [\"" + value + "\"]"
				}
				_, err := Load(writeConfig(t, strings.Replace(b.text, "%s", line, 1)), testPlugins)
				refused := err != nil && strings.Contains(err.Error(), "begins with "+begin+", which is not expanded here") &&
					strings.Contains(err.Error(), "/home/ann/relay\"")
				if refused == other[name] {
					t.Errorf("%s = %s: %v", name, value, err)
				}
			}
		}
	}
}

func TestExpandedByFunctions(t *testing.T) {
	t.Setenv("RELAY_HOME", t.TempDir())
	path := writeConfig(t, "data_dir = \"${env(\"RELAY_HOME\")}/relay\"\nnetwork \"tor\" {}\nserver \"main\" {}\n")
	if cfg, err := Load(path, testPlugins); err != nil || cfg.DataDir != filepath.Join(os.Getenv("RELAY_HOME"), "relay") {
		t.Errorf("got %+v, %v", cfg, err)
	}
	_, err := Load(writeConfig(t, "data_dir = file(\"~/secret\")\nnetwork \"tor\" {}\nserver \"main\" {}\n"), testPlugins)
	if err == nil || !strings.Contains(err.Error(), "not expanded here") {
		t.Errorf("a function: %v", err)
	}
}

// HCL puts letters and their accents together, so such a path would lead elsewhere.
func TestDecomposedPath(t *testing.T) {
	text := "data_dir = \"cafe\u0301\"\nnetwork \"tor\" {}\nserver \"main\" {}\n"
	if _, err := Load(writeConfig(t, text), testPlugins); err == nil || !strings.Contains(err.Error(), "separate accents") {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "cafe\u0301", "server.hcl")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("network \"tor\" {}\nserver \"main\" {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, err := Load(path, testPlugins); err != nil || cfg.DataDir != filepath.Join(filepath.Dir(path), "data") {
		t.Errorf("relative to such a directory: %+v, %v", cfg, err)
	}
}

// stringOptions names the options of a schema that are text.
func stringOptions(s plugin.Schema) (names []string) {
	for _, a := range s.Attributes {
		if a.Type == plugin.String || a.Type == plugin.StringList {
			names = append(names, a.Name)
		}
	}
	return names
}
