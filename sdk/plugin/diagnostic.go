package plugin

import "strings"

// Diagnostic is one fault in a configuration. The relay shows it with the file
// and the line that Path leads to.
type Diagnostic struct {
	Summary string // one sentence, without a full stop: "Cache is smaller than one page"
	Detail  string // what to write instead; may be empty
	// Path names the attribute or block at fault from the outside in, as
	// {"cache", "pages"}; within repeated blocks the index, within labelled ones
	// the label follows the name of the block. Empty: the whole block.
	Path []string
}

// Diagnostics are the faults of a configuration. It is the error that a
// plugin's functions return for a fault the operator can mend in the file; any
// other error is reported without a line.
type Diagnostics []Diagnostic

// Invalid is a single fault at path.
func Invalid(summary, detail string, path ...string) Diagnostics {
	return Diagnostics{{Summary: summary, Detail: detail, Path: path}}
}

func (d Diagnostics) Error() string {
	texts := make([]string, len(d))
	for i, diag := range d {
		texts[i] = diag.String()
	}
	if len(texts) == 0 {
		return "invalid configuration"
	}
	return strings.Join(texts, "; ")
}

func (d Diagnostic) String() string {
	text := d.Summary
	if len(d.Path) > 0 {
		text = strings.Join(d.Path, ".") + ": " + text
	}
	if d.Detail != "" {
		text += " (" + d.Detail + ")"
	}
	return text
}
