package config

import (
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// PluginConfig is the use of a plugin by a server.
type PluginConfig struct {
	Kind plugin.Kind
	Name string
	// External is the block that declares the plugin; nil if it is built in.
	External *External
	// Schema is the schema that the body of the block was checked against.
	Schema plugin.Schema
	// Msgpack is the body, encoded as [plugin.Schema.Encode] does, with defaults
	// filled in.
	Msgpack []byte
	// Range is the header of the block, or that of the server where the block is
	// left out.
	Range Range

	body   hcl.Body // nil where the block is left out
	header hcl.Range
	doc    *document
}

// locate returns the place in the file that a path of a [plugin.Diagnostic]
// leads to: the value of an attribute, the header of a block, or the innermost
// block on the way that is written.
func (p *PluginConfig) locate(path []string) hcl.Range {
	return schema.Locate(p.body, p.Schema, p.header, path)
}

// Diagnose returns what a plugin found wrong with its configuration in the form
// of all other errors of the file; nil if there is nothing.
func (p *PluginConfig) Diagnose(faults plugin.Diagnostics) error {
	return p.doc.failure(p.diagnose(faults))
}

func (p *PluginConfig) diagnose(faults plugin.Diagnostics) (diags hcl.Diagnostics) {
	for _, f := range faults {
		diags = append(diags, complain(p.locate(f.Path), f.Summary, f.Detail)...)
	}
	return diags
}

// plugin decodes the block, of the given kind, with which a server says which
// plugin it uses; without one it is the default. It is not ok if there are
// errors in it.
func (l *loader) plugin(kind plugin.Kind, name string, blocks hcl.Blocks, server hcl.Range, cfg *Config) (p PluginConfig, ok bool) {
	p = PluginConfig{Kind: kind, Name: name, header: server, doc: l.doc}
	body, label := hcl.EmptyBody(), server
	if len(blocks) > 0 {
		l.once(blocks)
		b := blocks[0]
		p.Name, p.header, p.body = b.Labels[0], b.DefRange, b.Body
		body, label = b.Body, b.LabelRanges[0]
	}
	p.Range = rangeOf(p.header)

	if p.Schema, p.External, ok = l.find(kind, p.Name, label, cfg); !ok {
		return p, false
	}
	value, _, diags := schema.Decode(body, p.Schema, l.eval)
	for _, d := range diags {
		if p.body == nil {
			d.Subject = &server // an empty body has no place of its own
		}
	}
	if l.diags = append(l.diags, diags...); diags.HasErrors() {
		return p, false
	}
	var err error
	if p.Msgpack, err = p.Schema.Encode(value); err != nil {
		l.fail(p.header, err.Error(), "")
	}
	return p, err == nil
}

// validate asks a plugin for faults that its schema can not express.
func (l *loader) validate(server Server, p PluginConfig) {
	if l.plugins.Validate == nil {
		return
	}
	err := l.plugins.Validate(server, p)
	if faults, ok := errors.AsType[plugin.Diagnostics](err); ok {
		l.diags = append(l.diags, p.diagnose(faults)...)
	} else if err != nil {
		l.fail(p.header, fmt.Sprintf("plugin %q refuses its configuration: %v", p.Name, err), "")
	}
}

// find looks a plugin up by its name, which stands at label.
func (l *loader) find(kind plugin.Kind, name string, label hcl.Range, cfg *Config) (s plugin.Schema, e *External, ok bool) {
	if b := l.builtIn(kind, name); b != nil {
		return b.Schema, nil, true
	}
	known := l.named(kind)
	for i, d := range l.declared {
		switch {
		case d.Kind == kind && d.Name == name:
			s, ok := l.describe(d, label)
			return s, &cfg.Plugins[i], ok
		case d.Kind == kind:
			known = append(known, d.Name)
		}
	}
	l.fail(label, fmt.Sprintf("unknown %s plugin %.80q", kind, name),
		schema.Suggest(name, string(kind)+" plugins", known)+
			fmt.Sprintf(" Others need a block: plugin %q \"NAME\" { … }.", kind))
	return s, nil, false
}

func (l *loader) builtIn(kind plugin.Kind, name string) *plugin.Description {
	for i := range l.plugins.BuiltIn {
		if b := &l.plugins.BuiltIn[i]; b.Kind == kind && b.Name == name {
			return b
		}
	}
	return nil
}

// named lists the built-in plugins of a kind.
func (l *loader) named(kind plugin.Kind) (names []string) {
	for _, b := range l.plugins.BuiltIn {
		if b.Kind == kind {
			names = append(names, b.Name)
		}
	}
	return names
}

// declared is an external plugin on the way through the file.
type declared struct {
	External
	sound  bool // its block is in order
	asked  bool
	schema plugin.Schema // what it answered
	err    error
}

// describe asks an external plugin for its schema, once. One whose block is
// not in order has been reported and is not run.
func (l *loader) describe(d *declared, label hcl.Range) (plugin.Schema, bool) {
	if !d.sound {
		return plugin.Schema{}, false
	}
	if !d.asked {
		d.asked = true
		if d.schema, d.err = l.ask(d.External); d.err != nil {
			l.fail(label, fmt.Sprintf("plugin %q can not be used: %v", d.Name, d.err),
				fmt.Sprintf("It is declared on line %d.", d.Range.Line))
		}
	}
	return d.schema, d.err == nil
}

func (l *loader) ask(e External) (plugin.Schema, error) {
	if l.plugins.Describe == nil {
		return plugin.Schema{}, errors.New("external plugins are not supported here")
	}
	s, err := l.plugins.Describe(e)
	if err != nil {
		return plugin.Schema{}, err
	}
	return s, s.Validate()
}
