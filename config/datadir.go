package config

import (
	"bytes"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// DataDir returns the data directory of a file. It examines nothing else in the file, not
// even its syntax. It is for commands that talk to a running relay, whatever has become of
// the file since the relay started.
func DataDir(path string) (string, error) {
	dir, src, err := readFile(path)
	if err != nil {
		return "", err
	}
	line := findOption(path, src, "data_dir")
	// What is in front becomes spaces, so that errors still point to the place.
	doc, body, err := parseFile(path, append(blankOut(src[:line.Start.Byte]), line.SliceBytes(src)...))
	if err != nil {
		return "", err
	}
	doc.src = src
	l := &loader{doc: doc, dir: dir, eval: evalContext(dir, maxSecrets)}
	top, _ := l.openSection(body, body.MissingItemRange(), fileOptions)
	return l.pathOption(top, "data_dir"), doc.failureOf(l.diags)
}

// blankOut replaces everything but line breaks with spaces.
func blankOut(text []byte) []byte {
	out := make([]byte, len(text))
	for i, c := range text {
		if out[i] = ' '; c == '\n' {
			out[i] = c
		}
	}
	return out
}

// findOption returns the range of the first line outside of all blocks that sets an option,
// or an empty range. If a bracket or a quote is never closed, it cannot tell what is outside
// of all blocks; then it takes the first line that begins with the option.
func findOption(name string, src []byte, option string) hcl.Range {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	depth := 0
	for i, token := range tokens {
		if depth == 0 && token.Type == hclsyntax.TokenIdent && string(token.Bytes) == option && tokens[i+1].Type == hclsyntax.TokenEqual {
			return hcl.RangeBetween(token.Range, endOfLine(tokens[i:]))
		}
		switch {
		case opensBracket(token.Type):
			depth++
		case closesBracket(token.Type):
			depth = max(depth-1, 0)
		}
	}
	line := regexp.MustCompile(`(?m)^` + option + `[ \t]*=.*$`).FindIndex(src)
	if depth == 0 || line == nil {
		return hcl.Range{}
	}
	return hcl.Range{Filename: name, Start: hcl.Pos{Byte: line[0]}, End: hcl.Pos{Byte: line[1]}}
}

// endOfLine returns the last token of a line. A line goes on inside of brackets.
func endOfLine(tokens hclsyntax.Tokens) hcl.Range {
	depth := 0
	for i, token := range tokens {
		switch {
		case opensBracket(token.Type):
			depth++
		case closesBracket(token.Type):
			depth--
		case token.Type == hclsyntax.TokenEOF, depth <= 0 && bytes.HasSuffix(token.Bytes, []byte("\n")): // of a comment, too
			return tokens[i-1].Range
		}
	}
	return tokens[len(tokens)-1].Range
}
