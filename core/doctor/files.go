package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
)

// checkedFile is a file or directory, and which rights others must not have.
type checkedFile struct {
	path   string
	denied fs.FileMode
	dir    bool
	names  []string // of what else a wrong owner may have; see ownership.WrongOwner
	shared bool     // root may own it
}

// listFiles returns what the relay refuses, or trusts blindly, if others can change or read
// it.
func (m Machine) listFiles() []checkedFile {
	files := []checkedFile{
		{path: m.Config, denied: 0o022, shared: true},
		{path: m.DataDir, denied: 0o022, dir: true, names: []string{"lock", "servers"}},
		{path: filepath.Join(m.DataDir, "known"), denied: 0o022, dir: true},
	}
	if m.TorDir != "" {
		files = append(files, checkedFile{path: m.TorDir, denied: 0o077, dir: true, names: []string{"relay.lock", "cached-certs", "state"}})
	}
	for _, s := range m.Servers {
		files = append(files,
			checkedFile{path: s.Dir, denied: 0o022, dir: true, names: []string{"keys", "storage"}},
			checkedFile{path: filepath.Join(s.Dir, "keys"), denied: 0o077, names: []string{"keys"}},
			checkedFile{path: filepath.Join(s.Dir, "storage"), denied: 0o022, dir: true},
		)
	}
	return files
}

// checkFiles looks at owners and modes. What is missing is not wrong: the first start makes
// it, and a server that has lost its keys says so itself.
func (m Machine) checkFiles() (checks []Check) {
	looked := 0
	for _, f := range m.listFiles() {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path) // the operator may have moved it and left a link
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			checks = append(checks, failed("files", err.Error(), "run this as the user of the relay"))
			continue
		}
		looked++
		if c, wrong := f.checkInfo(info); wrong {
			checks = append(checks, c)
		}
	}
	if len(checks) == 0 {
		checks = append(checks, passed("files", fmt.Sprintf("owners and modes of %s are right", countOf(looked, "file"))))
	}
	return checks
}

func (f checkedFile) checkInfo(info fs.FileInfo) (c Check, wrong bool) {
	if f.dir != info.IsDir() {
		kind := map[bool]string{true: "a directory", false: "a file"}
		return failed("files", fmt.Sprintf("%s is %s and should be %s", f.path, kind[info.IsDir()], kind[f.dir]), "restore it from a backup, and keep what is there until that works"), true
	}
	err := ownership.CheckMode(f.path, info, f.denied, f.names...)
	if !f.shared || ownership.UID(info) != 0 {
		err = cmp.Or(ownership.CheckOwner(f.path, info, f.names...), err)
	}
	if e, ok := errors.AsType[*ownership.Error](err); ok {
		return failed("files", e.Problem, e.Remedy), true
	}
	return Check{}, false
}

// ReleaseDate is when this version was made. A clock before that is wrong.
var ReleaseDate = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// Bounds of a clock.
const (
	maxAfterRelease = 30 * 365 * 24 * time.Hour
	// clockGrace is how far clocks that write the same files may differ.
	clockGrace = 10 * time.Minute
	// fetchGrace is how long tor may need for a consensus that follows one that has ended.
	fetchGrace = 3 * time.Hour
)

const setClock = "set it (timedatectl set-ntp true), and restart the relay if it runs"

// checkClock compares the clock with what tor knows, and otherwise with what a clock that
// was right before has left behind.
func (m Machine) checkClock() Check {
	now := time.Now()
	if m.now != nil {
		now = m.now()
	}
	shows := "the clock shows " + formatTime(now)
	newest, at := m.findNewest()
	c := m.Consensus
	switch {
	case now.Before(ReleaseDate):
		return failed("clock", shows+", which is before this version was made", setClock)
	case now.After(ReleaseDate.Add(maxAfterRelease)):
		return failed("clock", shows+", which is too far ahead to be true", setClock)
	case !c.ValidAfter.IsZero() && now.Before(c.ValidAfter.Add(-clockGrace)):
		return failed("clock", fmt.Sprintf("%s and is behind: the directories of Tor were at %s already", shows, formatTime(c.ValidAfter)), setClock)
	case !c.ValidUntil.IsZero() && now.After(c.ValidUntil.Add(fetchGrace)):
		return failed("clock", fmt.Sprintf("%s and is ahead, or tor has fetched nothing from the directories for hours: what it has ends at %s", shows, formatTime(c.ValidUntil)), setClock+"; if it is right, look at the connection to the Internet")
	case at.After(now.Add(clockGrace)):
		return failed("clock", fmt.Sprintf("%s and is behind: %s was written at %s", shows, newest, formatTime(at)), setClock)
	case c.ValidAfter.IsZero():
		return passed("clock", shows+", which can be true; tor, which knows better, was not asked")
	}
	return passed("clock", shows+", and the directories of Tor agree")
}

// findNewest returns which file of the relay was written last.
func (m Machine) findNewest() (path string, at time.Time) {
	paths := []string{m.DataDir}
	for _, s := range m.Servers {
		paths = append(paths, filepath.Join(s.Dir, "mark"), filepath.Join(s.Dir, "keys"), filepath.Join(s.Dir, "retention"))
	}
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.ModTime().After(at) {
			path, at = p, info.ModTime()
		}
	}
	return path, at
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
