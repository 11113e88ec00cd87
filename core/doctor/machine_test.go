package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/limits"
)

func TestMain(m *testing.M) {
	sandbox.Main() // tor is started through it
	goleak.VerifyTestMain(m)
}

const mib, gib = uint64(1 << 20), uint64(1 << 30)

// healthyMachine is a machine with the files of a relay that has run, on which all is well.
func healthyMachine(t *testing.T) Machine {
	t.Helper()
	dir := t.TempDir()
	m := Machine{
		Config: filepath.Join(dir, "server.hcl"), DataDir: filepath.Join(dir, "data"), TorDir: filepath.Join(dir, "data", "tor"),
		Servers: []Server{{Name: "main", Dir: filepath.Join(dir, "data", "servers", "main")}},
		Limits:  limits.Limits{Connections: 4096, ReaderBuffer: 256 << 10, QueueBytes: 64 << 20},
		readDisk: func(string) (disk, error) {
			return disk{size: 100 * gib, free: 50 * gib, files: 1e6, freeFiles: 9e5}, nil
		},
		available: func() (uint64, string) { return 8 * gib, "of this machine" },
		maxFiles:  func() (uint64, error) { return 65536, nil },
	}
	for _, d := range []string{m.DataDir, m.TorDir, filepath.Join(m.DataDir, "known"), filepath.Join(m.Servers[0].Dir, "storage")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{m.Config, filepath.Join(m.Servers[0].Dir, "keys"), filepath.Join(m.Servers[0].Dir, "mark")} {
		if err := os.WriteFile(f, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// wrongOnes returns the checks that are not OK.
func wrongOnes(checks []Check) (wrong []Check) {
	for _, c := range checks {
		if !c.OK {
			wrong = append(wrong, c)
		}
	}
	return wrong
}

// Each thing that is wrong makes one line that names it and says what to do.
func TestMachine(t *testing.T) {
	now := time.Now()
	fill := func(d disk) func(*testing.T, *Machine) {
		return func(_ *testing.T, m *Machine) { m.readDisk = func(string) (disk, error) { return d, nil } }
	}
	chmod := func(mode os.FileMode, elem ...string) func(*testing.T, *Machine) {
		return func(t *testing.T, m *Machine) {
			if err := os.Chmod(filepath.Join(append([]string{filepath.Dir(m.Config)}, elem...)...), mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil    func(*testing.T, *Machine)
		check    string // "": nothing is wrong
		text, do string
	}{
		"well":                    {func(*testing.T, *Machine) {}, "", "", ""},
		"before the first start":  {func(t *testing.T, m *Machine) { os.RemoveAll(m.DataDir) }, "", "", ""},
		"configuration":           {chmod(0o666, "server.hcl"), "files", "server.hcl is open to other users (mode 0666)", "chmod 644"},
		"readable configuration":  {chmod(0o644, "server.hcl"), "", "", ""},
		"data directory":          {chmod(0o777, "data"), "files", "data can be written by other users (mode 0777)", "chmod 0700"},
		"keys":                    {chmod(0o644, "data", "servers", "main", "keys"), "files", "keys is open to other users (mode 0644)", "chmod 600"},
		"directory of the server": {chmod(0o770, "data", "servers", "main"), "files", "main can be written by other users", "chmod 0700"},
		"store":                   {chmod(0o702, "data", "servers", "main", "storage"), "files", "storage can be written by other users", "chmod 0700"},
		"tor":                     {chmod(0o750, "data", "tor"), "files", "tor can be entered by other users (mode 0750)", "chmod 0700"},
		"keys are a directory": {func(t *testing.T, m *Machine) {
			keys := filepath.Join(m.Servers[0].Dir, "keys")
			if err := errors.Join(os.Remove(keys), os.Mkdir(keys, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "files", "keys is a directory and should be a file", "backup"},
		"foreign owner": {func(t *testing.T, m *Machine) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			if err := os.Chown(m.Servers[0].Dir, 12345, -1); err != nil {
				t.Fatal(err)
			}
		}, "files", "main belongs to user 12345", "12345"},
		"clock before the release": {func(_ *testing.T, m *Machine) { m.now = func() time.Time { return time.Unix(1e9, 0) } }, "clock", "before this version was made", "timedatectl"},
		"clock of another century": {func(_ *testing.T, m *Machine) { m.now = func() time.Time { return time.Unix(1e10, 0) } }, "clock", "too far ahead", "timedatectl"},
		"clock behind a file": {func(t *testing.T, m *Machine) {
			if err := os.Chtimes(filepath.Join(m.Servers[0].Dir, "mark"), now, now.Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}, "clock", "mark was written at", "timedatectl"},
		"clock behind tor": {func(_ *testing.T, m *Machine) {
			m.Consensus = onion.Examination{ValidAfter: now.Add(time.Hour), ValidUntil: now.Add(4 * time.Hour)}
		}, "clock", "is behind: the directories of Tor were at", "timedatectl"},
		"clock ahead of tor": {func(_ *testing.T, m *Machine) {
			m.Consensus = onion.Examination{ValidAfter: now.Add(-9 * time.Hour), ValidUntil: now.Add(-6 * time.Hour)}
		}, "clock", "is ahead, or tor has fetched nothing", "Internet"},
		"clock as tor has it": {func(_ *testing.T, m *Machine) {
			m.Consensus = onion.Examination{ValidAfter: now.Add(-time.Hour), ValidUntil: now.Add(2 * time.Hour)}
		}, "", "", ""},
		"full disk":       {fill(disk{size: 100 * gib}), "disk", "with the data directory and the files of tor and the store of main", "make room"},
		"below keep_free": {fill(disk{size: 100 * gib, free: gib - 1}), "disk", "has 1023 MiB left, less than 1.0 GiB, below which posts are refused", "make room"},
		"keep_free of 10 MiB": {func(t *testing.T, m *Machine) {
			fill(disk{size: 100 * gib, free: 65 * mib})(t, m)
			m.Servers[0].KeepFree = 10 * mib
		}, "", "", ""},
		"small disk": {fill(disk{size: 100 * mib, free: 11 * mib}), "", "", ""},
		"no inodes":  {fill(disk{size: 100 * gib, free: 50 * gib, files: 1e6, freeFiles: 9}), "disk", "room for 9 more files", "inodes"},
		"no disk": {func(_ *testing.T, m *Machine) {
			m.readDisk = func(string) (disk, error) { return disk{}, errors.New("stale handle") }
		}, "disk", "stale handle", "mount"},
		"no memory": {func(_ *testing.T, m *Machine) {
			m.available = func() (uint64, string) { return 100 * mib, "by the cgroup" }
		}, "memory", "100 MiB (by the cgroup), and 1 server need 128 MiB", "more memory"},
		"memory for few": {func(_ *testing.T, m *Machine) {
			m.available = func() (uint64, string) { return gib, "of this machine" }
		}, "memory", "strangers can make 1 server hold 1.5 GiB", "write connections = 2304 in"},
		"memory for many": {func(_ *testing.T, m *Machine) {
			m.available = func() (uint64, string) { return 4 * gib, "of this machine" }
			m.Servers = append(m.Servers, m.Servers[0], m.Servers[0], Server{Dir: m.Servers[0].Dir, Off: true})
		}, "memory", "strangers can make 3 servers hold 4.4 GiB together", "write connections = 3456 in the limits block, which holds for each server"},
		"memory for none": {func(_ *testing.T, m *Machine) {
			m.available = func() (uint64, string) { return 100 * mib, "of this machine" }
			m.Servers[0].Off = true
		}, "", "", ""},
		"files of many": {func(_ *testing.T, m *Machine) {
			m.maxFiles = func() (uint64, error) { return 16384, nil }
			m.Servers = append(m.Servers, m.Servers[0])
		}, "open files", "4096 connections at each of the two onions of 2 servers need 16704", "LimitNOFILE=32768"},
		"files": {func(_ *testing.T, m *Machine) { m.maxFiles = func() (uint64, error) { return 4096, nil } }, "open files", "may open 4096 files, and 4096 connections at each of the two onions of 1 server need 8480", "LimitNOFILE=16384"},
	} {
		t.Run(name, func(t *testing.T) {
			m := healthyMachine(t)
			c.spoil(t, &m)
			wrong := wrongOnes(m.Check())
			if c.check == "" {
				if len(wrong) > 0 {
					t.Errorf("found %+v", wrong)
				}
				return
			}
			if len(wrong) != 1 || wrong[0].Name != c.check || !strings.Contains(wrong[0].Text, c.text) || !strings.Contains(wrong[0].Do, c.do) {
				t.Errorf("found %+v, want one of %s with %q and %q", wrong, c.check, c.text, c.do)
			}
		})
	}
}

// Two things that are wrong make two lines, and a good machine has one of each kind.
func TestLines(t *testing.T) {
	m := healthyMachine(t)
	var names []string
	for _, c := range m.Check() {
		names = append(names, c.Name)
		if c.Text == "" || c.Do != "" {
			t.Errorf("%+v", c)
		}
	}
	if got := strings.Join(names, ", "); got != "files, clock, disk, memory, open files" {
		t.Errorf("checks are %s", got)
	}
	for _, path := range []string{m.Config, filepath.Join(m.Servers[0].Dir, "keys")} {
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if wrong := wrongOnes(m.Check()); len(wrong) != 2 {
		t.Errorf("found %+v", wrong)
	}
}

// What this machine tells is plausible.
func TestReadThisMachine(t *testing.T) {
	m := healthyMachine(t)
	if d, err := readDisk(m.DataDir); err != nil || d.size == 0 || d.free > d.size {
		t.Errorf("disk: %+v, %v", d, err)
	}
	if n, by := readMemory(); n < 16*mib || by == "" {
		t.Errorf("memory: %d %q", n, by)
	}
	if n, err := readMaxFiles(); err != nil || n < 64 {
		t.Errorf("open files: %d, %v", n, err)
	}
	if _, err := readDisk(filepath.Join(m.DataDir, "missing")); err == nil {
		t.Error("the disk of a path that does not exist")
	}
}

// The least limit of a cgroup and those above it counts, in both versions.
func TestCgroupMemory(t *testing.T) {
	dir := t.TempDir()
	write := func(text string, elem ...string) string {
		t.Helper()
		path := filepath.Join(append([]string{dir}, elem...)...)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("max\n", "v2", "a", "b", "memory.max")
	write("1000\n", "v2", "a", "memory.max")
	write("9223372036854771712\n", "v1", "memory", "memory.limit_in_bytes")
	write("2000\n", "v1", "memory", "c", "memory.limit_in_bytes")
	for text, want := range map[string]uint64{
		"0::/a/b\n": 1000, "0::/\n": 0, "0::/a\n": 1000, "0::/../../a\n": 1000, "broken": 0,
	} {
		if got := readCgroupMemory(write(text, "groups"), filepath.Join(dir, "v2")); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]uint64{"4:cpu:/c\n7:memory:/c\n": 2000, "7:memory:/\n": 0} {
		if got := readCgroupMemory(write(text, "groups"), filepath.Join(dir, "v1")); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := readCgroupMemory(filepath.Join(dir, "missing"), dir); got != 0 {
		t.Errorf("without cgroups: %d", got)
	}
}

// Fifty stores on one disk are one line that can be read.
func TestManyServersOnOneDisk(t *testing.T) {
	m := healthyMachine(t)
	for range 49 {
		m.Servers = append(m.Servers, m.Servers[0])
	}
	checks := m.checkDisks()
	if len(checks) != 1 || !strings.Contains(checks[0].Text, "and 48 others") {
		t.Errorf("%+v", checks)
	}
}
