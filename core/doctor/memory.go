package doctor

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// readMemory returns how much memory this process may use at the most, and what says so. It
// returns 0 if nothing does.
func readMemory() (bytes uint64, by string) {
	least := func(n uint64, what string) {
		if n > 0 && (bytes == 0 || n < bytes) {
			bytes, by = n, what
		}
	}
	least(readMemTotal("/proc/meminfo"), "of this machine")
	least(readCgroupMemory("/proc/self/cgroup", "/sys/fs/cgroup"), "by the cgroup: MemoryMax of systemd, or the limit of the container")
	for _, l := range []struct {
		resource int
		what     string
	}{{unix.RLIMIT_AS, "by ulimit -v"}, {unix.RLIMIT_DATA, "by ulimit -d"}} {
		var now unix.Rlimit
		if unix.Getrlimit(l.resource, &now) == nil && now.Cur != unix.RLIM_INFINITY {
			least(now.Cur, l.what)
		}
	}
	return bytes, by
}

// readMemTotal returns the memory of the machine, 0 if it cannot be read.
func readMemTotal(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 53)
			return kib << 10
		}
	}
	return 0
}

// readCgroupMemory returns the least limit of memory of a cgroup and of those above it, 0 if
// there is none. It knows both versions where they are usually mounted; see cgroups(7).
func readCgroupMemory(groups, mount string) (least uint64) {
	text, err := os.ReadFile(groups)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // HIERARCHY:CONTROLLERS:PATH
		if len(parts) != 3 {
			continue
		}
		root, name := mount, "memory.max"
		if parts[0] != "0" {
			if parts[1] != "memory" {
				continue
			}
			root, name = filepath.Join(mount, "memory"), "memory.limit_in_bytes"
		}
		for path := filepath.Clean("/" + parts[2]); ; path = filepath.Dir(path) {
			value, err := os.ReadFile(filepath.Join(root, path, name))
			n, err2 := strconv.ParseUint(strings.TrimSpace(string(value)), 10, 64)   // "max" is none
			if err == nil && err2 == nil && n < 1<<62 && (least == 0 || n < least) { // version 1 has a huge number for none
				least = n
			}
			if path == "/" {
				break
			}
		}
	}
	return least
}
