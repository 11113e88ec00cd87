package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cwtch-relay/cwtch-relay/core/bundle"
)

// maxPost bounds a text. It takes some forty messages, each of which costs a
// token.
const maxPost = 64 << 10

// byteOrderMark begins files that some editors write. It is no part of a text.
const byteOrderMark = "\ufeff"

// readArgument returns an argument, or standard input up to limit bytes for "-":
// arguments can be seen by everybody on the machine.
func (a *app) readArgument(ctx context.Context, arg string, limit int64) (string, error) {
	if arg == "-" {
		var err error
		if arg, err = a.readInput(ctx, limit); err != nil {
			return "", fmt.Errorf("read standard input: %w", err)
		}
		if arg == "" {
			return "", errors.New("standard input is empty")
		}
	}
	return strings.TrimPrefix(arg, byteOrderMark), nil
}

// readInput reads until the end of standard input or of ctx.
func (a *app) readInput(ctx context.Context, limit int64) (string, error) {
	var b []byte
	var err error
	done := make(chan struct{})
	go func() { // may wait for a person; ends with the program
		defer close(done)
		b, err = io.ReadAll(io.LimitReader(a.stdin, limit+1))
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w than %d bytes", errMore, limit)
	}
	return string(b), err
}

var (
	errMore    = errors.New("more")
	errTooLong = hinted{fmt.Errorf("the text has more than %d bytes", maxPost), "post a part of it, or where all of it can be found"}
)

// chat returns the text that an argument says.
func (a *app) chat(ctx context.Context, arg string) (string, error) {
	const rawLimit = 2*maxPost + 1024 // line breaks of two bytes, and white space at the end
	s, err := a.readArgument(ctx, arg, rawLimit)
	switch {
	case errors.Is(err, errMore):
		err = errTooLong
	case err == nil:
		s, err = cleanChat(s)
	}
	if err != nil {
		return "", fmt.Errorf("post: %w", err)
	}
	return s, nil
}

// cleanChat refuses what nobody can have meant to post. Everything else is
// posted as it is, but for the marks of a file's encoding, line breaks of two
// bytes, and white space around the text.
func cleanChat(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", hinted{errors.New("the text is not valid UTF-8"), "convert it first, for example with iconv -t UTF-8; files of other kinds cannot be posted"}
	}
	s = strings.ReplaceAll(strings.TrimPrefix(s, byteOrderMark), "\r\n", "\n")
	s = strings.TrimRightFunc(strings.TrimLeft(s, "\n"), unicode.IsSpace)
	if mark := pasteMark(s); mark != "" {
		return "", hinted{fmt.Errorf("the text has %q at its beginning or end, which a terminal adds to what is pasted", mark), "remove it there"}
	}
	if i := strings.IndexFunc(s, unmeant); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return "", hinted{fmt.Errorf("the text has the control character %U in line %d", r, 1+strings.Count(s[:i], "\n")),
			"remove it; programs that colour what they print have an option against it, such as --color=never"}
	}
	if !visible(s) {
		return "", errors.New("the text has nothing that can be seen")
	}
	if len(s) > maxPost {
		return "", errTooLong
	}
	return s, nil
}

// unmeant reports characters that act on a terminal, and those that are none.
func unmeant(r rune) bool {
	control := unicode.IsControl(r) && r != '\n' && r != '\t'
	return control || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef
}

// blanks are drawn as nothing, or stand for what was lost, though they count as
// letters and symbols.
const blanks = "\u115f\u1160\u2800\u3164\uffa0\ufffc\ufffd"

// visible reports whether a reader of s sees anything.
func visible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) && !strings.ContainsRune(blanks, r)
	})
}

// pasteMark returns a mark of a terminal's bracketed paste, or what is left of it
// where characters were lost on the way, or "".
func pasteMark(s string) string {
	for _, begin := range []string{"\x1b[200~", "[200~", "^[[200~"} {
		if strings.HasPrefix(s, begin) {
			return begin
		}
	}
	if strings.HasSuffix(s, "[201~") {
		return "[201~"
	}
	for _, zeros := range []string{"0", "00"} {
		begin, end := zeros+"~", zeros[1:]+"1~"
		if strings.HasPrefix(s, begin) && strings.HasSuffix(s, end) {
			return begin
		}
	}
	return ""
}

// maxNick bounds a nickname, which stands in front of every message.
const maxNick = 32

// checkName refuses names that a person could not type, or that would act on
// their terminal.
func checkName(name string) error { return checkLabel(name, bundle.MaxGroupName) }

func checkLabel(name string, limit int) error {
	switch {
	case strings.TrimSpace(name) == "":
		return errors.New("the name is empty")
	case len(name) > limit:
		return fmt.Errorf("the name has %d bytes and %d are allowed", len(name), limit)
	case printableText(name) != name:
		return fmt.Errorf("the name %+q holds characters that cannot be printed", name)
	case !visible(name):
		return fmt.Errorf("the name %+q has nothing that can be seen", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %q begins or ends with a space", name)
	case pasteMark(name) != "":
		return fmt.Errorf("the name %q has %q, which a terminal adds to what is pasted", name, pasteMark(name))
	}
	return nil
}
