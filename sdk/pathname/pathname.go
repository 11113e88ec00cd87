// Package pathname checks paths that people write in a configuration or on a command line,
// and writes the commands that an error tells them to run. It is for the relay and its
// commands, and for authors of plugins.
package pathname

import (
	"flag"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// UnexpandedError is a path that begins with something that a shell or systemd would have
// replaced. Taken as it is, it would make a directory named "~" or "$HOME".
type UnexpandedError struct {
	Path  string
	Begin string // what would have been replaced, such as "~" or "$HOME"
	// Instead is the path that was probably meant; where that cannot be known, an
	// example of one.
	Instead string
}

func (e *UnexpandedError) Error() string {
	return fmt.Sprintf("%s begins with %s, which is not expanded here: write %s, or %s for a name that really begins so",
		Quote(e.Path), e.Begin, Quote(e.Instead), Quote("./"+e.Path))
}

// unexpanded matches the beginning of a path that a shell (~, ~user, $NAME, ${…}, $(…)),
// systemd (%h) or the command line of Windows (%NAME%) would have replaced.
var unexpanded = regexp.MustCompile(`^(~[^/]*|\$[A-Za-z_][A-Za-z0-9_]*|\$\{[^}/]*\}?|\$\([^)/]*\)?|%[A-Za-z_][A-Za-z0-9_]*%|%[A-Za-z])(?:/|$)`)

// Check returns an [*UnexpandedError] for a path that begins with something that a shell or
// systemd would have replaced.
func Check(path string) error {
	found := unexpanded.FindStringSubmatch(path)
	if found == nil {
		return nil
	}
	begin := found[1]
	dir := expand(begin)
	if dir == "" {
		dir = "/home/me"
	}
	return &UnexpandedError{Path: path, Begin: begin, Instead: filepath.Join(dir, path[len(begin):])}
}

// expand returns the absolute path that was meant by the beginning of a path, or "".
func expand(begin string) string {
	dir := ""
	switch name := strings.Trim(begin, "${}()%"); {
	case begin == "~", begin == "%h":
		dir, _ = os.UserHomeDir()
	case begin[0] == '~':
		if u, err := user.Lookup(begin[1:]); err == nil {
			dir = u.HomeDir
		}
	case begin == "%S":
		dir = "/var/lib"
	case begin == "%t":
		dir = "/run"
	default:
		dir = os.Getenv(name)
	}
	if !filepath.IsAbs(dir) {
		return ""
	}
	return dir
}

// network matches what may stand in front of a path in an address.
var network = regexp.MustCompile(`^(unix|loopback):`)

// CheckAddress is Check for a path or an address that has one: unix:PATH or loopback:PATH.
func CheckAddress(address string) error {
	prefix := network.FindString(address)
	err := Check(address[len(prefix):])
	if err != nil && prefix != "" {
		return fmt.Errorf("behind %s, %w", prefix, err)
	}
	return err
}

// Var defines a flag whose value is a path, or an address with one, and refuses a value for
// which CheckAddress returns an error.
func Var(fs *flag.FlagSet, p *string, name, value, usage string) {
	*p = value
	fs.Var(flagValue{p}, name, usage)
}

type flagValue struct{ path *string }

func (v flagValue) String() string {
	if v.path == nil {
		return ""
	}
	return *v.path
}

func (v flagValue) Set(path string) error {
	if err := CheckAddress(path); err != nil {
		return err
	}
	*v.path = path
	return nil
}

// plain matches arguments that no shell treats in a special way.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./,:@+-][A-Za-z0-9_./,:@+=#-]*$`)

// Quote writes an argument so that a person can paste it into a shell, in quotes if it needs
// them. The result is one line and safe to show on a terminal, whatever the argument holds.
func Quote(arg string) string {
	switch {
	case plain.MatchString(arg):
		return arg
	case !utf8.ValidString(arg) || strings.ContainsFunc(arg, func(r rune) bool { return !unicode.IsPrint(r) }):
		return quoteBytes(arg)
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// quoteBytes writes $'…', which bash, zsh and ksh know, and POSIX since 2024.
func quoteBytes(arg string) string {
	var b strings.Builder
	b.WriteString("$'")
	for len(arg) > 0 {
		r, size := utf8.DecodeRuneInString(arg)
		switch {
		case r == '\'' || r == '\\':
			b.WriteString(`\` + arg[:size])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == utf8.RuneError && size == 1 || !unicode.IsPrint(r):
			for _, c := range []byte(arg[:size]) {
				fmt.Fprintf(&b, `\%03o`, c) // of three digits, so that no digit behind it belongs to it
			}
		default:
			b.WriteString(arg[:size])
		}
		arg = arg[size:]
	}
	b.WriteString("'")
	return b.String()
}

// Command writes a command that a person can paste into a shell.
func Command(args ...string) string {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = Quote(arg)
	}
	return strings.Join(quoted, " ")
}
