package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// doctorOf runs the doctor on a configuration without a relay, and returns what is wrong.
func doctorOf(t *testing.T, text string) (wrong []string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "server.hcl")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "$DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\necho 'Tor version 0.4.7.16.'\n"
	if err := os.WriteFile(filepath.Join(dir, "oldtor"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	var lines, asJSON, stderr bytes.Buffer
	if status := runCommand(t.Context(), []string{"doctor", "-config", path}, &lines, &stderr); status != 1 || stderr.Len() > 0 {
		t.Errorf("status %d\n%s", status, &stderr)
	}
	if status := runCommand(t.Context(), []string{"doctor", "-json", "-config", path}, &asJSON, &stderr); status != 1 {
		t.Errorf("status %d\n%s", status, &stderr)
	}
	var d diagnosis
	if err := json.Unmarshal(asJSON.Bytes(), &d); err != nil || d.OK || len(d.Checks) != strings.Count(lines.String(), "\n") {
		t.Errorf("%v: %+v", err, d)
	}
	for _, line := range strings.Split(lines.String(), "\n") {
		if what, ok := strings.CutPrefix(line, "PROBLEM  "); ok && !strings.HasPrefix(what, "disk:") {
			wrong = append(wrong, what)
		}
	}
	return wrong
}

// Without a relay each thing that is wrong is one line, and so is that there is no relay.
func TestDoctorWithoutRelay(t *testing.T) {
	const noRelay = "relay: no relay is running on "
	for name, c := range map[string]struct {
		config string
		want   []string
	}{
		"well":          {`network "loopback" { registry = "net" }`, nil},
		"old tor":       {`network "tor" { path = "$DIR/oldtor" }`, []string{"tor version: tor 0.4.7.16 has no defence"}},
		"no tor":        {`network "tor" { path = "$DIR/missing" }`, []string{"tor: there is no tor: "}},
		"no system tor": {`network "tor" { control = "unix:$DIR/control" }`, []string{"tor: connect to running tor: "}},
		"two mistakes":  {"discription = 1\nregister = 2\nnetwork \"loopback\" { registry = \"net\" }", []string{"configuration: ", "configuration: "}},
	} {
		t.Run(name, func(t *testing.T) {
			want := append(c.want, noRelay)
			got := doctorOf(t, c.config+"\nlimits { connections = 8 }\nserver \"main\" {}\n")
			if len(got) != len(want) {
				t.Fatalf("wrong are %q", got)
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) || !strings.Contains(got[i], ". To do: ") {
					t.Errorf("%q is wrong, want %q", got[i], want[i])
				}
			}
		})
	}
}
