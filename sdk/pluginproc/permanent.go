package pluginproc

import (
	"errors"
	"io/fs"
	"os/exec"
	"slices"
	"syscall"
)

// PermanentError is an error of [Start] that stays until somebody changes something: the
// program does not exist or cannot be executed, or there is no place for its socket.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

var permanentErrors = []error{
	fs.ErrNotExist, fs.ErrPermission, syscall.ENOEXEC, syscall.ENAMETOOLONG, syscall.ENOTDIR, syscall.EISDIR,
	syscall.ELOOP, syscall.E2BIG, syscall.EROFS, syscall.EINVAL,
}

// IsPermanent reports whether err, from a system call with a path, stays until somebody
// changes something. A lack of disk space, memory or processes may pass.
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

// NotExecutable is the exit status of a [Launcher] that can never execute the plugin.
// Shells use the same number.
const NotExecutable = 126

// notExecuted reports whether the launcher ended with NotExecutable.
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
