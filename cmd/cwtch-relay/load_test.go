package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
	"github.com/cwtch-relay/cwtch-relay/sdk/pluginproc"
)

const network = "network \"loopback\" { registry = \"net\" }\n"

// writeConfig writes server.hcl into a directory that becomes the working directory.
func writeConfig(t *testing.T, text string) (path string) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("server.hcl", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "server.hcl"
}

func load(t *testing.T, text string) *loadedConfig {
	t.Helper()
	cfg, err := loadTolerant(t.Context(), writeConfig(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestValidatePointsAtFaults shows who finds faults in a file, and that each has a place.
func TestValidatePointsAtFaults(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"the schema": {network + `server "main" {
  storage "bolt" { pth = "a" }
}`, "error: unknown option \"pth\"\n  on server.hcl line 3, column 20, in server \"main\", storage \"bolt\":"},
		"the plugin": {network + `server "main" {
  storage "bolt" { path = "../a" }
}`, "error: the path does not name a file below the plugin's directory\n  on server.hcl line 3, column 27, in server \"main\", storage \"bolt\":"},
		"the program": {network + `server "main" {
  storage "diary" {}
}
plugin "storage" "diary" {
  path     = "diary"
  checksum = "sha256:00000000000000000000000000000000000000000000000000000000000000ff"
}`, "error: plugin \"diary\" cannot be used: storage plugin \"diary\": lstat "},
		"the network": {"network \"tor\" {\n  torrc = [\"ControlPort 9051\"]\n}\nserver \"main\" {}\n", "error: server.hcl:1,1: torrc: "},
	} {
		var stdout, stderr bytes.Buffer
		status := runCommand(t.Context(), []string{"validate", "-config", writeConfig(t, c.text)}, &stdout, &stderr)
		if status != command.ExitConfig || !strings.HasPrefix(stderr.String(), c.want) || stdout.Len() > 0 {
			t.Errorf("%s: status %d\n%s%s", name, status, &stdout, &stderr)
		}
	}
}

// TestValidateKnowsTheServerItself: a server cannot be its own peer, which shows as soon as it
// has keys.
func TestValidateKnowsTheServerItself(t *testing.T) {
	onion := string(identity.NewKey().Onion())
	text := func(onion string) string {
		return network + "server \"main\" {\n  peersync \"mesh\" {}\n  peer \"bob\" {\n    onion = \"" + onion + ".onion\"\n  }\n}\n"
	}
	path := writeConfig(t, text(onion))
	run := func(command string) (status int, stdout, stderr string) {
		var out, errors bytes.Buffer
		status = runCommand(t.Context(), []string{command, "-config", path, "-json"}, &out, &errors)
		return status, out.String(), errors.String()
	}
	if status, _, stderr := run("validate"); status != 0 {
		t.Fatalf("before there are keys: status %d\n%s", status, stderr)
	}
	if _, err := os.Lstat("data"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("validate has made keys: %v", err)
	}
	var own startedServer
	if _, stdout, stderr := run("bundle"); json.Unmarshal([]byte(stdout), &own) != nil {
		t.Fatal(stderr)
	}
	if status, _, stderr := run("validate"); status != 0 {
		t.Fatalf("another server: status %d\n%s", status, stderr)
	}
	if err := os.WriteFile(path, []byte(text(string(own.Board))), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := run("validate")
	if want := `{"error":"server main: peer \"bob\" (server.hcl:4,3) has the address of this server itself`; status != command.ExitConfig || !strings.Contains(stderr, want) {
		t.Errorf("the server itself: status %d\n%s", status, stderr)
	}
}

// TestFaultOfOneServer shows that another server runs, and that nothing of the faulty
// plugin is used.
func TestFaultOfOneServer(t *testing.T) {
	cfg := load(t, network+`server "a" {}
server "b" {
  storage "true" {}
}
plugin "storage" "true" {
  path = "/bin/true"
  dev  = true
  sandbox { enabled = false }
}`)
	m, err := cfg.managerConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if a := m.Servers[0].Storage; a.Fault != nil || a.Command == nil {
		t.Errorf("the good one is %+v", a)
	}
	b := m.Servers[1].Storage
	if b.Fault == nil || !strings.Contains(b.Fault.Error(), "on server.hcl line 4, column 11") || b.Command != nil || b.Name != "true" || b.Where != "server.hcl:4,3" {
		t.Errorf("the faulty one is %+v", b)
	}
}

func TestManagerConfig(t *testing.T) {
	cfg := load(t, `data_dir = "d"
log {
  format = "json"
  level  = "warn"
}
limits { token_batch = 7 }
`+network+`server "a" {}
server "b" {
  storage "sqlite" { path = "b.db" }
}`)
	m, err := cfg.managerConfig(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.Abs("d")
	if err != nil {
		t.Fatal(err)
	}
	if m.Path != "server.hcl" || m.DataDir != dir || m.Version != command.Version || m.LogLevel != slog.LevelWarn || m.LogFormat != "json" || m.Limits.TokenBatch != 7 {
		t.Errorf("it is %+v", m)
	}
	if m.Network.Where != "server.hcl:7,1" || !strings.Contains(m.Network.Settings, "loopback") {
		t.Errorf("the network is %+v", m.Network)
	}
	var got []string
	for _, s := range m.Servers {
		p := s.Storage
		got = append(got, fmt.Sprintf("%s in %s: %v of %s at %s, %d others", s.Name, s.Dir, p, p.Name, p.Where, len(s.Others)))
		if !p.RetryForever || p.Sandbox == nil || p.ListenAnywhere || p.Fingerprint != nil || len(p.Value) == 0 || len(p.Schema.Attributes) == 0 {
			t.Errorf("%s: the built-in store is %+v", s.Name, p)
		}
		if c, err := p.Command(); err != nil || !reflect.DeepEqual(c.Args, []string{pluginMode, "storage", p.Name}) {
			t.Errorf("%s: it executes %q, %v", s.Name, c.Args, err)
		} else {
			c.File.Close()
		}
	}
	want := []string{
		"a in " + dir + "/servers/a: storage/bolt of bolt at server.hcl:8,1, 0 others",
		"b in " + dir + "/servers/b: storage/sqlite of sqlite at server.hcl:10,3, 0 others",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestNetworkSettingsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for _, n := range []config.Network{
		{Loopback: &config.Loopback{Registry: "a"}}, {Loopback: &config.Loopback{Registry: "b"}},
		{Tor: &config.Tor{Path: "tor"}}, {Tor: &config.Tor{Path: "tor", Torrc: []string{"Bridge x"}}}, {Tor: &config.Tor{Path: "tor", ControlUser: "t"}},
	} {
		s := networkSettings(n)
		if seen[s] {
			t.Errorf("two networks are %s", s)
		}
		seen[s] = true
	}
}

// TestProgramOf shows what a sandbox block grants.
func TestProgramOf(t *testing.T) {
	confined := config.Sandbox{Read: []string{"/srv"}, Sockets: []string{"/run/db"}, Processes: true, Memory: 1, Files: 2, Tasks: 3}
	policy := sandbox.Policy{Read: []string{"/srv"}, Sockets: []string{"/run/db"}, Processes: true, Memory: 1, Files: 2, Tasks: 3}
	withNetwork, open := confined, policy
	withNetwork.Network, open.Network = true, sandbox.Open
	listening := confined
	listening.Listen = true
	for name, c := range map[string]struct {
		granted  config.Sandbox
		want     *sandbox.Policy
		anywhere bool
	}{
		"confined":    {confined, &policy, false},
		"the network": {withNetwork, &open, true},
		"listeners":   {listening, &policy, true},
		"everything":  {config.Sandbox{Off: true, Memory: 1}, nil, true},
	} {
		x := config.External{Kind: plugin.KindStats, Name: "page", Path: "/p", Checksum: "sha256:00", Args: []string{"a"}, Env: []string{"A=b"}, Dev: true, Sandbox: c.granted}
		p := programOf(x)
		if !reflect.DeepEqual(p.Sandbox, c.want) || p.ListenAnywhere != c.anywhere {
			t.Errorf("%s: the policy is %+v, and to listen anywhere is %t", name, p.Sandbox, p.ListenAnywhere)
		}
		if p.Kind != x.Kind || p.Name != x.Name || p.Path != x.Path || p.Checksum != x.Checksum || !p.Dev || !reflect.DeepEqual([][]string{p.Args, p.Env}, [][]string{x.Args, x.Env}) {
			t.Errorf("%s: it is %+v", name, p)
		}
	}
}

func TestLogWarnings(t *testing.T) {
	cfg := load(t, network+`server "a" {}
plugin "storage" "new" {
  path = "/new"
  dev  = true
}
plugin "storage" "known" {
  path     = "/known"
  dev      = true
  checksum = "sha256:00000000000000000000000000000000000000000000000000000000000000ff"
}`)
	var log bytes.Buffer
	cfg.logWarnings(slog.New(slog.NewTextHandler(&log, nil)))
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "plugin=storage/new path=/new") {
		t.Errorf("it warns of\n%s", text)
	}
}

// TestExplainError shows that what a plugin refuses while it starts has a place in the file.
func TestExplainError(t *testing.T) {
	cfg := load(t, network+`server "a" {
  storage "bolt" { path = "a.db" }
}`)
	faults := plugin.Invalid("The file is damaged", "Restore it.", "path")
	refused := func(server, use string, err error) error {
		return fmt.Errorf("start: %w", &manager.PluginError{Server: server, Plugin: use, Err: err})
	}
	got := cfg.explainError(refused("a", "storage/bolt", faults))
	want := `error: the file is damaged
  on server.hcl line 3, column 27, in server "a", storage "bolt":
  3:   storage "bolt" { path = "a.db" }
  hint: Restore it.`
	if got.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", got, want)
	}
	for _, err := range []error{
		io.EOF, refused("a", "storage/bolt", io.EOF), refused("b", "storage/bolt", faults), refused("a", "stats/page", faults),
	} {
		if got := cfg.explainError(err); got != err {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}

func TestAttachDebugged(t *testing.T) {
	one := network + "server \"a\" {}\n"
	two := one + "server \"b\" {}\n"
	bolt := `{"storage/bolt":{"pid":7,"socket":"/s","protocol":1}}`
	for name, c := range map[string]struct {
		env, text string
		attached  bool
		want      string // the error; empty: none
	}{
		"nothing":        {"", one, false, ""},
		"another plugin": {strings.ReplaceAll(bolt, "bolt", "diary"), one, false, ""},
		"one use":        {bolt, one, true, ""},
		"two uses":       {bolt, two, true, "server.hcl:3,1: storage/bolt is attached and used more than once"},
		"nonsense":       {"nonsense", one, false, pluginproc.EnvReattach + ": "},
	} {
		t.Setenv(pluginproc.EnvReattach, c.env)
		m, err := load(t, c.text).managerConfig(slog.New(slog.DiscardHandler))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if at := m.Servers[0].Storage.Attach; (at != nil) != c.attached || at != nil && (at.PID != 7 || at.Socket != "/s") {
			t.Errorf("%s: attached to %+v", name, at)
		}
	}
}

func TestExitStatuses(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
		stderr string
	}{
		"no server can run":   {fmt.Errorf("%w: a: no keys", manager.ErrNoServer), 78, "error: no server can run: a: no keys\n"},
		"faults at the relay": {fmt.Errorf("reload: %w", &manager.RefusedError{Text: "error: a\n  on f line 1"}), 78, "error: a\n  on f line 1\n"},
		"refusal":             {&manager.RefusedError{Text: "another user"}, 1, "error: another user\n"},
		"no file":             {configFault{io.ErrUnexpectedEOF}, 78, "error: unexpected EOF\n"},
		"another error":       {errors.New("no space"), 1, "error: no space\n"},
	} {
		var stderr bytes.Buffer
		if status := report(c.err, false, &stderr); status != c.status || stderr.String() != c.stderr {
			t.Errorf("%s: status %d\n%s", name, status, &stderr)
		}
	}
}

// TestUsage runs command lines that are wrong, and of each starts nothing.
func TestUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for line, want := range map[string][2]string{
		"plugin-serve storage":        {"plugin-serve takes a kind and a name", "cwtch-relay -help lists the commands"},
		"plugin-serve storage nobody": {"no built-in storage plugin \"nobody\"", "cwtch-relay -help lists the commands"},
		"init":                        {"no directory given: say -dir DIR", "cwtch-relay init -help explains the command"},
		"storage copy -config f":      {"say what to copy: -from 'server \"NAME\"' -to 'server \"NAME\" storage \"PLUGIN\" { … }'", "cwtch-relay storage copy -help explains the command"},
		"storage acept -config f":     {"unknown command \"storage acept\", only: check, compact, copy, accept", "Did you mean \"storage accept\"? cwtch-relay storage -help lists the commands"},
		"plugin describe":             {"missing: PATH|KIND/NAME", "cwtch-relay plugin describe -help explains the command"},
		"-config f status":            {"-config stands in front of the command \"status\", and belongs behind it", "cwtch-relay status -help explains the command"},
		"lab run -seeds x f":          {"invalid value \"x\" for flag -seeds: it has to be a whole number that is not too large", "cwtch-relay lab run -help explains the command"},
	} {
		for _, asJSON := range []bool{false, !strings.HasPrefix(line, pluginMode)} {
			var stdout, stderr bytes.Buffer
			args, output := strings.Fields(line), "error: "+want[0]+"\nhint: "+want[1]+"\n"
			if asJSON {
				args = append(args, "-json")
				text, err := json.Marshal(map[string]string{"error": want[0], "hint": want[1]})
				if err != nil {
					t.Fatal(err)
				}
				output = string(text) + "\n"
			}
			status := runCommand(context.Background(), args, &stdout, &stderr)
			if status != command.ExitUsage || stderr.String() != output || stdout.Len() > 0 {
				t.Errorf("%q: status %d\n%s%s", args, status, &stdout, &stderr)
			}
		}
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("made %v, %v", files, err)
	}
}
