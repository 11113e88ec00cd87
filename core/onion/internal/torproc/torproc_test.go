package torproc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var private = []string{
	"TestingTorNetwork 1",
	"DirAuthority tornet no-v2 v3ident=00 127.0.0.1:4000 0123",
	"FallbackDir 127.0.0.1:1 orport=4001 id=0123",
}

func TestCheckLoopback(t *testing.T) {
	if err := CheckLoopback(private); err != nil {
		t.Fatalf("a private network was refused: %v", err)
	}
	for name, lines := range map[string][]string{
		"nothing":             {},
		"no authority":        {"TestingTorNetwork 1"},
		"fallback only":       {"TestingTorNetwork 1", "FallbackDir 127.0.0.1:1 orport=4001 id=0123"},
		"not testing":         private[1:],
		"testing off":         append([]string{"TestingTorNetwork 0"}, private[1:]...),
		"testing off later":   append(private[:3:3], "testingtornetwork 0"),
		"testing abbreviated": append(private[:3:3], "TestingTor 0"),
		"public authority":    append(private[:3:3], "DirAuthority moria1 orport=9101 v3ident=00 128.31.0.39:9131 9695"),
		"lower case":          append(private[:3:3], "dirauthority x 128.31.0.39:9131 9695"),
		"abbreviated":         append(private[:3:3], "DirAuth x 128.31.0.39:9131 9695"),
		"old name":            append(private[:3:3], "DirServer x 128.31.0.39:9131 9695"),
		"second address":      append(private[:3:3], "DirAuthority x 127.0.0.2:1 127.0.0.1:1 9695"),
		"no address":          append(private[:3:3], "DirAuthority x"),
		"public fallback":     append(private[:3:3], "FallbackDir 192.0.2.1:1 orport=4001 id=0123"),
		"public ipv6":         append(private[:3:3], "FallbackDir 127.0.0.1:1 orport=4001 id=0123 ipv6=[2001:db8::1]:9001"),
		"authority ipv6":      append(private[:3:3], "DirAuthority x IPv6=[2001:db8::1]:9001 127.0.0.1:1 9695"),
		"bridge":              append(private[:3:3], "Bridge 192.0.2.1:1"),
		"alternate":           append(private[:3:3], "AlternateDirAuthority x 192.0.2.1:1 00"),
		"include":             append(private[:3:3], "%include /etc/tor/torrc"),
		"cleared":             append(private[:3:3], "/DirAuthority"),
		"added":               append(private[:3:3], "+DirAuthority x 192.0.2.1:1 00"),
		"continued":           append(private[:3:3], `Nickname x \`),
		"quoted":              append(private[:3:3], `"DirAuthority" x 192.0.2.1:1 00`),
		"tab":                 append(private[:3:3], "DirAuthority\tx 192.0.2.1:1 00"),
	} {
		if err := CheckLoopback(lines); err == nil {
			t.Errorf("%s: not refused", name)
		} else if !strings.Contains(err.Error(), "private networks") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Under go test no tor starts that could leave the machine, whatever way the
// options come. The program named here does not exist: an attempt to start it
// would be another error.
func TestStartRefuses(t *testing.T) {
	file := func(lines ...string) string {
		name := filepath.Join(t.TempDir(), "torrc")
		if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	none := file()
	good := file(private...)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no torrc":        {[]string{"--defaults-torrc", none}, "no -f"},
		"no defaults":     {[]string{"-f", good}, "no --defaults-torrc"},
		"empty":           {[]string{"-f", none, "--defaults-torrc", none}, "empty"},
		"comments":        {[]string{"-f", file("# none", " "), "--defaults-torrc", none}, "empty"},
		"missing":         {[]string{"-f", none + "x", "--defaults-torrc", none}, "no such file"},
		"public":          {[]string{"-f", file("SocksPort 0"), "--defaults-torrc", none}, "private networks"},
		"public defaults": {[]string{"-f", good, "--defaults-torrc", file("FallbackDir 192.0.2.1:1 id=00")}, "private networks"},
		"public argument": {[]string{"-f", good, "--defaults-torrc", none, "--DirAuthority", "x 192.0.2.1:1 00"}, "private networks"},
		"flag cut off":    {[]string{"--defaults-torrc", none, "-f"}, "no -f"},
	} {
		_, err := Start("/nonexistent/tor", test.args, nil, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	_, err := Start("/nonexistent/tor", []string{"--hush", "-f", good, "--defaults-torrc", none, "--DataDirectory", "/x"}, nil, nil)
	if err == nil || !os.IsNotExist(err) {
		t.Errorf("good command line: %v", err)
	}
}

func TestTestingOnly(t *testing.T) {
	if !TestingOnly() {
		t.Error("go test may use the public network")
	}
}

func TestStartNotFound(t *testing.T) {
	dir := t.TempDir()
	torrc := filepath.Join(dir, "torrc")
	if err := os.WriteFile(torrc, []byte(strings.Join(private, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	_, err := Start("tor", []string{"-f", torrc, "--defaults-torrc", torrc}, nil, nil)
	if !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("no tor in PATH: %v", err)
	}
}

func FuzzCheckLoopback(f *testing.F) {
	f.Add("DirAuthority x 192.0.2.1:1 00")
	f.Add("FallbackDir 127.0.0.1:1 orport=4001 id=0123 ipv6=[2001:db8::1]:9001")
	f.Add("Bridge 1.2.3.4:5")
	f.Fuzz(func(t *testing.T, line string) {
		if CheckLoopback(append(private[:3:3], line)) != nil {
			return
		}
		key, value, _ := strings.Cut(strings.ToLower(line), " ")
		directory := slices.Contains([]string{"dirauthority", "dirauth", "dirserver", "fallbackdir"}, key)
		if directory && (!strings.Contains(value, "127.0.0.1:") || strings.Contains(value, "ipv6=")) {
			t.Errorf("accepted %q", line)
		}
	})
}
