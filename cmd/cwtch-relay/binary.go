package main

import (
	"path/filepath"

	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/pathname"
)

// grants are what a person lets a program do that the command line names, as the
// sandbox block of a configuration would.
type grants struct {
	off, network bool
	policy       sandbox.Policy
}

// newGrants adds their flags.
func newGrants(f *flags) *grants {
	g := &grants{}
	f.BoolVar(&g.off, "no-sandbox", false, "")
	f.BoolVar(&g.network, "network", false, "")
	f.BoolVar(&g.policy.Processes, "processes", false, "")
	f.Func("read", "", func(path string) error {
		if err := pathname.Check(path); err != nil {
			return err
		}
		abs, err := filepath.Abs(path)
		g.policy.Read = append(g.policy.Read, abs)
		return err
	})
	return g
}

// program returns the program at a path.
func (g *grants) program(path string) (*catalog.Program, error) {
	if g.off {
		return catalog.Named(path, nil)
	}
	if g.network {
		g.policy.Network = sandbox.Open
	}
	return catalog.Named(path, &g.policy)
}
