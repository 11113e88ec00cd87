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
	"time"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/config"
	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/core/manager"
	"github.com/cwtch-relay/cwtch-relay/sdk/durable"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// runDesktop opens the console of the relay of this user in the browser. It makes a
// configuration if there is none, and runs the relay if it does not run yet.
func runDesktop(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := command.NewFlags()
	if _, err := f.ParseArgs(args); err != nil {
		return err
	}
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
	address, err := manager.AskOwnConsole(ctx, cfg.DataDir)
	if err == nil {
		return openBrowser(address, stderr)
	}
	if !errors.Is(err, manager.ErrNotRunning) {
		return err
	}
	return serveConfig(ctx, path, f.JSON, func(address string) {
		if err := openBrowser(address, stderr); err != nil {
			fmt.Fprintf(stderr, "error: %v\n", err)
		}
	})
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
`, schema.Literal(data))
	if err := durable.CreateFile(path, []byte(text), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("write the configuration: %w", err)
	}
	fmt.Fprintf(stderr, "wrote %s\n", pathname.Quote(path))
	return path, nil
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

// browsers are programs that open an address, the first that is there.
var browsers = []string{"xdg-open", "x-www-browser", "sensible-browser"}

// browserTimeout is how long such a program may take to hand the address on.
const browserTimeout = 10 * time.Second

// openBrowser opens an address in the browser of this user. Where there is none, it prints it.
func openBrowser(address string, stderr io.Writer) error {
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
	_, err := fmt.Fprintf(stderr, "No browser could be started. Open this address, which works once, in the next five minutes:\n%s\n", address)
	return err
}
