package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestTroubleshooting finds every message of the table in operations.md in the
// code: each piece between the parts that differ has to be in a text of the program.
func TestTroubleshooting(t *testing.T) {
	page, err := os.ReadFile("operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "\n## Troubleshooting\n")
	if !ok {
		t.Fatal("the page has no section Troubleshooting")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	texts := programTexts(t)
	messages := 0
	for _, row := range strings.Split(section, "\n") {
		cells := strings.Split(row, " | ")
		if !strings.HasPrefix(row, "| ") || len(cells) != 3 {
			continue
		}
		for _, span := range codeSpan.FindAllStringSubmatch(cells[0], -1) {
			messages++
			for _, piece := range pieces(span[1]) {
				if rest := unsaid(texts, piece); rest != "" {
					t.Errorf("%q: nothing in the code says %q", span[1], rest)
				}
			}
		}
	}
	if messages < 40 {
		t.Errorf("the table has %d messages, and should have more: are they still found?", messages)
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	// variable is what differs from one message to the next. Errors that are put
	// together do so at a colon.
	variable = regexp.MustCompile(`…|: |\b[NM]\b|\b\d+(m\d+)?s?\b`)
	verb     = regexp.MustCompile(`%[-+# 0-9.\[\]]*[a-zA-Z]`)
)

func pieces(message string) []string {
	var found []string
	for _, piece := range variable.Split(message, -1) {
		// Names in the middle are those of one case.
		if piece = strings.Trim(piece, " ,;()?\""); len(piece) > 3 {
			found = append(found, piece)
		}
	}
	return found
}

// shortest is the length from which on a text is taken for a part of a message. All
// words of English stand somewhere.
const shortest = 12

// unsaid returns what of a message the texts do not have. Errors that wrap one
// another are put together, so that a message may come from two of them.
func unsaid(texts, message string) string {
	for message != "" {
		n := len(message)
		for n > 0 && !strings.Contains(texts, message[:n]) {
			n--
		}
		if n < shortest && n < len(message) {
			return message
		}
		message = message[n:]
		if len(message) <= len(" on") {
			break
		}
	}
	return ""
}

// programTexts are all strings of the program, one a line, without what is put
// into them.
func programTexts(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	all.WriteString("executable file not found in $PATH\n") // of os/exec
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "examples"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if text, ok := stringOf(n); ok {
				text = verb.ReplaceAllString(text, "…")
				all.WriteString(strings.Join(strings.Fields(text), " "))
				all.WriteString("\n")
				return false
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// stringOf returns a string of the source, of one or more pieces.
func stringOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.BasicLit:
		if n.Kind == token.STRING {
			text, err := strconv.Unquote(n.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		a, first := stringOf(n.X)
		b, second := stringOf(n.Y)
		return a + b, n.Op == token.ADD && first && second
	}
	return "", false
}
