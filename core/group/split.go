package group

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/crypto/nacl/secretbox"

	"github.com/cwtch-relay/cwtch-relay/core/identity"
	"github.com/cwtch-relay/cwtch-relay/core/tapir"
	"github.com/cwtch-relay/cwtch-relay/core/wire"
)

// SplitChat splits chat into parts that [Group.Seal] takes once [WrapText] has
// wrapped them. A message holds 1786 bytes of chat, fewer where JSON escapes
// characters. A part ends at the last line break in its second half, or else at the
// last space there. SplitChat leaves out white space at both ends of a part, except
// the indentation of its first line, and parts that have nothing else.
//
// The chat is UTF-8.
func SplitChat(chat string) []string {
	var parts []string
	for chat = trimChat(chat); chat != ""; {
		n := breakNear(chat, longestFit(chat))
		if part := trimChat(chat[:n]); part != "" {
			parts = append(parts, part)
		}
		chat = trimChat(chat[n:])
	}
	return parts
}

// trimChat removes empty lines at the beginning and white space at the end.
func trimChat(s string) string {
	s = strings.TrimRightFunc(s, unicode.IsSpace)
	for {
		line, rest, more := strings.Cut(s, "\n")
		if !more || strings.TrimSpace(line) != "" {
			return s
		}
		s = rest
	}
}

// longestFit returns the length of the longest beginning of s that fits a message,
// give or take a few bytes.
func longestFit(s string) int {
	beginning := func(n int) string {
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		return s[:n]
	}
	n := sort.Search(min(len(s), MaxText), func(n int) bool { return !fitsPacket(beginning(n + 1)) })
	return len(beginning(n))
}

// breakNear returns where to break s if n bytes of it fit a message.
func breakNear(s string, n int) int {
	if n == len(s) {
		return n
	}
	if s[n] == '\n' || s[n] == ' ' {
		return n + 1
	}
	if i := strings.LastIndexByte(s[n/2:n], '\n'); i >= 0 {
		return n/2 + i + 1
	}
	if i := strings.LastIndexByte(s[n/2:n], ' '); i >= 0 {
		return n/2 + i + 1
	}
	return breakCharacter(s, n)
}

// breakCharacter moves n back to the beginning of a character of several code
// points, unless that is very long.
func breakCharacter(s string, n int) int {
	const zeroWidthJoiner = '\u200d'
	for i := n; i > n-64 && i > n/2; {
		after, _ := utf8.DecodeRuneInString(s[i:])
		before, size := utf8.DecodeLastRuneInString(s[:i])
		if !unicode.Is(unicode.M, after) && after != zeroWidthJoiner && before != zeroWidthJoiner {
			return i
		}
		i -= size
	}
	return n
}

// fitsPacket reports whether a post of the chat fits a packet.
func fitsPacket(chat string) bool {
	text := WrapText(chat)
	if len(text) > MaxText {
		return false
	}
	message := plainMessage{
		Text: text, Onion: strings.Repeat("a", identity.OnionLen), Timestamp: maxTimestamp, SignedGroupID: make([]byte, 16),
		PreviousMessageSig: make([]byte, 64), Padding: make([]byte, MaxText-len(text)),
	}
	size := nonceSize + len(message.marshalJSON()) + secretbox.Overhead
	return postSize(wire.Envelope{Ciphertext: make([]byte, size), Signature: make([]byte, 64)}) <= tapir.MaxPayload
}
