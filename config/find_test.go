package config

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestUsualPlaces shows where a configuration is looked for, whatever the environment has.
func TestUsualPlaces(t *testing.T) {
	for _, c := range []struct {
		xdg, home string
		want      []string
	}{
		{"", "/home/ann", []string{"server.hcl", "/home/ann/.config/cwtch-relay/server.hcl", "/etc/cwtch-relay/server.hcl"}},
		{"/xdg", "/home/ann", []string{"server.hcl", "/xdg/cwtch-relay/server.hcl", "/etc/cwtch-relay/server.hcl"}},
		{"relative", "/home/ann", []string{"server.hcl", "/home/ann/.config/cwtch-relay/server.hcl", "/etc/cwtch-relay/server.hcl"}},
		{"", "", []string{"server.hcl", "/etc/cwtch-relay/server.hcl"}},
		{"", "relative", []string{"server.hcl", "/etc/cwtch-relay/server.hcl"}},
	} {
		t.Setenv("XDG_CONFIG_HOME", c.xdg)
		t.Setenv("HOME", c.home)
		if got := usualPlaces(); !slices.Equal(got, c.want) {
			t.Errorf("with %q and %q: %q, want %q", c.xdg, c.home, got, c.want)
		}
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	places := []string{"server.hcl", filepath.Join(dir, "xdg", "server.hcl"), filepath.Join(dir, "etc", "server.hcl")}
	_, err := findIn(places)
	missing, ok := errors.AsType[*NotFoundError](err)
	if !ok || !slices.Equal(missing.Looked, places) || !strings.Contains(missing.Hint(), "cwtch-relay init -dir DIR") || !strings.Contains(err.Error(), places[2]) {
		t.Errorf("without a file: %v", err)
	}
	for _, place := range slices.Backward(places) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(place), 0o700), os.WriteFile(place, nil, 0o640)); err != nil {
			t.Fatal(err)
		}
		if got, err := findIn(places); err != nil || got != place {
			t.Errorf("got %s, %v, want %s", got, err, place)
		}
	}
}

// TestFindPassesOver: a directory of another user stops no search.
func TestFindPassesOver(t *testing.T) {
	found, closed := writeConfig(t, ""), filepath.Join(t.TempDir(), "closed")
	dir := filepath.Dir(found)
	if err := errors.Join(os.Mkdir(closed, 0), os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
		t.Fatal(err)
	}
	find := func(places ...string) (string, error) {
		const nobody = 65534
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		was, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0) // root may look into any directory
		defer syscall.RawSyscall(syscall.SYS_SETFSUID, was, 0, 0)
		return findIn(places)
	}
	if got, err := find(filepath.Join(closed, "server.hcl"), found); err != nil || got != found {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := find(filepath.Join(closed, "server.hcl"))
	if err == nil || !strings.Contains(err.Error(), "closed/server.hcl (permission denied)") {
		t.Errorf("nothing else is there: %v", err)
	}
}

// TestFindRefuses: a file in a directory of everybody is not taken by itself.
func TestFindRefuses(t *testing.T) {
	path := writeConfig(t, "")
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o644: false, 0o620: true, 0o602: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		got, err := findIn([]string{path})
		if (err != nil) != refused || refused && (!strings.Contains(err.Error(), "others than its owner can write to it") || got != "") {
			t.Errorf("mode %04o: %q, %v", mode, got, err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest: only root can give a file away")
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, 12345, -1)); err != nil {
		t.Fatal(err)
	}
	_, err := findIn([]string{path, "/nowhere"})
	var hint interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), "it belongs to user 12345") || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "say -config "+path) {
		t.Errorf("of another user: %v", err)
	}
}
