package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/onion/tornet"
)

// oddName is a difficult but legal name of a directory.
const oddName = " it's \"a\" caf\u00e9 cafe\u0301 #1?%41&x=[*] \t~$HOME %h `id`; \\ \n\xff.d"

// TestOddDirectoryOverTor runs a conversation over a private Tor network with all
// files, temporary ones included, in a directory with an odd name.
func TestOddDirectoryOverTor(t *testing.T) {
	t.Parallel()
	network := tornet.ForTest(t)
	h := newHarness(t, "")
	h.dir = filepath.Join(h.dir, oddName)
	for _, dir := range []string{h.dir, h.path("temp")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	h.env = append(h.env, "TMPDIR="+h.path("temp"))
	var torrc strings.Builder
	for _, line := range network.ClientTorrc() {
		fmt.Fprintf(&torrc, "%s,\n", strconv.Quote(line))
	}
	h.writeFile("torrc", strings.Join(network.ClientTorrc(), "\n"))
	if err := network.Seed(h.path("data", "tor")); err != nil {
		t.Fatal(err)
	}
	teststats, err := os.ReadFile(filepath.Join(bin, "teststats"))
	if err == nil {
		err = os.WriteFile(h.path("plugin"), teststats, 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, storage := range []string{"bolt", "sqlite"} {
		server := fmt.Sprintf("server %q {\n storage %q { path = %q }\n stats \"teststats\" {}\n}\n", storage, storage, "a b/#1?%41 é.db")
		h.writeFile("server.hcl", "network \"tor\" { torrc = ["+torrc.String()+"] }\n"+
			"plugin \"stats\" \"teststats\" {\n path = \"plugin\"\n dev = true\n}\n"+server)
		h.start()
		bundle, err := h.runRelay("bundle")
		if err != nil {
			t.Fatal(bundle)
		}
		if out, err := h.runRelay("reload"); err != nil || !strings.Contains(out, "nothing in it has changed") {
			t.Errorf("reload: %v\n%s", err, out)
		}
		alice := newPerson(h, network, fmt.Sprintf("alice%d", i))
		alice.runGroup("import-server", strings.TrimSpace(bundle))
		alice.runGroup("create", "book club")
		alice.runGroup("post", "book club", "Which book?")
		h.stop()
		h.start() // and everything is there again
		if talk := alice.runGroup("read", "book club"); !strings.Contains(talk, "Which book?") {
			t.Errorf("%s: read %q", storage, talk)
		}
		for _, p := range h.status().Servers[0].Others {
			if p.State.String() != "ready" {
				t.Errorf("%s is %v: %s", p.Instance, p.State, p.Reason)
			}
		}
		h.stop()
		if _, err := os.Stat(h.path("data", "servers", storage, "storage", "a b", "#1?%41 é.db")); err != nil {
			t.Error(err)
		}
	}
}

// runAsUnprivileged returns a directory and a way to run commands there as a user
// without privileges, to whom modes apply.
func runAsUnprivileged(t *testing.T) (dir string, run func(mask string, program string, args ...string) *exec.Cmd) {
	dir, err := os.MkdirTemp("/tmp", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var as *syscall.Credential
	if os.Geteuid() == 0 {
		const nobody = 65534
		as = &syscall.Credential{Uid: nobody, Gid: nobody}
		for _, err := range []error{os.Chown(dir, nobody, nobody), os.Chmod(bin, 0o755)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir, func(mask, program string, args ...string) *exec.Cmd {
		cmd := exec.Command("/bin/sh", append([]string{"-c", "umask " + mask + `; exec "$0" "$@"`, filepath.Join(bin, program)}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "CWTCH_GROUP_NETWORK=loopback:net", "CWTCH_GROUP_PROFILE=me/profile")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		return cmd
	}
}

// TestModesIgnoreUmask runs commands and a relay with umasks that are too strict or
// empty, and checks the modes of all files.
func TestModesIgnoreUmask(t *testing.T) {
	t.Parallel()
	for _, mask := range []string{"0", "0177", "0777"} {
		t.Run(mask, func(t *testing.T) {
			dir, run := runAsUnprivileged(t)
			does := func(program string, args ...string) {
				t.Helper()
				if out, err := run(mask, program, args...).CombinedOutput(); err != nil {
					t.Fatalf("%s %q: %v\n%s", program, args, err, out)
				}
			}
			does("cwtch-relay", "init", "-dir", "tree/relay")
			config := filepath.Join(dir, "tree/relay/server.hcl")
			if err := os.WriteFile(config, []byte("network \"loopback\" { registry = \"net\" }\nserver \"main\" {}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			does("cwtch-relay", "bundle", "-config", config, "-o", "tree/bundle")
			does("cwtch-group", "init")
			for range 2 { // the second run meets the files of the first
				p, err := startRelay(run(mask, "cwtch-relay", "-config", config))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.kill)
				does("cwtch-relay", "status", "-config", config)
				checkModes(t, dir)
				if err := p.terminate(); err != nil {
					t.Fatal(err)
				}
				does("cwtch-group", "list")
			}
			does("cwtch-relay", "plugin", "new", "storage", "diary", "-dir", "tree/diary")
			for name, want := range map[string]fs.FileMode{"tree/diary": 0o755, "tree/diary/main.go": 0o644} {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
					t.Errorf("%s has mode %v, want %v, %v", name, info.Mode(), want, err)
				}
			}
		})
	}
}

// checkModes checks the modes of everything below dir.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || path == dir {
			return nil // a socket of a plugin that is starting
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want && info.Mode()&fs.ModeSocket == 0 || got&0o077 != 0 {
			t.Errorf("%s has mode %v, want %04o", path, info.Mode(), want)
		}
		files++
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files: %v", files, err)
	}
}

// TestCommandsOnFullDisk runs every command that writes on a full disk, and again
// with room. What the first run left must not be in the way and must not pass for a
// complete file.
func TestCommandsOnFullDisk(t *testing.T) {
	t.Parallel()
	work := t.TempDir()
	config := filepath.Join(work, "server.hcl")
	if err := os.WriteFile(config, []byte("network \"loopback\" { registry = \"net\" }\nserver \"main\" {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string // DISK stands for the directory of the disk
		made []string
	}{
		{[]string{"cwtch-relay", "init", "-dir", "DISK/relay"}, []string{"relay/server.hcl"}},
		{[]string{"cwtch-relay", "bundle", "-config", config, "-o", "DISK/bundle"}, []string{"bundle"}},
		{[]string{"cwtch-relay", "bundle", "-config", "DISK/server.hcl"}, []string{"data/servers/main/keys"}},
		{[]string{"cwtch-relay", "plugin", "new", "storage", "diary", "-dir", "DISK/diary"}, []string{"diary/go.mod", "diary/main.go"}},
		{[]string{"cwtch-group", "init", "-profile", "DISK/profile"}, []string{"profile/profile.json"}},
	} {
		t.Run(strings.Join(c.args[:2], " "), func(t *testing.T) {
			disk, fill, empty := mountSmallDisk(t, "64k")
			run := func() (string, error) {
				args := strings.Split(strings.ReplaceAll(strings.Join(c.args, "\n"), "DISK", disk), "\n")
				cmd := exec.Command(filepath.Join(bin, args[0]), args[1:]...)
				cmd.Dir = work
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			text, err := os.ReadFile(config)
			if err == nil {
				err = os.WriteFile(filepath.Join(disk, "server.hcl"), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			fill()
			out, err := run()
			if err == nil || !strings.Contains(out, "no space left") {
				t.Errorf("on a full disk: %v\n%s", err, out)
			}
			for _, name := range c.made {
				if _, err := os.Stat(filepath.Join(disk, name)); err == nil {
					t.Errorf("%s is there", name)
				}
			}
			empty()
			if out, err := run(); err != nil {
				t.Errorf("with room again: %v\n%s", err, out)
			}
			for _, name := range c.made {
				if info, err := os.Stat(filepath.Join(disk, name)); err != nil || info.Size() == 0 {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// TestCopyOnFullDisk fills the disk before a store is copied.
func TestCopyOnFullDisk(t *testing.T) {
	t.Parallel()
	disk, fill, empty := mountSmallDisk(t, "2m")
	h := newHarness(t, "")
	text := fmt.Sprintf("network \"loopback\" { registry = %q }\nserver \"main\" {}\n", h.path("net"))
	h.dir = disk
	h.writeFile("server.hcl", text)
	h.start()
	h.mustStore("main", h.newPosts("main", 10, 100))
	h.stop()
	fill()
	copied := func() (string, error) {
		return h.runRelay("storage", "copy", "-from", `server "main"`, "-to", `server "main" storage "sqlite" {}`)
	}
	if out, err := copied(); err == nil || !strings.Contains(out, "no space left") {
		t.Errorf("on a full disk: %v\n%s", err, out)
	}
	empty()
	if out, err := copied(); err != nil {
		t.Errorf("with room again: %v\n%s", err, out)
	}
	h.writeFile("server.hcl", strings.Replace(text, "{}", "{\n storage \"sqlite\" {}\n}", 1))
	h.start()
	if log := h.readBoard("main"); len(log) != 10 {
		t.Errorf("the copy has %d envelopes", len(log))
	}
	h.stop()
}

// TestPrintedCommandsRunInShell pastes the commands that the programs print into a
// shell, in a directory with an odd name.
func TestPrintedCommandsRunInShell(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash; other shells may not know $'…', which the odd name takes")
	}
	dir := filepath.Join(t.TempDir(), oddName)
	says := func(args ...string) string {
		t.Helper()
		out, _ := exec.Command(filepath.Join(bin, "cwtch-relay"), args...).CombinedOutput()
		return string(out)
	}
	runs := func(what, line string) {
		t.Helper()
		cmd := exec.Command(bash, "-c", line)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %s: %v\n%s", what, line, err, out)
		}
	}
	after := func(text, words string) string {
		t.Helper()
		_, line, ok := strings.Cut(text, words)
		if !ok {
			t.Fatalf("%q is not in:\n%s", words, text)
		}
		line, _, _ = strings.Cut(line, "\n")
		return line
	}
	start := after(says("init", "-dir", dir), "run it with:  ")
	config, ok := strings.CutPrefix(start, "cwtch-relay -config ")
	if !ok {
		t.Fatalf("it says %q", start)
	}
	runs("init", "cwtch-relay validate -config "+config)
	if hint := after(says("status", "-config", filepath.Join(dir, "server.hcl")), "hint: start it with: "); hint != start {
		t.Errorf("the hint of status is %q, that of init %q", hint, start)
	}
	runs("plugin new", after(says("plugin", "new", "storage", "diary", "-dir", filepath.Join(dir, "diary")), "next:\n")+" && test -f main.go")
	text := "data_dir = \"data\"\nnetwork \"loopback\" { registry = \"net\" }\nserver \"main\" {}\n"
	data := filepath.Join(dir, "data")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "server.hcl"), []byte(text), 0o600), os.Mkdir(data, 0o700), os.Chmod(data, 0o777)); err != nil {
		t.Fatal(err)
	}
	runs("a directory open to others", after(says("validate", "-config", filepath.Join(dir, "server.hcl")), "hint: Close it to others: "))
	if info, err := os.Stat(data); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it has mode %v, %v", info.Mode(), err)
	}
}

// mountSmallDisk mounts a small file system. Without the right to mount, sdk/durable
// tests the same with a limit on file size.
func mountSmallDisk(t *testing.T, size string) (dir string, fill, empty func()) {
	if !canMount(t) {
		t.Skip("only root can mount a small disk; TestFailedWriteLeavesNothing of sdk/durable has a stand-in")
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0700,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	fill = func() {
		f, err := os.Create(filler)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	return dir, fill, func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
}
