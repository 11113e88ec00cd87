package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func openServerFiles(t *testing.T, path string) *ServerFiles {
	t.Helper()
	f, err := OpenServerFiles(path, testPlugins)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAddServer(t *testing.T) {
	path := writeConfig(t, "network \"tor\" {}\n")
	f := openServerFiles(t, path)
	dir := filepath.Join(filepath.Dir(path), "data", "servers.d")
	for _, c := range []struct {
		server ServerText
		want   string
	}{
		{ServerText{Name: "a"}, "server \"a\" {\n  autostart = false\n}\n"},
		{ServerText{Name: "book-club", Description: `for ${friends} "here"`, Autostart: true, Storage: "/* of mine */ storage \"bolt\" {\n path = \"b.db\" # here\n   cache { pages = 3 }\n}\n", MaxAge: "90d", MaxBytes: "1GiB"}, `server "book-club" {
  description = "for $${friends} \"here\""
  autostart   = true

  retention {
    max_age   = "90d"
    max_bytes = "1GiB"
  }

  storage "bolt" {
    path = "b.db" # here
    cache { pages = 3 }
  }
}
`},
		{ServerText{Name: strings.Repeat("n", 64), MaxAge: "1d"}, "server \"" + strings.Repeat("n", 64) + "\" {\n  autostart = false\n\n  retention {\n    max_age = \"1d\"\n  }\n}\n"},
	} {
		if err := f.Add(c.server); err != nil {
			t.Fatalf("%s: %v", c.server.Name, err)
		}
		file := filepath.Join(dir, c.server.Name+".hcl")
		if got := readText(t, file); got != c.want {
			t.Errorf("got\n%s\nwant\n%s", got, c.want)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v, %v", info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the mode of the directory is %v, %v", info.Mode(), err)
	}
	cfg, err := Load(path, testPlugins)
	if err != nil || len(cfg.Servers) != 3 || cfg.Servers[1].Description != `for ${friends} "here"` || !cfg.Servers[1].Autostart {
		t.Errorf("%+v, %v", cfg, err)
	}
}

// TestNameIsTaken also shows that nothing is written over, not even what cannot be read.
func TestNameIsTaken(t *testing.T) {
	path, dir := writeServers(t, withServersDir+"server \"main\" {}\n", map[string]string{"good.hcl": "server \"good\" {}\n", "bad.hcl": "broken {"})
	if err := errors.Join(os.Symlink("/nowhere", filepath.Join(dir, "link.hcl")), os.Mkdir(filepath.Join(dir, "dir.hcl"), 0o700)); err != nil {
		t.Fatal(err)
	}
	f := openServerFiles(t, path)
	for _, name := range []string{"main", "good", "bad", "link", "dir"} {
		err := f.Add(ServerText{Name: name})
		if field, ok := errors.AsType[*FieldError](err); !errors.Is(err, fs.ErrExist) || !ok || field.Field != "name" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 || readText(t, filepath.Join(dir, "bad.hcl")) != "broken {" {
		t.Errorf("the directory is %v, %v", entries, err)
	}
}

// TestFieldsThatAreRefused shows that each mistake is told of the field that has it, and writes
// nothing.
func TestFieldsThatAreRefused(t *testing.T) {
	path := writeConfig(t, "network \"tor\" {}\nplugin \"storage\" \"caller\" {\n  path = \"x\"\n  dev = true\n}\n")
	f := openServerFiles(t, path)
	large := strings.Repeat("x", 10<<10)
	with := func(change func(*ServerText)) ServerText {
		s := ServerText{Name: "a"}
		change(&s)
		return s
	}
	var all []struct {
		field string
		s     ServerText
	}
	add := func(field string, set func(*ServerText, string), values ...string) {
		for _, v := range values {
			all = append(all, struct {
				field string
				s     ServerText
			}{field, with(func(s *ServerText) { set(s, v) })})
		}
	}
	add("name", func(s *ServerText, v string) { s.Name = v },
		"", ".", "..", "../a", "a/b", "/etc/passwd", "a b", "A", "ä", "a\x00", "a\n", "a\x1b", "a\u202eb", "-a", "a-", "a.hcl", `a"`, "${a}", large, strings.Repeat("n", 65))
	add("description", func(s *ServerText, v string) { s.Description = v },
		"a\nb", "a\x00", "\x1b[31m", "a\u202eb", "a\u2066b", "a\u200fb", "a\u2028b", "\xff", large, strings.Repeat("x", 1001), strings.Repeat("ä", 1001))
	add("storage", func(s *ServerText, v string) { s.Storage = v },
		"x", "}", "storage \"bolt\" {", "storage \"bolt\" {}\n}\nserver \"b\" {", "storage \"bolt\" {} storage \"bolt\" {}", "storage \"bolt\" {}\nstorage \"bolt\" {}",
		"storage {}", "stats \"x\" {}", "passphrase = \"x\"", "storage \"nobody\" {}", "storage \"caller\" {}", "storage \"bolt\" { pth = \"x\" }", "storage \"bolt\" { path = <<X\nx\nX\n}", "\xff\xfe", large, strings.Repeat("(", 1<<20))
	add("max_age", func(s *ServerText, v string) { s.MaxAge = v }, "x", "90", "-1d", "1000000000d", "1ns", "90d\"\n", large)
	add("max_bytes", func(s *ServerText, v string) { s.MaxBytes = v }, "x", "1GB", "-1", "1", large)
	for _, c := range all {
		err := f.Add(c.s)
		field, ok := errors.AsType[*FieldError](err)
		if !ok || field.Field != c.field || len(field.Text) > 2000 || strings.ContainsAny(field.Text, "\x00\x1b\u202e\n") {
			t.Errorf("%s %.100s: %v", c.field, fmt.Sprintf("%+v", c.s), err)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	many := ServerText{Name: "a", Storage: "storage \"bolt\" { path = \"" + strings.Repeat("x", 64<<10-30) + "\" }"}
	if err := f.Add(many); !errors.Is(err, ErrInvalidDraft) {
		t.Errorf("a file that is too large: %v", err)
	}
}

const handWritten = `# The club of my street.
server "club" {
	description   =   "reading group" # private

  # bolt, because it is small
  storage "bolt" {
    path = "messages.db" # do not change
  }
  retention { max_age = "90d" }
  # the end
}
# nothing below
`

// TestEditKeepsTheRest makes each change to a server that a person has formatted, in a file of its
// own and in the main file, and checks that no other line differs. Undoing it gives the file back.
func TestEditKeepsTheRest(t *testing.T) {
	text := func(s string) *string { return &s }
	yes, no := true, false
	storage := handWritten[strings.Index(handWritten, "  # bolt"):strings.Index(handWritten, "  retention")]
	for name, c := range map[string]struct {
		change   ServerChange
		old, new string
	}{
		"nothing":                   {ServerChange{}, "", ""},
		"a description":             {ServerChange{Description: text("new \"one\"")}, `"reading group"`, `"new \"one\""`},
		"no description":            {ServerChange{Description: text("")}, "description   =   \"reading group\" # private\n", "# private\n"},
		"autostart":                 {ServerChange{Autostart: &no}, "  # the end\n", "  # the end\n  autostart = false\n"},
		"a limit of age":            {ServerChange{MaxAge: text("30d")}, `"90d"`, `"30d"`},
		"no limit of age":           {ServerChange{MaxAge: text("")}, "  retention { max_age = \"90d\" }\n", ""},
		"a limit of size":           {ServerChange{MaxBytes: text("1GiB")}, `{ max_age = "90d" }`, "{\n    max_age = \"90d\"\n    max_bytes = \"1GiB\"\n  }"},
		"a storage":                 {ServerChange{Storage: text("storage \"bolt\" {}")}, "storage \"bolt\" {\n    path = \"messages.db\" # do not change\n  }", "storage \"bolt\" {}"},
		"a storage on lines":        {ServerChange{Storage: text("storage \"bolt\" {\n path = \"x\"\n}")}, "    path = \"messages.db\" # do not change\n", "    path = \"x\"\n"},
		"no storage":                {ServerChange{Storage: text("")}, storage, ""},
		"autostart and description": {ServerChange{Autostart: &yes, Description: text("x")}, "\"reading group\" # private\n", "\"x\" # private\n"},
	} {
		want := strings.Replace(handWritten, c.old, c.new, 1)
		if name == "autostart and description" {
			want = strings.Replace(want, "  # the end\n", "  # the end\n  autostart = true\n", 1)
		}
		inMain := writeConfig(t, "network \"tor\" {}\n"+handWritten)
		path, dir := writeServers(t, withServersDir, map[string]string{"club.hcl": handWritten})
		for _, at := range []struct{ config, file, before string }{{path, filepath.Join(dir, "club.hcl"), ""}, {inMain, inMain, "network \"tor\" {}\n"}} {
			undo, err := openServerFiles(t, at.config).Edit("club", c.change)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := readText(t, at.file); got != at.before+want {
				t.Errorf("%s: got\n%s\nwant\n%s", name, got, at.before+want)
			}
			if (undo == nil) != (name == "nothing") {
				t.Errorf("%s: undo is %p", name, undo)
			}
			if undo == nil {
				continue
			}
			if err := undo(); err != nil || readText(t, at.file) != at.before+handWritten {
				t.Errorf("%s, undone: %v\n%s", name, err, readText(t, at.file))
			}
		}
	}
}

func TestEditOddForms(t *testing.T) {
	empty, other := "", "other"
	for text, c := range map[string]struct {
		change ServerChange
		want   string
	}{
		"server \"a\" {}":                        {ServerChange{Description: &other}, "server \"a\" {\n  description = \"other\"\n}"},
		"server \"a\" { description = \"x\" }\n": {ServerChange{Description: &empty}, "server \"a\" {}\n"},
		"server \"a\" {\n  description = <<X\nx\nX\n  autostart = false\n}\n":                                                                   {ServerChange{Description: &other}, "server \"a\" {\n  description = \"other\"\n  autostart = false\n}\n"},
		"server \"a\" {\n  description = <<X\nx\nX\n  # this stays\n}\n":                                                                        {ServerChange{Description: &empty}, "server \"a\" {\n  # this stays\n}\n"},
		"server \"a\" {\r\n  autostart = true\r\n}\r\n":                                                                                         {ServerChange{Description: &other}, "server \"a\" {\r\n  autostart = true\r\n  description = \"other\"\r\n}\r\n"},
		"server \"a\" {\n  desription = \"typo\"\n}\n":                                                                                          {ServerChange{Description: &other}, ""}, // stays wrong
		"server \"a\" {\n  storage \"nobody\" {}\n}\n":                                                                                          {ServerChange{Storage: &empty}, "server \"a\" {\n}\n"},
		"server \"a\" {\n  description = (\n    \"x\"\n  ) # here\n  # below\n}\n":                                                              {ServerChange{Description: &empty}, "server \"a\" {\n  # here\n  # below\n}\n"},
		"server \"a\" {\r\n  /* ours */ description = \"x\" // here\r\n}\r\n":                                                                   {ServerChange{Description: &empty}, "server \"a\" {\r\n  /* ours */ // here\r\n}\r\n"},
		"server \"a\" {\n  description = \"x\"\n\n  retention {\n    max_age = \"1d\"\n\n  }\n\n  storage \"bolt\" {}\n}\n":                     {ServerChange{Description: &empty, MaxAge: &empty, Storage: &empty}, "server \"a\" {\n}\n"},
		"server \"a\" {\n  autostart = true\n\n  # small\n  storage \"bolt\" {}\n\n  retention {\n    max_age = \"30d\" # as we said\n  }\n}\n": {ServerChange{MaxAge: &empty, Storage: &empty}, "server \"a\" {\n  autostart = true\n\n  retention {\n    # as we said\n  }\n}\n"},
		"server \"a\" {\n  retention { /* mine */ max_age = \"30d\" }\n}\n":                                                                     {ServerChange{MaxAge: &empty}, "server \"a\" {\n  retention { /* mine */  }\n}\n"},
		"server \"a\" {\n  retention {}\n}\n":                                                                                                   {ServerChange{MaxAge: &empty}, "server \"a\" {\n  retention {}\n}\n"}, // the person wants it
		"server \"a\" {\n  retention {\n    max_age = \"30d\"\n  }\n}\n":                                                                        {ServerChange{MaxAge: &empty, MaxBytes: new("1GiB")}, "server \"a\" {\n  retention {\n    max_bytes = \"1GiB\"\n  }\n}\n"},
		"server \"a\" {\n  retention {\n    min_age = \"1d\"\n  }\n}\n":                                                                         {ServerChange{MaxAge: new("2d")}, "server \"a\" {\n  retention {\n    min_age = \"1d\"\n    max_age = \"2d\"\n  }\n}\n"},
		"server \"a\" {\n  retention {\n    min_age = \"10d\"\n  }\n}\n":                                                                        {ServerChange{MaxAge: new("2d")}, ""}, // contradicts
		"server \"a\" {\n  storage \"bolt\" {}\n  storage \"bolt\" {}\n}\n":                                                                     {ServerChange{Autostart: new(true)}, ""},
		"server \"a\" {\n":                      {ServerChange{Description: &other}, ""},
		"server \"b\" {}\n":                     {ServerChange{Description: &other}, ""},
		"server \"a\" { passphrase = \"x\" }\n": {ServerChange{Autostart: new(true)}, ""},
		"server \"a\" {\n  storage \"bolt\" { size = \"1KiB\" }\n}\n":                 {ServerChange{Autostart: new(true)}, ""},
		"server \"a\" {\n  storage \"bolt\" { size = \"1KiB\" }\n  autostart=true\n}": {ServerChange{Storage: new("storage \"bolt\" {}")}, "server \"a\" {\n  storage \"bolt\" {}\n  autostart=true\n}"},
	} {
		path, dir := writeServers(t, withServersDir, map[string]string{"a.hcl": text})
		file := filepath.Join(dir, "a.hcl")
		_, err := openServerFiles(t, path).Edit("a", c.change)
		want := c.want
		if want == "" {
			want = text
		}
		if (err != nil) != (c.want == "") || readText(t, file) != want {
			t.Errorf("%q: %v\n%q\nwant\n%q", text, err, readText(t, file), want)
		}
	}
}

// TestEditIsRefused shows what keeps a file as it is.
func TestEditIsRefused(t *testing.T) {
	plugins := listeningPlugins
	path, dir := writeServers(t, withServersDir+"server \"main\" {}\n", map[string]string{
		"a.hcl": "server \"a\" {}\n", "b.hcl": "server \"b\" {}\n", "c.hcl": "server \"c\" {\n  stats \"page\" {}\n}\n",
	})
	plugins.BuiltIn = append(slices.Clone(plugins.BuiltIn), plugins.BuiltIn[1])
	plugins.BuiltIn[2].Kind = "storage"
	f, err := OpenServerFiles(path, plugins)
	if err != nil {
		t.Fatal(err)
	}
	// a, which comes first, would take the address of c.
	if _, err := f.Edit("a", ServerChange{Storage: new("storage \"page\" {}")}); !errors.Is(err, ErrInvalidDraft) || !strings.Contains(err.Error(), "of server \"c\" cannot listen at") {
		t.Errorf("a change that stops another server: %v", err)
	}
	for name, want := range map[string]error{"nobody": ErrUnknownServer, "../servers.d/b": ErrUnknownServer, "": ErrUnknownServer, "B": ErrUnknownServer} {
		if _, err := f.Edit(name, ServerChange{Autostart: new(true)}); !errors.Is(err, want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	undo, err := f.Edit("b", ServerChange{Description: new("ours")})
	if err != nil {
		t.Fatal(err)
	}
	theirs := "server \"b\" {} # theirs\n"
	writeServer(t, filepath.Join(dir, "b.hcl"), theirs)
	if err := undo(); err == nil || !strings.Contains(err.Error(), "changed by somebody else") || readText(t, filepath.Join(dir, "b.hcl")) != theirs {
		t.Errorf("undone after another change: %v", err)
	}
	if err := os.WriteFile(path, []byte("broken {"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *Error
	if _, err := f.Edit("b", ServerChange{Autostart: new(true)}); !errors.As(err, &wrong) {
		t.Errorf("with a broken main file: %v", err)
	}
	if err := f.Add(ServerText{Name: "d"}); !errors.As(err, &wrong) {
		t.Errorf("with a broken main file: %v", err)
	}
	if err := f.Remove("b"); !errors.As(err, &wrong) {
		t.Errorf("with a broken main file: %v", err)
	}
}

// TestBrokenFileOfAnother: what is wrong with one server keeps nobody from changing the others.
func TestBrokenFileOfAnother(t *testing.T) {
	path, dir := writeServers(t, withServersDir, map[string]string{"bad.hcl": "broken {", "good.hcl": "server \"good\" {}\n"})
	f := openServerFiles(t, path)
	if err := f.Add(ServerText{Name: "new"}); err != nil {
		t.Error(err)
	}
	if _, err := f.Edit("good", ServerChange{Autostart: new(false)}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Remove("good"), f.Remove("new"), f.Remove("bad")); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

func TestRemoveServer(t *testing.T) {
	main := withServersDir + "# ours\nserver \"main\" {} # here\n# the end\n"
	path, dir := writeServers(t, main, map[string]string{"main.hcl": "server \"main\" {}\n", "a.hcl": "server \"a\" {}\n"})
	if err := os.Symlink(path, filepath.Join(dir, "link.hcl")); err != nil {
		t.Fatal(err)
	}
	f := openServerFiles(t, path)
	for range 2 { // again, as after a crash
		for _, name := range []string{"main", "a", "link", "nobody", "../../server", "", "-"} {
			if err := f.Remove(name); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if got := readText(t, path); got != withServersDir+"# the end\n" {
		t.Errorf("the main file is\n%s", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := openServerFiles(t, writeConfig(t, "network \"tor\" {}\n")).Remove("a"); err != nil {
		t.Errorf("without a directory: %v", err)
	}
}

// TestChangesAtOnce: of changes that are made at the same time none is lost without an error, and
// every file is whole.
func TestChangesAtOnce(t *testing.T) {
	path, dir := writeServers(t, withServersDir, map[string]string{"a.hcl": "server \"a\" {}\n"})
	one, two := openServerFiles(t, path), openServerFiles(t, path)
	var changes sync.WaitGroup
	for i := range 8 {
		f := []*ServerFiles{one, two}[i%2]
		changes.Go(func() {
			_, err := f.Edit("a", ServerChange{Description: new(fmt.Sprint("version ", i))})
			if err != nil && !strings.Contains(err.Error(), "changed by somebody else") {
				t.Error(err)
			}
		})
		changes.Go(func() {
			if err := f.Add(ServerText{Name: "b"}); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	changes.Wait()
	cfg, err := Load(path, testPlugins)
	if err != nil || !slices.Equal(namesOf(cfg.Servers), []string{"a", "b"}) || !strings.HasPrefix(cfg.Servers[0].Description, "version ") {
		t.Errorf("%+v, %v", cfg, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// TestReadServer shows that a server reads as it was written, wherever it stands, without its
// values being changed on the way, and also while another part of its file is wrong.
func TestReadServer(t *testing.T) {
	path, dir := writeServers(t, withServersDir+`server "main" {
  description = "for \"friends\"" # mine
  retention {
    max_age   = env("AGE")
    max_bytes = 1073741824
    nonsense  = true
  }
  storage "bolt" {
    path = "b.db" # here
  }
}
`, map[string]string{"own.hcl": "server \"own\" {\r\n  autostart = false\r\n  retention { max_age = \"90d\" }\r\n  storage \"bolt\" {\r\n    path = \"x\"\r\n  }\r\n}\r\n", "bad.hcl": "server {"})
	for _, c := range []struct {
		file string
		want ServerText
	}{
		{path, ServerText{Name: "main", Description: `for "friends"`, Autostart: true, Storage: "storage \"bolt\" {\n  path = \"b.db\" # here\n}", MaxAge: `env("AGE")`, MaxBytes: "1073741824"}},
		{filepath.Join(dir, "own.hcl"), ServerText{Name: "own", Storage: "storage \"bolt\" {\n  path = \"x\"\n}", MaxAge: "90d"}},
	} {
		if got, err := ReadServer(path, c.file, c.want.Name); err != nil || got != c.want {
			t.Errorf("got %+v, %v\nwant %+v", got, err, c.want)
		}
	}
	for _, name := range []string{"bad", "nobody"} {
		if s, err := ReadServer(path, filepath.Join(dir, name+".hcl"), name); err == nil {
			t.Errorf("%s: got %+v", name, s)
		}
	}
}

// A description has at most 1000 characters, whatever they take, when it is written and when it is
// read.
func TestLengthOfDescription(t *testing.T) {
	long := strings.Repeat("ü", 1000)
	path := writeConfig(t, "network \"tor\" {}\nserver \"main\" {\n  description = \""+long+"x\"\n}\n")
	if err := openServerFiles(t, path).Add(ServerText{Name: "a", Description: long}); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(path, testPlugins)
	if err != nil || cfg.Servers[1].Description != long || cfg.Servers[0].Description != strings.Repeat("ü", 999)+"…" {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

// What keeps a server from being removed is known before, and nothing is removed by asking.
func TestCheckRemoval(t *testing.T) {
	path, dir := writeServers(t, withServersDir+"server \"main\" {}\n", map[string]string{"own.hcl": "server \"own\" {}\n", "bad.hcl": "broken {"})
	f := openServerFiles(t, path)
	before := readText(t, path)
	for _, name := range []string{"main", "own", "bad", "nobody", "../x"} {
		if err := f.CheckRemoval(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 || readText(t, path) != before {
		t.Errorf("the directory has %v, %v", entries, err)
	}
	if err := os.WriteFile(path, []byte(before+"nonsense = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var wrong *Error
	for _, name := range []string{"main", "own"} {
		if err := f.CheckRemoval(name); !errors.As(err, &wrong) {
			t.Errorf("%s of a broken configuration: %v", name, err)
		}
	}
}

// Where one line is allowed, the first mistake is told, and the others are counted.
func TestBrief(t *testing.T) {
	_, dir := writeServers(t, withServersDir, nil)
	for text, want := range map[string]string{
		"server \"a\" {\n  foo = 1\n}\n":                       "",
		"server \"a\" {\n  foo = 1\n  bar = 2\n}\n":            "; and 1 more mistake",
		"server \"a\" {\n  foo = 1\n  bar = 2\n  baz = 3\n}\n": "; and 2 more mistakes",
	} {
		writeServer(t, filepath.Join(dir, "a.hcl"), text)
		_, err := Load(filepath.Join(filepath.Dir(dir), "server.hcl"), testPlugins)
		wrong, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatal(err)
		}
		got := wrong.Brief()
		if !strings.HasPrefix(got, "unknown option \"foo\" (on ") || !strings.Contains(got, "a.hcl line 2, column 3)") || strings.Contains(got, "\n") ||
			!strings.HasSuffix(got, want) || want == "" && strings.Contains(got, "more mistake") {
			t.Errorf("got %q", got)
		}
	}
}
