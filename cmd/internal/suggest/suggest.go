// Package suggest says which command or flag was probably meant. It is for the hints of
// commands.
package suggest

import (
	"flag"
	"fmt"
	"strings"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
)

// Name is the beginning of a hint that names the nearest of the known names, with prefix
// in front of it. It is empty if none is near.
func Name(prefix, name string, known []string) string {
	nearest, ok := schema.Nearest(name, known)
	if !ok {
		return ""
	}
	return fmt.Sprintf("Did you mean %q? ", prefix+nearest)
}

// Flag is [FlagName] for the flags of fs.
func Flag(fs *flag.FlagSet, err error) string {
	var known []string
	fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	return FlagName(err, known)
}

// FlagName is [Name] for an error that says that a flag is not known. It is empty for other
// errors.
func FlagName(err error, known []string) string {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return ""
	}
	return Name("-", name, known)
}
