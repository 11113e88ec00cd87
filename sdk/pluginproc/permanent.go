package pluginproc

import (
	"errors"
	"io/fs"
	"os/exec"
	"slices"
	"syscall"
)

// PermanentError is an error of [Start] that every other try would meet as well, until
// somebody has changed something: there is no such program, it cannot be executed,
// or there is no place for the socket.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// permanentErrors are the errors of system calls that do not pass by themselves.
var permanentErrors = []error{
	fs.ErrNotExist, fs.ErrPermission, syscall.ENOEXEC, syscall.ENAMETOOLONG, syscall.ENOTDIR, syscall.EISDIR,
	syscall.ELOOP, syscall.E2BIG, syscall.EROFS, syscall.EINVAL,
}

// IsPermanent reports whether err, of a system call about a path, is one that does not
// pass by itself, unlike a lack of room, memory or processes.
func IsPermanent(err error) bool {
	return slices.ContainsFunc(permanentErrors, func(target error) bool { return errors.Is(err, target) })
}

// markPermanent returns err, as a [PermanentError] if it is permanent.
func markPermanent(err error) error {
	if IsPermanent(err) {
		return &PermanentError{err}
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
