package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/sdnotify"
)

// runLine runs a command line and returns what it wrote.
func runLine(t *testing.T, line string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = runCommand(t.Context(), strings.Fields(line), &out, &errs)
	return status, out.String(), errs.String()
}

// writeServers is writeConfig with files of servers, in servers.d.
func writeServers(t *testing.T, text string, files map[string]string) {
	t.Helper()
	writeConfig(t, "servers_dir = \"servers.d\"\n"+network+text)
	if err := os.Mkdir("servers.d", 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join("servers.d", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConfigurationIsFound: a command that is not given a configuration finds one, and says which.
func TestConfigurationIsFound(t *testing.T) {
	writeConfig(t, network+"server \"main\" {}\n")
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	for line, stdout := range map[string]string{
		"validate":    "server.hcl is valid: 1 server\n",
		"bundle":      "server:",
		"peer list":   "no relay is running; server.hcl has:\n",
		"plugin list": "PLUGIN ",
	} {
		status, out, errs := runLine(t, line)
		if status != 0 || !strings.HasPrefix(out, stdout) || errs != "configuration: server.hcl\n" {
			t.Errorf("%s: status %d\n%s%s", line, status, out, errs)
		}
		if status, _, errs := runLine(t, line+" -config server.hcl"); status != 0 || errs != "" {
			t.Errorf("%s, given it: status %d\n%s", line, status, errs)
		}
	}
	for _, line := range []string{"status", "reload", "storage check", "storage accept", "storage compact", "storage copy -from x -to y", "peer pause bob", "peer sync bob", "peer add bob x"} {
		if _, _, errs := runLine(t, line); !strings.HasPrefix(errs, "configuration: server.hcl\n") {
			t.Errorf("%s: %s", line, errs)
		}
	}
	if status, out, errs := runLine(t, "status -check"); status != 2 || !strings.Contains(out, "no relay is running") || errs != "" { // for a monitor
		t.Errorf("status -check: %d\n%s%s", status, out, errs)
	}
}

func TestNoConfigurationIsFound(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for _, line := range []string{"", "validate", "status", "bundle"} {
		status, out, errs := runLine(t, line)
		if status != command.ExitConfig || out != "" || !strings.HasPrefix(errs, "error: no configuration found: there is no server.hcl, no ") ||
			!strings.HasSuffix(errs, "\nhint: say where it is with -config FILE, or make one: cwtch-relay desktop, or cwtch-relay init -dir DIR\n") {
			t.Errorf("%q: status %d\n%s%s", line, status, out, errs)
		}
	}
	if status, out, errs := runLine(t, "plugin list"); status != 0 || !strings.Contains(out, "storage/bolt") || errs != "" {
		t.Errorf("plugin list: status %d\n%s%s", status, out, errs)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("made %v, %v", files, err)
	}
}

// withArguments calls do with a command line of each command that takes -config, with the arguments
// and flags that it needs.
func withArguments(do func(line string)) {
	needed := map[string]string{"storage copy": "-from x -to y", "peer add": "bob x", "server passwd": "x"}
	do("")
	for _, c := range program().Commands {
		for _, leaf := range append([]*cli.Command{c}, c.Commands...) {
			if !slices.ContainsFunc(leaf.Flags, func(f cli.Flag) bool { return f.Names()[0] == "config" }) {
				continue
			}
			name := leaf.Name
			if leaf != c {
				name = c.Name + " " + name
			}
			args := needed[name]
			if args == "" && leaf.ArgsUsage == "NAME" {
				args = "x"
			}
			do(strings.TrimSpace(name + " " + args))
		}
	}
}

// A configuration that is not there has an exit status and a hint of its own, whatever the command
// is, and is a JSON object for a program.
func TestMissingConfiguration(t *testing.T) {
	t.Chdir(t.TempDir())
	count := 0
	withArguments(func(line string) {
		count++
		status, out, errs := runLine(t, line+" -config no.hcl")
		if status != command.ExitConfig || out != "" || errs != "error: there is no configuration: stat no.hcl: no such file or directory\nhint: give the right file with -config, or make one: cwtch-relay init -dir DIR\n" {
			t.Errorf("%q: status %d\n%s%s", line, status, out, errs)
		}
		status, out, errs = runLine(t, line+" -config no.hcl -json")
		var object struct{ Error, Hint string }
		if err := json.Unmarshal([]byte(errs), &object); err != nil || status != command.ExitConfig || out != "" || object.Hint == "" || !strings.HasPrefix(object.Error, "there is no configuration: ") {
			t.Errorf("%q: status %d, %v\n%s%s", line, status, err, out, errs)
		}
	})
	if count < 25 {
		t.Errorf("only %d commands take -config: are they still found?", count)
	}
}

// A hint repeats the -config that was given, and has none if the configuration was found.
func TestHintsRepeatTheConfiguration(t *testing.T) {
	writeConfig(t, network+`server "main" {}`)
	for _, line := range []string{"status", "reload", "peer sync bob", "server start main", "server stop main", "server unlock main"} {
		if _, _, errs := runLine(t, line); !strings.Contains(errs, "\nhint: start it with: cwtch-relay\n") && !strings.Contains(errs, "\nhint: start it with: cwtch-relay;") {
			t.Errorf("%s: %s", line, errs)
		}
		if _, _, errs := runLine(t, line+" -config ./server.hcl"); !strings.Contains(errs, "\nhint: start it with: cwtch-relay -config ./server.hcl") {
			t.Errorf("%s with -config: %s", line, errs)
		}
		status, _, errs := runLine(t, line+" -json")
		var object struct{ Error, Hint string }
		if err := json.Unmarshal([]byte(errs), &object); err != nil || status != command.ExitError || !strings.HasPrefix(object.Hint, "start it with: cwtch-relay") {
			t.Errorf("%s with -json: status %d, %v, %s", line, status, err, errs)
		}
	}
}

func TestCompletionOfServers(t *testing.T) {
	path := writeConfig(t, network)
	for _, line := range []string{"server add attic", "server add main"} {
		if status, _, errs := runLine(t, line); status != 0 {
			t.Fatal(errs)
		}
	}
	for line, want := range map[string]string{
		"server show -config " + path + " _": "attic\nmain\n",
		"status -server _":                   "attic\nmain\n",
		"status -server m_":                  "main\n",
		"server stop at_":                    "attic\n",
		"doctor -config no.hcl _":            "",
		"server add _":                       "",
		"status -config _":                   ":files\n",
		"server de_":                         "delete\tdelete a server with its keys and messages\n",
	} {
		var out, errs bytes.Buffer
		words := strings.Split(strings.TrimSuffix(line, "_"), " ")
		if status := runCommand(t.Context(), append([]string{"__complete"}, words...), &out, &errs); status != 0 || out.String() != want || errs.Len() > 0 {
			t.Errorf("%q: status %d, got %q, want %q\n%s", line, status, &out, want, &errs)
		}
	}
}

// TestNoServers: a file without servers is valid, and a relay without a console does not start with
// it.
func TestNoServers(t *testing.T) {
	writeConfig(t, network)
	if status, out, errs := runLine(t, "validate -config server.hcl"); status != 0 || out != "server.hcl is valid: 0 servers\n" {
		t.Errorf("validate: status %d\n%s%s", status, out, errs)
	}
	for _, line := range []string{"bundle", "storage check", "storage accept", "peer add bob " + string(identity.NewKey().Onion())} {
		if status, _, errs := runLine(t, line+" -config server.hcl"); status != 1 || !strings.HasPrefix(errs, "error: the configuration has no servers\nhint: add one: cwtch-relay server add NAME -config server.hcl\n") {
			t.Errorf("%s: status %d\n%s", line, status, errs)
		}
	}
	d := &daemon{config: "server.hcl", next: relayCommand, service: sdnotify.FromEnvironment()}
	err := d.run(t.Context())
	var hint interface{ Hint() string }
	if !errors.As(err, new(configFault)) || !errors.As(err, &hint) || !strings.Contains(err.Error(), "has no server and no console") || !strings.Contains(hint.Hint(), "console {}") {
		t.Errorf("run: %v", err)
	}
	if _, err := reloadConfig(t.Context(), "server.hcl", slog.New(slog.DiscardHandler)); !errors.As(err, new(configFault)) {
		t.Errorf("reload: %v", err)
	}
	if err := os.WriteFile("server.hcl", []byte(network+"console {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := load(t, network+"console {}\n").requireWork(relayCommand); err != nil {
		t.Errorf("with a console: %v", err)
	}
}

// TestBrokenServerFile: its server is told of in every command, and the others are not touched.
func TestBrokenServerFile(t *testing.T) {
	writeServers(t, "server \"main\" {}\n", map[string]string{"bad.hcl": "server \"bad\" {\n  storage \"nobody\" {}\n}\n", "Odd.hcl": ""})
	cfg, err := loadTolerant(t.Context(), "server.hcl")
	if err != nil {
		t.Fatal(err)
	}
	m, err := cfg.managerConfig(slog.New(slog.DiscardHandler))
	if err != nil || len(m.Servers) != 2 {
		t.Fatalf("%+v, %v", m, err)
	}
	if s := m.Servers[1]; s.Name != "bad" || s.Storage.Fault == nil || s.Storage.Command != nil || !strings.HasSuffix(s.Storage.Where, "servers.d/bad.hcl:1,1") {
		t.Errorf("the manager gets %+v", s)
	}
	var log bytes.Buffer
	cfg.logWarnings(slog.New(slog.NewTextHandler(&log, nil)))
	if !strings.Contains(log.String(), "this file makes no server") || !strings.Contains(log.String(), "Odd.hcl") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("it warns of\n%s", &log)
	}
	for _, line := range []string{"bundle", "storage check", "storage copy -from server\"main\" -to server\"bad\"", "peer add bob " + string(identity.NewKey().Onion())} {
		args := line + " -config server.hcl"
		if !strings.HasPrefix(line, "storage copy") {
			args += " -server bad"
		}
		if status, _, errs := runLine(t, args); status != command.ExitConfig || !strings.HasPrefix(errs, "error: unknown storage plugin \"nobody\"\n  on "+cfg.Servers[1].File+" line 2, column 11") {
			t.Errorf("%s: status %d\n%s", line, status, errs)
		}
	}
	if status, _, errs := runLine(t, "bundle -config server.hcl -server main"); status != 0 {
		t.Errorf("another: status %d\n%s", status, errs)
	}
	if status, _, errs := runLine(t, "validate -config server.hcl"); status != command.ExitConfig || !strings.Contains(errs, "Odd.hcl line 1") || !strings.Contains(errs, "bad.hcl line 2") {
		t.Errorf("validate: status %d\n%s", status, errs)
	}
}

// TestPeerOfServerFile: the file is changed in which the server stands.
func TestPeerOfServerFile(t *testing.T) {
	const club = "# ours\nserver \"club\" {\n  peersync \"mesh\" {}\n}\n"
	const main = "server \"main\" {}\n"
	writeServers(t, main, map[string]string{"club.hcl": club})
	before, err := os.ReadFile("server.hcl")
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs("servers.d/club.hcl")
	if err != nil {
		t.Fatal(err)
	}
	onion := string(identity.NewKey().Onion())
	peer := "  peer \"bob\" {\n    onion = \"" + onion + ".onion\"\n  }\n"
	paused := strings.Replace(peer, "  }\n", "    paused = true\n  }\n", 1)
	for _, c := range []struct{ line, change, added string }{
		{"add bob " + onion, "added", peer}, {"pause bob", "paused", paused}, {"remove bob", "removed", ""},
	} {
		status, out, errs := runLine(t, "peer "+c.line+" -server club -config server.hcl")
		if status != 0 || !strings.HasPrefix(out, file+": peer bob of server club was "+c.change+"\n") {
			t.Errorf("%s: status %d\n%s%s", c.line, status, out, errs)
		}
		got, err := os.ReadFile(file)
		if want := strings.TrimSuffix(club, "}\n") + c.added + "}\n"; err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.line, err, got, want)
		}
	}
	if after, err := os.ReadFile("server.hcl"); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the main file has changed: %v\n%s", err, after)
	}
}
