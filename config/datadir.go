package config

import (
	"bytes"
	"regexp"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// DataDir returns the data directory of a file, and examines nothing else in
// it, its syntax included. It is for commands that speak to a running relay,
// whatever the file has become since that has started.
func DataDir(path string) (string, error) {
	dir, src, err := read(path)
	if err != nil {
		return "", err
	}
	line := findOption(path, src, "data_dir")
	// What is in front becomes spaces, so that errors still point to the place.
	doc, body, err := parseFile(path, append(blank(src[:line.Start.Byte]), line.SliceBytes(src)...))
	if err != nil {
		return "", err
	}
	doc.src = src
	l := &loader{doc: doc, dir: dir, eval: evalContext(dir)}
	top, _ := l.openSection(body, body.MissingItemRange(), fileOptions)
	return l.pathOption(top, "data_dir"), doc.failureOf(l.diags)
}

// blank is a text of the same lines with nothing in them.
func blank(text []byte) []byte {
	out := make([]byte, len(text))
	for i, c := range text {
		if out[i] = ' '; c == '\n' {
			out[i] = c
		}
	}
	return out
}

// findOption finds the first line outside of all blocks that sets an option, with its
// value. Where a bracket or a quote is never closed, nobody can tell what is outside: there
// it takes the first line that begins with the option. Without such a line the range is empty.
func findOption(name string, src []byte, option string) hcl.Range {
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	depth := 0
	for i, token := range tokens {
		if depth == 0 && token.Type == hclsyntax.TokenIdent && string(token.Bytes) == option && tokens[i+1].Type == hclsyntax.TokenEqual {
			return hcl.RangeBetween(token.Range, lineEnd(tokens[i:]))
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

// lineEnd is the last token of a line, which goes on inside of brackets.
func lineEnd(tokens hclsyntax.Tokens) hcl.Range {
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
