package sandbox

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// DirName returns the path of Dir to send to the plugin. Messages hold UTF-8 only, so for
// any other path it is that of the working directory, which Dir is then.
func (p Policy) DirName() string {
	if utf8.ValidString(p.Dir) {
		return p.Dir
	}
	return "/proc/self/cwd"
}

// mapPaths returns the policy with f applied to every path in it.
func (p Policy) mapPaths(f func(string) string) Policy {
	all := func(paths []string) (out []string) {
		for _, path := range paths {
			out = append(out, f(path))
		}
		return out
	}
	p.Dir, p.Read, p.Write, p.Sockets = f(p.Dir), all(p.Read), all(p.Write), all(p.Sockets)
	return p
}

// escapePath turns a path, which may be any bytes, into text that JSON can hold.
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
		return text // escapePath did not make it; no such path will be found
	}
	return path
}
