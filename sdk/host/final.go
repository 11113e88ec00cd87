package host

import (
	"errors"
	"io/fs"
	"os/exec"
	"slices"
	"syscall"
)

// FinalError is an error of [Start] that every other try would meet as well, until
// somebody has changed something: there is no such program, it cannot be executed,
// or there is no place for the socket.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// lasting are the errors of system calls that do not pass by themselves.
var lasting = []error{
	fs.ErrNotExist, fs.ErrPermission, syscall.ENOEXEC, syscall.ENAMETOOLONG, syscall.ENOTDIR, syscall.EISDIR,
	syscall.ELOOP, syscall.E2BIG, syscall.EROFS, syscall.EINVAL,
}

// Lasting reports whether err, of a system call about a path, is one that does not
// pass by itself, unlike a lack of room, memory or processes.
func Lasting(err error) bool {
	return slices.ContainsFunc(lasting, func(target error) bool { return errors.Is(err, target) })
}

// final is err, as a FinalError if it is lasting.
func final(err error) error {
	if Lasting(err) {
		return &FinalError{err}
	}
	return err
}

// NotExecutable is the exit status of a [Launcher] that could not execute the
// plugin, and never will; it is that of shells.
const NotExecutable = 126

// notExecuted reports whether the launcher of a process ended so.
func (r *runner) notExecuted() bool {
	select {
	case <-r.exited:
	default:
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var status *exec.ExitError
	return r.launched && errors.As(r.err, &status) && status.ExitCode() == NotExecutable
}
