package config

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds of an [Error], for a file that is no configuration at all.
const (
	maxDiagnostics = 50
	maxSourceLine  = 160 // characters
	maxText        = 600 // characters of a summary or a hint
)

// Error is what [Load] returns for files that were read and are not valid. It has everything
// that is wrong with them, in the order of each file, but at most 50 mistakes.
type Error struct {
	Diagnostics []Diagnostic `json:"diagnostics"`
}

// Error returns all diagnostics as [Diagnostic.String] writes them, separated
// by an empty line.
func (e *Error) Error() string {
	texts := make([]string, len(e.Diagnostics))
	for i, d := range e.Diagnostics {
		texts[i] = d.String()
	}
	return strings.Join(texts, "\n\n")
}

// Brief returns the first diagnostic on one line, and counts the others.
func (e *Error) Brief() string {
	if len(e.Diagnostics) == 0 {
		return ""
	}
	d := e.Diagnostics[0]
	text := fmt.Sprintf("%s (on %s line %d, column %d)", d.Summary, printableText(d.Range.File, maxText), d.Range.Line, d.Range.Column)
	if d.Hint != "" {
		text += "; hint: " + d.Hint
	}
	switch more := len(e.Diagnostics) - 1; more {
	case 0:
		return text
	case 1:
		return strings.TrimSuffix(text, ".") + "; and 1 more mistake"
	default:
		return fmt.Sprintf("%s; and %d more mistakes", strings.TrimSuffix(text, "."), more)
	}
}

// Diagnostic is one mistake in a configuration file.
type Diagnostic struct {
	// Summary says what is wrong, in a few words.
	Summary string `json:"summary"`
	// Hint says what would be right.
	Hint string `json:"hint,omitempty"`
	// Range is where the mistake is.
	Range Range `json:"range"`
	// Block names the blocks around the mistake, outermost first, as in
	// `server "club", storage "bolt"`; empty at the top of the file.
	Block string `json:"block,omitempty"`
	// Source is the line of the file in which Range starts, cut to 160
	// characters and with unprintable characters replaced.
	Source string `json:"source,omitempty"`
}

// String returns the form that operators read:
//
//	error: unknown option "pathh"
//	  on server.hcl line 10, column 5, in server "club", storage "bolt":
//	  10:     pathh = "messages.db"
//	  hint: Did you mean "path"?
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "error: %s\n  on %s line %d, column %d", d.Summary, printableText(d.Range.File, maxText), d.Range.Line, d.Range.Column)
	if d.Block != "" {
		fmt.Fprintf(&b, ", in %s", d.Block)
	}
	fmt.Fprintf(&b, ":\n  %d:", d.Range.Line)
	if d.Source != "" {
		fmt.Fprintf(&b, " %s", d.Source)
	}
	if d.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", d.Hint)
	}
	return b.String()
}

// Range is a part of a file. Lines and columns start at 1; columns count
// characters, and the end is that of the character after the last one.
type Range struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Column    int    `json:"column"`
	EndLine   int    `json:"end_line"`
	EndColumn int    `json:"end_column"`
}

// String returns "file:line,column".
func (r Range) String() string {
	return fmt.Sprintf("%s:%d,%d", printableText(r.File, maxText), r.Line, r.Column)
}

func rangeOf(r hcl.Range) Range {
	return Range{
		File: r.Filename,
		Line: r.Start.Line, Column: r.Start.Column,
		EndLine: r.End.Line, EndColumn: r.End.Column,
	}
}

// document is a parsed file. It turns the positions of hcl into text for people.
type document struct {
	name string
	file *hcl.File // nil while parsing
	src  []byte
	// included are other files that diagnostics may be about.
	included []*document
}

// indexOf returns which of the files a place is in: 0 for this one, and from 1 on for those
// that are included.
func (doc *document) indexOf(at hcl.Range) int {
	return slices.IndexFunc(doc.included, func(d *document) bool { return d.name == at.Filename }) + 1
}

// documentOf returns the file that a place is in.
func (doc *document) documentOf(at hcl.Range) *document {
	if i := doc.indexOf(at); i > 0 {
		return doc.included[i-1]
	}
	return doc
}

// failureOf returns diagnostics as an error, in the order of the files, or nil if there are
// none. Two servers may have found the same fault.
func (doc *document) failureOf(diags hcl.Diagnostics) error {
	if len(diags) == 0 {
		return nil
	}
	compare := func(a, b *hcl.Diagnostic) int {
		x, y := doc.subjectOf(a), doc.subjectOf(b)
		return cmp.Or(cmp.Compare(doc.indexOf(x), doc.indexOf(y)), cmp.Compare(x.Start.Byte, y.Start.Byte), cmp.Compare(a.Summary, b.Summary))
	}
	diags = slices.Clone(diags)
	slices.SortStableFunc(diags, compare)
	diags = slices.CompactFunc(diags, func(a, b *hcl.Diagnostic) bool { return compare(a, b) == 0 && a.Detail == b.Detail })
	diags = diags[:min(len(diags), maxDiagnostics)]
	e := &Error{Diagnostics: make([]Diagnostic, len(diags))}
	for i, d := range diags {
		e.Diagnostics[i] = doc.newDiagnostic(d)
	}
	return e
}

func (doc *document) newDiagnostic(d *hcl.Diagnostic) Diagnostic {
	at := doc.subjectOf(d)
	doc = doc.documentOf(at)
	summary, hint := lowerFirst(d.Summary), d.Detail
	if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok && call.FunctionCallError() != nil {
		summary = fmt.Sprintf("%s: %v", call.CalledFunctionName(), call.FunctionCallError())
		hint = functionHints[call.CalledFunctionName()]
	}
	switch secret := doc.hasSecret(at); {
	case d.Summary == "Variables not allowed" && !secret:
		summary, hint = doc.explainVariable(at)
	case d.Summary == "Call to unknown function" && !secret:
		hint += " There are " + callHint + "."
	case secret && (d.Summary == "Variables not allowed" || d.Summary == "Call to unknown function"):
		summary, hint = literalPassphrase, passphraseHint
	}
	return Diagnostic{
		Summary: printableText(summary, maxText),
		Hint:    printableText(hint, maxText),
		Range:   rangeOf(at),
		Block:   doc.blocksAt(at),
		Source:  doc.lineAt(at.Start),
	}
}

// subjectOf is the range of a diagnostic. For the few without one it is the start of the
// file.
func (doc *document) subjectOf(d *hcl.Diagnostic) hcl.Range {
	if d.Subject == nil {
		return hcl.Range{Filename: doc.name, Start: hcl.InitialPos, End: hcl.InitialPos}
	}
	return *d.Subject
}

// blocksAt names the blocks around a range. A mistake of the file as a whole is in no block,
// even if the file starts with one.
func (doc *document) blocksAt(at hcl.Range) string {
	if doc.file == nil || at.End.Byte == 0 {
		return ""
	}
	var names []string
	for _, block := range doc.file.BlocksAtPos(at.Start) {
		name := block.Type
		for _, label := range block.Labels {
			name += fmt.Sprintf(" %q", label)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// lineAt returns the line of a position, without a passphrase in it.
func (doc *document) lineAt(pos hcl.Pos) string {
	line := doc.sourceLine(pos)
	if secret := passphraseOption.FindIndex(line); secret != nil {
		line = append(line[:secret[1]:secret[1]], " …"...)
	}
	return printableText(string(bytes.TrimRight(line, "\r \t")), maxSourceLine)
}

func (doc *document) sourceLine(pos hcl.Pos) []byte {
	at := min(max(pos.Byte, 0), len(doc.src))
	start := bytes.LastIndexByte(doc.src[:at], '\n') + 1
	line, _, _ := bytes.Cut(doc.src[start:], []byte("\n"))
	return line
}

// passphraseOption matches what may be in front of a passphrase in a line.
var passphraseOption = regexp.MustCompile(`\bpassphrase\s*=`)

// hasSecret reports whether a place is in a line with a passphrase.
func (doc *document) hasSecret(at hcl.Range) bool {
	return passphraseOption.Match(doc.sourceLine(at.Start))
}

// printableText makes text from a file or a plugin safe to show on a terminal, and at most
// limit characters long.
func printableText(text string, limit int) string {
	var b strings.Builder
	for n, r := range text {
		if n >= limit && utf8.RuneCountInString(text[:n]) >= limit {
			return b.String() + "…"
		}
		if r != '\t' && !unicode.IsPrint(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

func lowerFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToLower(r)) + s[size:]
}
