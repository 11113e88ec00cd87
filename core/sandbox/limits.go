package sandbox

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// mappedReserve is what a process may map and not use, in bytes, beyond the memory of
// its policy: stacks of threads, and what an allocator sets aside. An idle
// plugin in Go maps 83 MiB and uses 6, one in Python with gRPC 71 and 13.
const mappedReserve = 256 << 20

// setLimits sets the limits of the process, which no process can raise again.
//
// Of memory, RLIMIT_DATA counts what is mapped privately to be written. It does
// not count files that a store maps, as RLIMIT_AS would, nor shared memory,
// nor children, each of which has a limit of its own.
//
// RLIMIT_NPROC counts the tasks of the user in the user namespace. In one of its
// own those are the plugin's alone. Else they are all of the user's, and the limit
// only keeps a reserve for the relay: the kernel compares with the limit of whoever
// asks for another task. Root is exempt.
//
// A core dump holds what memory held. The limit is 1 byte because 0 would not
// keep the kernel from piping the dump to a program, and 1 does
// (fs/coredump.c); to a file, neither allows it.
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

// Memory is how much memory of its own a process has now, in bytes: anonymous
// memory, resident or swapped out, and shared memory that is no file. The
// pages of files that it maps are not counted, since the kernel can drop them. It is
// 0 when the process has ended and has not been reaped.
func Memory(pid int) (int64, error) {
	u, err := UsageOf(pid, false)
	return u.Memory, err
}
