package autostart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func newSwitch(t *testing.T, systemd bool) *Switch {
	t.Setenv("PATH", t.TempDir()) // no systemctl of this machine
	return &Switch{program: "/opt/my relay/cwtch-relay", config: `/home/eve/100%/a"b$c\server.hcl`, dir: t.TempDir(), systemd: systemd}
}

func TestSwitch(t *testing.T) {
	for name, systemd := range map[string]bool{"systemd": true, "desktop": false} {
		t.Run(name, func(t *testing.T) {
			s := newSwitch(t, systemd)
			if s.IsOn() {
				t.Error("it is on at first")
			}
			for range 2 { // twice is as once
				if err := s.TurnOn(); err != nil || !s.IsOn() {
					t.Fatalf("turn on: %v", err)
				}
			}
			if _, err := os.Stat(s.entry()); err != nil {
				t.Errorf("the entry leads nowhere: %v", err)
			}
			for range 2 {
				if err := s.TurnOff(); err != nil || s.IsOn() {
					t.Fatalf("turn off: %v", err)
				}
			}
		})
	}
}

func TestUnit(t *testing.T) {
	s := newSwitch(t, true)
	if err := s.TurnOn(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "systemd/user/cwtch-relay.service"))
	if err != nil {
		t.Fatal(err)
	}
	run := `"/opt/my relay/cwtch-relay" -config "/home/eve/100%%/a\"b$$c\\server.hcl"`
	if !strings.Contains(string(text), "ExecStart="+run+"\n") {
		t.Errorf("the unit does not run %s:\n%s", run, text)
	}
	if strings.Contains(string(text), "/usr/bin") {
		t.Errorf("the unit runs the program of a package:\n%s", text)
	}
}

// TestSystemdFindsTheProgram asks systemd itself whether it would find a program in a path with
// all that means something in a unit.
func TestSystemdFindsTheProgram(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze to ask")
	}
	s := newSwitch(t, true)
	s.program = filepath.Join(t.TempDir(), "100% of $HOME", "cwtch-relay")
	if err := os.Mkdir(filepath.Dir(s.program), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.TurnOn(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "systemd/user/cwtch-relay.service")
	if text, err := exec.Command(verify, "verify", file).CombinedOutput(); err != nil {
		t.Errorf("systemd says: %v: %s", err, text)
	}
	s.program += ".missing" // so that the test can fail
	if err := s.TurnOn(); err != nil {
		t.Fatal(err)
	}
	if text, _ := exec.Command(verify, "verify", file).CombinedOutput(); !strings.Contains(string(text), s.program+" is not executable") {
		t.Skipf("systemd does not look for programs here: %s", text)
	}
}

func TestDesktopEntry(t *testing.T) {
	want := `Exec="/opt/my relay/cwtch-relay" -config "/home/eve/100%%/a\\"b\\$c\\\\server.hcl"` + "\n"
	if text := newSwitch(t, false).renderDesktopEntry(); !strings.Contains(text, want) {
		t.Errorf("got %s want %s", text, want)
	}
}

// TestProgramThatSystemdRefuses says so instead of writing a unit that never starts.
func TestProgramThatSystemdRefuses(t *testing.T) {
	for _, c := range `"'\` {
		s := newSwitch(t, true)
		s.program = "/opt/a" + string(c) + "b/cwtch-relay"
		if err := s.TurnOn(); err == nil || s.IsOn() {
			t.Errorf("a unit for %s was written", s.program)
		}
	}
}

func TestLineBreak(t *testing.T) {
	s := newSwitch(t, false)
	s.config = "/a\nExec=evil"
	if err := s.TurnOn(); err == nil || s.IsOn() {
		t.Errorf("a path with a line break was written: %v", err)
	}
}
