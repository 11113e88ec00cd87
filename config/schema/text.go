package schema

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Accepts describes the values of an attribute: "a duration from 1s to 5m".
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
	case a.Listener:
		return "an IP address and a port other than 0"
	case a.Type == plugin.String && len(a.OneOf) > 0:
		return "one of " + quoteWords(a.OneOf)
	case len(a.OneOf) > 0:
		text += " out of " + quoteWords(a.OneOf)
	}
	switch {
	case a.Min != nil && a.Max != nil:
		text += fmt.Sprintf(" from %s to %s", formatBound(a.Type, *a.Min), formatBound(a.Type, *a.Max))
	case a.Min != nil:
		text += fmt.Sprintf(" of at least %s", formatBound(a.Type, *a.Min))
	case a.Max != nil:
		text += fmt.Sprintf(" of at most %s", formatBound(a.Type, *a.Max))
	}
	return text
}

// Default writes the default of an attribute in the syntax of the file, or null if it has none.
func Default(a plugin.Attribute) string {
	switch {
	case a.Default == "":
		return "null"
	case a.Type == plugin.Int || a.Type == plugin.Bool:
		return a.Default
	}
	return Literal(a.Default)
}

// Example writes a value that an attribute accepts.
func Example(a plugin.Attribute) string {
	limit := a.Min
	if limit == nil {
		limit = a.Max
	}
	switch {
	case a.Default != "":
		return Default(a)
	case a.Listener:
		return Literal("127.0.0.1:9464")
	case a.Type == plugin.StringList && len(a.OneOf) > 0:
		return "[" + Literal(a.OneOf[0]) + "]"
	case len(a.OneOf) > 0:
		return Literal(a.OneOf[0])
	case a.Type == plugin.Bool:
		return "true"
	case a.Type == plugin.StringList:
		return `["TEXT"]`
	case a.Type == plugin.String:
		return Literal(strings.ToUpper(a.Name))
	case a.Type == plugin.Int && limit != nil:
		return formatBound(a.Type, *limit)
	case limit != nil:
		return Literal(formatBound(a.Type, *limit))
	case a.Type == plugin.Int:
		return "1"
	case a.Type == plugin.Duration:
		return `"90s"`
	}
	return `"64MiB"`
}

// Literal writes a string as in a configuration file, in quotes.
func Literal(text string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(text)).Bytes())
}

func quoteWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = fmt.Sprintf("%q", w)
	}
	return strings.Join(out, ", ")
}

func formatBound(t plugin.Type, n int64) string {
	switch t {
	case plugin.Duration:
		return formatDuration(time.Duration(n))
	case plugin.Bytes:
		return plugin.FormatBytes(n)
	case plugin.StringList:
		return fmt.Sprintf("%d elements", n)
	}
	return fmt.Sprint(n)
}

// formatDuration writes a duration without the zero units that [time.Duration] ends
// with: "2h", not "2h0m0s". Whole days are written as such, from two on.
func formatDuration(d time.Duration) string {
	if day := 24 * time.Hour; d >= 2*day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
