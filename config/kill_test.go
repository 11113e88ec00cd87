package config

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// changeVariable makes the test binary a process that changes a configuration: its value is the
// path and the change.
const changeVariable = "CWTCH_RELAY_TEST_CHANGE"

// serverChanges are what is killed. Each can be made again after it was.
var serverChanges = map[string]func(f *ServerFiles) error{
	"add": func(f *ServerFiles) error { return f.Add(ServerText{Name: "new", Description: "new"}) },
	"edit": func(f *ServerFiles) error {
		_, err := f.Edit("a", ServerChange{Description: new("new")})
		return err
	},
	"edit-main": func(f *ServerFiles) error {
		_, err := f.Edit("main", ServerChange{Description: new("new")})
		return err
	},
	"remove":      func(f *ServerFiles) error { return f.Remove("a") },
	"remove-main": func(f *ServerFiles) error { return f.Remove("main") },
	"remove-both": func(f *ServerFiles) error { return f.Remove("both") },
}

// TestKilledChange kills a process at each event that a change makes in the directories, the first
// to the last. Afterwards the configuration is as before or as asked, and the change can be made.
func TestKilledChange(t *testing.T) {
	if value := os.Getenv(changeVariable); value != "" {
		path, change, _ := strings.Cut(value, "\n")
		f, err := OpenServerFiles(path, testPlugins)
		if err == nil {
			err = serverChanges[change](f)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	const most = 20
	for name, change := range serverChanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := describeFiles(t, changedConfig(t))
			asked := changedConfig(t)
			if err := change(openServerFiles(t, asked)); err != nil {
				t.Fatal(err)
			}
			want := describeFiles(t, asked)
			asBefore := 0
			for n := 1; ; n++ {
				path := changedConfig(t)
				killed := killAtEvent(t, path, name, n)
				switch got := describeFiles(t, path); {
				case got == want:
				case got == before && killed:
					asBefore++
				case name == "remove-both" && killed && got == strings.Replace(before, "both.hcl: server \"both\" {}\n", "", 1): // the block that counts is still there
					asBefore++
				default:
					t.Errorf("killed at event %d (%t), it is\n%s", n, killed, got)
				}
				if err := change(openServerFiles(t, path)); err != nil && name != "add" {
					t.Errorf("made again after event %d: %v", n, err)
				}
				if got := describeFiles(t, path); got != want {
					t.Errorf("made again after event %d, it is\n%s\nwant\n%s", n, got, want)
				}
				if !killed {
					t.Logf("%d events, and %d times it was as before", n-1, asBefore)
					return
				}
				if n == most {
					t.Fatalf("more than %d events", most)
				}
			}
		})
	}
}

func changedConfig(t *testing.T) (path string) {
	path, _ = writeServers(t, withServersDir+"# ours\nserver \"main\" {}\nserver \"both\" {}\n", map[string]string{"a.hcl": "server \"a\" {} # a\n", "both.hcl": "server \"both\" {}\n"})
	return path
}

// describeFiles returns what the configuration is, file by file. What a killed process leaves under
// a name that is passed over is no part of it.
func describeFiles(t *testing.T, path string) string {
	t.Helper()
	if _, err := Load(path, tolerant()); err != nil {
		t.Errorf("a relay cannot read it: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "servers.d", "*.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, file := range append([]string{path}, files...) {
		if !strings.HasPrefix(filepath.Base(file), ".") {
			fmt.Fprintf(&b, "%s: %s", filepath.Base(file), readText(t, file))
		}
	}
	return b.String()
}

// killAtEvent starts a process that makes a change, and kills it as soon as so many events were
// seen in the directories. It reports whether the process was killed.
func killAtEvent(t *testing.T, path, change string, number int) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	const modifying = unix.IN_CREATE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_DELETE
	for _, dir := range []string{filepath.Dir(path), filepath.Join(filepath.Dir(path), "servers.d")} {
		if _, err := unix.InotifyAddWatch(fd, dir, modifying); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledChange$")
	cmd.Env = append(os.Environ(), changeVariable+"="+path+"\n"+change)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		os.WriteFile(filepath.Join(filepath.Dir(path), "ended"), nil, 0o600) // an event for the reader
		ended <- err
	}()
	reader := bufio.NewReaderSize(events, 64<<10)
	for range number {
		head := make([]byte, unix.SizeofInotifyEvent)
		if _, err := io.ReadFull(reader, head); err != nil {
			t.Fatal(err)
		}
		name := make([]byte, binary.NativeEndian.Uint32(head[12:]))
		if _, err := io.ReadFull(reader, name); err != nil {
			t.Fatal(err)
		}
		if strings.TrimRight(string(name), "\x00") == "ended" {
			if err := <-ended; err != nil {
				t.Fatalf("the change failed: %v", err)
			}
			return false
		}
	}
	cmd.Process.Kill() // it may have ended
	<-ended
	return true
}
