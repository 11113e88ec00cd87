package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const withServersDir = "servers_dir = \"servers.d\"\nnetwork \"tor\" {}\n"

// tolerant are testPlugins for a relay, which runs what can run.
func tolerant() Plugins {
	p := testPlugins
	p.KeepFaults = true
	return p
}

// writeServers puts a configuration and files of servers into a directory of its own.
func writeServers(t *testing.T, main string, files map[string]string) (path, dir string) {
	t.Helper()
	path = writeConfig(t, main)
	dir = filepath.Join(filepath.Dir(path), "servers.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		writeServer(t, filepath.Join(dir, name), text)
	}
	return path, dir
}

func writeServer(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// namesOf returns the names of servers; one that cannot run is in brackets.
func namesOf(servers []Server) (names []string) {
	for _, s := range servers {
		if s.Fault != nil || s.Storage.Fault != nil {
			s.Name = "(" + s.Name + ")"
		}
		names = append(names, s.Name)
	}
	return names
}

func TestServersOfManyFiles(t *testing.T) {
	path, dir := writeServers(t, withServersDir+"server \"main\" {}\n", map[string]string{
		"zoo.hcl":   "# my zoo\nserver \"zoo\" {\n  description = file(\"note\")\n  autostart = false\n  storage \"bolt\" { path = \"z.db\" }\n}\n",
		"attic.hcl": "server \"attic\" {}\n",
		"note":      "animals\n", "attic.hcl~": "broken {", ".new-1.hcl": "broken {", "README": "",
	})
	cfg, err := Load(path, testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := namesOf(cfg.Servers), []string{"main", "attic", "zoo"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	main, zoo := cfg.Servers[0], cfg.Servers[2]
	if main.File != path || zoo.File != filepath.Join(dir, "zoo.hcl") || zoo.Dir != filepath.Join(cfg.DataDir, "servers", "zoo") {
		t.Errorf("they are in %s and %s; the latter keeps its files in %s", main.File, zoo.File, zoo.Dir)
	}
	if zoo.Description != "animals" || zoo.Autostart || zoo.Range.File != zoo.File || zoo.Range.Line != 2 || storagePath(t, zoo.Storage) != "z.db" {
		t.Errorf("zoo is %+v", zoo)
	}
	if cfg, err = Load(writeConfig(t, "network \"tor\" {}\n"), testPlugins); err != nil || len(cfg.Servers) != 0 {
		t.Errorf("without servers: %+v, %v", cfg, err)
	}
}

// TestFaultsOfServerFiles shows, of each thing that can be wrong with a file, that it stops its own
// server alone, and that a strict reader is told of it at its place.
func TestFaultsOfServerFiles(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"broken syntax":    {"server \"bad\" {\n  description = \n}\n", "line 2, column 17, in server \"bad\""},
		"unknown option":   {"\nserver \"bad\" {\n  desription = \"x\"\n}\n", "unknown option \"desription\"\n  on DIR/bad.hcl line 3, column 3"},
		"another label":    {"server \"good\" {}\n", "the server is \"good\" here and \"bad\" in the name of the file"},
		"no block":         {"# nothing\n", "no server block"},
		"two blocks":       {"server \"bad\" {}\nserver \"other\" {}\n", "second server block\n  on DIR/bad.hcl line 2"},
		"another block":    {"server \"bad\" {}\nlog { level = \"debug\" }\n", "unknown block \"log\"\n  on DIR/bad.hcl line 2"},
		"an option":        {"data_dir = \"x\"\nserver \"bad\" {}\n", "unknown option \"data_dir\"\n  on DIR/bad.hcl line 1"},
		"of a plugin":      {"server \"bad\" {\n  storage \"bolt\" { size = 3 }\n}\n", "size must be a size of at least 1MiB\n  on DIR/bad.hcl line 2"},
		"a literal secret": {"server \"bad\" {\n  passphrase = \"hunter2\"\n}\n", "the passphrase must not stand in this file"},
		"a bare secret":    {"server \"bad\" {\n  passphrase = hunter2\n}\n", "the passphrase must not stand in this file"},
		"a called secret":  {"server \"bad\" {\n  passphrase = hunter2()\n}\n", "the passphrase must not stand in this file"},
		"half a secret":    {"server \"bad\" { passphrase = \"hunter2\n}\n", "on DIR/bad.hcl line 1"},
		"a missing secret": {"server \"bad\" {\n  passphrase = env(\"CWTCH_RELAY_UNSET\")\n}\n", "\"CWTCH_RELAY_UNSET\" is not set"},
		"a loop":           {"server \"bad\" {\n  description = [for x in [1] : x]\n}\n", "loops are not supported"},
		"too deep":         {"server \"bad\" {\n  description = " + strings.Repeat("(", 100) + "\n}\n", "nested too deeply"},
		"too many secrets": {"server \"bad\" {\n  description = \"${file(\"large\")}${file(\"large\")}\"\n}\n", "at most 65536 bytes"},
		"another encoding": {"s\x00e\x00r\x00v\x00", "not UTF-8 text but UTF-16LE"},
		"nothing":          {"", "no server block"},
	} {
		path, dir := writeServers(t, withServersDir, map[string]string{"bad.hcl": c.text, "good.hcl": "server \"good\" {}\n", "large": strings.Repeat("x", 40<<10)})
		cfg, err := Load(path, tolerant())
		if err != nil {
			t.Errorf("%s: a relay reads it: %v", name, err)
			continue
		}
		if got := namesOf(cfg.Servers); !slices.Equal(got, []string{"(bad)", "good"}) {
			t.Errorf("%s: there are %q", name, got)
			continue
		}
		bad := cfg.Servers[0]
		_, strict := Load(path, testPlugins)
		for _, err := range []error{bad.Fault, bad.Storage.Fault, strict} {
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "DIR"), c.want) || !strings.Contains(err.Error(), "on "+bad.File+" line ") {
				t.Errorf("%s: got %v, want %s", name, err, c.want)
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: the passphrase is shown: %v", name, err)
			}
		}
	}
}

// TestFilesThatAreRefused shows what is not even read.
func TestFilesThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a link":                    {func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(path), "good.hcl"), path) }, "is a symbolic link"},
		"a link that leads nowhere": {func(path string) error { return os.Symlink("/nowhere", path) }, "is a symbolic link"},
		"a directory":               {func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file"},
		"a FIFO":                    {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		"a file of 1 GiB": {func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<30))
		}, "larger than 64 KiB"},
		"one that others can write": {func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("server \"bad\" {}"), 0o600), os.Chmod(path, 0o620))
		}, "is open to other users (mode 0620)"},
	} {
		path, dir := writeServers(t, withServersDir, map[string]string{"good.hcl": "server \"good\" {}\n"})
		if err := c.make(filepath.Join(dir, "bad.hcl")); err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(path, tolerant())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := namesOf(cfg.Servers); !slices.Equal(got, []string{"(bad)", "good"}) || !strings.Contains(cfg.Servers[0].Fault.Error(), c.want) {
			t.Errorf("%s: %q, %v, want %s", name, got, cfg.Servers[0].Fault, c.want)
		}
	}
}

func TestFilesOfAnotherUserAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path, dir := writeServers(t, withServersDir, map[string]string{"bad.hcl": "server \"bad\" {}\n"})
	if err := os.Chown(filepath.Join(dir, "bad.hcl"), 12345, -1); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, Plugins{BuiltIn: testPlugins.BuiltIn, KeepFaults: true, keepAll: true})
	if err != nil || !strings.Contains(cfg.Servers[0].Fault.Error(), "bad.hcl belongs to user 12345") {
		t.Errorf("the file: %+v, %v", cfg, err)
	}
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, tolerant()); err == nil || !strings.Contains(err.Error(), "servers.d belongs to user 12345") {
		t.Errorf("the directory: %v", err)
	}
}

// TestServersDirIsRefused: without a directory that can be trusted, nothing is started.
func TestServersDirIsRefused(t *testing.T) {
	path, dir := writeServers(t, withServersDir+"server \"main\" {}\n", nil)
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, tolerant()); err == nil || !strings.Contains(err.Error(), "servers.d can be written by other users (mode 0770)\n  on "+path+" line 1, column 15") {
		t.Errorf("open to others: %v", err)
	}
	for value, want := range map[string]string{".": "is the directory of this file", "server.hcl": "is not a directory", "": "servers_dir is empty", "~/x": "not expanded"} {
		path := writeConfig(t, fmt.Sprintf("servers_dir = %q\nnetwork \"tor\" {}\n", value))
		if _, err := Load(path, tolerant()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", value, err, want)
		}
	}
	files := make(map[string]string)
	for i := range maxEntries + 1 {
		files[fmt.Sprint(i)] = ""
	}
	path, _ = writeServers(t, withServersDir, files)
	if _, err := Load(path, tolerant()); err == nil || !strings.Contains(err.Error(), "more than 4096 entries") {
		t.Errorf("a directory of something else: %v", err)
	}
}

// TestFilesWithoutServer: files whose name is no name, or one that is taken, stop nothing.
func TestFilesWithoutServer(t *testing.T) {
	odd := []string{"UPPER.hcl", "a b.hcl", "..x.hcl", "ä.hcl", "a\x1b[31m.hcl", "a\u202eb.hcl", strings.Repeat("n", 65) + ".hcl", "main.hcl"}
	files := make(map[string]string)
	for _, name := range odd {
		files[name] = "server \"main\" {}\n"
	}
	path, dir := writeServers(t, withServersDir+"server \"main\" {}\n", files)
	cfg, err := Load(path, tolerant())
	if err != nil {
		t.Fatal(err)
	}
	if got := namesOf(cfg.Servers); !slices.Equal(got, []string{"main"}) || cfg.Servers[0].File != path {
		t.Errorf("there are %q in %s", got, cfg.Servers[0].File)
	}
	if len(cfg.UnusedFiles) != len(odd)-1 { // the one with a dot in front is passed over
		t.Errorf("unused are %v", cfg.UnusedFiles)
	}
	for _, f := range cfg.UnusedFiles {
		want := "is not the name of a server"
		if f.File == filepath.Join(dir, "main.hcl") {
			want = "second server \"main\""
		}
		if text := f.Fault.Error(); !strings.Contains(text, want) || strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%q: %q, want %s", f.File, text, want)
		}
	}
	if _, err := Load(path, testPlugins); err == nil || !strings.Contains(err.Error(), "second server \"main\"") || !strings.Contains(err.Error(), "on line 3 of "+path) {
		t.Errorf("a strict reader: %v", err)
	}
}

func TestNumberOfFiles(t *testing.T) {
	files := make(map[string]string)
	for i := range maxServerFiles {
		files[fmt.Sprintf("s%03d.hcl", i)] = fmt.Sprintf("server \"s%03d\" {}\n", i)
	}
	path, dir := writeServers(t, withServersDir, files)
	cfg, err := Load(path, testPlugins)
	if err != nil || len(cfg.Servers) != maxServerFiles {
		t.Fatalf("%d servers, %v", len(cfg.Servers), err)
	}
	writeServer(t, filepath.Join(dir, "t.hcl"), "server \"t\" {}\n")
	if cfg, err = Load(path, tolerant()); err != nil {
		t.Fatal(err)
	}
	last := cfg.Servers[maxServerFiles]
	if last.Name != "t" || last.Fault == nil || !strings.Contains(last.Fault.Error(), "more than 256 files") || cfg.Servers[0].Fault != nil || cfg.Servers[255].Fault != nil {
		t.Errorf("the last is %+v", last)
	}
	f := openServerFiles(t, path)
	if err := f.Add(ServerText{Name: "u"}); err == nil || !strings.Contains(err.Error(), "cannot have more") {
		t.Errorf("Add: %v", err)
	}
}

// TestRelayNeedsAServer: a relay whose servers are all broken is told of all faults, unless it has
// a console, where they can be seen.
func TestRelayNeedsAServer(t *testing.T) {
	for text, refused := range map[string]bool{withServersDir: true, withServersDir + "console {}\n": false} {
		path, _ := writeServers(t, text, map[string]string{"a.hcl": "x", "b.hcl": "server \"b\" { y = 1 }"})
		cfg, err := Load(path, tolerant())
		if (err != nil) != refused {
			t.Errorf("%q: %v", text, err)
		}
		if refused && (!strings.Contains(err.Error(), "a.hcl line 1") || !strings.Contains(err.Error(), "b.hcl line 1")) {
			t.Errorf("%q: %v", text, err)
		}
		if !refused && !slices.Equal(namesOf(cfg.Servers), []string{"(a)", "(b)"}) {
			t.Errorf("%q: %+v", text, cfg.Servers)
		}
	}
}

// TestFaultsBetweenFiles: what two files together have wrong stops the second.
func TestFaultsBetweenFiles(t *testing.T) {
	plugins := listeningPlugins
	plugins.KeepFaults = true
	stats := "server %q {\n  stats \"page\" {}\n}\n"
	path, dir := writeServers(t, withServersDir+fmt.Sprintf(stats, "main"), map[string]string{"a.hcl": fmt.Sprintf(stats, "a"), "b.hcl": "server \"b\" {}\n"})
	cfg, err := Load(path, plugins)
	if err != nil || !slices.Equal(namesOf(cfg.Servers), []string{"main", "(a)", "b"}) {
		t.Fatalf("%+v, %v", cfg, err)
	}
	if text := cfg.Servers[1].Fault.Error(); !strings.Contains(text, "on "+filepath.Join(dir, "a.hcl")+" line 2, column 3") || !strings.Contains(text, "That is on line 4 of "+path) {
		t.Errorf("the fault is %s", text)
	}
	path, _ = writeServers(t, withServersDir+"limits { posts_per_hour = 1345 }\nserver \"main\" {\n  retention { min_age = \"1d\" }\n}\n", map[string]string{"a.hcl": "server \"a\" {}\n", "b.hcl": "server \"b\" {\n  retention { min_age = \"1d\" }\n}\n"})
	if cfg, err = Load(path, tolerant()); err != nil || !slices.Equal(namesOf(cfg.Servers), []string{"main", "(a)", "b"}) {
		t.Errorf("limits: %+v, %v", cfg, err)
	}
}

// TestGrantsOfServerFiles: a plugin that lacks what it needs is refused to each server that uses it.
func TestGrantsOfServerFiles(t *testing.T) {
	use := "server %q {\n  storage \"caller\" {}\n}\n"
	path, _ := writeServers(t, withServersDir+"plugin \"storage\" \"caller\" {\n  path = \"x\"\n  dev = true\n}\n", map[string]string{
		"a.hcl": fmt.Sprintf(use, "a"), "b.hcl": fmt.Sprintf(use, "b"), "c.hcl": "server \"c\" {}\n",
	})
	cfg, err := Load(path, tolerant())
	if err != nil || !slices.Equal(namesOf(cfg.Servers), []string{"(a)", "(b)", "c"}) {
		t.Fatalf("%+v, %v", cfg, err)
	}
	if text := cfg.Servers[1].Fault.Error(); !strings.Contains(text, "needs the network") || !strings.Contains(text, "on line 3 of "+path) {
		t.Errorf("the fault is %s", text)
	}
}

func TestDescriptions(t *testing.T) {
	for written, want := range map[string]string{
		"two\nlines\t": "two lines", "\x1b[31mred": "[31mred", "a\u202eb\u2066c\u200fd": "a b c d", "ü": "ü", "👩‍👧": "👩‍👧",
		strings.Repeat("ü", 5000): strings.Repeat("ü", 999) + "…",
	} {
		path, dir := writeServers(t, withServersDir, map[string]string{"a.hcl": "server \"a\" { description = file(\"note\") }\n", "note": written})
		cfg, err := Load(path, testPlugins)
		if err != nil || cfg.Servers[0].Description != want {
			t.Errorf("%.40q of %s: %+v, %v", written, dir, cfg, err)
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	s := Server{Passphrase: "hunter2"}
	text, err := s.Passphrase.MarshalText()
	if got := fmt.Sprintf("%v %+v %#v %s %q %x %d %s", s, s, s.Passphrase, s.Passphrase, s.Passphrase, s.Passphrase, s.Passphrase, text); err != nil || strings.Contains(got, "hunter2") || strings.Contains(got, "68756e74657232") {
		t.Errorf("printed: %s, %v", got, err)
	}
}

// TestPassphraseComesFromElsewhere shows which expressions are taken.
func TestPassphraseComesFromElsewhere(t *testing.T) {
	t.Setenv("CWTCH_RELAY_TEST", "s3cret")
	for expression, want := range map[string]Secret{`env("CWTCH_RELAY_TEST")`: "s3cret", `"${env("CWTCH_RELAY_TEST")}"`: "s3cret", `"a ${file("p")}"`: "a s3cret", "null": ""} {
		path, _ := writeServers(t, withServersDir, map[string]string{"a.hcl": "server \"a\" { passphrase = " + expression + " }\n", "p": "s3cret\n"})
		if cfg, err := Load(path, testPlugins); err != nil || cfg.Servers[0].Passphrase != want {
			t.Errorf("%s: %+v, %v", expression, cfg, err)
		}
	}
}

// TestServersDirIsUnknown: with a mistake in the options, no other directory is read instead.
func TestServersDirIsUnknown(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("servers.d", 0o700); err != nil {
		t.Fatal(err)
	}
	writeServer(t, "servers.d/a.hcl", "broken {")
	for _, text := range []string{"data_dir = \"\"\n", "data_dir = 5\n", "servers_dir = 5\n", "servers_dir = env(\"CWTCH_RELAY_UNSET\")\n"} {
		if _, err := Load(writeConfig(t, text+"network \"tor\" {}\n"), testPlugins); err == nil || strings.Contains(err.Error(), "a.hcl") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
