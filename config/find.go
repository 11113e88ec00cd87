package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

const (
	fileName  = "server.hcl"
	systemDir = "/etc/cwtch-relay"
)

// NotFoundError: there is no configuration at any of the usual places.
type NotFoundError struct {
	Looked []string // the places
}

func (e *NotFoundError) Error() string {
	return "no configuration found: there is no " + strings.Join(e.Looked, ", no ")
}

// Hint says what to do.
func (e *NotFoundError) Hint() string {
	return "say where it is with -config FILE, or make one: cwtch-relay desktop, or cwtch-relay init -dir DIR"
}

// Find returns the configuration of a command that was not given one: server.hcl in the
// working directory, in cwtch-relay in $XDG_CONFIG_HOME (otherwise ~/.config), or in
// /etc/cwtch-relay, whichever is there first. If there is none, the error is a
// [*NotFoundError].
//
// A configuration names programs to run, and the working directory may be anybody's. So Find
// refuses a file that another user than root and this one owns or can write to. It passes over a
// directory that it may not look into.
func Find() (path string, err error) { return findIn(usualPlaces()) }

// usualPlaces returns where a configuration may be, in the order in which Find looks.
func usualPlaces() []string {
	places := []string{fileName}
	if path, err := UserPath(); err == nil {
		places = append(places, path)
	}
	return append(places, filepath.Join(systemDir, fileName))
}

// UserPath returns where the configuration of this user is, or would be.
func UserPath() (string, error) {
	if home := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(home) { // others are to be ignored
		return filepath.Join(home, "cwtch-relay", fileName), nil
	}
	home, err := os.UserHomeDir()
	if err == nil && !filepath.IsAbs(home) {
		err = fmt.Errorf("it is %q, which is not absolute", home)
	}
	if err != nil {
		return "", fmt.Errorf("find the home directory: %w", err)
	}
	return filepath.Join(home, ".config", "cwtch-relay", fileName), nil
}

func findIn(places []string) (string, error) {
	looked := slices.Clone(places)
	for i, path := range places {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission): // such as the home of root, after a change of the user
			looked[i] += " (permission denied)"
			continue
		case err != nil:
			return "", fmt.Errorf("look for the configuration: %w", err)
		}
		if owner := ownership.UID(info); !slices.Contains(trustedOwners(), owner) || info.Mode().Perm()&0o022 != 0 {
			return "", &exposedError{path, owner, info.Mode()}
		}
		return path, nil
	}
	return "", &NotFoundError{looked}
}

// trustedOwners are the users who may decide what the relay runs.
func trustedOwners() []int { return []int{0, os.Geteuid()} }

// exposedError is a configuration that is not taken without being asked for.
type exposedError struct {
	path  string
	owner int
	mode  fs.FileMode
}

func (e *exposedError) Error() string {
	if slices.Contains(trustedOwners(), e.owner) {
		return fmt.Sprintf("%s was found, but others than its owner can write to it (mode %04o)", e.path, e.mode.Perm())
	}
	return fmt.Sprintf("%s was found, but it belongs to user %s", e.path, ownership.UserName(e.owner))
}

// Hint says what to do.
func (e *exposedError) Hint() string {
	return "a configuration names programs that are run as you: if you trust this one, say " + pathname.Command("-config", e.path)
}
