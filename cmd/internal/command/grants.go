package command

import (
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// GrantsHelp says what usage means by GRANTS.
const GrantsHelp = `GRANTS are what the sandbox block of the plugin would grant: -read PATH and -sockets PATH (any number of times),
-network, -processes; or -no-sandbox.`

// Grants are what a person lets a program do that the command line names.
type Grants struct {
	Unconfined bool
	network    bool
	policy     sandbox.Policy
}

// Grants adds their flags.
func (f *Flags) Grants() *Grants {
	g := &Grants{}
	f.BoolVar(&g.Unconfined, "no-sandbox", false, "")
	f.BoolVar(&g.network, "network", false, "")
	f.BoolVar(&g.policy.Processes, "processes", false, "")
	f.Func("read", "", appendPath(&g.policy.Read))
	f.Func("sockets", "", appendPath(&g.policy.Sockets))
	return g
}

// appendPath returns a function that appends an absolute path for each flag.
func appendPath(paths *[]string) func(string) error {
	return func(path string) error {
		if err := pathname.Check(path); err != nil {
			return err
		}
		abs, err := filepath.Abs(path)
		*paths = append(*paths, abs)
		return err
	}
}

// Program is the program at a path, with what is granted to it.
func (g *Grants) Program(path string) (*catalog.Program, error) {
	if g.Unconfined {
		return catalog.Named(path, nil)
	}
	policy := g.policy
	if g.network {
		policy.Network = sandbox.Open
	}
	return catalog.Named(path, &policy)
}
