// Package catalog knows the plugins that a configuration can use, and what to
// execute for each. It is for the wiring of a relay, and for the tools of authors.
//
// Built-in plugins are compiled into the relay's own binary and still run as
// processes of their own: the running binary is executed once more, with arguments
// that make it the plugin. External plugins are programs of others, which the
// operator declares with path and checksum, or names on the command line. All are a
// [Program].
//
// # What is checked of an external plugin
//
// Before every start of a declared program: the file, every directory above it up to
// the root and every symbolic link on the way belong to root or the user of the relay,
// nobody else can replace them, and the content has the checksum of the
// configuration. The process executes the very file that was opened and read for
// this, wherever its path leads by then. The checksum of a script covers the
// script alone, not its interpreter nor what it imports.
// docs/adr/0007-catalog.md has the reasons.
package catalog

import (
	"fmt"
	"os"
	"slices"

	"github.com/cwtch-relay/cwtch-relay/core/sandbox"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Catalog has the programs of one configuration. It is for one goroutine; its programs
// may be used by several.
type Catalog struct {
	programs []*Program
}

// New returns a catalog of the built-in plugins. mode is the argument that makes
// the relay's binary a built-in plugin when the kind and the name follow.
func New(builtin []plugin.Plugin, mode string) (*Catalog, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	c := &Catalog{}
	for _, b := range builtin {
		d := b.Describe()
		if err := d.Validate(); err != nil {
			return nil, fmt.Errorf("built-in %w", err)
		}
		p := &Program{
			Kind: d.Kind, Name: d.Name, Path: self, Args: []string{mode, string(d.Kind), d.Name},
			Sandbox: &sandbox.Policy{}, builtin: &b,
		}
		if err := c.addProgram(p); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Declare adds an external plugin with the exported fields of p. It checks their form,
// but no file. A plugin that is declared already is returned as it is.
func (c *Catalog) Declare(p Program) (*Program, error) {
	if known := c.findProgram(p.Kind, p.Name); known != nil && !known.IsBuiltIn() {
		return known, nil
	}
	var err error
	if p.sum, err = p.parseChecksum(); err != nil {
		return nil, err
	}
	return &p, c.addProgram(&p)
}

// Lookup finds a program.
func (c *Catalog) Lookup(kind plugin.Kind, name string) (*Program, error) {
	if p := c.findProgram(kind, name); p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("there is no %s plugin %q", kind, name)
}

func (c *Catalog) addProgram(p *Program) error {
	if c.findProgram(p.Kind, p.Name) != nil {
		return fmt.Errorf("there are two %s plugins %q", p.Kind, p.Name)
	}
	c.programs = append(c.programs, p)
	return nil
}

func (c *Catalog) findProgram(kind plugin.Kind, name string) *Program {
	i := slices.IndexFunc(c.programs, func(p *Program) bool { return p.Kind == kind && p.Name == name })
	if i < 0 {
		return nil
	}
	return c.programs[i]
}
