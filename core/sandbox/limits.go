package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mappedReserve is how many bytes a process may map beyond the memory of its policy
// without using them, such as stacks of threads and what an allocator sets aside. An idle
// plugin in Go maps 83 MiB and uses 6; one in Python with gRPC maps 71 and uses 13.
const mappedReserve = 256 << 20

// setLimits sets the limits of the process, which it cannot raise again.
//
// RLIMIT_DATA counts private writable mappings. It counts neither the files that a store
// maps, as RLIMIT_AS would, nor shared memory, nor children. Each child has a limit of its
// own.
//
// RLIMIT_NPROC counts the tasks of the user in the user namespace. In a namespace of its
// own the plugin has those alone. Otherwise they are all tasks of the user, and the limit
// only keeps a reserve for the relay: the kernel applies the limit of the process that
// asks for another task. Root is exempt.
//
// A core dump holds what was in memory. The limit is 1 byte: 0 would let the kernel pipe
// the dump to a program, and 1 does not (fs/coredump.c). Neither allows a dump to a file.
func setLimits(o launchOrder) error {
	tasks := uint64(o.Tasks + taskMargin)
	if o.UserTasks > 0 {
		tasks = o.UserTasks
	}
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"core dumps", unix.RLIMIT_CORE, 1},
		{"open files", unix.RLIMIT_NOFILE, uint64(o.Files)},
		{"memory", unix.RLIMIT_DATA, uint64(o.Memory) + mappedReserve},
		{"tasks", unix.RLIMIT_NPROC, tasks},
	} {
		var now unix.Rlimit
		if err := unix.Prlimit(0, l.resource, nil, &now); err != nil {
			return fmt.Errorf("read the limit of %s: %w", l.name, err)
		}
		if l.value == unix.RLIM_INFINITY {
			continue
		}
		value := min(l.value, now.Max)
		if err := unix.Prlimit(0, l.resource, &unix.Rlimit{Cur: value, Max: value}, nil); err != nil {
			return fmt.Errorf("limit %s: %w", l.name, err)
		}
	}
	return nil
}

// Memory returns how many bytes of memory of its own a process has now: anonymous memory,
// resident or swapped out, and shared memory that is not a file. Pages of mapped files do
// not count, since the kernel can drop them. It is 0 for a process that has ended and was
// not reaped.
func Memory(pid int) (int64, error) {
	u, err := UsageOf(pid, false)
	return u.Memory, err
}
