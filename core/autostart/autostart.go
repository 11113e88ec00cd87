// Package autostart starts a relay when its user logs in.
//
// Where systemd runs the machine this is a unit of the user, else an entry of the desktop, as the
// specification of freedesktop.org for autostart describes it:
//
//	~/.config/systemd/user/cwtch-relay.service
//	~/.config/systemd/user/default.target.wants/cwtch-relay.service
//	~/.config/autostart/cwtch-relay.desktop
//
// A person needs no privilege for either. Whoever can write there can start programs as this user
// anyway.
package autostart

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
)

// unit is the unit of the user as packages install it.
//
//go:embed cwtch-relay.service
var unit string

// command is what the unit runs, with the program and the configuration of a package.
const command = "/usr/bin/cwtch-relay -config %E/cwtch-relay/server.hcl"

const unitName = "cwtch-relay.service"

// Switch turns the start at log-in on and off for one configuration.
type Switch struct {
	program, config string
	dir             string // of the user's configuration
	systemd         bool   // runs this machine
}

// New returns the switch for the running program and a configuration, an absolute path.
func New(config string) (*Switch, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("find the configuration of this user: %w", err)
	}
	_, err = os.Stat("/run/systemd/system")
	return &Switch{program: program, config: config, dir: dir, systemd: err == nil}, nil
}

// IsOn reports whether the relay starts at log-in.
func (s *Switch) IsOn() bool {
	_, err := os.Lstat(s.entry())
	return err == nil
}

// entry is the file whose presence turns the start on.
func (s *Switch) entry() string {
	if s.systemd {
		return filepath.Join(s.dir, "systemd/user/default.target.wants", unitName)
	}
	return filepath.Join(s.dir, "autostart/cwtch-relay.desktop")
}

// TurnOn makes the relay start at log-in. It does not start it now.
func (s *Switch) TurnOn() error {
	for _, path := range []string{s.program, s.config} {
		if strings.ContainsAny(path, "\n\r") {
			return fmt.Errorf("the path %q has a line break: give the file another name", path)
		}
	}
	if s.systemd && strings.ContainsAny(s.program, `"'\`) {
		return fmt.Errorf("systemd runs no program with quotes or a backslash in its path, as in %s: move it", s.program)
	}
	entry := s.entry()
	if err := os.MkdirAll(filepath.Dir(entry), 0o755); err != nil {
		return err
	}
	if !s.systemd {
		return durable.WriteFile(entry, []byte(s.renderDesktopEntry()), 0o644)
	}
	file := filepath.Join(s.dir, "systemd/user", unitName)
	if err := durable.WriteFile(file, []byte(s.renderUnit()), 0o644); err != nil {
		return err
	}
	if err := os.Symlink(file, entry); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	reloadUnits()
	return nil
}

// TurnOff keeps the relay from starting at log-in. It does not stop it now.
func (s *Switch) TurnOff() error {
	err := os.Remove(s.entry())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.systemd {
		reloadUnits()
	}
	return nil
}

// reloadUnits tells a running systemd of the user what has changed. The next log-in finds it in
// any case.
func reloadUnits() {
	exec.Command("systemctl", "--user", "daemon-reload").Run() //nolint:errcheck // as above
}

func (s *Switch) renderUnit() string {
	return strings.ReplaceAll(unit, command, quoteForSystemd(s.program)+" -config "+strings.ReplaceAll(quoteForSystemd(s.config), "$", "$$"))
}

func (s *Switch) renderDesktopEntry() string {
	return fmt.Sprintf("[Desktop Entry]\nType=Application\nName=Cwtch Relay\nComment=Host Cwtch servers\nExec=%s -config %s\nIcon=cwtch-relay\nTerminal=false\n",
		quoteForDesktop(s.program), quoteForDesktop(s.config))
}

// quoteForSystemd quotes a word of ExecStart, see systemd.service(5) and systemd.unit(5). Dollar
// signs stay: they are replaced in arguments, and not in the path of the program.
func quoteForSystemd(word string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(word) + `"`
}

// quoteForDesktop quotes an argument of Exec. The entry is a string value, in which a backslash
// is written twice.
func quoteForDesktop(word string) string {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(word)
	return `"` + strings.NewReplacer(`\`, `\\`, `%`, `%%`).Replace(quoted) + `"`
}
