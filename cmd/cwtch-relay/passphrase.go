package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/cmd/internal/command"
	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// aboutPassphrase is said where a passphrase is set.
const aboutPassphrase = "A passphrase protects the keys of the server on a stolen disk of a machine that is off. It does not protect a machine that runs, and does not hide how many messages there are and when. Without it nobody can start the server again: write it down.\n"

// aboutPassphraseHelp ends the help of commands that set one.
var aboutPassphraseHelp = strings.TrimSpace(aboutPassphrase)

// maxPassphraseFile bounds what is read of a file with a passphrase, in bytes.
const maxPassphraseFile = 4 << 10

// passphraseAttempts is how often a person may mistype.
const passphraseAttempts = 3

// passphraseInput is where a command gets a passphrase from: a file, or the terminal.
type passphraseInput struct {
	flag string // that names the file
	file string
}

// passphraseFile reads a flag that names a file with a passphrase.
func (f *flags) passphraseFile(name string) passphraseInput {
	return passphraseInput{"-" + name, f.String(name)}
}

// readPassphrase returns a passphrase that opens keys.
func (p passphraseInput) readPassphrase(ctx context.Context, prompt string) ([]byte, error) {
	if p.file != "" {
		return readPassphraseFile(p.file)
	}
	t, err := p.openTerminal()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return askSecret(ctx, t, func() { fmt.Fprint(t, prompt) })
}

// readNewPassphrase returns a passphrase that is to be set. A person types it twice.
func (p passphraseInput) readNewPassphrase(ctx context.Context, server string) ([]byte, error) {
	if p.file != "" {
		passphrase, err := readPassphraseFile(p.file)
		if err == nil {
			err = identity.CheckPassphrase(passphrase)
		}
		return passphrase, err
	}
	t, err := p.openTerminal()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return askNewPassphrase(ctx, t, server)
}

// openTerminal opens the terminal of the person, wherever standard input and output lead.
func (p passphraseInput) openTerminal() (*os.File, error) {
	t, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, command.WithHint(errors.New("there is no terminal to ask for the passphrase"), fmt.Sprintf("say %s FILE, or %s - for standard input", p.flag, p.flag))
	}
	return t, nil
}

// askNewPassphrase asks until a passphrase is good, and typed twice in the same way.
func askNewPassphrase(ctx context.Context, t *os.File, server string) ([]byte, error) {
	fmt.Fprint(t, aboutPassphrase)
	for range passphraseAttempts {
		first, err := askSecret(ctx, t, func() { fmt.Fprintf(t, "New passphrase of server %s: ", server) })
		if err != nil {
			return nil, err
		}
		if err := identity.CheckPassphrase(first); err != nil {
			fmt.Fprintf(t, "%v\n", err)
			continue
		}
		second, err := askSecret(ctx, t, func() { fmt.Fprint(t, "The same once more: ") })
		if err != nil {
			return nil, err
		}
		same := bytes.Equal(first, second)
		clear(second)
		if same {
			return first, nil
		}
		clear(first)
		fmt.Fprintln(t, "They differ.")
	}
	return nil, errors.New("no passphrase was set: nothing was changed")
}

// askSecret has ask show a question, and reads a line that the terminal does not show. When ctx
// ends, or at ^C, the terminal is as it was before.
func askSecret(ctx context.Context, t *os.File, ask func()) ([]byte, error) {
	fd := int(t.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	hidden := *before
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, fmt.Errorf("prepare the terminal: %w", err)
	}
	defer func() {
		unix.IoctlSetTermios(fd, unix.TCSETS, before) //nolint:errcheck // nothing else can be done
		fmt.Fprintln(t)
	}()
	ask() // not before nothing is shown any more
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text := make([]byte, maxPassphraseFile) // a terminal gives no longer line
		n, err := t.Read(text)
		read <- line{bytes.TrimRight(text[:n], "\r\n"), err}
	}()
	select {
	case l := <-read:
		if errors.Is(l.err, io.EOF) {
			return nil, errors.New("no passphrase was typed")
		}
		return l.text, l.err
	case <-ctx.Done():
		return nil, errors.New("interrupted: nothing was changed")
	}
}

// readPassphraseFile reads a passphrase from a file, or from standard input if path is "-". A
// line break at its end does not belong to it.
func readPassphraseFile(path string) ([]byte, error) {
	f := os.Stdin
	if path != "-" {
		var err error
		if f, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("read the passphrase: %w", err)
		}
		defer f.Close()
		if err := checkPassphraseFile(path, f); err != nil {
			return nil, err
		}
	}
	text := make([]byte, maxPassphraseFile+1)
	n, err := io.ReadFull(f, text)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	if n > maxPassphraseFile {
		clear(text)
		return nil, fmt.Errorf("read the passphrase: %s has more than %d bytes: give a file that holds the passphrase alone", path, maxPassphraseFile)
	}
	passphrase := bytes.TrimRight(text[:n], "\r\n") // as file() of the configuration does
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("read the passphrase: %s is empty", path)
	}
	return passphrase, nil
}

// checkPassphraseFile refuses a file that every user of the machine can read.
func checkPassphraseFile(path string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the passphrase: %w", err)
	}
	if !info.Mode().IsRegular() { // such as a pipe of the shell
		return nil
	}
	if err := ownership.CheckMode(path, info, 0o006); err != nil {
		return fmt.Errorf("passphrase file %w", err)
	}
	return nil
}

// isAttended reports whether a person is in front of this process: it runs in the foreground of
// a terminal, and shows its log there.
func isAttended() bool {
	const stdin, stderr = 0, 2
	for _, fd := range []int{stdin, stderr} {
		if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return false
		}
	}
	group, err := unix.IoctlGetInt(stdin, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
