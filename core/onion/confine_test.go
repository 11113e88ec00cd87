package onion

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

// What runs as our tor reads its own directory and what its configuration
// names, nothing else of this user, and starts nothing.
func TestTorIsConfined(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "tor")
	data, err := openDataDir(own)
	if err != nil {
		t.Fatal(err)
	}
	defer data.close()
	files := map[string]string{}
	for _, name := range []string{"keys", "tor/state", "named", "named in quotes"} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := childSource{path: "/bin/sh", dir: data, extra: []string{"GeoIPFile " + files["named"], `GeoIPv6File "` + files["named in quotes"] + `"`}}
	policy, err := s.policy()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(sandbox.Missing(*policy), func(s string) bool { return strings.Contains(s, "has no") }) {
		t.Skip("this kernel has no Landlock or no seccomp filters, which is what is tested")
	}
	run := func(script string) bool {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
		if err := sandbox.Confine(cmd, *policy); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %v %s", script, err, out)
		return err == nil
	}
	for script, want := range map[string]bool{
		"read x < '" + files["tor/state"] + "' || [ -n \"$x\" ]":       true,
		"read x < '" + files["named"] + "' || [ -n \"$x\" ]":           true,
		"read x < '" + files["named in quotes"] + "' || [ -n \"$x\" ]": true,
		"read x < '" + files["keys"] + "' || [ -n \"$x\" ]":            false,
		"read x < /etc/passwd":                        false,
		"echo > '" + filepath.Join(own, "new") + "'":  true,
		"echo > '" + files["named"] + "'":             false,
		"exec chmod 600 '" + files["tor/state"] + "'": true,
		"exec chmod 644 '" + files["keys"] + "'":      false,
		"/bin/true; :":                                false, // a child process
	} {
		if got := run(script); got != want {
			t.Errorf("%s: succeeded %v, want %v", script, got, want)
		}
	}
	for _, line := range []string{"ClientTransportPlugin obfs4 exec /usr/bin/obfs4proxy", "clienttransport x"} {
		if _, _, transports := namedPaths([]string{line}); !transports {
			t.Errorf("%q: no programs are granted", line)
		}
	}
}
