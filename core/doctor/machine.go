package doctor

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cwtch-relay/cwtch-relay/core/onion"
	"github.com/cwtch-relay/cwtch-relay/limits"
)

// Machine is what a relay has and needs on this machine.
type Machine struct {
	Config  string // path of the configuration file
	DataDir string // it may be missing: the first start makes it
	TorDir  string // of the tor that the relay starts; empty if it starts none
	Servers []Server
	Limits  limits.Limits // for each server
	// Consensus is what tor knows of the time; the zero value if it is not asked.
	Consensus onion.Examination

	now       func() time.Time           // nil: time.Now
	readDisk  func(string) (disk, error) // nil: readDisk
	available func() (uint64, string)    // nil: readMemory
	maxFiles  func() (uint64, error)     // nil: readMaxFiles
}

// Server is a server as far as this machine is concerned.
type Server struct {
	Name     string
	Dir      string // with its keys
	KeepFree uint64 // of its retention; 0: the default
	Off      bool   // it is not to run now, and needs no memory and no connections
}

// Check checks the machine. Without Limits it leaves out memory and open files, since nobody
// knows what the relay needs.
func (m Machine) Check() []Check {
	checks := m.checkFiles()
	checks = append(checks, m.checkClock())
	checks = append(checks, m.checkDisks()...)
	if m.Limits == (limits.Limits{}) {
		return checks
	}
	return append(checks, m.checkMemory(), m.checkOpenFiles())
}

// disk is a file system.
type disk struct {
	size, free       uint64 // bytes; free for this user
	files, freeFiles uint64 // inodes; files is 0 if it does not count them
}

// readDisk returns the file system of a path.
func readDisk(path string) (disk, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	for err == unix.EINTR {
		err = unix.Statfs(path, &st)
	}
	if err != nil {
		return disk{}, fmt.Errorf("ask how much room %s has: %w", path, err)
	}
	unit := uint64(st.Frsize)
	return disk{size: st.Blocks * unit, free: st.Bavail * unit, files: st.Files, freeFiles: st.Ffree}, nil
}

// Room that a disk needs.
const (
	diskReserve  = 64 << 20 // or a tenth of a smaller disk
	storeReserve = 1 << 30  // the default of keep_free, or a tenth of a smaller disk
	fileReserve  = 1000     // inodes
)

// heldDisk is a disk with something of the relay.
type heldDisk struct {
	path  string // of one thing that it holds
	holds []string
	store bool
	keep  uint64 // the largest keep_free of its stores
}

// checkDisks looks at each disk once.
func (m Machine) checkDisks() (checks []Check) {
	for _, h := range m.listDisks() {
		read := m.readDisk
		if read == nil {
			read = readDisk
		}
		d, err := read(h.path)
		what := fmt.Sprintf("the disk with %s, at %s,", strings.Join(h.holds, " and "), h.path)
		need, refused := min(diskReserve, d.size/10), ""
		if h.store {
			need, refused = max(need, cmp.Or(h.keep, min(storeReserve, d.size/10))), ", below which posts are refused"
		}
		switch {
		case err != nil:
			checks = append(checks, failed("disk", err.Error(), "mount the disk, or give the relay's user access to it"))
		case d.free < need:
			checks = append(checks, failed("disk", fmt.Sprintf("%s has %s left, less than %s%s", what, formatBytes(d.free), formatBytes(need), refused),
				"make room on it, or move what it holds to a larger one"))
		case d.files > 0 && d.freeFiles < fileReserve:
			checks = append(checks, failed("disk", fmt.Sprintf("%s has room for %d more files", what, d.freeFiles), "remove files from it: it has run out of inodes"))
		default:
			checks = append(checks, passed("disk", fmt.Sprintf("%s has %s left", what, formatBytes(d.free))))
		}
	}
	return checks
}

// listDisks returns the disks with something of the relay.
func (m Machine) listDisks() (disks []heldDisk) {
	at := make(map[uint64]int) // places in disks, by device
	add := func(what, path string) *heldDisk {
		path, dev := findDevice(path)
		i, known := at[dev]
		if !known {
			i = len(disks)
			at[dev], disks = i, append(disks, heldDisk{path: path})
		}
		disks[i].holds = append(disks[i].holds, what)
		return &disks[i]
	}
	add("the data directory", m.DataDir)
	if m.TorDir != "" {
		add("the files of tor", m.TorDir)
	}
	for _, s := range m.Servers {
		d := add("the store of "+s.Name, filepath.Join(s.Dir, "storage"))
		d.store, d.keep = true, max(d.keep, s.KeepFree)
	}
	for i, d := range disks { // fifty servers are not a list that anybody reads
		if more := len(d.holds) - 4; more > 1 {
			disks[i].holds = append(d.holds[:4:4], fmt.Sprintf("%d others", more))
		}
	}
	return disks
}

// findDevice returns the device of a path, or of the nearest directory above that exists.
func findDevice(path string) (existing string, dev uint64) {
	for {
		if info, err := os.Stat(path); err == nil {
			return path, info.Sys().(*syscall.Stat_t).Dev
		}
		above := filepath.Dir(path)
		if above == path {
			return path, 0
		}
		path = above
	}
}

// checkMemory compares the memory that the relay may use with what it needs.
func (m Machine) checkMemory() Check {
	read := m.available
	if read == nil {
		read = readMemory
	}
	have, by := read()
	if have == 0 {
		return passed("memory", "this system does not tell how much there is")
	}
	servers := m.countRunning()
	// An estimate on the safe side: relay and store of a quiet server take some 15 MB, and tor
	// several times that.
	least := uint64(96<<20) + servers*(32<<20)
	// See "Memory" in docs/operations.md. Strangers may fill all servers at once.
	connection := uint64(m.Limits.ReaderBuffer) + 106<<10
	queues := servers * uint64(m.Limits.QueueBytes)
	most := servers*uint64(m.Limits.Connections)*connection + queues
	hold := fmt.Sprintf("strangers can make %s hold %s", countOf(int(servers), "server"), formatBytes(most))
	if servers > 1 {
		hold += " together"
	}
	switch {
	case have < least:
		return failed("memory", fmt.Sprintf("there are %s (%s), and %s need %s", formatBytes(have), by, countOf(int(servers), "server"), formatBytes(least)),
			"give the relay more memory, or run fewer servers")
	case have-least < most:
		fits := (have - least - min(have-least, queues)) / connection / servers / 64 * 64
		do := fmt.Sprintf("write connections = %d in the limits block, which holds for each server, or give the relay more memory", fits)
		if fits < 64 {
			do = "give the relay more memory, or run fewer servers"
			if m.Limits.Connections > 64 {
				do = "write connections = 64 in the limits block, and " + do
			}
		}
		return failed("memory", fmt.Sprintf("there are %s (%s), and %s", formatBytes(have), by, hold), do)
	}
	return passed("memory", fmt.Sprintf("%s (%s); %s", formatBytes(have), by, hold))
}

// countRunning counts the servers that run or are to run.
func (m Machine) countRunning() (n uint64) {
	for _, s := range m.Servers {
		if !s.Off {
			n++
		}
	}
	return n
}

// checkOpenFiles compares how many files the relay may open with what it needs.
func (m Machine) checkOpenFiles() Check {
	read := m.maxFiles
	if read == nil {
		read = readMaxFiles
	}
	have, err := read()
	if err != nil {
		return failed("open files", err.Error(), "report this: it is a defect of this program")
	}
	servers := m.countRunning()
	need := servers*(2*uint64(m.Limits.Connections)+32) + 256
	if have < need {
		better := uint64(1024)
		for better < need {
			better *= 2
		}
		return failed("open files", fmt.Sprintf("the relay may open %d files, and %d connections at each of the two onions of %s need %d", have, m.Limits.Connections, countOf(int(servers), "server"), need),
			fmt.Sprintf("write LimitNOFILE=%d in the unit of systemd, or lower connections in the limits block", better))
	}
	return passed("open files", fmt.Sprintf("the relay may open %d", have))
}

// readMaxFiles returns to how many open files this process may raise its limit, which
// programs in Go do.
func readMaxFiles() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return l.Max, nil
}

func formatBytes(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	default:
		return fmt.Sprintf("%d KiB", n>>10)
	}
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
