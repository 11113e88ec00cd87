package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/text/unicode/norm"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/ownership"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// pathOption returns the value of an option as an absolute path.
func (l *loader) pathOption(sec section, name string) string {
	if !sec.isSet(name) {
		return ""
	}
	return l.absolutePath(sec, name, sec.textOf(name))
}

// absolutePath checks a path from the value of an option, and makes it absolute.
func (l *loader) absolutePath(sec section, name, path string) string {
	switch {
	case path == "":
		l.addFault(sec.rangeOf(name), name+" is empty", "Write a path; a relative one starts at the directory of this file.")
		return ""
	case strings.Contains(path, "\x00"):
		l.addFault(sec.rangeOf(name), name+" holds a zero byte", "Write a path without it.")
		return ""
	case l.refuseUnexpanded(sec, name, path), l.refuseDecomposed(sec, name):
		return ""
	case !filepath.IsAbs(path):
		path = filepath.Join(l.dir, path)
	}
	return filepath.Clean(path)
}

// refuseUnexpanded reports a path that begins with something a shell would expand.
func (l *loader) refuseUnexpanded(sec section, name, path string) bool {
	var found *pathname.UnexpandedError
	if !errors.As(pathname.Check(path), &found) {
		return false
	}
	line := name + " = " + schema.Literal(found.Instead)
	if written := sec.valueOf(name); written.Type().IsListType() {
		line = name + " = [" + schema.Literal(found.Instead) + "]"
	}
	l.addFault(sec.rangeOf(name), fmt.Sprintf("%s begins with %s, which is not expanded here", name, found.Begin),
		fmt.Sprintf("Write %s. A relative path starts at the directory of this file; a name that really begins so is %s.", line, schema.Literal("./"+path)))
	return true
}

// refuseDecomposed reports a path with decomposed letters, as in names of files from a Mac.
// HCL composes them, which gives the name of another file.
func (l *loader) refuseDecomposed(sec section, name string) bool {
	at := sec.rangeOf(name)
	if norm.NFC.IsNormal(at.SliceBytes(l.doc.documentOf(at).src)) {
		return false
	}
	l.addFault(at, name+" has letters with separate accents, which this language puts together: it would be another name",
		"Rename what it leads to, or keep this file below it and write a relative path.")
	return true
}

// isWithin reports whether a path is dir or below it, after all links are followed. Neither
// needs to exist.
func isWithin(path, dir string) bool {
	rel, err := filepath.Rel(resolveLinks(dir), resolveLinks(path))
	return err == nil && filepath.IsLocal(rel)
}

// resolveLinks follows the links in the part of a path that exists.
func resolveLinks(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolveLinks(dir), filepath.Base(path))
	}
	return path
}

// checkDirectory reports a directory that the relay cannot use, and returns whether it can.
// A private directory must belong to this user and be closed to the writes of others. An
// empty path has been reported already.
func (l *loader) checkDirectory(at hcl.Range, path string, private bool) bool {
	if path == "" {
		return false
	}
	summary, hint := examineDirectory(path, private)
	if summary != "" {
		l.addFault(at, summary, hint)
	}
	return summary == ""
}

// examineDirectory returns what is wrong with a directory and what to do about it, or
// nothing if it is usable. If it does not exist, the directory in which it has to be made is
// examined. It changes nothing.
func examineDirectory(path string, private bool) (summary, hint string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path):
		if summary, _ = examineDirectory(filepath.Dir(path), false); summary != "" {
			return fmt.Sprintf("cannot make the directory %s: %s", path, summary), sentence(ownership.NotWritable(path))
		}
		return "", ""
	case err != nil:
		return fmt.Sprintf("cannot use the directory %s: %v", path, causeOf(err)), sentence(ownership.NotWritable(path))
	case !info.IsDir():
		return fmt.Sprintf("%s is not a directory", path), "Choose another directory, or move the file away."
	}
	if private {
		if wrong, ok := errors.AsType[*ownership.Error](ownership.Check(path, info, 0o022, dataFiles...)); ok {
			return "the directory " + wrong.Problem, sentence(wrong.Remedy)
		}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Sprintf("cannot write to the directory %s: %v", path, err),
			sentence(ownership.NotWritable(path))
	}
	return "", ""
}

// dataFiles are names that mark a directory of the relay: its data_dir, or the directory of a
// server or of tor.
var dataFiles = []string{"lock", "servers", "keys", "relay.lock"}

// sentence makes a text begin with a capital letter, as hints do.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// causeOf returns an error without the operation and the path, which the text around it has.
func causeOf(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
