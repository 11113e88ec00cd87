package onion

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	defer data.unlockDir()
	files := map[string]string{}
	for _, name := range []string{"keys", "tor/state", "named", "named in quotes"} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := childSource{path: "/bin/sh", dir: data, extra: []string{"GeoIPFile " + files["named"], `GeoIPv6File "` + files["named in quotes"] + `"`}}
	policy, err := s.sandboxPolicy()
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

// A tor whose mistake strangers use is a program of their choice: what stands for
// it here is a shell, not a script. It cannot become another program, nor reach what
// the relay has.
func TestTakenOverTor(t *testing.T) {
	dir := t.TempDir()
	data, err := openDataDir(filepath.Join(dir, "tor"))
	if err != nil {
		t.Fatal(err)
	}
	defer data.unlockDir()
	program, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	tor, key := filepath.Join(dir, "bin"), filepath.Join(dir, "servers")
	for path, content := range map[string][]byte{tor: program, key: []byte("seed")} {
		if err := os.WriteFile(path, content, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	policy, err := (&childSource{path: tor, dir: data}).sandboxPolicy()
	if err != nil {
		t.Fatal(err)
	}
	if policy.Processes {
		t.Error("a program that is no script may start processes")
	}
	if slices.ContainsFunc(sandbox.Missing(*policy), func(s string) bool { return strings.Contains(s, "has no") }) {
		t.Skip("this kernel has no Landlock or no seccomp filters, which is what is tested")
	}
	run := func(confined bool, script string) (string, error) {
		cmd := exec.CommandContext(t.Context(), tor, "-c", script)
		if confined {
			if err := sandbox.Confine(cmd, *policy); err != nil {
				t.Fatal(err)
			}
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	relay := strconv.Itoa(os.Getpid())
	for _, script := range []string{
		"/bin/true; exit $?", // a child
		"cp /bin/true '" + data.path + "/x' && '" + data.path + "/x'", // what it brought
		"read x < '" + key + "'; [ -n \"$x\" ]",                       // keys of servers
		"read x < /proc/" + relay + "/maps",                           // what comes before ptrace
		"read x < /proc/" + relay + "/status",
		"kill -0 " + relay,
		"echo > '" + key + "x'",
		": | :", // a child without a program
	} {
		if out, err := run(true, script); err == nil {
			t.Errorf("%s: succeeded: %s", script, out)
		}
		if out, err := run(false, script); err != nil {
			t.Errorf("%s: the test shows nothing: %v %s", script, err, out)
		}
	}
	// It may replace itself by a program of the system, in the same confines.
	if out, err := run(true, "exec /bin/cat '"+key+"'"); err == nil {
		t.Errorf("another program reads the key: %s", out)
	}
}
