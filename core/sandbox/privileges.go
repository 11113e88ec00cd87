package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Securebits of capabilities(7) that x/sys does not name. With them root is a user like
// any other, a change of user gains nothing, and neither can be undone.
const (
	secureNoRoot       = 1<<0 | 1<<1
	secureNoFixup      = 1<<2 | 1<<3
	secureNoKeepCaps   = 1 << 5
	secureNoAmbient    = 1<<6 | 1<<7
	secureNoPrivileges = secureNoRoot | secureNoFixup | secureNoKeepCaps | secureNoAmbient
)

// dropPrivileges gives up all capabilities of this thread, and all ways to gain new ones by
// execve.
func dropPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("drop ambient capabilities: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := dropRoot(); err != nil {
			return fmt.Errorf("drop the capabilities of root: %w (run the relay as a user other than root)", err)
		}
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// dropCapabilities drops the capabilities that there are. If there are none it does not
// call capset, which may be forbidden then, for example by systemd's filter of
// @privileged.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var now, none [2]unix.CapUserData
	if err := unix.Capget(&header, &now[0]); err != nil {
		return err
	}
	if now == none {
		return nil
	}
	return unix.Capset(&header, &none[0])
}

// dropRoot takes away what execve would give to root: the bounding set, and the rule that
// root has all of it.
func dropRoot() error {
	held := false
	for c := uintptr(0); ; c++ {
		on, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break // there are no more
		}
		if on == 0 {
			continue
		}
		held = true
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
	if !held {
		return nil // without capabilities, as in some containers, root cannot set the bits and need not
	}
	return unix.Prctl(unix.PR_SET_SECUREBITS, secureNoPrivileges, 0, 0, 0)
}
