package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// uncoveredDirs are the directories below / that stay as they are, beside those of the
// system's programs. /sys is not among them: a cgroup is a directory there, and its time
// is that of the last start of a plugin.
var uncoveredDirs = []string{"/etc", "/dev"}

// coverMounts covers all of this mount namespace but the system and the files of keep, so
// that stat(2) finds nothing else. Landlock keeps a plugin from using files that it can
// name, but not from learning when they change. With proc, /proc has only the process
// itself.
//
// The plugin's own file is kept unless another has taken its place, because it is
// executed by its descriptor. A kept file stays at its path and at the path to which
// links lead, since programs use either.
func coverMounts(keep []string, proc bool) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("detach the mounts of the process: %w", err)
	}
	covers, err := listCovers(keep, proc)
	if err != nil {
		return err
	}
	if slices.Contains(covers, "/proc") {
		keep = append(keep, filepath.Join("/proc", strconv.Itoa(os.Getpid())))
	}
	trees, err := openTrees(keep, covers)
	if err != nil {
		return err
	}
	for _, dir := range covers {
		if err := unix.Mount("none", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	for _, t := range trees {
		if err := t.attach(); err != nil {
			return fmt.Errorf("keep %s: %w", t.path, err)
		}
	}
	if slices.Contains(covers, "/proc") {
		if err := os.Symlink(strconv.Itoa(os.Getpid()), "/proc/self"); err != nil {
			return fmt.Errorf("hide /proc: %w", err)
		}
	}
	for _, dir := range covers {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("protect what hides %s: %w", dir, err)
		}
	}
	return nil
}

// listCovers returns the directories to cover. A directory that is itself kept is not
// covered.
func listCovers(keep []string, proc bool) (out []string, err error) {
	entries, err := os.ReadDir("/")
	if err != nil {
		return nil, fmt.Errorf("list what to hide: %w", err)
	}
	candidates := []string{"/dev/shm"}
	for _, e := range entries {
		if e.IsDir() {
			candidates = append(candidates, "/"+e.Name())
		}
	}
	for _, dir := range candidates {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || dir == "/proc" && !proc || slices.Contains(uncoveredDirs, dir) || slices.ContainsFunc(systemDirs, isBelow(dir)) {
			continue
		}
		if !slices.ContainsFunc(keep, func(k string) bool { return k == "/" || k == dir || resolveLinks(k) == dir }) {
			out = append(out, dir)
		}
	}
	return out, nil
}

// isBelow returns a function that reports whether a path is dir or below it.
func isBelow(dir string) func(path string) bool {
	return func(path string) bool { return strings.HasPrefix(path+"/", dir+"/") }
}

// resolveLinks returns the path without links, or the path itself if that fails.
func resolveLinks(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

// sameFile reports whether both paths lead to the same file.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// mountTree is a file, or a directory with all below it, that is put back at its path.
type mountTree struct {
	path string
	fd   int
	dir  bool
}

// openTrees opens the files of keep that would be covered, parents first.
func openTrees(keep, covers []string) (out []mountTree, err error) {
	self := isBelow("/proc/self")
	places := make(map[string]string) // from the path to be to the path now
	for _, path := range keep {
		for _, place := range []string{filepath.Clean(path), resolveLinks(path)} {
			covered := slices.ContainsFunc(covers, func(dir string) bool { return isBelow(dir)(place) })
			if _, found := places[place]; !found && covered && !self(place) {
				places[place] = path
			}
		}
	}
	for place, path := range places {
		// An open file is in the mounts of the relay; find it in ours.
		if self(path) {
			if path = place; !sameFile(place, places[place]) {
				continue
			}
		}
		fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, fmt.Errorf("keep %s: %w", path, err)
		}
		var info unix.Stat_t
		if err := unix.Fstat(fd, &info); err != nil {
			return nil, fmt.Errorf("keep %s: %w", path, err)
		}
		out = append(out, mountTree{place, fd, info.Mode&unix.S_IFMT == unix.S_IFDIR})
	}
	slices.SortFunc(out, func(a, b mountTree) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// attach mounts the tree at its path and closes it.
func (t mountTree) attach() error {
	defer unix.Close(t.fd) //nolint:errcheck // nothing was written
	if _, err := os.Stat(t.path); err != nil {
		if err := t.makePoint(); err != nil {
			return err
		}
	}
	return unix.MoveMount(t.fd, "", unix.AT_FDCWD, t.path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// makePoint makes the file or directory that the tree is mounted on.
func (t mountTree) makePoint() error {
	if t.dir {
		return os.MkdirAll(t.path, 0o755)
	}
	err := os.MkdirAll(filepath.Dir(t.path), 0o755)
	f, err2 := os.OpenFile(t.path, os.O_CREATE|os.O_EXCL, 0o444)
	if err2 == nil {
		err2 = f.Close()
	}
	return errors.Join(err, err2)
}
