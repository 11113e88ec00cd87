package manager

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cwtch-relay/cwtch-relay/core/retention"
)

// TestFullDisksAreToldOnce shows that the disks of tor and of the log are looked at if they
// are not that of a store, that each is told of once, and that the status has them until
// there is room again.
func TestFullDisksAreToldOnce(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("this machine has no /dev/shm, a file system that is never that of the store")
	}
	var log bytes.Buffer
	m := newIdleManager(t)
	m.log = slog.New(slog.NewTextHandler(&log, nil))
	m.cfg.DataDir, m.cfg.LogPath, m.cfg.Network.Dir = t.TempDir(), "/dev/shm", "/dev/shm"
	s := &server{name: "main", dir: filepath.Join(m.cfg.DataDir, "servers", "main")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.servers = []*server{s}
	free, looks := uint64(0), 0
	read := func(path string) (retention.Disk, error) {
		looks++
		if path != "/dev/shm" {
			return retention.Disk{}, errors.New("that is the disk of a store")
		}
		return retention.Disk{Size: 1 << 40, Free: free}, nil
	}
	for _, step := range []struct {
		free uint64
		low  bool
	}{{diskReserve, false}, {diskReserve - 1, true}, {1 << 20, true}, {diskReserve, true}, {2 * diskReserve, false}} {
		free = step.free
		m.checkDisks(read)
		if got := m.Status(t.Context()).Disks; len(got) > 0 != step.low {
			t.Errorf("with %d bytes free: %v", step.free, got)
		} else if step.low && got[0].String() != (DiskStatus{[]string{"the files of tor", "the log"}, "/dev/shm", free}).String() {
			t.Errorf("it says %q", got[0])
		}
	}
	if looks != 5 {
		t.Errorf("%d looks in five rounds", looks)
	}
	if n := strings.Count(log.String(), "nearly full"); n != 1 || strings.Count(log.String(), "room again") != 1 {
		t.Errorf("the log is %s", log.String())
	}
}
