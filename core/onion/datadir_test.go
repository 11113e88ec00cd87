package onion

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "by", "us")
	d, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v %v", info.Mode(), err)
	}
	if info, err := os.Stat(string(d.sockets)); err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(string(d.sockets)) != path {
		t.Errorf("sockets in %s: %v %v", d.sockets, info.Mode(), err)
	}
	if _, err := openDataDir(path); err == nil || !strings.Contains(err.Error(), "used by another process") {
		t.Errorf("opened twice: %v", err)
	}
	if err := d.unlockDir(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(string(d.sockets)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sockets after close: %v", err)
	}
	if d, err = openDataDir(path); err != nil {
		t.Fatalf("opened again: %v", err)
	}
	if err := d.unlockDir(); err != nil {
		t.Error(err)
	}
}

func TestDataDirRefused(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	link := filepath.Join(dir, "link")
	file := filepath.Join(dir, "file")
	if err := errors.Join(os.Mkdir(open, 0o755), os.Symlink(open, link), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	cases := map[string]string{"": "none is set", open: "chmod 0700", link: "not a directory", file: "not a directory"}
	if os.Geteuid() == 0 {
		other := filepath.Join(dir, "other")
		if err := errors.Join(os.Mkdir(other, 0o700), os.Chown(other, 1234, 1234)); err != nil {
			t.Fatal(err)
		}
		cases[other] = "belongs to user 1234"
	}
	for path, want := range cases {
		if _, err := openDataDir(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", path, err, want)
		}
	}
}

// Where a socket cannot be, it is put among the temporary files.
func TestSocketsElsewhere(t *testing.T) {
	short, err := os.MkdirTemp("/tmp", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	t.Setenv("TMPDIR", short)
	for _, name := range []string{strings.Repeat("x", 100), "with space", "percent%s", "quote\"", "hash#"} {
		d, err := openDataDir(filepath.Join(t.TempDir(), name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if filepath.Dir(string(d.sockets)) != short {
			t.Errorf("%q: sockets in %s", name, d.sockets)
		}
		if err := d.unlockDir(); err != nil {
			t.Error(err)
		}
	}
	long := filepath.Join(short, strings.Repeat("y", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", long)
	d, err := openDataDir(filepath.Join(short, "a b"))
	if err != nil || filepath.Dir(string(d.sockets)) != "/tmp" {
		t.Fatalf("with such a TMPDIR: %+v, %v", d, err)
	}
	if err := d.unlockDir(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(long); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestCheckTorrc(t *testing.T) {
	good := []string{"Nickname x", "ClientOnly", "Sandbox 1", "UseBridges 1", "Bridge obfs4 192.0.2.1:1 00 cert=a iat-mode=0", "LogTimeGranularity 1000"}
	if err := CheckTorrc(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		"", " ", "# comment", "%include /etc/tor/torrc", "+SocksPort 9050", "/ControlPort", "Nickname x\nControlPort 9051",
		"Nickname x\rControlPort 9051", "Nickname\tx", "Nickname \x00", `Nickname x\`, " Nickname x", `"Nickname" x`,
		"ControlPort 9051", "controlport 9051", "Control 9051", "DATADIRECTORY /tmp", "DataDir /tmp", "SocksPort 9050", "Socks 9050",
		"CookieAuthentication 0", "HashedControlPassword x", "Log debug stderr", "SafeLogging 0", "Safe 0", "DisableNetwork 1",
		"__OwningControllerProcess 1", "User nobody", "RunAsDaemon 1", "HiddenServiceSingleHopMode 1", "HiddenServiceNon 1",
	} {
		err := CheckTorrc([]string{"Nickname x", bad})
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: error %v", bad, err)
		}
	}
	if _, err := StartTor(t.Context(), TorConfig{DataDir: t.TempDir(), Torrc: []string{"ControlPort 9051"}}); err == nil || !strings.Contains(err.Error(), "remove the line") {
		t.Errorf("start: %v", err)
	}
}

func FuzzCheckTorrc(f *testing.F) {
	f.Add("Nickname x")
	f.Add("ControlPort 9051")
	f.Add("%include x")
	f.Fuzz(func(t *testing.T, line string) {
		if CheckTorrc([]string{line}) != nil {
			return
		}
		key, _, _ := strings.Cut(strings.ToLower(line), " ")
		if strings.ContainsAny(line, "\n\r\t\x00") || strings.HasSuffix(line, `\`) || key == "log" || strings.HasPrefix(key, "controlp") && strings.HasPrefix("controlport", key) {
			t.Errorf("accepted %q", line)
		}
	})
}

func TestTorLog(t *testing.T) {
	var out strings.Builder
	l := &torLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if l.lastWarning() != "" {
		t.Error("trouble before any line")
	}
	for _, part := range []string{
		"Nov 22 15:54:01.000 [notice] Boot", "strapped\nNov 22 15:54:01.000 [warn] Unknown option\nNov 22 15:54:01.000 [err] Reading config failed--see warnings above.\n",
		"\n", "free words\n", strings.Repeat("x", 3*maxLogLine), "\nNov 22 15:54:01.000 [debug] after\n",
	} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := []string{
		"level=INFO msg=Bootstrapped", `level=WARN msg="Unknown option"`, `level=ERROR msg="Reading config failed--see warnings above."`,
		`level=WARN msg="free words"`, "level=WARN msg=" + strings.Repeat("x", maxLogLine), "level=DEBUG msg=after",
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	for i := range want {
		if !strings.HasSuffix(lines[i], want[i]) {
			t.Errorf("line %d is %.100s, want %.100s", i, lines[i], want[i])
		}
	}
	if got := l.lastWarning(); !strings.HasPrefix(got, "; it said: Unknown option") {
		t.Errorf("trouble: %.40s", got)
	}
}

func TestTorMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := filepath.Join(t.TempDir(), "tor")
	for _, path := range []string{"", "/nonexistent/tor"} {
		_, err := StartTor(t.Context(), TorConfig{Path: path, DataDir: dir, Torrc: []string{"TestingTorNetwork 1", "DirAuthority x 127.0.0.1:1 00"}})
		if err == nil || !strings.Contains(err.Error(), "apt-get install tor") || path == "" && !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("%q: error %v", path, err)
		}
	}
	// Even a tor that is there does not start without a private network.
	if _, err := StartTor(t.Context(), TorConfig{Path: "/bin/false", DataDir: dir}); err == nil || !strings.Contains(err.Error(), "private networks") {
		t.Errorf("public network: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "sockets")); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
