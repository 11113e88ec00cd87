package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the processor time that a process has used, in user and kernel mode.
// The clock of clock_getcpuclockid(3) counts nanoseconds, /proc/PID/stat only hundredths
// of a second.
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED, see linux/include/linux/posix-timers.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("read the processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// cpuTime returns the processor time of relay and plugins together.
func (r *relay) cpuTime() (time.Duration, error) {
	pids := []int{r.cmd.Process.Pid, r.plugin}
	if r.peersync != 0 {
		pids = append(pids, r.peersync)
	}
	return cpuTimeOf(pids)
}

// cost is what a call took.
type cost struct {
	elapsed time.Duration
	cpu     time.Duration // of the processes in question
}

func (r *relay) measureCPU(f func() error) (cost, error) {
	before, err := r.cpuTime()
	if err != nil {
		return cost{}, err
	}
	start := time.Now()
	if err := f(); err != nil {
		return cost{}, err
	}
	elapsed := time.Since(start)
	after, err := r.cpuTime()
	return cost{elapsed, after - before}, err
}

func (s cost) perSecond(items int) float64 { return float64(items) / s.elapsed.Seconds() }
func (s cost) cpuPerItem(items int) float64 {
	return float64(s.cpu.Nanoseconds()) / 1e3 / float64(items)
}

// readMemory returns one line of /proc/PID/status in KiB: VmRSS, or RssAnon, which leaves
// out pages of files, such as those of a store.
func readMemory(pid int, name string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), ":")
		if key != name {
			continue
		}
		return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", pid, name)
}

// anonymousMemory returns the memory of relay and plugin without pages of files, in KiB.
func (r *relay) anonymousMemory() (int, error) {
	own, err := readMemory(r.cmd.Process.Pid, "RssAnon")
	if err != nil {
		return 0, err
	}
	plugin, err := readMemory(r.plugin, "RssAnon")
	return own + plugin, err
}

// peakMemory returns the most anonymous memory, in KiB, that is seen while f runs.
func (r *relay) peakMemory(f func() error) (most int, err error) {
	peak, err := peakMemoryOf([]int{r.cmd.Process.Pid, r.plugin}, f)
	return peak.sum, err
}

// peak is the most memory that was seen of processes, in KiB.
type peak struct {
	each []int
	sum  int // of all at the same time
}

// peakMemoryOf returns the most anonymous memory of processes that is seen while f runs.
func peakMemoryOf(pids []int, f func() error) (most peak, err error) {
	most.each = make([]int, len(pids))
	done := make(chan struct{})
	var sampling sync.WaitGroup
	var sampleErr error
	sampling.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for sampleErr == nil {
			sum := 0
			for i, pid := range pids {
				var now int
				if now, sampleErr = readMemory(pid, "RssAnon"); sampleErr != nil {
					return
				}
				most.each[i] = max(most.each[i], now)
				sum += now
			}
			most.sum = max(most.sum, sum)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	err = f()
	close(done)
	sampling.Wait()
	if err == nil {
		err = sampleErr
	}
	return most, err
}

// percentileOf of values, which it sorts; p is between 0 and 1.
func percentileOf(values []time.Duration, p float64) time.Duration {
	slices.Sort(values)
	return values[min(len(values)-1, int(math.Ceil(p*float64(len(values))))-1)]
}

func toMilliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// machine describes where the figures were measured.
type machine struct {
	Time       time.Time `json:"time"`
	Seconds    float64   `json:"seconds"`
	Processors int       `json:"processors"`
	Model      string    `json:"model,omitempty"`
	Go         string    `json:"go"`
	Relay      string    `json:"relay"`
	LoadBefore string    `json:"load_before"`
	LoadAfter  string    `json:"load_after"`
	InMemory   bool      `json:"in_memory"` // the directory is on no disk
}

func describeMachine(ctx context.Context, program, dir string) (*machine, error) {
	version, err := exec.CommandContext(ctx, program, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, err
	}
	return &machine{
		Time:       time.Now(),
		Processors: runtime.NumCPU(),
		Model:      readProcessor(),
		Go:         runtime.Version(),
		Relay:      strings.TrimSpace(string(version)),
		LoadBefore: readLoad(),
		InMemory:   fs.Type == unix.TMPFS_MAGIC,
	}, nil
}

func (m *machine) noteEnd() {
	m.Seconds = time.Since(m.Time).Seconds()
	m.LoadAfter = readLoad()
}

// readLoad returns the load average over 1, 5 and 15 minutes.
func readLoad() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func readProcessor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if key, value, _ := strings.Cut(string(line), ":"); strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
