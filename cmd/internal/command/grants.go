package command

import (
	"path/filepath"

	"github.com/urfave/cli/v3"

	"github.com/cwtch-relay/cwtch-relay/core/catalog"
	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
)

// Grants are what a person lets a program do that the command line names.
type Grants struct {
	Unconfined bool
	policy     sandbox.Policy
}

// GrantFlags are the flags that [ReadGrants] reads: what the sandbox block of a plugin would
// grant.
func GrantFlags() []cli.Flag {
	return []cli.Flag{
		pathsFlag("read", "Let the plugin read what is at `PATH`."),
		pathsFlag("sockets", "Let the plugin connect to the sockets in the directory `PATH`."),
		&cli.BoolFlag{Name: "network", Usage: "Let the plugin open network connections."},
		&cli.BoolFlag{Name: "processes", Usage: "Let the plugin start other programs."},
		&cli.BoolFlag{Name: "no-sandbox", Usage: "Run the plugin without a sandbox: it can do what you can."},
	}
}

// ReadGrants reads the flags of [GrantFlags].
func ReadGrants(c *cli.Command) (*Grants, error) {
	g := &Grants{Unconfined: c.Bool("no-sandbox"), policy: sandbox.Policy{Processes: c.Bool("processes")}}
	if c.Bool("network") {
		g.policy.Network = sandbox.Open
	}
	var err error
	if g.policy.Read, err = absolutePaths(c.StringSlice("read")); err != nil {
		return nil, err
	}
	g.policy.Sockets, err = absolutePaths(c.StringSlice("sockets"))
	return g, err
}

// absolutePaths returns absolute forms of paths.
func absolutePaths(paths []string) (absolute []string, err error) {
	for _, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		absolute = append(absolute, abs)
	}
	return absolute, nil
}

// Program is the program at a path, with what is granted to it.
func (g *Grants) Program(path string) (*catalog.Program, error) {
	if g.Unconfined {
		return catalog.Named(path, nil)
	}
	policy := g.policy
	return catalog.Named(path, &policy)
}
