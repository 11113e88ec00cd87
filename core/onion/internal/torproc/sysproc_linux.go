package torproc

import "syscall"

// sysProcAttr lets tor die with its parent, and gives it a process group so
// that ^C in a terminal reaches the parent alone, which then ends tor in order.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
