package config

import (
	"fmt"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Bounds of a configuration file. The parser of hcl is recursive, and a stack overflow ends
// the process. It is also quadratic for some broken input, so its time is bounded by the size
// of the file.
const (
	maxFile    = 256 << 10 // bytes
	maxDepth   = 64        // brackets of all kinds and blocks inside one another
	maxChained = 1000      // operators in the whole file, see deepensTree
)

// checkTokens refuses, before a file is parsed, what the parser or the evaluation of an
// expression could not survive.
func checkTokens(tokens hclsyntax.Tokens) hcl.Diagnostics {
	var depth, chained int
	var last hclsyntax.TokenType
	for _, token := range tokens {
		switch {
		case opensBracket(token.Type):
			depth++
		case closesBracket(token.Type):
			depth = max(depth-1, 0)
		}
		if deepensTree(last, token.Type) {
			chained++
		}
		switch {
		case depth > maxDepth:
			return refuseToken(token, "nested too deeply",
				fmt.Sprintf("At most %d brackets and blocks may be inside one another.", maxDepth))
		case chained > maxChained:
			return refuseToken(token, "too many operators",
				fmt.Sprintf("A file may hold at most %d operators. Values are written plainly here.", maxChained))
		case token.Type == hclsyntax.TokenNumberLit && !fitsFloat64(token.Bytes):
			return refuseToken(token, "number out of range", "Numbers lie between -1e308 and 1e308.")
		}
		last = token.Type
	}
	return nil
}

func opensBracket(t hclsyntax.TokenType) bool {
	switch t {
	case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc,
		hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		return true
	}
	return false
}

func closesBracket(t hclsyntax.TokenType) bool {
	switch t {
	case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc,
		hclsyntax.TokenTemplateSeqEnd:
		return true
	}
	return false
}

// deepensTree reports whether a token makes the syntax tree deeper without opening a bracket:
// operators, indexes and splats after a value, and the directives of templates.
func deepensTree(last, t hclsyntax.TokenType) bool {
	switch t {
	case hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus, hclsyntax.TokenPercent,
		hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan, hclsyntax.TokenLessThanEq,
		hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd, hclsyntax.TokenOr, hclsyntax.TokenBang,
		hclsyntax.TokenDot, hclsyntax.TokenQuestion, hclsyntax.TokenTemplateControl:
		return true
	case hclsyntax.TokenOBrack:
		switch last {
		case hclsyntax.TokenIdent, hclsyntax.TokenNumberLit, hclsyntax.TokenCQuote,
			hclsyntax.TokenCBrack, hclsyntax.TokenCBrace, hclsyntax.TokenCParen:
			return true
		}
	}
	return false
}

// fitsFloat64 reports whether a float64 can hold a number. hcl computes with any exponent,
// and writes 1e100000000 out in full when it becomes a string.
func fitsFloat64(number []byte) bool {
	if len(number) > 400 {
		return false
	}
	_, err := strconv.ParseFloat(string(number), 64)
	return err == nil
}

// refuseLoops refuses expressions whose value is not bounded by the length of their text.
func refuseLoops(body *hclsyntax.Body) hcl.Diagnostics {
	return hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		switch node.(type) {
		case *hclsyntax.ForExpr, *hclsyntax.SplatExpr:
			return faultAt(node.Range(), "loops are not supported", "Write the values out.")
		}
		return nil
	})
}

func refuseToken(token hclsyntax.Token, summary, detail string) hcl.Diagnostics {
	return faultAt(token.Range, summary, detail)
}

func faultAt(at hcl.Range, summary, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: &at}}
}
