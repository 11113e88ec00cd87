package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ProtectMemory keeps the memory of this process, which may hold keys, from other
// processes of the same user and from core dumps. It makes the process not dumpable
// (PR_SET_DUMPABLE in prctl(2)), which also closes /proc/PID/mem, ptrace(2) and
// process_vm_readv(2) to everybody but root. Programs that the process executes are
// dumpable again, but have no core dumps. Call it at the beginning of main.
//
// The limit of core dumps is 1 byte; setLimits says why.
func ProtectMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keep the memory of this process from others: %w", err)
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &now); err != nil {
		return fmt.Errorf("read the limit of core dumps: %w", err)
	}
	most := min(1, now.Max)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("limit core dumps: %w", err)
	}
	return nil
}
