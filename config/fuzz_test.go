package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
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
	if (cfg.Network.Tor == nil) == (cfg.Network.Loopback == nil) || !filepath.IsAbs(cfg.DataDir) {
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

// FuzzServerFile looks for files of a server that stop more than this server, and for changes that
// leave anything else than they were asked for.
func FuzzServerFile(f *testing.F) {
	f.Add([]byte(handWritten), "a note")
	f.Add([]byte("server \"club\" {\n  description = <<X\n  ${file(\"x\")}\nX\n}\n"), "${a}\u00fc\"")
	f.Add([]byte("server \"club\" { passphrase = \"x\" }"), "")
	f.Add([]byte("server \"club\" {\r\n  retention {}\r\n}"), "\\")
	f.Add([]byte("\xef\xbb\xbfserver club {"), "\u202e")
	path := filepath.Join(f.TempDir(), "server.hcl")
	file := filepath.Join(filepath.Dir(path), "servers.d", "club.hcl")
	if err := errors.Join(os.WriteFile(path, []byte(withServersDir+"server \"main\" {}\n"), 0o600), os.Mkdir(filepath.Dir(file), 0o700)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte, description string) {
		if len(text) > maxServerFile {
			t.Skip("longer than a file may be")
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, tolerant())
		if err != nil || len(cfg.Servers) != 2 || cfg.Servers[0].Storage.Fault != nil {
			t.Fatalf("more than its server is stopped: %+v, %v", cfg, err)
		}
		fault := cfg.Servers[1].Fault
		if _, err := Load(path, testPlugins); (err == nil) != (fault == nil) {
			t.Fatalf("strictly %v, and for a relay %v", err, fault)
		}
		undo, err := openServerFiles(t, path).Edit("club", ServerChange{Description: &description})
		if err != nil {
			if fault == nil && !errors.As(err, new(*FieldError)) && !errors.Is(err, ErrInvalidDraft) {
				t.Fatalf("a valid file cannot be changed: %v", err)
			}
			return
		}
		if cfg, err = Load(path, testPlugins); err != nil || cfg.Servers[1].Description != cleanDescription(norm.NFC.String(description)) {
			t.Fatalf("the description is %q, want %q: %v", cfg.Servers[1].Description, description, err)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))) && !bytes.Equal(now, text) {
			t.Fatalf("undone, it is %q, %v", now, err)
		}
	})
}
