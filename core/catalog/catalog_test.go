package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage/storagetest"
)

// TestMain makes this binary a relay with a built-in plugin, and, as a copy in
// another file, an external one.
func TestMain(m *testing.M) {
	sandbox.Main()
	if len(os.Args) == 4 && os.Args[1] == "plugin-serve" {
		plugin.Serve(memory(os.Args[3]))
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "external" {
		confined, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
		fmt.Fprintf(os.Stderr, "started, confined: %d\n", confined)
		plugin.Serve(memory("outside"))
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
}

func memory(name string) plugin.Plugin {
	return plugin.Plugin{
		Name: name, Version: "1.0.0", Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "path", Type: plugin.String}}},
		Storage: func(context.Context, plugin.Config) (storage.Store, error) { return storagetest.NewMemory(), nil },
	}
}

// install copies this binary to a directory of its own, and gives the
// declaration of it.
func install(t *testing.T) External {
	t.Helper()
	path := filepath.Join(t.TempDir(), "outside")
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(out, h), in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return External{Kind: plugin.KindStorage, Name: "outside", Path: path, Checksum: fmt.Sprintf("sha256:%x", h.Sum(nil)), Args: []string{"external"}}
}

func newCatalog(t *testing.T, external ...External) *Catalog {
	t.Helper()
	c, err := New(Config{
		Builtin:  []plugin.Plugin{memory("bolt")},
		Self:     []string{"plugin-serve"},
		External: external,
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lookup(t *testing.T, c *Catalog, name string) *Entry {
	t.Helper()
	e, err := c.Lookup(plugin.KindStorage, name)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// run starts what the entry says and asks it who it is.
func run(t *testing.T, e *Entry) (plugin.Description, error) {
	t.Helper()
	command, err := e.Command()
	if err != nil {
		return plugin.Description{}, err
	}
	process, err := pluginproc.Start(t.Context(), pluginproc.StartConfig{Command: command, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Timeout: time.Minute})
	if err != nil {
		return plugin.Description{}, err
	}
	defer process.Kill()
	return process.Client().Describe(t.Context())
}

func TestBuiltinRunsAsAProcess(t *testing.T) {
	e := lookup(t, newCatalog(t), "bolt")
	d, err := run(t, e)
	if err != nil || d.Name != "bolt" {
		t.Errorf("%+v, %v", d, err)
	}
	if direct, err := e.Describe(t.Context()); err != nil || direct.Name != d.Name || len(direct.Schema.Attributes) != 1 {
		t.Errorf("%+v, %v", direct, err)
	}
	if p, ok := e.Builtin(); !ok || p.Name != "bolt" || e.Checksum() != "" {
		t.Errorf("built-in: %v", ok)
	}
}

func TestExternal(t *testing.T) {
	x := install(t)
	e := lookup(t, newCatalog(t, x), "outside")
	if d, err := run(t, e); err != nil || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, ok := e.Builtin(); ok || e.Checksum() != x.Checksum {
		t.Error("taken for a built-in one")
	}
}

// TestDescribe asks once, in a sandbox, whoever looks the plugin up.
func TestDescribe(t *testing.T) {
	x := install(t)
	x.Sandbox = &sandbox.Policy{Network: sandbox.Open}
	var log bytes.Buffer
	c, err := New(Config{External: []External{x}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d, err := lookup(t, c, "outside").Describe(t.Context()); err != nil || d.Name != "outside" || len(d.Schema.Attributes) != 1 {
			t.Errorf("%+v, %v", d, err)
		}
	}
	if all, confined := strings.Count(log.String(), "started"), strings.Count(log.String(), "confined: 1"); all != 1 || confined != 1 {
		t.Errorf("started %d times, %d of them in a sandbox", all, confined)
	}
}

func TestExternalThroughSymlink(t *testing.T) {
	x := install(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(x.Path, link); err != nil {
		t.Fatal(err)
	}
	x.Path = link
	if d, err := run(t, lookup(t, newCatalog(t, x), "outside")); err != nil || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestWhatIsExecutedIsWhatWasChecked(t *testing.T) {
	x := install(t)
	command, err := lookup(t, newCatalog(t, x), "outside").Command()
	if err != nil {
		t.Fatal(err)
	}
	// Between check and start somebody puts another program in its place.
	other := x.Path + ".other"
	if err := os.WriteFile(other, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, x.Path); err != nil {
		t.Fatal(err)
	}
	process, err := pluginproc.Start(t.Context(), pluginproc.StartConfig{Command: command, Logger: slog.Default(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer process.Kill()
	if d, err := process.Client().Describe(t.Context()); err != nil || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestRefusedBinaries(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, x *External)
		want  string
	}{
		"changed": {func(t *testing.T, x *External) { appendTo(t, x.Path) }, "write the line into its block that this prints: cwtch-relay plugin sum /"},
		"gone":    {func(t *testing.T, x *External) { must(t, os.Remove(x.Path)) }, "no such file"},
		"writable by the group": {func(t *testing.T, x *External) { must(t, os.Chmod(x.Path, 0o775)) },
			"can be written by its group"},
		"directory writable by all": {func(t *testing.T, x *External) { must(t, os.Chmod(filepath.Dir(x.Path), 0o777)) },
			"can be written by its group or by everybody"},
		"directory above writable by all": {func(t *testing.T, x *External) {
			must(t, os.Chmod(filepath.Dir(filepath.Dir(x.Path)), 0o777))
		}, "can be written by its group or by everybody, who could replace the plugin: put a copy where nobody can, and write path = "},
		"directory of a link writable": {func(t *testing.T, x *External) {
			dir := t.TempDir()
			link := filepath.Join(dir, "link")
			must(t, os.Symlink(x.Path, link))
			must(t, os.Chmod(dir, 0o777))
			x.Path = link
		}, "can be written by its group or by everybody"},
		"owner of a link": {func(t *testing.T, x *External) {
			dir := sticky(t)
			link := filepath.Join(dir, "link")
			must(t, os.Symlink(x.Path, link))
			must(t, os.Lchown(link, asRoot(t), -1))
			x.Path = link
		}, "link belongs to user 12345"},
		"owner of a directory above": {func(t *testing.T, x *External) {
			must(t, os.Chown(filepath.Dir(filepath.Dir(x.Path)), asRoot(t), -1))
		}, "belongs to user 12345, who could replace the plugin"},
		"links in a circle": {func(t *testing.T, x *External) {
			x.Path = filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink("./link", x.Path))
		}, "more than 40 symbolic links"},
		"below a file": {func(t *testing.T, x *External) { x.Path += "/plugin" }, "is not a directory"},
		"target's directory writable": {func(t *testing.T, x *External) {
			link := filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink(x.Path, link))
			must(t, os.Chmod(filepath.Dir(x.Path), 0o777))
			x.Path = link
		}, "can be written by its group or by everybody"},
		"not executable": {func(t *testing.T, x *External) { must(t, os.Chmod(x.Path, 0o644)) }, "chmod +x"},
		"directory":      {func(t *testing.T, x *External) { x.Path = filepath.Dir(x.Path) }, "not a regular file"},
		"pipe": {func(t *testing.T, x *External) {
			must(t, os.Remove(x.Path))
			must(t, syscall.Mkfifo(x.Path, 0o755))
		}, "not a regular file"},
		"owner": {func(t *testing.T, x *External) {
			must(t, os.Chown(x.Path, asRoot(t), -1))
		}, "belongs to user 12345"},
	} {
		t.Run(name, func(t *testing.T) {
			x := install(t)
			test.spoil(t, &x)
			e := lookup(t, newCatalog(t, x), "outside")
			if _, err := e.Command(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if _, err := e.Describe(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("describe: got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// asRoot is another user, to whom only root can give files.
func asRoot(t *testing.T) (uid int) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	return 12345
}

// sticky is a directory like /tmp.
func sticky(t *testing.T) string {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	return dir
}

func TestSum(t *testing.T) {
	x := install(t)
	if sum, err := Sum(x.Path); err != nil || sum != x.Checksum {
		t.Errorf("%s, %v, want %s", sum, err, x.Checksum)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o755))
	for path, want := range map[string]string{
		pipe:               "not a regular file",
		filepath.Dir(pipe): "not a regular file",
		pipe + "2":         "no such file",
	} {
		if _, err := Sum(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("sum of %s: %v, want an error with %q", path, err, want)
		}
	}
}

func TestDevelopment(t *testing.T) {
	x := install(t)
	x.Checksum, x.Dev = "", true
	e := lookup(t, newCatalog(t, x), "outside")
	appendTo(t, x.Path)
	if d, err := run(t, e); err != nil || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDescribeOfAnotherPlugin(t *testing.T) {
	x := install(t)
	x.Name = "elsewhere"
	if _, err := lookup(t, newCatalog(t, x), "elsewhere").Describe(t.Context()); err == nil || !strings.Contains(err.Error(), `is the storage plugin "outside"`) {
		t.Errorf("got %v", err)
	}
}

func TestDescribeOfSomethingElse(t *testing.T) {
	x := External{Kind: plugin.KindStorage, Name: "true", Path: "/bin/true", Dev: true}
	if _, err := lookup(t, newCatalog(t, x), "true").Describe(t.Context()); err == nil {
		t.Error("true was taken for a plugin")
	}
}

func TestDeclarations(t *testing.T) {
	sum := "sha256:" + strings.Repeat("0a", 32)
	for name, test := range map[string]struct {
		x    External
		want string
	}{
		"relative path": {External{Kind: "storage", Name: "a", Path: "a", Checksum: sum}, "not absolute"},
		"no checksum":   {External{Kind: "storage", Name: "a", Path: "/a"}, "checksum is missing"},
		"no prefix":     {External{Kind: "storage", Name: "a", Path: "/a", Checksum: sum[7:]}, "64 hexadecimal digits"},
		"short":         {External{Kind: "storage", Name: "a", Path: "/a", Checksum: sum[:20]}, "64 hexadecimal digits"},
		"no digits":     {External{Kind: "storage", Name: "a", Path: "/a", Checksum: "sha256:" + strings.Repeat("xy", 32)}, "64 hexadecimal digits"},
		"bad in dev":    {External{Kind: "storage", Name: "a", Path: "/a", Checksum: "md5:00", Dev: true}, "64 hexadecimal digits"},
		"kind":          {External{Kind: "web", Name: "a", Path: "/a", Checksum: sum}, "not a kind"},
		"name":          {External{Kind: "storage", Name: "../a", Path: "/a", Checksum: sum}, "not a name"},
		"taken":         {External{Kind: "storage", Name: "bolt", Path: "/a", Checksum: sum}, "two storage plugins"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Config{Builtin: []plugin.Plugin{memory("bolt")}, External: []External{test.x}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	if _, err := New(Config{Builtin: []plugin.Plugin{{Name: "empty", Version: "1"}}}); err == nil {
		t.Error("a built-in plugin without implementation was accepted")
	}
}

func TestLookupOfUnknown(t *testing.T) {
	c := newCatalog(t, install(t))
	if _, err := c.Lookup(plugin.KindStorage, "sqlit"); err == nil || err.Error() != `there is no storage plugin "sqlit", only "bolt", "outside"` {
		t.Errorf("got %v", err)
	}
	if _, err := c.Lookup("stats", "x"); err == nil || !strings.Contains(err.Error(), "nor any other") {
		t.Errorf("got %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("x")
	must(t, errors.Join(err, f.Close()))
}
