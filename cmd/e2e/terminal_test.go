package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRelayAsksForPassphrases starts a relay in the foreground of a terminal. It asks for the
// passphrase of each locked server that is to start, shows nothing of what is typed, and leaves
// a server locked if the person presses Enter. At ^C the terminal is as it was.
func TestRelayAsksForPassphrases(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("server.hcl", `network "loopback" { registry = "net" }`+"\n")
	passphrase := write("passphrase", "correct horse battery\n")
	for _, args := range [][]string{{"attic"}, {"club"}, {"den"}, {"shed", "-autostart=false"}} {
		cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), append([]string{"server", "add", "-config", config, "-passphrase-file", passphrase}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	person, program := openTerminal(t)
	before := echoes(t, program)
	cmd := exec.Command(filepath.Join(bin, "cwtch-relay"), "-config", config)
	cmd.Stdin, cmd.Stderr = program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	screen := &terminalScreen{t: t, person: person}
	const question = "Passphrase of server %s (Enter: leave it locked): "
	screen.await(fmt.Sprintf(question, "attic"))
	screen.typeText("wrong horse battery\n")
	screen.await("This is not the passphrase.")
	screen.await(fmt.Sprintf(question, "attic"))
	screen.typeText("correct horse battery\n")
	screen.await(fmt.Sprintf(question, "club"))
	screen.typeText("\n")
	screen.await("server club stays locked; unlock it later with: cwtch-relay server unlock club")
	screen.await(fmt.Sprintf(question, "den"))
	// What the log says meanwhile comes in front of the question.
	stop := exec.Command(filepath.Join(bin, "cwtch-relay"), "server", "stop", "attic", "-config", config)
	if out, err := stop.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	screen.await("\r\x1b[K")
	screen.await(fmt.Sprintf(question, "den"))
	if out, err := exec.Command(filepath.Join(bin, "cwtch-relay"), "server", "start", "attic", "-passphrase-file", passphrase, "-config", config).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	out, err := exec.Command(filepath.Join(bin, "cwtch-relay"), "server", "list", "-config", config).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, line := range []string{"attic  running", "club   locked", "den    locked", "shed   stopped"} {
		if !strings.Contains(string(out), line) {
			t.Errorf("no %q in\n%s", line, out)
		}
	}
	if echoes(t, program) {
		t.Error("the terminal shows what is typed")
	}
	screen.typeText("\x03") // ^C
	if err := cmd.Wait(); err != nil {
		t.Errorf("the relay ends with %v", err)
	}
	if echoes(t, program) != before {
		t.Error("the terminal was left as it is for passphrases")
	}
	if strings.Contains(screen.seen, "horse") || strings.Contains(screen.seen, "shed (") {
		t.Errorf("the screen shows a passphrase, or a question about shed:\n%s", screen.seen)
	}
}

// terminalScreen is what a person sees at a terminal.
type terminalScreen struct {
	t      *testing.T
	person *os.File
	seen   string
	passed int // what of seen was waited for
}

// await waits until a text is on the screen.
func (s *terminalScreen) await(text string) {
	s.t.Helper()
	s.person.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, 4096)
	for {
		if i := strings.Index(s.seen[s.passed:], text); i >= 0 {
			s.passed += i + len(text)
			return
		}
		n, err := s.person.Read(buffer)
		if err != nil {
			s.t.Fatalf("no %q on the screen (%v):\n%s", text, err, s.seen)
		}
		s.seen += string(buffer[:n])
	}
}

func (s *terminalScreen) typeText(text string) {
	s.t.Helper()
	if _, err := s.person.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// echoes reports whether a terminal shows what is typed.
func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}

// openTerminal makes a terminal, and returns the side of the person and that of the program.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	raw, err := person.SyscallConn() // Fd would take the deadlines of reads away
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	var failed error
	err = raw.Control(func(fd uintptr) {
		number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		failed = errors.Join(failed, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
	})
	if err = errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}
