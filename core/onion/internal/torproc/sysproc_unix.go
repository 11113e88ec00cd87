//go:build unix && !linux

package torproc

import "syscall"

// sysProcAttr gives tor a process group so that ^C in a terminal reaches the
// parent alone. Only Linux can kill a child with its parent; elsewhere tor finds
// out by itself through __OwningControllerProcess, within 15 seconds.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
