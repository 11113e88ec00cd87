package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInterruptAtTheTerminal shows that ^C ends the relay and not its plugins, which the relay
// then stops in good order. The terminal sends it to every process of the group in front.
func TestInterruptAtTheTerminal(t *testing.T) {
	terminal, relaySide := openTerminal(t)
	r := &supervised{t: t, processes: make(chan *pluginProcess, 8)}
	presence := listenPresence(t, r.processes)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{envMode + "=relay", envPlugin + "=interruptible", envPresence + "=" + presence, envDir + "=" + t.TempDir()}
	cmd.Stdin, cmd.Stderr = relaySide, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	relaySide.Close()
	said := bufio.NewScanner(out)
	mustSay := func(want string) {
		t.Helper()
		if said.Scan(); said.Text() != want {
			t.Fatalf("the relay said %q, want %q", said.Text(), want)
		}
	}
	mustSay("ready")
	relay, plugin := r.nextProcess(), r.nextProcess()
	if _, err := terminal.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	mustSay("stopped")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	r.mustSay(plugin, "closed") // and of no signal before
	r.mustEnd(relay)
	r.mustEnd(plugin)
}

// openTerminal makes a terminal, and returns the side of the person and that of the program.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made here: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err = errors.Join(err, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)); err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}
