package schema

import (
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Locate returns the range to which a path of a [plugin.Diagnostic] leads: the value of an
// attribute, or the header of a block. If the path leads nowhere, for example to an attribute
// that is not written, it returns the innermost block on the way. The range of the block around
// body is around.
func Locate(body hcl.Body, s plugin.Schema, around hcl.Range, path []string) hcl.Range {
	native, ok := body.(*hclsyntax.Body)
	for ok && len(path) > 0 {
		if attr, written := native.Attributes[path[0]]; written {
			return attr.Expr.Range()
		}
		i := slices.IndexFunc(s.Blocks, func(b plugin.Block) bool { return b.Name == path[0] })
		if i < 0 {
			break
		}
		block, rest := findBlock(native.Blocks, s.Blocks[i], path[1:])
		if block == nil {
			break
		}
		native, s, around, path = block.Body, s.Blocks[i].Schema, block.DefRange(), rest
	}
	return around
}

// findBlock returns the block that the start of a path selects, or nil, and the rest of the
// path.
func findBlock(blocks hclsyntax.Blocks, want plugin.Block, path []string) (*hclsyntax.Block, []string) {
	var written hclsyntax.Blocks
	for _, b := range blocks {
		if b.Type == want.Name {
			written = append(written, b)
		}
	}
	switch {
	case len(written) == 0:
		return nil, nil
	case !want.Repeated && !want.Labelled:
		return written[0], path
	case len(path) == 0:
		return written[0], nil
	case want.Repeated:
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(written) {
			return written[i], path[1:]
		}
		return nil, nil
	}
	for _, b := range written {
		if len(b.Labels) == 1 && b.Labels[0] == path[0] {
			return b, path[1:]
		}
	}
	return nil, nil
}
