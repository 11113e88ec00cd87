package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"

	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// utf8Text returns the text of a UTF-8 file, without the byte order mark that some editors
// write. For any other file it returns one fault, where the parser would report every
// character.
func utf8Text(name string, src []byte) ([]byte, hcl.Diagnostics) {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	doc := &document{name: name, src: src}
	encoding, at := encodingOf(src), findInvalidByte(src)
	if encoding == "" && at < 0 {
		if at := bytes.IndexByte(src, '\r'); at >= 0 && bytes.IndexByte(src, '\n') < 0 {
			return src, faultAt(doc.rangeOfByte(at), "lines end in carriage returns", "Save it with the ends of lines of Unix.")
		}
		return src, nil
	}
	if encoding != "" {
		return src, faultAt(doc.rangeOfByte(0), "the file is not UTF-8 text but "+encoding,
			fmt.Sprintf("Save it as UTF-8, in an editor or so: iconv -f %s -t UTF-8 %s > server-utf8.hcl", encoding, pathname.Quote(name)))
	}
	return src, faultAt(doc.rangeOfByte(at), "the file is not UTF-8 text", "Save it as UTF-8. Is it a configuration at all?")
}

// encodingOf recognizes what editors may write instead of UTF-8. ASCII characters in these
// encodings are full of zero bytes.
func encodingOf(src []byte) string {
	for _, e := range []struct{ begin, name string }{
		{"\xff\xfe\x00\x00", "UTF-32"}, {"\x00\x00\xfe\xff", "UTF-32"}, {"\xff\xfe", "UTF-16"}, {"\xfe\xff", "UTF-16"},
	} {
		if bytes.HasPrefix(src, []byte(e.begin)) {
			return e.name
		}
	}
	if len(src) < 4 || len(src)%2 != 0 {
		return ""
	}
	switch zero := [4]bool{src[0] == 0, src[1] == 0, src[2] == 0, src[3] == 0}; zero {
	case [4]bool{false, true, true, true}:
		return "UTF-32LE"
	case [4]bool{true, true, true, false}:
		return "UTF-32BE"
	case [4]bool{false, true, false, true}:
		return "UTF-16LE"
	case [4]bool{true, false, true, false}:
		return "UTF-16BE"
	}
	return ""
}

// findInvalidByte returns the position of the first byte that UTF-8 text cannot have, or -1.
func findInvalidByte(src []byte) int {
	for at := 0; at < len(src); {
		r, size := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && size == 1 || r == 0 {
			return at
		}
		at += size
	}
	return -1
}

// rangeOfByte returns the position of a byte as an empty range.
func (doc *document) rangeOfByte(at int) hcl.Range {
	before := doc.src[:at]
	line := bytes.LastIndexByte(before, '\n') + 1
	start := hcl.Pos{Line: bytes.Count(before, []byte("\n")) + 1, Column: utf8.RuneCount(before[line:]) + 1, Byte: at}
	return hcl.Range{Filename: doc.name, Start: start, End: start}
}

// callHint describes the functions.
const callHint = `env("NAME"), an environment variable, and file("PATH"), the content of a file`

// explainVariable guesses what was meant by a name where no name can stand.
func (doc *document) explainVariable(at hcl.Range) (summary, hint string) {
	name := string(at.SliceBytes(doc.src))
	summary = fmt.Sprintf("there is no variable %.80q here", name)
	if bytes.HasSuffix(bytes.TrimRight(doc.src[:at.Start.Byte], " \t~"), []byte("${")) {
		return summary, fmt.Sprintf("For an environment variable write ${env(%q)}; for the characters themselves, $${ in place of ${.", name)
	}
	return summary, fmt.Sprintf("Text is in quotes: %q. Else there are %s.", name, callHint)
}
