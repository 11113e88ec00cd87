package config

import (
	"fmt"

	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Sample returns the block with which a server uses a plugin, every option
// explained and shown with its default, in the form of [Template].
func Sample(d plugin.Description) string {
	var t template
	t.writeBlock(fmt.Sprintf("%s %q", d.Kind, d.Name), false, func(t *template) { t.writeOptions(d.Schema) })
	return t.String()
}
