package plugin

import "strings"

// Diagnostic is one fault in a configuration. The relay shows it with the file
// and the line that Path leads to.
type Diagnostic struct {
	Summary string // one sentence, without a full stop: "Cache is smaller than one page"
	Detail  string // what to write instead; may be empty
	// Path leads to the attribute or block from the outside in, such as {"cache",
	// "pages"}. After the name of a repeated block comes its index, after that of a
	// labelled block its label. An empty path means the whole plugin block.
	Path []string
}

// Diagnostics are the faults of a configuration. A plugin's functions return it as the error
// for faults that the operator can mend in the file. Any other error is shown without a
// line.
type Diagnostics []Diagnostic

// Invalid returns a single fault at path.
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
