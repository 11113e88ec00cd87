package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLoad looks for text that Load cannot take, and for errors that do not
// point.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		golden, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		input, _, _ := strings.Cut(string(golden), separator)
		f.Add([]byte(input))
	}
	f.Add([]byte(Template(testPlugins.BuiltIn)))
	f.Add([]byte(nested))
	f.Add([]byte("\xef\xbb\xbfa = <<-X\n  ${env(\"HOME\")}%{if true}%{endif}\nX\n"))
	path := filepath.Join(f.TempDir(), "server.hcl")
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxFile {
			t.Skip("longer than a file may be")
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		DataDir(path) // must not panic
		cfg, err := Load(path, testPlugins)
		if err == nil {
			checkLoaded(t, cfg)
			return
		}
		failure, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("the error is %v, want an *Error", err)
		}
		if n := len(failure.Diagnostics); n == 0 || n > maxDiagnostics {
			t.Fatalf("%d diagnostics", n)
		}
		for _, d := range failure.Diagnostics {
			if d.Summary == "" || d.Range.Line < 1 || d.Range.Column < 1 || d.Range.File != path {
				t.Errorf("an error that does not point: %+v", d)
			}
			if strings.ContainsFunc(d.String(), func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || r == 0x7f }) {
				t.Errorf("an error with control characters: %q", d.String())
			}
		}
	})
}

// checkLoaded checks what Config promises.
func checkLoaded(t *testing.T, cfg *Config) {
	if (cfg.Network.Tor == nil) == (cfg.Network.Loopback == nil) || len(cfg.Servers) == 0 || !filepath.IsAbs(cfg.DataDir) {
		t.Errorf("%+v", cfg)
	}
	names := make(map[string]bool)
	for _, s := range cfg.Servers {
		if names[s.Name] || !serverName.MatchString(s.Name) || filepath.Dir(s.Dir) != filepath.Join(cfg.DataDir, "servers") {
			t.Errorf("%+v", s)
		}
		names[s.Name] = true
		value, err := s.Storage.Schema.Decode(s.Storage.Msgpack)
		if err != nil {
			t.Fatal(err)
		}
		if _, faults := s.Storage.Schema.Complete(value); len(faults) > 0 {
			t.Errorf("the configuration of a plugin does not keep its schema: %v", faults)
		}
	}
}
