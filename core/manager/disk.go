package manager

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cwtch-relay/cwtch-relay/core/retention"
)

// The disk of a store is watched by its keeper, which keeps keep_free of it from posts. Tor,
// the log, the keys and other plugins may be on other disks. Nothing that the relay could
// refuse makes room there, so the operator is told.

const (
	// diskReserve is how much room such a disk should have, or a tenth of a smaller disk.
	diskReserve = 64 << 20
	// watchDisksEvery is the time between two looks.
	watchDisksEvery = time.Minute
)

// DiskStatus is a disk that is nearly full.
type DiskStatus struct {
	Holds []string `json:"holds"` // "the files of tor", "the log"
	Path  string   `json:"path"`  // of one of them
	Free  uint64   `json:"free"`  // bytes
}

// String says what is wrong.
func (d DiskStatus) String() string {
	return fmt.Sprintf("the disk with %s, at %s, has %.1f MiB left: make room on it", strings.Join(d.Holds, " and "), d.Path, float64(d.Free)/(1<<20))
}

// diskPlace is something that the relay keeps on a disk.
type diskPlace struct{ what, path string }

// diskPlaces returns what is kept beside the stores, and where the stores are.
func (m *Manager) diskPlaces() (places []diskPlace, stores []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	places = append(places, diskPlace{"the files of tor", m.cfg.Network.Dir}, diskPlace{"the log", m.cfg.LogPath}, diskPlace{"the keys and marks", m.cfg.DataDir})
	for _, s := range m.servers {
		stores = append(stores, storePath(s.dir))
		for _, i := range s.others {
			places = append(places, diskPlace{fmt.Sprintf("the files of %s of server %s", i.cfg, s.name), pluginDir(s.dir, i.cfg.Kind, i.cfg.Instance)})
		}
	}
	return places, stores
}

// watchDisks looks at the disks that hold no store until ctx ends.
func (m *Manager) watchDisks(ctx context.Context) {
	for sleepContext(ctx, watchDisksEvery) {
		m.checkDisks(retention.ReadDisk)
	}
}

// checkDisks looks at each disk once, and logs when one is nearly full and when it has room
// again.
func (m *Manager) checkDisks(read func(path string) (retention.Disk, error)) {
	places, stores := m.diskPlaces()
	seen := make(map[uint64]int) // devices, with their place in low; -1: not low
	for _, path := range stores {
		if dev, ok := deviceOf(path); ok {
			seen[dev] = -1
		}
	}
	was := m.lowDisks // only this goroutine writes it
	var low []DiskStatus
	for _, p := range places {
		dev, ok := deviceOf(p.path)
		if !ok {
			continue
		}
		if at, known := seen[dev]; known {
			if at >= 0 {
				low[at].Holds = append(low[at].Holds, p.what)
			}
			continue
		}
		seen[dev] = -1
		d, err := read(p.path)
		if err != nil {
			continue
		}
		need := min(diskReserve, d.Size/10)
		if slices.ContainsFunc(was, func(w DiskStatus) bool { return w.Path == p.path }) {
			need += need / 10
		}
		if d.Free < need {
			seen[dev] = len(low)
			low = append(low, DiskStatus{Holds: []string{p.what}, Path: p.path, Free: d.Free})
		}
	}
	m.mu.Lock()
	m.lowDisks = low
	m.mu.Unlock()
	for _, d := range low {
		if !slices.ContainsFunc(was, func(w DiskStatus) bool { return w.Path == d.Path }) {
			m.log.Warn("a disk is nearly full", "what", d.String())
		}
	}
	for _, w := range was {
		if !slices.ContainsFunc(low, func(d DiskStatus) bool { return w.Path == d.Path }) {
			m.log.Info("a disk has room again", "path", w.Path)
		}
	}
}

// deviceOf returns the device of the file system that a path is on.
func deviceOf(path string) (uint64, bool) {
	if path == "" {
		return 0, false
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return st.Dev, true
}
