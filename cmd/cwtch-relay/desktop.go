package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

func desktopCommand() *cli.Command {
	return &cli.Command{
		Name: "desktop", Category: categoryFirst, Usage: "run the relay of this user, and open its console in the browser",
		Description: "It is for a person at a desktop: it makes a configuration if there is none, and runs the relay if it does not run yet.",
		Flags:       []cli.Flag{command.JSONFlag()}, Action: command.Action(runDesktop),
	}
}

// runDesktop opens the console of the relay of this user in the browser. It makes a
// configuration if there is none, and runs the relay if it does not run yet. Without a terminal,
// as after a click in the menu, a failure is shown in the browser.
func runDesktop(ctx context.Context, c *cli.Command, stdout, stderr io.Writer) error {
	err := openDesktop(ctx, c.Bool("json"), stderr)
	if err != nil && !errors.As(err, new(command.ExitStatus)) { // otherwise it was shown
		showFailure(ctx, err, stderr)
	}
	return err
}

func openDesktop(ctx context.Context, asJSON bool, stderr io.Writer) error {
	path, err := makeDesktopConfig(stderr)
	if err != nil {
		return err
	}
	cfg, err := loadTolerant(ctx, path)
	if err != nil {
		return err
	}
	if cfg.Console == nil {
		return configFault{command.WithHint(fmt.Errorf("%s has no console to open", pathname.Quote(path)), "add the line: console {}")}
	}
	address, err := findConsole(ctx, cfg.DataDir)
	if err == nil {
		showConsole(address, stderr)
		return nil
	}
	if !errors.Is(err, manager.ErrNotRunning) {
		return err
	}
	return serveConfig(ctx, &flags{JSON: asJSON, config: path, given: true}, person{
		opened: func(address string) { showConsole(address, stderr) },
		failed: func(err error) { showFailure(ctx, err, stderr) },
	})
}

const (
	// startPatience is how long a second click waits for the relay that the first one starts.
	startPatience = 20 * time.Second
	askAgainAfter = 200 * time.Millisecond
)

// findConsole returns an address of the console of the relay that runs. It waits for a relay that
// is being started. The error matches [manager.ErrNotRunning] if there is none.
func findConsole(ctx context.Context, dataDir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		address, err := manager.AskOwnConsole(ctx, dataDir)
		starting := errors.As(err, new(*manager.RefusedError))
		if errors.Is(err, manager.ErrNotRunning) {
			release, claimed := manager.ClaimDataDir(dataDir)
			if claimed == nil {
				release()
			}
			starting = errors.Is(claimed, manager.ErrInUse)
		}
		if !starting {
			return address, err
		}
		select {
		case <-time.After(askAgainAfter):
		case <-ctx.Done():
			return "", err
		}
	}
}

// makeDesktopConfig returns the configuration of this user, and writes one if there is none.
func makeDesktopConfig(stderr io.Writer) (string, error) {
	path, err := config.UserPath()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return path, err
	}
	data, err := userDataDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", fmt.Errorf("make the directory of the configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(data), 0o700); err != nil {
		return "", fmt.Errorf("make the directory for data: %w", err)
	}
	// Any free port: the address is opened by this program, and never typed.
	text := fmt.Sprintf(`# The configuration of the relay of this user. The console keeps its servers in files of their
# own, in servers.d below data_dir. Every option: docs/configuration.md

data_dir = %s

network "tor" {}

console { listen = "127.0.0.1:0" }
`, schema.Literal(portablePath(data, filepath.Dir(path))))
	if err := durable.CreateFile(path, []byte(text), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	fmt.Fprintf(stderr, "wrote %s\n", pathname.Quote(path))
	return path, nil
}

// portablePath is a path as it is written in a file in dir: relative if both are in the home
// directory, so that they can be copied to the home directory of another user or computer.
func portablePath(path, dir string) string {
	home, err := os.UserHomeDir()
	if err != nil || home == "/" || !isBelow(path, home) || !isBelow(dir, home) {
		return path
	}
	relative, err := filepath.Rel(dir, path)
	if err != nil {
		return path
	}
	return relative
}

func isBelow(path, dir string) bool {
	return strings.HasPrefix(filepath.Clean(path), filepath.Clean(dir)+"/")
}

// userDataDir is where the relay of this user keeps its data: cwtch-relay in $XDG_DATA_HOME, or
// else in ~/.local/share.
func userDataDir() (string, error) {
	if home := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, "cwtch-relay"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the home directory: %w", err)
	}
	return filepath.Join(home, ".local", "share", "cwtch-relay"), nil
}

// showConsole opens an address of the console. Where there is no browser, it prints the address.
func showConsole(address string, stderr io.Writer) {
	if openBrowser(address) == nil {
		return
	}
	fmt.Fprintf(stderr, "No browser could be started. Open this address, which works once, in the next five minutes:\n%s\n", address)
	if !isTerminal(stderr) {
		// Without the address: others can read the command line, and the list of old
		// notifications would keep it.
		notify("No browser could be started",
			"Your relay runs. Choose a browser in the settings of this computer, and click Cwtch Relay again. Or type cwtch-relay console in a terminal, and open the address that it prints.")
	}
}

// browsers are programs that open an address, the first that is there.
var browsers = []string{"xdg-open", "x-www-browser", "sensible-browser"}

// browserTimeout is how long such a program may take to hand the address on.
const browserTimeout = 10 * time.Second

var errNoBrowser = errors.New("no browser could be started")

// openBrowser opens an address in the browser of this user.
func openBrowser(address string) error {
	for _, name := range browsers {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		cmd := exec.Command(program, address)
		if err := cmd.Start(); err != nil {
			continue
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			if err == nil {
				return nil
			}
		case <-time.After(browserTimeout): // it is the browser itself, which stays
			return nil
		}
	}
	return errNoBrowser
}
