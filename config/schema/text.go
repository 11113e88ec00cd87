package schema

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Accepts says in words what an attribute takes: "a duration from 1s to 5m".
func Accepts(a plugin.Attribute) string {
	text := map[plugin.Type]string{
		plugin.String:     "a string",
		plugin.Int:        "a whole number",
		plugin.Bool:       "true or false",
		plugin.Duration:   "a duration",
		plugin.Bytes:      "a size",
		plugin.StringList: "a list of strings",
	}[a.Type]
	switch {
	case a.Type == plugin.String && len(a.OneOf) > 0:
		return "one of " + quoted(a.OneOf)
	case len(a.OneOf) > 0:
		text += " out of " + quoted(a.OneOf)
	}
	switch {
	case a.Min != nil && a.Max != nil:
		text += fmt.Sprintf(" from %s to %s", bound(a.Type, *a.Min), bound(a.Type, *a.Max))
	case a.Min != nil:
		text += fmt.Sprintf(" of at least %s", bound(a.Type, *a.Min))
	case a.Max != nil:
		text += fmt.Sprintf(" of at most %s", bound(a.Type, *a.Max))
	}
	return text
}

// Literal writes a value of an attribute, given as in [plugin.Attribute]'s
// Default, in the syntax of the file; nothing is the zero value.
func Literal(a plugin.Attribute, text string) string {
	switch a.Type {
	case plugin.StringList:
		return "[]"
	case plugin.Int, plugin.Bool:
		return text
	}
	return string(hclwrite.TokensForValue(cty.StringVal(text)).Bytes())
}

func quoted(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(out, ", ")
}

func bound(t plugin.Type, n int64) string {
	switch t {
	case plugin.Duration:
		return duration(time.Duration(n))
	case plugin.Bytes:
		return plugin.FormatBytes(n)
	case plugin.StringList:
		return fmt.Sprintf("%d elements", n)
	}
	return fmt.Sprint(n)
}

// duration writes a duration without the zero units that [time.Duration] ends
// with: "2h", not "2h0m0s".
func duration(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
