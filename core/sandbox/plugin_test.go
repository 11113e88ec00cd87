package sandbox

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
	"github.com/cwtch-relay/cwtch-relay/sdk/storage"
)

// pluginMode is the argument that makes the test binary a plugin which keeps to the rules.
const pluginMode = "plugin"

var quiet = plugin.Plugin{
	Name: "quiet", Version: "1", Doc: "Stores nothing.",
	Storage: func(context.Context, plugin.Config) (storage.Store, error) { return nil, errors.New("stores nothing") },
}

// startPlugin starts that plugin as a relay does.
func startPlugin(tb testing.TB, p *Policy) (*pluginproc.Process, error) {
	tb.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		tb.Fatal(err)
	}
	cmd := pluginproc.Command{Path: os.Args[0], Args: []string{pluginMode}, File: self}
	if p != nil {
		if cmd, err = Wrap(cmd, *p); err != nil {
			tb.Fatal(err)
		}
	}
	return pluginproc.Start(tb.Context(), pluginproc.StartConfig{Command: cmd, Logger: slog.New(slog.DiscardHandler)})
}

func TestPluginServesInside(t *testing.T) {
	p, err := startPlugin(t, &Policy{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if d, err := p.Client().Describe(t.Context()); err != nil || d.Name != quiet.Name {
		t.Errorf("%+v, %v", d, err)
	}
	// What tells operators which process is which is set by the plugin itself.
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID())); err != nil || string(name) != "cwtch-quiet\n" {
		t.Errorf("it goes by the name %q, %v", name, err)
	}
}

func TestWhatCannotBeConfinedDoesNotStart(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		want   string
	}{
		{Policy{Dir: "/nonexistent/own"}, "find the plugin's directory: stat /nonexistent/own: no such file"},
		{Policy{Read: []string{"/nonexistent/home"}}, "find what it was granted to read: stat /nonexistent/home"},
	} {
		p, err := startPlugin(t, &c.policy)
		if err == nil {
			p.Kill()
		}
		if err == nil || !strings.Contains(err.Error(), "the plugin said: sandbox: "+c.want) {
			t.Errorf("%+v: %v", c.policy, err)
		}
	}
}

func TestWrapRefuses(t *testing.T) {
	for want, p := range map[string]Policy{
		`the directory "own" is not absolute`: {Dir: "own"},
		`the path "home" is not absolute`:     {Read: []string{"home"}},
		"negative limit":                      {Memory: -1},
		"unknown network policy 7":            {Network: 7},
		"is below /usr":                       {Dir: "/usr/share"},
		"more than 65536 bytes":               {Read: []string{"/" + strings.Repeat("x", maxOrderSize)}},
	} {
		if _, err := Wrap(pluginproc.Command{}, p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// script does what a plugin in Python does: modules with libraries, a database with
// shared memory, threads, a socket to be called at. Then it tries what it may not do.
const script = `
import ctypes, os, socket, sqlite3, ssl, subprocess, sys, threading, time
ssl.create_default_context()
time.localtime()
own = sys.argv[1]
db = sqlite3.connect(own + "/db")
db.execute("pragma journal_mode=wal"); db.execute("create table t (x)"); db.commit()
threads = [threading.Thread(target=lambda: None) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
s = socket.socket(socket.AF_UNIX); s.bind(own + "/socket"); s.listen()
socket.socketpair()
refused = []
for try_it in (os.fork, lambda: os.posix_spawn("/bin/true", ["true"], {}), lambda: subprocess.run("/bin/true"), lambda: socket.socket(socket.AF_INET)):
    try:
        if try_it() == 0: os._exit(0)
        refused.append(False)
    except PermissionError:
        refused.append(True)
print(refused)
`

func TestPythonWorksInside(t *testing.T) {
	const interpreter = "/usr/bin/python3"
	if _, err := os.Stat(interpreter); err != nil {
		t.Skip("there is no python3")
	}
	plain := []byte("#!" + interpreter + "\n" + script)
	var app bytes.Buffer
	fmt.Fprintln(&app, "#!"+interpreter)
	z := zip.NewWriter(&app)
	w, err := z.Create("__main__.py")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, script)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"script": plain, "zipapp": app.Bytes()} {
		t.Run(name, func(t *testing.T) {
			for p, want := range map[bool]string{true: "[True, True, True, True]", false: "[False, False, False, False]"} {
				if got := runScript(t, content, p, nil); got != want {
					t.Errorf("inside: %v: %s", p, got)
				}
			}
		})
	}
}

// An interpreter outside of /usr needs a grant.
func TestInterpreterElsewhereNeedsAGrant(t *testing.T) {
	requireLandlock(t, 1)
	home := t.TempDir()
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "sh"), program, 0o700); err != nil {
		t.Fatal(err)
	}
	content := []byte("#!" + filepath.Join(home, "sh") + "\necho started\n")
	if got := runScript(t, content, true, nil); !strings.Contains(got, "interpreter that cannot be read: open "+home+"/sh: permission denied") {
		t.Errorf("without a grant: %s", got)
	}
	if got := runScript(t, content, true, []string{home}); got != "started" {
		t.Errorf("with a grant: %s", got)
	}
}

// runScript executes a program with a directory of its own as its argument.
func runScript(t *testing.T, content []byte, inside bool, read []string) string {
	t.Helper()
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	path := filepath.Join(dir, "program")
	if err := errors.Join(os.Mkdir(own, 0o700), os.WriteFile(path, content, 0o700)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, own)
	if inside {
		c, err := Wrap(pluginproc.Command{Path: path, Args: []string{own}}, Policy{Dir: own, Read: read})
		if err != nil {
			t.Fatal(err)
		}
		c.Launcher.File.Close()
		cmd = exec.Command("/proc/self/exe", append(append(c.Launcher.Args, "--"), path, own)...)
	}
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// BenchmarkStart measures the time until a plugin has described itself.
func BenchmarkStart(b *testing.B) {
	for name, p := range map[string]*Policy{"bare": nil, "confined": {}, "hidden": {Hide: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				process, err := startPlugin(b, p)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := process.Client().Describe(b.Context()); err != nil {
					b.Fatal(err)
				}
				process.Kill()
			}
		})
	}
}
