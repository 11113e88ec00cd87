package sandbox

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// DirName is the name by which a plugin is told of Dir. Messages to it hold UTF-8 only, so a
// path that is not is replaced by that of the working directory, which it then is.
func (p Policy) DirName() string {
	if utf8.ValidString(p.Dir) {
		return p.Dir
	}
	return "/proc/self/cwd"
}

// mapPaths returns the policy with f of every path in it.
func (p Policy) mapPaths(f func(string) string) Policy {
	all := func(paths []string) (out []string) {
		for _, path := range paths {
			out = append(out, f(path))
		}
		return out
	}
	p.Dir, p.Read, p.Write = f(p.Dir), all(p.Read), all(p.Write)
	return p
}

// escapePath makes text that JSON can hold of a path, which may be any bytes.
func escapePath(path string) string {
	var b strings.Builder
	for len(path) > 0 {
		r, size := utf8.DecodeRuneInString(path)
		if r == utf8.RuneError && size == 1 || r == '%' {
			fmt.Fprintf(&b, "%%%02x", path[0])
		} else {
			b.WriteString(path[:size])
		}
		path = path[size:]
	}
	return b.String()
}

func unescapePath(text string) string {
	path, err := url.PathUnescape(text)
	if err != nil {
		return text // not by escapePath; such a path will not be found
	}
	return path
}
