package storagetest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// allocatedBytes returns how many bytes of the disk a file takes.
func allocatedBytes(info os.FileInfo) uint64 {
	return 512 * uint64(info.Sys().(*syscall.Stat_t).Blocks)
}

// smallDisk is a directory on which there is little room.
type smallDisk struct {
	dir string
	// ofProcess is set if the limit is one of processes, which keep the one they were
	// started with: after growBy the store must be opened again.
	ofProcess bool
	size      uint64
	limit     func(size uint64) error
}

// newSmallDisk mounts a file system in memory. If that is not allowed, it limits the
// size of files for this process and those that it starts. (Go ignores SIGXFSZ, the
// signal that comes with that limit.)
func newSmallDisk(tb testing.TB, size uint64) *smallDisk {
	tb.Helper()
	d := &smallDisk{dir: tb.TempDir(), size: size}
	options := func(size uint64) string { return fmt.Sprintf("size=%d,mode=0700", size) }
	if syscall.Mount("tmpfs", d.dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, options(size)) == nil {
		tb.Cleanup(func() {
			if err := syscall.Unmount(d.dir, syscall.MNT_DETACH); err != nil {
				tb.Errorf("unmount %s: %v", d.dir, err)
			}
		})
		d.limit = func(size uint64) error { return syscall.Mount("", d.dir, "", syscall.MS_REMOUNT, options(size)) }
		return d
	}
	d.limitFiles(tb)
	return d
}

func (d *smallDisk) limitFiles(tb testing.TB) {
	tb.Helper()
	d.ofProcess = true
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		tb.Fatal(err)
	}
	d.limit = func(size uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max})
	}
	tb.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			tb.Errorf("lift the limit of file sizes: %v", err)
		}
	})
	if err := d.limit(d.size); err != nil {
		tb.Fatal(err)
	}
}

// growBy makes room.
func (d *smallDisk) growBy(tb testing.TB, more uint64) {
	tb.Helper()
	d.size += more
	if err := d.limit(d.size); err != nil {
		tb.Fatalf("make room: %v", err)
	}
}
