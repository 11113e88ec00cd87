package onion

import (
	"errors"
	"strconv"
	"strings"

	"github.com/cretz/bine/control"
)

// unquote reads the quoted string at the beginning of text, as tor writes one in
// replies and reads one in a torrc (unescape_string in its source): in double
// quotes, with escapes as in C. rest follows the string.
func unquote(text string) (value, rest string, err error) {
	if text == "" || text[0] != '"' {
		return "", text, errNotQuoted
	}
	var b strings.Builder
	for at := 1; at < len(text); at++ {
		switch c := text[at]; {
		case c == '"':
			return b.String(), text[at+1:], nil
		case c != '\\':
			b.WriteByte(c)
		default:
			char, size := unescape(text[at+1:])
			if size == 0 {
				return "", text, errNotQuoted
			}
			b.WriteByte(char)
			at += size
		}
	}
	return "", text, errNotQuoted
}

var errNotQuoted = errors.New("not a quoted string")

// unescape reads what follows a backslash. The size is 0 if tor does not write such
// an escape.
func unescape(text string) (char byte, size int) {
	if text == "" {
		return 0, 0
	}
	if i := strings.IndexByte(`ntr"'\`, text[0]); i >= 0 {
		return "\n\t\r\"'\\"[i], 1
	}
	if text[0] == 'x' && len(text) >= 3 {
		n, err := strconv.ParseUint(text[1:3], 16, 8)
		if err != nil {
			return 0, 0
		}
		return byte(n), 3
	}
	for size < min(3, len(text)) && '0' <= text[size] && text[size] <= '7' {
		size++
	}
	n, err := strconv.ParseUint(text[:size], 8, 8)
	if err != nil {
		return 0, 0
	}
	return byte(n), size
}

// authMethods asks tor whether it needs no authentication, and for the path of its
// cookie file.
func authMethods(conn *control.Conn) (none bool, cookieFile string, err error) {
	resp, err := conn.SendRequest("PROTOCOLINFO 1")
	if err != nil {
		return false, "", err
	}
	for _, line := range resp.Data {
		auth, ok := strings.CutPrefix(line, "AUTH METHODS=")
		if !ok {
			continue
		}
		methods, after, _ := strings.Cut(auth, " ")
		for method := range strings.SplitSeq(methods, ",") {
			none = none || method == "NULL"
		}
		if quoted, ok := strings.CutPrefix(after, "COOKIEFILE="); ok {
			if cookieFile, _, err = unquote(quoted); err != nil {
				return false, "", errors.New("tor names a file for its cookie that cannot be read")
			}
		}
	}
	return none, cookieFile, nil
}

// stripComment returns a line of a torrc without its comment, which begins with a #
// outside of quotes.
func stripComment(line string) string {
	for at := 0; at < len(line); at++ {
		switch line[at] {
		case '#':
			return line[:at]
		case '"':
			if _, rest, err := unquote(line[at:]); err == nil {
				at = len(line) - len(rest) - 1
			}
		}
	}
	return line
}

// TorrcLines returns the lines of a text for [TorConfig.Torrc], without comments and
// empty lines.
func TorrcLines(text string) (lines []string) {
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		if line = strings.TrimSpace(stripComment(line)); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
