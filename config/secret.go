package config

import (
	"fmt"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Secret is a text that is never printed.
type Secret string

const redacted = "[secret]" // as in package identity

// Format implements [fmt.Formatter].
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText implements [encoding.TextMarshaler].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const (
	literalPassphrase = "the passphrase must not stand in this file"
	passphraseHint    = `Write passphrase = file("PATH") or passphrase = env("NAME").`
)

// loadPassphrase returns the passphrase of a server, and refuses one that is written out.
func (l *loader) loadPassphrase(sec section) Secret {
	body, ok := sec.body.(*hclsyntax.Body)
	if !ok || !sec.isSet("passphrase") {
		return ""
	}
	if attribute := body.Attributes["passphrase"]; attribute != nil && !callsFunction(attribute.Expr) {
		l.addFault(sec.rangeOf("passphrase"), literalPassphrase, passphraseHint)
		return ""
	}
	return Secret(sec.textOf("passphrase"))
}

// callsFunction reports whether the value of an expression comes from a function.
func callsFunction(expr hclsyntax.Expression) (found bool) {
	hclsyntax.VisitAll(expr, func(node hclsyntax.Node) hcl.Diagnostics { //nolint:errcheck // gives none
		_, isCall := node.(*hclsyntax.FunctionCallExpr)
		found = found || isCall
		return nil
	})
	return found
}
