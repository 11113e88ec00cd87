//go:build linux && amd64

package powerloss

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// lab puts one plugin through power cuts.
type lab struct {
	*testing.T
	plugin string
	dir    string // in memory
	made   int    // directories
	rand   *rand.Rand
	tracer *tracer

	// ignored, where set, says which syncs the model takes no notice of. The syncs
	// of opening are those before the first answer.
	ignored func(name string, opening bool) bool

	states     int
	violations int
	first      error // violations
}

// run is a trace with what it began from.
type run struct {
	steps  []step
	events []event
	disk   *disk    // before the first event
	before *promise // then
}

// seed of everything that is chosen.
const seed = 9

// effort multiplies the number of states; CWTCH_RELAY_POWERLOSS_EFFORT sets it, for
// a test of an hour.
func effort() int {
	n, _ := strconv.Atoi(os.Getenv("CWTCH_RELAY_POWERLOSS_EFFORT"))
	return max(n, 1)
}

func newLab(t *testing.T, plugin string) *lab {
	t.Helper()
	dir := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "powerloss-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(memory) })
		dir = memory
	}
	return &lab{T: t, plugin: plugin, dir: dir, rand: rand.New(rand.NewPCG(seed, 0)), tracer: start(t)}
}

// forEach runs a test for each plugin.
func forEach(t *testing.T, test func(*lab)) {
	for _, plugin := range []string{"bolt", "sqlite"} {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			test(newLab(t, plugin))
		})
	}
}

func (l *lab) newDir() string {
	l.made++
	return filepath.Join(l.dir, strconv.Itoa(l.made))
}

// storePath is where a store is below the directory that was there before; it
// makes the one in between.
func storePath(root string) string { return filepath.Join(root, "storage", "messages") }

// begin runs steps in a process that finds nothing.
func (l *lab) begin(steps []step, failing failure) run {
	l.Helper()
	root := l.newDir()
	if err := os.Mkdir(root, 0o700); err != nil {
		l.Fatal(err)
	}
	r := run{steps: steps, disk: newDisk(inodeOf(root), l.rand), before: newPromise()}
	r.events = l.tracer.run(job{l.plugin, storePath(root), steps}, failing)
	return r
}

// goOn runs steps in a process that finds what d has.
func (l *lab) goOn(d *disk, before *promise, steps []step) run {
	l.Helper()
	root := l.newDir()
	found, err := d.build(root)
	if err != nil {
		l.Fatal(err)
	}
	l.tracer.onForget = func(ino uint64, soFar []event) ([]byte, bool) {
		if found.files[ino] == nil {
			return nil, false
		}
		now := found.clone(l.rand)
		l.play(now, soFar)
		return now.files[ino].cached, true
	}
	defer func() { l.tracer.onForget = nil }()
	r := run{steps: steps, disk: found, before: before}
	r.events = l.tracer.run(job{l.plugin, storePath(root), steps}, failure{})
	os.RemoveAll(root)
	return r
}

// play has a disk do events, but for syncs that are ignored.
func (l *lab) play(d *disk, events []event) {
	opening := true
	names := make(map[uint64]string)
	for _, e := range events {
		switch e.kind {
		case nameEvent:
			names[e.child] = e.name
		case sayEvent:
			opening = false
		case syncEvent:
			if l.ignored != nil && l.ignored(l.nameOf(d, names, e.ino), opening) {
				continue
			}
		}
		d.play(e)
	}
}

// nameOf is the name of a file, or "directory".
func (l *lab) nameOf(d *disk, names map[uint64]string, ino uint64) string {
	if d.dirs[ino] != nil {
		return "directory"
	}
	if name := names[ino]; name != "" {
		return name
	}
	for _, x := range d.dirs {
		for name, child := range x.durable {
			if child == ino {
				return name
			}
		}
		for _, e := range x.pending {
			if e.child == ino {
				return e.name
			}
		}
	}
	return ""
}

// at returns the disk and the promise after the first n events.
func (l *lab) at(r run, n int) (*disk, *promise) {
	d, p := r.disk.clone(l.rand), r.before.clone()
	l.play(d, r.events[:n])
	p.ask(r.steps)
	for _, e := range r.events[:n] {
		p.hear(r.steps, e)
	}
	return d, p
}

// cut checks n power cuts at points of a run: each point at least once if n is
// large enough, any point otherwise.
func (l *lab) cut(r run, n int) {
	l.Helper()
	points := len(r.events) + 1
	for i := range n {
		point := i * points / n
		if n < points {
			point = l.rand.IntN(points)
		}
		d, p := l.at(r, point)
		d.garbage = l.rand.IntN(3) == 0
		d.powerCut()
		l.check(d, p, fmt.Sprintf("power cut after event %d of %d", point, len(r.events)))
	}
}

func (l *lab) check(d *disk, p *promise, what string) {
	l.Helper()
	root := l.newDir()
	defer os.RemoveAll(root)
	if _, err := d.build(root); err != nil {
		l.Fatal(err)
	}
	l.states++
	if err := p.check(l.plugin, storePath(root)); err != nil {
		l.violate(fmt.Errorf("%s: %w", what, err))
	}
}

func (l *lab) violate(err error) {
	if l.violations++; l.violations <= 3 {
		l.first = errors.Join(l.first, err)
	}
}

// mustSucceed demands that no step of a run failed.
func (l *lab) mustSucceed(r run) {
	for _, e := range r.events {
		if e.kind == sayEvent && parseSaid(e).Error != "" {
			l.violate(fmt.Errorf("%s: %s", r.steps[parseSaid(e).Step].Do, parseSaid(e).Error))
			return
		}
	}
}

// report fails the test for violations, or in a mutant for none.
func (l *lab) report() {
	l.Helper()
	l.Logf("%d violations in %d states", l.violations, l.states)
	switch {
	case l.ignored == nil && l.violations > 0:
		l.Errorf("the first:\n%v", l.first)
	case l.ignored != nil && l.violations == 0:
		l.Error("the missing sync was not noticed")
	case l.ignored != nil:
		l.Logf("noticed:\n%v", l.first)
	}
}

// life is what a process does with a store: it makes one, appends batches of
// several sizes, spends tokens, closes and goes on.
var life = []step{
	{Do: "open"},
	{Do: "append", First: 0, N: 1},
	{Do: "append", First: 1, N: 17},
	{Do: "spend", First: 1000, N: 3},
	{Do: "append", First: 18, N: 40},
	{Do: "close"},
	{Do: "open"},
	{Do: "append", First: 58, N: 5},
	{Do: "spend", First: 1003, N: 2},
}

// repetition opens a store, appends and spends everything again, as relays do
// with what was not acknowledged, and goes on.
var repetition = func() (steps []step) {
	steps = []step{{Do: "open"}}
	for _, s := range life {
		if s.N > 0 {
			steps = append(steps, s)
		}
	}
	return append(steps, step{Do: "append", First: 63, N: 7}, step{Do: "append", First: 70, N: 1})
}()

// TestOnce cuts the power while one process uses a store.
func TestOnce(t *testing.T) {
	forEach(t, func(l *lab) {
		l.once(400)
		l.report()
	})
}

func (l *lab) once(states int) {
	r := l.begin(life, failure{})
	l.mustSucceed(r)
	l.cut(r, states*effort())
}

// TestKilled kills a process at points all along its life, has another one repeat what was not
// acknowledged, and cuts the power then.
func TestKilled(t *testing.T) {
	forEach(t, func(l *lab) {
		l.killed(life)
		l.report()
	})
}

func (l *lab) killed(steps []step) {
	r := l.begin(steps, failure{})
	const points = 60
	for i := range points * effort() {
		d, p := l.at(r, i*(len(r.events)+1)/(points*effort()))
		second := l.goOn(d, p, repetition)
		l.mustSucceed(second)
		l.cut(second, 4*effort())
	}
}

// TestTwice cuts the power twice.
func TestTwice(t *testing.T) {
	forEach(t, func(l *lab) {
		r := l.begin(life, failure{})
		for range 40 * effort() {
			d, p := l.at(r, l.rand.IntN(len(r.events)+1))
			d.garbage = l.rand.IntN(3) == 0
			d.powerCut()
			second := l.goOn(d, p, repetition)
			l.mustSucceed(second)
			l.cut(second, 6)
		}
		l.report()
	})
}

// TestFailedSync has each sync fail, once for each of two reasons. The process
// and the next one must refuse; after the operator has removed the mark, what was
// acknowledged is there and stays.
func TestFailedSync(t *testing.T) {
	forEach(t, func(l *lab) {
		l.failedSyncs()
		l.report()
	})
}

func (l *lab) failedSyncs() {
	// After the steps comes what must be refused.
	steps := slices.Concat(life, []step{{Do: "append", First: 2000, N: 1}, {Do: "close"}})
	for n := 1; ; n++ {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			r := l.begin(steps, failure{n, errno})
			if !slices.ContainsFunc(r.events, func(e event) bool { return e.kind == failedSyncEvent }) {
				return
			}
			l.afterFailedSync(r, fmt.Sprintf("%v from sync %d", errno, n))
		}
	}
}

func (l *lab) afterFailedSync(r run, what string) {
	end, p := l.at(r, len(r.events))
	// The call in which the sync of a file failed. SQLite takes no notice where it
	// syncs the directory, for the second time.
	failed := ""
	ofFile := func(e event) bool { return e.kind == failedSyncEvent && end.dirs[e.ino] == nil }
	for i, e := range r.events {
		if e.kind != sayEvent {
			continue
		}
		s := parseSaid(e)
		do := r.steps[s.Step].Do
		if s.Full {
			l.violate(fmt.Errorf("%s: %s is full", what, do))
		}
		if failed == "" && slices.ContainsFunc(r.events[:i], ofFile) {
			failed = do
		}
		if (failed == "append" || failed == "spend") && do != "close" && s.Error == "" {
			l.violate(fmt.Errorf("%s, in %s: %s goes on", what, failed, do))
		}
	}
	if marked := end.unmark(); !marked && (failed == "append" || failed == "spend") {
		l.violate(fmt.Errorf("%s, in %s: the store is not marked", what, failed))
	}
	second := l.goOn(end, p, repetition)
	l.mustSucceed(second)
	l.cut(second, 2*effort())
}

// unmark removes the mark of a failed sync, as an operator does, and reports
// whether there was one.
func (d *disk) unmark() (found bool) {
	marks := func(name string) bool { return strings.HasSuffix(name, ".sync-failed") }
	for _, x := range d.dirs {
		for name := range x.durable {
			if marks(name) {
				found = true
				delete(x.durable, name)
			}
		}
		n := len(x.pending)
		x.pending = slices.DeleteFunc(slices.Clone(x.pending), func(e event) bool { return marks(e.name) })
		found = found || len(x.pending) < n
	}
	return found
}

// TestMutants leaves out one kind of sync after the other.
func TestMutants(t *testing.T) {
	database := func(name string) bool { return name == "messages" || strings.Contains(name, ".new-") }
	forEach(t, func(l *lab) {
		for name, m := range map[string]struct {
			test    func(*lab)
			ignored func(name string, opening bool) bool
		}{
			"database":  {func(l *lab) { l.once(100) }, func(name string, _ bool) bool { return database(name) }},
			"directory": {func(l *lab) { l.once(100) }, func(name string, _ bool) bool { return name == "directory" }},
			"log":       {func(l *lab) { l.once(100) }, func(name string, _ bool) bool { return name == "messages-wal" }},
			"opening":   {func(l *lab) { l.killed(life) }, func(name string, opening bool) bool { return opening && name != "directory" }},
		} {
			if name == "log" && l.plugin == "bolt" {
				continue
			}
			l.states, l.violations, l.first, l.ignored = 0, 0, nil, m.ignored
			m.test(l)
			l.Logf("without sync of %s:", name)
			l.report()
		}
	})
}
