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

// maxArgument bounds what is read from standard input in place of an argument. The
// longest argument beside a text is a tofubundle.
const maxArgument = 8 << 10

// maxPost bounds a text, in bytes. Such a text needs some forty messages, each of
// which costs a token.
const maxPost = 64 << 10

// byteOrderMark is at the beginning of files of some editors. It is no part of a text.
const byteOrderMark = "\ufeff"

// readArgument returns an argument or, for "-", standard input up to limit bytes:
// everybody on the machine can see arguments.
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

// readInput reads standard input until its end or until ctx ends.
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
		err = fmt.Errorf("%w than %d bytes", errTooMuchInput, limit)
	}
	return string(b), err
}

var (
	errTooMuchInput = errors.New("more")
	errTooLong      = hinted{fmt.Errorf("the text has more than %d bytes", maxPost), "post a part of it, or where people can find it"}
)

// readChat returns the text for an argument of post.
func (a *app) readChat(ctx context.Context, arg string) (string, error) {
	const rawLimit = 2*maxPost + 1024 // before line breaks and white space are shortened
	s, err := a.readArgument(ctx, arg, rawLimit)
	switch {
	case errors.Is(err, errTooMuchInput):
		err = errTooLong
	case err == nil:
		s, err = cleanChat(s)
	}
	if err != nil {
		return "", fmt.Errorf("post: %w", err)
	}
	return s, nil
}

// cleanChat refuses texts that nobody wants to post. It removes the mark of a file's
// encoding and white space around the text, makes line breaks one byte, and changes
// nothing else.
func cleanChat(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", hinted{errors.New("the text is not valid UTF-8"), "convert it first, for example with iconv -t UTF-8; only text can be posted"}
	}
	s = strings.ReplaceAll(strings.TrimPrefix(s, byteOrderMark), "\r\n", "\n")
	s = strings.TrimRightFunc(strings.TrimLeft(s, "\n"), unicode.IsSpace)
	if mark := pasteMark(s); mark != "" {
		return "", hinted{fmt.Errorf("the text begins or ends with %q, which a terminal adds to pasted text", mark), "remove it there"}
	}
	if i := strings.IndexFunc(s, isUnwanted); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return "", hinted{fmt.Errorf("the text has the control character %U in line %d", r, 1+strings.Count(s[:i], "\n")),
			"remove it; programs that print in colour have an option against that, such as --color=never"}
	}
	if !hasVisible(s) {
		return "", errors.New("the text is blank")
	}
	if len(s) > maxPost {
		return "", errTooLong
	}
	return s, nil
}

// isUnwanted reports whether r acts on a terminal or is not a character.
func isUnwanted(r rune) bool {
	control := unicode.IsControl(r) && r != '\n' && r != '\t'
	return control || r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef
}

// blanks are letters and symbols that are drawn as nothing, or stand for something
// that was lost.
const blanks = "\u115f\u1160\u2800\u3164\uffa0\ufffc\ufffd"

// hasVisible reports whether a reader of s sees anything.
func hasVisible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S) && !strings.ContainsRune(blanks, r)
	})
}

// pasteMark returns a mark of a terminal's bracketed paste in s, whole or with lost
// characters, or "".
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

// maxNick bounds a nickname, in bytes: it stands in front of every message.
const maxNick = 32

// checkName refuses names that a person could not type, or that would act on a
// terminal.
func checkName(name string) error { return checkLabel(name, bundle.MaxGroupName) }

func checkLabel(name string, limit int) error {
	switch {
	case strings.TrimSpace(name) == "":
		return errors.New("the name is empty")
	case len(name) > limit:
		return fmt.Errorf("the name has %d bytes; at most %d are allowed", len(name), limit)
	case printableText(name) != name:
		return fmt.Errorf("the name %+q has characters that cannot be printed", name)
	case !hasVisible(name):
		return fmt.Errorf("the name %+q is blank", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the name %q begins or ends with a space", name)
	case pasteMark(name) != "":
		return fmt.Errorf("the name %q has %q, which a terminal adds to pasted text", name, pasteMark(name))
	}
	return nil
}
