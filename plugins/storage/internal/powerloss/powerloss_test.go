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

// experiment cuts the power of a store of one plugin.
type experiment struct {
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
	disk   *disk     // before the first event
	before *promised // then
}

// seed of everything that is chosen.
const seed = 9

// effort multiplies the number of states; CWTCH_RELAY_POWERLOSS_EFFORT sets it, for
// a test of an hour.
func effort() int {
	n, _ := strconv.Atoi(os.Getenv("CWTCH_RELAY_POWERLOSS_EFFORT"))
	return max(n, 1)
}

func newExperiment(t *testing.T, plugin string) *experiment {
	t.Helper()
	dir := t.TempDir()
	if memory, err := os.MkdirTemp("/dev/shm", "powerloss-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(memory) })
		dir = memory
	}
	return &experiment{T: t, plugin: plugin, dir: dir, rand: rand.New(rand.NewPCG(seed, 0)), tracer: startWorker(t)}
}

// forEach runs a test for each plugin.
func forEach(t *testing.T, test func(*experiment)) {
	for _, plugin := range []string{"bolt", "sqlite"} {
		t.Run(plugin, func(t *testing.T) {
			t.Parallel()
			test(newExperiment(t, plugin))
		})
	}
}

func (l *experiment) newDir() string {
	l.made++
	return filepath.Join(l.dir, strconv.Itoa(l.made))
}

// storePath is where a store is below the directory that was there before; it
// makes the one in between.
func storePath(root string) string { return filepath.Join(root, "storage", "messages") }

// runFresh runs steps in a process that finds nothing.
func (l *experiment) runFresh(steps []step, failing failure) run {
	l.Helper()
	root := l.newDir()
	if err := os.Mkdir(root, 0o700); err != nil {
		l.Fatal(err)
	}
	r := run{steps: steps, disk: newDisk(inodeOf(root), l.rand), before: newPromised()}
	r.events = l.tracer.run(job{l.plugin, storePath(root), steps}, failing)
	return r
}

// runAfter runs steps in a process that finds what d has.
func (l *experiment) runAfter(d *disk, before *promised, steps []step) run {
	l.Helper()
	root := l.newDir()
	found, err := d.buildFiles(root)
	if err != nil {
		l.Fatal(err)
	}
	l.tracer.onForget = func(ino uint64, soFar []event) ([]byte, bool) {
		if found.files[ino] == nil {
			return nil, false
		}
		now, _ := l.player(run{steps: steps, events: soFar, disk: found, before: before}).at(len(soFar))
		return now.files[ino].cached, true
	}
	defer func() { l.tracer.onForget = nil }()
	r := run{steps: steps, disk: found, before: before}
	r.events = l.tracer.run(job{l.plugin, storePath(root), steps}, failure{})
	os.RemoveAll(root)
	return r
}

// player has a disk and a promise go through a run.
type player struct {
	*experiment
	run     run
	disk    *disk
	promise *promised
	next    int // event
	opening bool
	names   map[uint64]string
}

func (l *experiment) player(r run) *player {
	p := &player{experiment: l, run: r, disk: r.disk.clone(l.rand), promise: r.before.clone(), opening: true, names: make(map[uint64]string)}
	p.promise.noteRequest(r.steps)
	return p
}

// at returns the disk and the promise after the first n events. It goes forward
// only.
func (p *player) at(n int) (*disk, *promised) {
	for ; p.next < n; p.next++ {
		p.play(p.run.events[p.next])
	}
	return p.disk.clone(p.rand), p.promise.clone()
}

// play does an event, unless it is a sync that is ignored.
func (p *player) play(e event) {
	switch e.kind {
	case nameEvent:
		p.names[e.child] = e.name
	case sayEvent:
		p.opening = false
		p.promise.noteResult(p.run.steps, e)
	case syncEvent:
		if p.ignored != nil && p.ignored(p.nameOf(p.disk, p.names, e.ino), p.opening) {
			return
		}
	case failedSyncEvent:
		if x := p.disk.dirs[e.ino]; x != nil && len(x.pending) == 0 {
			return // it has nothing to lose
		}
	}
	p.disk.playEvent(e)
}

// nameOf is the name of a file, or "directory".
func (l *experiment) nameOf(d *disk, names map[uint64]string, ino uint64) string {
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

// checkCuts checks n power cuts at points of a run: each point at least once if n is
// large enough, any points otherwise.
func (l *experiment) checkCuts(r run, n int) {
	l.Helper()
	at := l.player(r)
	for _, point := range l.choosePoints(r, n) {
		d, p := at.at(point)
		d.garbage = l.rand.IntN(3) == 0
		d.powerCut()
		l.checkState(d, p, fmt.Sprintf("power cut after event %d of %d", point, len(r.events)))
	}
}

// choosePoints returns n points of a run, ascending.
func (l *experiment) choosePoints(r run, n int) (list []int) {
	points := len(r.events) + 1
	for i := range n {
		if n < points {
			list = append(list, l.rand.IntN(points))
		} else {
			list = append(list, i*points/n)
		}
	}
	slices.Sort(list)
	return list
}

func (l *experiment) checkState(d *disk, p *promised, what string) {
	l.Helper()
	root := l.newDir()
	defer os.RemoveAll(root)
	if _, err := d.buildFiles(root); err != nil {
		l.Fatal(err)
	}
	l.states++
	if err := p.checkStore(l.plugin, storePath(root)); err != nil {
		l.noteViolation(fmt.Errorf("%s: %w", what, err))
	}
}

func (l *experiment) noteViolation(err error) {
	if l.violations++; l.violations <= 3 {
		l.first = errors.Join(l.first, err)
	}
}

// mustSucceed demands that no step of a run failed.
func (l *experiment) mustSucceed(r run) {
	for _, e := range r.events {
		if e.kind == sayEvent && parseSaid(e).Error != "" {
			l.noteViolation(fmt.Errorf("%s: %s", r.steps[parseSaid(e).Step].Do, parseSaid(e).Error))
			return
		}
	}
}

// report fails the test for violations, or in a mutant for none.
func (l *experiment) report() {
	l.Helper()
	l.Logf("%s: %d violations in %d states", l.plugin, l.violations, l.states)
	switch {
	case l.ignored == nil && l.violations > 0:
		l.Errorf("the first:\n%v", l.first)
	case l.ignored != nil && l.violations == 0:
		l.Error("what is missing was not noticed")
	case l.ignored != nil:
		l.Logf("noticed:\n%v", l.first)
	}
}

// ordinarySteps is what a process does with a store: it makes one, appends batches of
// several sizes, spends tokens, closes and goes on.
var ordinarySteps = []step{
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

// repeatedSteps opens a store, appends and spends everything again, as relays do
// with what was not acknowledged, and goes on.
var repeatedSteps = append(repeatSteps(ordinarySteps), step{Do: "append", First: 63, N: 7}, step{Do: "append", First: 70, N: 1})

var shortRepetition = append(repeatSteps(shortLife), step{Do: "append", First: 63, N: 7})

func repeatSteps(life []step) (steps []step) {
	steps = []step{{Do: "open"}}
	for _, s := range life {
		if s.N > 0 {
			steps = append(steps, s)
		}
	}
	return steps
}

// TestPowerCut cuts the power while one process uses a store.
func TestPowerCut(t *testing.T) {
	forEach(t, func(l *experiment) {
		l.checkOnce(400)
		l.report()
	})
}

func (l *experiment) checkOnce(states int) {
	r := l.runFresh(ordinarySteps, failure{})
	l.mustSucceed(r)
	l.checkCuts(r, states*effort())
}

// TestPowerCutAfterKill kills a process at every point of a few steps, has another process
// repeat what was not acknowledged, and then cuts the power.
func TestPowerCutAfterKill(t *testing.T) {
	forEach(t, func(l *experiment) {
		l.checkKilled(1)
		l.report()
	})
}

var shortLife = []step{
	{Do: "open"},
	{Do: "append", First: 0, N: 1},
	{Do: "append", First: 18, N: 9},
	{Do: "spend", First: 1000, N: 3},
}

// checkKilled kills at each point, in steps of every.
func (l *experiment) checkKilled(every int) {
	r := l.runFresh(shortLife, failure{})
	l.mustSucceed(r)
	at := l.player(r)
	kills := 0
	for point := 0; point <= len(r.events); point += every {
		d, p := at.at(point)
		second := l.runAfter(d, p, shortRepetition)
		l.mustSucceed(second)
		l.checkCuts(second, 2*effort())
		kills++
	}
	l.Logf("%s: killed at %d of %d points", l.plugin, kills, len(r.events)+1)
}

// compactedSteps prunes and compacts a store between appends.
var compactedSteps = []step{
	{Do: "open"},
	{Do: "append", First: 0, N: 30},
	{Do: "append", First: 30, N: 30},
	{Do: "spend", First: 1000, N: 3},
	{Do: "append", First: 60, N: 40},
	{Do: "prune", First: 40, N: 30},
	{Do: "compact"},
	{Do: "append", First: 100, N: 5},
	{Do: "prune", First: 80, N: 100},
	{Do: "compact"},
	{Do: "append", First: 105, N: 3},
}

// TestPowerCutOfCompaction cuts the power while a store prunes and compacts, at once, and after
// a kill and another process.
func TestPowerCutOfCompaction(t *testing.T) {
	forEach(t, func(l *experiment) {
		l.checkCompaction(300)
		r := l.runFresh(compactedSteps, failure{})
		at := l.player(r)
		for _, point := range l.choosePoints(r, 30*effort()) {
			d, p := at.at(point)
			second := l.runAfter(d, p, repeatSteps(compactedSteps))
			l.mustSucceed(second)
			l.checkCuts(second, 3)
		}
		l.report()
	})
}

func (l *experiment) checkCompaction(states int) {
	r := l.runFresh(compactedSteps, failure{})
	l.mustSucceed(r)
	l.checkCuts(r, states*effort())
}

// TestMissingSyncOfCompactionIsNoticed leaves out the syncs of the new file and of its name.
func TestMissingSyncOfCompactionIsNoticed(t *testing.T) {
	t.Parallel()
	l := newExperiment(t, "bolt")
	for what, ignored := range map[string]func(name string, opening bool) bool{
		"new file":  func(name string, _ bool) bool { return strings.HasSuffix(name, ".compact") },
		"directory": func(name string, opening bool) bool { return name == "directory" && !opening },
	} {
		l.states, l.violations, l.first, l.ignored = 0, 0, nil, ignored
		l.checkCompaction(150)
		l.Logf("without the sync of the %s:", what)
		l.report()
	}
}

// TestTwoPowerCuts cuts the power twice.
func TestTwoPowerCuts(t *testing.T) {
	forEach(t, func(l *experiment) {
		r := l.runFresh(ordinarySteps, failure{})
		at := l.player(r)
		for _, point := range l.choosePoints(r, 40*effort()) {
			d, p := at.at(point)
			d.garbage = l.rand.IntN(3) == 0
			d.powerCut()
			second := l.runAfter(d, p, repeatedSteps)
			l.mustSucceed(second)
			l.checkCuts(second, 6)
		}
		l.report()
	})
}

// TestFailedSync has each sync fail, once for each of two reasons. The process
// and the next one must refuse; after the operator has removed the mark, what was
// acknowledged is there and stays.
func TestFailedSync(t *testing.T) {
	forEach(t, func(l *experiment) {
		l.failedSyncs(1)
		l.report()
	})
}

// failedSyncs has each sync fail, in steps of every.
func (l *experiment) failedSyncs(every int) {
	// After the steps comes what must be refused.
	steps := slices.Concat(ordinarySteps, []step{{Do: "append", First: 2000, N: 1}, {Do: "close"}})
	for n := 1; ; n += every {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC} {
			r := l.runFresh(steps, failure{n, errno})
			if !slices.ContainsFunc(r.events, func(e event) bool { return e.kind == failedSyncEvent }) {
				l.Logf("%s: %d syncs", l.plugin, n-1)
				return
			}
			l.afterFailedSync(r, fmt.Sprintf("%v from sync %d", errno, n))
		}
	}
}

func (l *experiment) afterFailedSync(r run, what string) {
	failed, file := l.failedCall(r)
	what = fmt.Sprintf("%s, of %s in %s", what, file, failed)
	at := l.player(r)
	end, p := at.at(len(r.events))
	// What failed in an open that made the store is not of a store yet, and what
	// failed in a close has left its log, from which the next one reads all.
	must := failed == "append" || failed == "spend"
	seen := false
	for i, e := range r.events {
		seen = seen || e.kind == failedSyncEvent
		if e.kind != sayEvent {
			continue
		}
		s := parseSaid(e)
		do := r.steps[s.Step].Do
		if s.Full {
			l.noteViolation(fmt.Errorf("%s: %s is full", what, do))
		}
		if must && seen && do != "close" && s.Error == "" && !l.maySucceed(r, i, what) {
			l.noteViolation(fmt.Errorf("%s: %s goes on", what, do))
		}
	}
	if marked := end.removeMark(); !marked && must {
		l.noteViolation(fmt.Errorf("%s: the store is not marked", what))
	}
	second := l.runAfter(end, p, repeatedSteps)
	l.mustSucceed(second)
	l.checkCuts(second, 2*effort())
}

// maySucceed reports whether a step may succeed although a sync failed in it: if the sync
// came after the sync of the batch, like the ones that copy SQLite's log.
// That the batch is durable is checked.
func (l *experiment) maySucceed(r run, said int, what string) bool {
	step := parseSaid(r.events[said]).Step
	begins := 0
	for i, e := range r.events[:said] {
		if e.kind == sayEvent {
			begins = i + 1
		}
	}
	inStep := slices.ContainsFunc(r.events[begins:said], func(e event) bool { return e.kind == failedSyncEvent })
	if l.plugin != "sqlite" || !inStep {
		return false
	}
	at := l.player(r)
	end, p := at.at(said + 1)
	for range 6 * effort() {
		d := end.clone(l.rand)
		d.removeMark()
		d.powerCut()
		l.checkState(d, p, fmt.Sprintf("%s: power cut after step %d", what, step))
	}
	return true
}

// failedCall returns the call in which a sync failed, and the file. A sync of
// a directory in which no name is younger than its last sync has nothing to lose;
// SQLite makes one, when it has made its log, and takes no notice of a failure.
// The store has made that name durable before.
func (l *experiment) failedCall(r run) (call, name string) {
	at := l.player(r)
	step := 0
	for i, e := range r.events {
		switch e.kind {
		case sayEvent:
			step = parseSaid(e).Step + 1
		case failedSyncEvent:
			d, _ := at.at(i)
			name = l.nameOf(d, at.names, e.ino)
			if x := d.dirs[e.ino]; x != nil && len(x.pending) == 0 {
				return "a call that does not need it", name
			}
			return r.steps[step].Do, name
		}
	}
	return "", ""
}

// removeMark removes the mark of a failed sync, as an operator does, and reports
// whether there was one.
func (d *disk) removeMark() (found bool) {
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

// TestSlowSync: a reader does not see what is not durable, however long that takes.
func TestReadersSeeOnlyDurable(t *testing.T) {
	forEach(t, func(l *experiment) {
		r := l.runFresh([]step{{Do: "open"}, {Do: "append", N: 3}, {Do: "watch", First: 3, N: 5}}, failure{})
		// The last sync of the watched append makes it durable. SQLite makes only one, and
		// later ones when it copies its log.
		durable, watched := 0, false
		var looks []int
		for i, e := range r.events {
			switch e.kind {
			case syncEvent:
				if watched && (durable == 0 || l.plugin == "bolt") {
					durable = i
				}
			case sayEvent:
				watched = watched || parseSaid(e).Step == 1
				if parseSaid(e).Look != nil {
					looks = append(looks, i)
				}
			}
		}
		before := 0
		for _, i := range looks {
			if saw := *parseSaid(r.events[i]).Look; i < durable {
				before++
				if want := (readerView{Last: 3, Tokens: 3, Entries: 3}); saw != want {
					l.Errorf("before it was durable a reader saw %+v, want %+v", saw, want)
				}
			}
		}
		if last := *parseSaid(r.events[looks[len(looks)-1]]).Look; last != (readerView{8, 8, 8, true}) {
			l.Errorf("in the end a reader saw %+v", last)
		}
		if before < 4 {
			l.Errorf("%d looks before the last sync", before)
		}
	})
}

// TestNames: directories are durable up to one that existed, also those that an
// earlier process made and may not have synced; and so is a file that is found.
func TestNamesAreDurable(t *testing.T) {
	l := newExperiment(t, "")
	root := l.newDir()
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(root, "a"), filepath.Join(root, "a", "b")
	key := filepath.Join(a, "key")
	for _, again := range []bool{false, true} {
		events := l.tracer.run(job{"", b, []step{{Do: "make directory"}}}, failure{})
		for _, dir := range []string{root, a} {
			if !syncedLast(events, inodeOf(dir)) {
				t.Errorf("made again: %v: %s was not synced after the last name in it", again, filepath.Base(dir))
			}
		}
	}
	if err := os.WriteFile(key, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	events := l.tracer.run(job{"", key, []step{{Do: "confirm"}}}, failure{})
	for _, path := range []string{key, a} {
		if !syncedLast(events, inodeOf(path)) {
			t.Errorf("found: %s was not synced", filepath.Base(path))
		}
	}
}

// syncedLast reports whether a directory or file was synced, and no name was made
// in it since.
func syncedLast(events []event, ino uint64) (synced bool) {
	for _, e := range events {
		if e.ino == ino {
			synced = e.kind == syncEvent
		}
	}
	return synced
}

// TestMissingSyncIsNoticed leaves out one kind of sync after the other.
func TestMissingSyncIsNoticed(t *testing.T) {
	database := func(name string) bool { return name == "messages" || strings.Contains(name, ".new-") }
	forEach(t, func(l *experiment) {
		for name, m := range map[string]struct {
			test    func(*experiment)
			ignored func(name string, opening bool) bool
		}{
			"sync of database":  {func(l *experiment) { l.checkOnce(100) }, func(name string, _ bool) bool { return database(name) }},
			"sync of directory": {func(l *experiment) { l.checkOnce(100) }, func(name string, _ bool) bool { return name == "directory" }},
			"sync of log":       {func(l *experiment) { l.checkOnce(100) }, func(name string, _ bool) bool { return name == "messages-wal" }},
			"sync at opening":   {func(l *experiment) { l.checkKilled(2) }, func(name string, opening bool) bool { return opening && name != "directory" }},
		} {
			if name == "sync of log" && l.plugin == "bolt" {
				continue
			}
			l.states, l.violations, l.first, l.ignored = 0, 0, nil, m.ignored
			m.test(l)
			l.Logf("without %s:", name)
			l.report()
		}
	})
}
