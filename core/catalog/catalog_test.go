package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/stats"
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
		p := memory("outside")
		if confined, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); confined == 1 {
			p.Doc = "confined"
		}
		plugin.Serve(p)
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "earlier contract" {
		serveDescription("\n\x08peersync\x12\x07outside\x1a\x051.2.3*\x00B\x01\x01")
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/cwtch-relay/cwtch-relay/sdk/pluginproc.spawnLoop"))
}

var testSchema = plugin.Schema{Attributes: []plugin.Attribute{{Name: "path", Type: plugin.String}}}

// memory is a plugin that refuses the path "wrong".
func memory(name string) plugin.Plugin {
	return plugin.Plugin{
		Name: name, Version: "1.0.0", Schema: testSchema,
		Storage: func(context.Context, plugin.Config) (storage.Store, error) { return storagetest.NewMemory(), nil },
		Validate: func(cfg plugin.Config) error {
			var c struct {
				Path string `cty:"path"`
			}
			if err := cfg.Decode(&c); err != nil {
				return err
			}
			if c.Path == "wrong" {
				return plugin.Invalid("The path is wrong", "", "path")
			}
			return nil
		},
	}
}

// install copies this binary to a directory of its own, and returns its declaration.
func install(t *testing.T) Program {
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
	return Program{Kind: plugin.KindStorage, Name: "outside", Path: path, Checksum: fmt.Sprintf("sha256:%x", h.Sum(nil)), Args: []string{"external"}}
}

// newCatalog has the built-in plugin bolt.
func newCatalog(t *testing.T) *Catalog {
	t.Helper()
	c, err := New([]plugin.Plugin{memory("bolt")}, "plugin-serve")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func declare(t *testing.T, x Program) *Program {
	t.Helper()
	p, err := newCatalog(t).Declare(x)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// describeProcess starts the program, unconfined, and asks it what it is.
func describeProcess(t *testing.T, p *Program) (plugin.Description, error) {
	t.Helper()
	command, err := p.Command()
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
	p, err := newCatalog(t).Lookup(plugin.KindStorage, "bolt")
	if err != nil {
		t.Fatal(err)
	}
	d, err := describeProcess(t, p)
	if err != nil || d.Name != "bolt" {
		t.Errorf("%+v, %v", d, err)
	}
	if direct, err := p.Describe(t.Context()); err != nil || direct.Name != d.Name || len(direct.Schema.Attributes) != 1 {
		t.Errorf("%+v, %v", direct, err)
	}
	if !p.IsBuiltIn() || p.Sandbox == nil || p.Fingerprint() != nil {
		t.Errorf("it is %+v", p)
	}
}

func TestExternalRuns(t *testing.T) {
	p := declare(t, install(t))
	if d, err := describeProcess(t, p); err != nil || d.Name != "outside" || d.Doc != "" {
		t.Errorf("%+v, %v", d, err)
	}
	if p.IsBuiltIn() {
		t.Error("taken for a built-in one")
	}
}

func TestDescribeAsksInTheSandbox(t *testing.T) {
	for want, policy := range map[string]*sandbox.Policy{"confined": {Network: sandbox.Open}, "": nil} {
		x := install(t)
		x.Sandbox = policy
		d, err := declare(t, x).Describe(t.Context())
		if err != nil || d.Name != "outside" || len(d.Schema.Attributes) != 1 || d.Doc != want {
			t.Errorf("with policy %+v: %+v, %v", policy, d, err)
		}
	}
}

func TestConfinedCommandRunsInTheSandbox(t *testing.T) {
	x := install(t)
	x.Sandbox = &sandbox.Policy{}
	command, err := declare(t, x).Confined(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	process, err := pluginproc.Start(t.Context(), pluginproc.StartConfig{Command: command, Logger: slog.New(slog.DiscardHandler), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer process.Kill()
	if d, err := process.Client().Describe(t.Context()); err != nil || d.Doc != "confined" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDeclareTwiceReturnsTheSameProgram(t *testing.T) {
	c, x := newCatalog(t), install(t)
	first, err := c.Declare(x)
	must(t, err)
	if second, err := c.Declare(x); err != nil || second != first {
		t.Errorf("%p, %v, want %p", second, err, first)
	}
	if found, err := c.Lookup(x.Kind, x.Name); err != nil || found != first {
		t.Errorf("%p, %v, want %p", found, err, first)
	}
}

// TestNamedProgram shows that a program on the command line is taken as it is.
func TestNamedProgram(t *testing.T) {
	dir := filepath.Dir(install(t).Path)
	must(t, os.Chmod(dir, 0o777))
	script := filepath.Join(dir, "script")
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nexec "+filepath.Join(dir, "outside")+" external\n"), 0o777))
	t.Chdir(dir)
	p, err := Named("script", nil)
	must(t, err)
	if d, err := p.Describe(t.Context()); err != nil || d.Kind != plugin.KindStorage || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
	must(t, os.Chmod(script, 0o600))
	if _, err := p.Describe(t.Context()); err == nil || err.Error() != "script is not a program that can be executed" {
		t.Errorf("got %v", err)
	}
}

func TestNamedProgramThatIsNoPlugin(t *testing.T) {
	p, err := Named("/bin/true", &sandbox.Policy{})
	must(t, err)
	_, err = p.Describe(t.Context())
	var hinted interface{ Hint() string }
	if err == nil || !strings.HasPrefix(err.Error(), "/bin/true: start plugin: ") || !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "-no-sandbox") {
		t.Errorf("got %v", err)
	}
}

// TestFingerprint shows which options need another process when they change.
func TestFingerprint(t *testing.T) {
	x := install(t)
	x.Sandbox = &sandbox.Policy{}
	for name, c := range map[string]struct {
		change func(*Program)
		want   []string
	}{
		"nothing":          {func(*Program) {}, nil},
		"path":             {func(x *Program) { x.Path += "2" }, []string{"path"}},
		"letters of a sum": {func(x *Program) { x.Checksum = "sha256:" + strings.ToUpper(x.Checksum[7:]) }, nil},
		"checksum":         {func(x *Program) { x.Checksum = "sha256:" + strings.Repeat("0a", 32) }, []string{"checksum"}},
		"no checksum":      {func(x *Program) { x.Checksum, x.Dev = "", true }, []string{"checksum", "dev", "file"}},
		"args":             {func(x *Program) { x.Args = []string{"external", ""} }, []string{"args"}},
		"env":              {func(x *Program) { x.Env = []string{"A=b"} }, []string{"env"}},
		"no sandbox":       {func(x *Program) { x.Sandbox = nil }, []string{"sandbox"}},
		"a grant":          {func(x *Program) { x.Sandbox = &sandbox.Policy{Read: []string{"/srv"}} }, []string{"sandbox"}},
		"a listener":       {func(x *Program) { x.ListenAnywhere = true }, []string{"sandbox"}},
	} {
		next := x
		c.change(&next)
		var changed []string
		was, is := declare(t, x).Fingerprint(), declare(t, next).Fingerprint()
		for _, option := range []string{"args", "checksum", "dev", "env", "file", "path", "sandbox"} {
			if was[option] != is[option] {
				changed = append(changed, option)
			}
		}
		if !slices.Equal(changed, c.want) {
			t.Errorf("%s: changed are %q, want %q", name, changed, c.want)
		}
	}
}

// encode is a configuration with one attribute.
func encode(t *testing.T, s plugin.Schema, text string) []byte {
	t.Helper()
	value, err := s.Encode(cty.ObjectVal(map[string]cty.Value{s.Attributes[0].Name: cty.StringVal(text)}))
	must(t, err)
	return value
}

// TestValidate shows that built-in and external plugins are asked alike.
func TestValidate(t *testing.T) {
	c := newCatalog(t)
	bolt, err := c.Lookup(plugin.KindStorage, "bolt")
	must(t, err)
	outside, err := c.Declare(install(t))
	must(t, err)
	for _, p := range []*Program{bolt, outside} {
		if err := p.Validate(t.Context(), testSchema, encode(t, testSchema, "a.db")); err != nil {
			t.Errorf("%v: %v", p, err)
		}
		err := p.Validate(t.Context(), testSchema, encode(t, testSchema, "wrong"))
		if faults, ok := errors.AsType[plugin.Diagnostics](err); !ok || faults[0].Summary != "The path is wrong" || !slices.Equal(faults[0].Path, []string{"path"}) {
			t.Errorf("%v: got %v", p, err)
		}
	}
}

func TestValidateRefusesListenersForStrangers(t *testing.T) {
	page := plugin.Plugin{
		Name: "page", Version: "1", Schema: plugin.Schema{Attributes: []plugin.Attribute{{Name: "listen", Type: plugin.String, Listener: true}}},
		Stats: func(context.Context, plugin.Config) (stats.Exporter, error) {
			return nil, errors.New("not started here")
		},
	}
	c, err := New([]plugin.Plugin{page}, "plugin-serve")
	must(t, err)
	p, err := c.Lookup(plugin.KindStats, "page")
	must(t, err)
	public := encode(t, page.Schema, "192.0.2.1:80")
	if err := p.Validate(t.Context(), page.Schema, public); err == nil || !strings.Contains(err.Error(), "192.0.2.1:80") {
		t.Errorf("got %v", err)
	}
	if err := p.Validate(t.Context(), page.Schema, encode(t, page.Schema, "127.0.0.1:80")); err != nil {
		t.Error(err)
	}
	granted := *p
	granted.ListenAnywhere = true
	if err := granted.Validate(t.Context(), page.Schema, public); err != nil {
		t.Error(err)
	}
}

func TestExternalThroughSymlink(t *testing.T) {
	x := install(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(x.Path, link); err != nil {
		t.Fatal(err)
	}
	x.Path = link
	if d, err := describeProcess(t, declare(t, x)); err != nil || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestCheckedFileIsExecuted(t *testing.T) {
	x := install(t)
	command, err := declare(t, x).Command()
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

func TestUnsafeFilesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, x *Program)
		want  string
	}{
		"changed": {func(t *testing.T, x *Program) { appendTo(t, x.Path) }, "write the line into its block that this prints: cwtch-relay plugin sum /"},
		"gone":    {func(t *testing.T, x *Program) { must(t, os.Remove(x.Path)) }, "no such file"},
		"writable by the group": {func(t *testing.T, x *Program) { must(t, os.Chmod(x.Path, 0o775)) },
			"can be written by its group"},
		"directory writable by all": {func(t *testing.T, x *Program) { must(t, os.Chmod(filepath.Dir(x.Path), 0o777)) },
			"can be written by its group or by everybody"},
		"directory above writable by all": {func(t *testing.T, x *Program) {
			must(t, os.Chmod(filepath.Dir(filepath.Dir(x.Path)), 0o777))
		}, "can be written by its group or by everybody, who could replace the plugin: put a copy where nobody can, and write path = "},
		"directory of a link writable": {func(t *testing.T, x *Program) {
			dir := t.TempDir()
			link := filepath.Join(dir, "link")
			must(t, os.Symlink(x.Path, link))
			must(t, os.Chmod(dir, 0o777))
			x.Path = link
		}, "can be written by its group or by everybody"},
		"owner of a link": {func(t *testing.T, x *Program) {
			dir := stickyDir(t)
			link := filepath.Join(dir, "link")
			must(t, os.Symlink(x.Path, link))
			must(t, os.Lchown(link, otherUser(t), -1))
			x.Path = link
		}, "link belongs to user 12345"},
		"owner of a directory above": {func(t *testing.T, x *Program) {
			must(t, os.Chown(filepath.Dir(filepath.Dir(x.Path)), otherUser(t), -1))
		}, "belongs to user 12345, who could replace the plugin"},
		"links in a circle": {func(t *testing.T, x *Program) {
			x.Path = filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink("./link", x.Path))
		}, "more than 40 symbolic links"},
		"below a file": {func(t *testing.T, x *Program) { x.Path += "/plugin" }, "is not a directory"},
		"target's directory writable": {func(t *testing.T, x *Program) {
			link := filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink(x.Path, link))
			must(t, os.Chmod(filepath.Dir(x.Path), 0o777))
			x.Path = link
		}, "can be written by its group or by everybody"},
		"not executable": {func(t *testing.T, x *Program) { must(t, os.Chmod(x.Path, 0o644)) }, "chmod +x"},
		"directory":      {func(t *testing.T, x *Program) { x.Path = filepath.Dir(x.Path) }, "not a regular file"},
		"pipe": {func(t *testing.T, x *Program) {
			must(t, os.Remove(x.Path))
			must(t, syscall.Mkfifo(x.Path, 0o755))
		}, "not a regular file"},
		"owner": {func(t *testing.T, x *Program) {
			must(t, os.Chown(x.Path, otherUser(t), -1))
		}, "belongs to user 12345"},
	} {
		t.Run(name, func(t *testing.T) {
			x := install(t)
			test.spoil(t, &x)
			p := declare(t, x)
			if _, err := p.Command(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if _, err := p.Describe(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("describe: got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// otherUser is a user to whom only root can give files.
func otherUser(t *testing.T) (uid int) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	return 12345
}

// stickyDir is a directory like /tmp.
func stickyDir(t *testing.T) string {
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

func TestDevTakesAnyContent(t *testing.T) {
	x := install(t)
	x.Checksum, x.Dev = "", true
	p := declare(t, x)
	appendTo(t, x.Path)
	if d, err := describeProcess(t, p); err != nil || d.Name != "outside" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestDescribeRefusesAnotherPlugin(t *testing.T) {
	x := install(t)
	x.Name = "elsewhere"
	if _, err := declare(t, x).Describe(t.Context()); err == nil || !strings.Contains(err.Error(), `is the storage plugin "outside"`) {
		t.Errorf("got %v", err)
	}
}

// TestDescribeRefusesAnEarlierContract: the configuration has no plugin that was built before
// version 1 of the contract of peersync, and a person can still look at it.
func TestDescribeRefusesAnEarlierContract(t *testing.T) {
	x := install(t)
	x.Kind, x.Args = plugin.KindPeerSync, []string{"earlier contract"}
	_, err := declare(t, x).Describe(t.Context())
	if want := "outside was built for an earlier contract of peersync than version 1: build it anew"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	named := declare(t, x)
	named.named = x.Path
	if d, err := named.Describe(t.Context()); err != nil || d.Contract != 0 || d.CheckContract() == nil {
		t.Errorf("named: %+v, %v", d, err)
	}
}

// serveDescription is a plugin that answers every call with the encoded description of a plugin.
func serveDescription(description string) {
	answer := &emptypb.Empty{}
	answer.ProtoReflect().SetUnknown([]byte(description))
	plugin.ServeInterceptor(plugin.Interceptor{
		Name: "outside", Codec: encoding.GetCodecV2("proto"),
		Open: func(context.Context, *slog.Logger) (grpc.StreamHandler, func(context.Context) error, error) {
			return func(_ any, stream grpc.ServerStream) error {
				return errors.Join(stream.RecvMsg(&emptypb.Empty{}), stream.SendMsg(answer))
			}, func(context.Context) error { return nil }, nil
		},
	})
}

func TestDescribeRefusesWhatIsNoPlugin(t *testing.T) {
	x := Program{Kind: plugin.KindStorage, Name: "true", Path: "/bin/true", Dev: true}
	if _, err := declare(t, x).Describe(t.Context()); err == nil {
		t.Error("true was taken for a plugin")
	}
}

func TestFaultyDeclarations(t *testing.T) {
	sum := "sha256:" + strings.Repeat("0a", 32)
	for name, test := range map[string]struct {
		x    Program
		want string
	}{
		"relative path": {Program{Kind: "storage", Name: "a", Path: "a", Checksum: sum}, "not absolute"},
		"no checksum":   {Program{Kind: "storage", Name: "a", Path: "/a"}, "checksum is missing"},
		"no prefix":     {Program{Kind: "storage", Name: "a", Path: "/a", Checksum: sum[7:]}, "64 hexadecimal digits"},
		"short":         {Program{Kind: "storage", Name: "a", Path: "/a", Checksum: sum[:20]}, "64 hexadecimal digits"},
		"no digits":     {Program{Kind: "storage", Name: "a", Path: "/a", Checksum: "sha256:" + strings.Repeat("xy", 32)}, "64 hexadecimal digits"},
		"bad in dev":    {Program{Kind: "storage", Name: "a", Path: "/a", Checksum: "md5:00", Dev: true}, "64 hexadecimal digits"},
		"kind":          {Program{Kind: "web", Name: "a", Path: "/a", Checksum: sum}, "not a kind"},
		"name":          {Program{Kind: "storage", Name: "../a", Path: "/a", Checksum: sum}, "not a name"},
		"taken":         {Program{Kind: "storage", Name: "bolt", Path: "/a", Checksum: sum}, "two storage plugins"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newCatalog(t).Declare(test.x)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	if _, err := New([]plugin.Plugin{{Name: "empty", Version: "1"}}, "plugin-serve"); err == nil {
		t.Error("a built-in plugin without implementation was accepted")
	}
}

func TestLookupOfUnknown(t *testing.T) {
	if _, err := newCatalog(t).Lookup(plugin.KindStorage, "sqlit"); err == nil || err.Error() != `there is no storage plugin "sqlit"` {
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
