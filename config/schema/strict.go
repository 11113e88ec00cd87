package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// strict is a body that reports every unknown name together with all known ones; hcl itself
// suggests one at most.
type strict struct {
	*hclsyntax.Body
	others []hcl.BlockHeaderSchema // blocks to pass over
}

// Content implements [hcl.Body].
func (b strict) Content(known *hcl.BodySchema) (*hcl.BodyContent, hcl.Diagnostics) {
	content, _, diags := b.PartialContent(known)
	return content, append(diags, b.unknownNames(known)...)
}

// PartialContent implements [hcl.Body]; the bodies of the blocks that it
// returns are strict in turn.
func (b strict) PartialContent(known *hcl.BodySchema) (*hcl.BodyContent, hcl.Body, hcl.Diagnostics) {
	content, rest, diags := b.Body.PartialContent(known)
	explainLabels(diags, known)
	for _, block := range content.Blocks {
		block.Body = strict{Body: block.Body.(*hclsyntax.Body)}
	}
	return content, rest, diags
}

// explainLabels shows how to write a block that has too few names behind its kind, or too many.
// hcl counts "labels", a word that nobody has read before.
func explainLabels(diags hcl.Diagnostics, known *hcl.BodySchema) {
	for _, d := range diags {
		if !strings.HasPrefix(d.Detail, "All ") && !strings.HasPrefix(d.Detail, "Only ") && !strings.HasPrefix(d.Detail, "No labels ") {
			continue
		}
		for _, block := range known.Blocks {
			if !strings.HasSuffix(d.Summary, " for "+block.Type) {
				continue
			}
			form := block.Type
			for _, label := range block.LabelNames {
				form += fmt.Sprintf(" %q", strings.ToUpper(label))
			}
			d.Detail = fmt.Sprintf("Write it as: %s { … }.", form)
		}
	}
}

func (b strict) unknownNames(known *hcl.BodySchema) (diags hcl.Diagnostics) {
	var attributes, blocks []string
	for _, a := range known.Attributes {
		attributes = append(attributes, a.Name)
	}
	for _, block := range append(slices.Clip(known.Blocks), b.others...) {
		blocks = append(blocks, block.Type)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Attributes)) {
		switch {
		case slices.Contains(attributes, name):
		case slices.Contains(blocks, name):
			diags = append(diags, faultAt(b.Attributes[name].NameRange, fmt.Sprintf("%q is a block, not an option", name),
				fmt.Sprintf("Write it without the equals sign: %s { … }.", name)))
		default:
			diags = append(diags, faultAt(b.Attributes[name].NameRange, fmt.Sprintf("unknown option %q", clipName(name)),
				Suggest(name, "options", attributes)))
		}
	}
	for _, block := range b.Blocks {
		switch {
		case slices.Contains(blocks, block.Type):
		case slices.Contains(attributes, block.Type):
			diags = append(diags, faultAt(block.TypeRange, fmt.Sprintf("%q is an option, not a block", block.Type),
				fmt.Sprintf("Write it with an equals sign: %s = ….", block.Type)))
		default:
			diags = append(diags, faultAt(block.TypeRange, fmt.Sprintf("unknown block %q", clipName(block.Type)),
				Suggest(block.Type, "blocks", blocks)))
		}
	}
	return diags
}

func faultAt(at hcl.Range, summary, detail string) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}
}

// maxClip bounds how much of a name an error quotes.
const maxClip = 64

func clipName(name string) string {
	if len(name) > maxClip {
		return strings.ToValidUTF8(name[:maxClip], "") + "…"
	}
	return name
}

// Suggest says which of the known names was probably meant, or lists all of them. What is the
// word for the things named.
func Suggest(name, what string, known []string) string {
	nearest, ok := Nearest(name, known)
	switch {
	case ok:
		return fmt.Sprintf("Did you mean %q?", nearest)
	case len(known) == 0:
		return fmt.Sprintf("There are no %s here.", what)
	}
	return fmt.Sprintf("Known %s: %s.", what, strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

// Nearest returns the known name that was probably meant, if there is one: the only one
// that begins with name, or one of which less than half has to be edited.
func Nearest(name string, known []string) (nearest string, ok bool) {
	known = slices.Compact(slices.Sorted(slices.Values(known))) // some come in the order of a map
	begun := slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, name) })
	if len(begun) == 1 && len(name) > 1 {
		return begun[0], true
	}
	first := name[:min(1, len(name))] // is seldom the slip
	least := 3                        // as in hcl: two edits are a slip, three another name
	for _, k := range known {
		d := editDistance(name, k)
		likelier := d == least && strings.HasPrefix(k, first) && !strings.HasPrefix(nearest, first)
		if (d < least || likelier && nearest != "") && 2*d < max(len(k), len(name)) {
			nearest, least = k, d
		}
	}
	return nearest, nearest != ""
}

// editDistance counts the letters to insert, delete or replace, and the neighbours to
// exchange, to get from one name to the other. It does not compare names of very different
// length.
func editDistance(a, b string) int {
	if max(len(a), len(b))-min(len(a), len(b)) > 2 {
		return max(len(a), len(b))
	}
	var before []int // the row above the one above
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = above[j]
			if a[i] != b[j] {
				row[j+1] = 1 + min(above[j], above[j+1], row[j])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], 1+before[j-1])
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
