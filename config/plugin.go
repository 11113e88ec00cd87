package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// maxUses bounds the stats and the peersync plugins of a server: each is a
// process.
const maxUses = 16

// PluginUse is the block with which a server uses a plugin.
type PluginUse struct {
	Kind plugin.Kind
	Name string
	// Instance tells the uses of a kind by one server apart: it is the name, and
	// NAME#2 for the second block of that name and so on, in the order of the file.
	Instance string
	// External is the block that declares the plugin; nil if it is built in.
	External *External
	// Schema is the schema that the body of the block was checked against.
	Schema plugin.Schema
	// Msgpack is the body, encoded as [plugin.Schema.Encode] does, with defaults
	// filled in.
	Msgpack []byte
	Listen  []plugin.ListenAddress // in the body
	// Fault is why the plugin cannot be used, an [*Error], with
	// Plugins.KeepFaults; Schema, Msgpack and Listen may be empty then.
	Fault error
	// Range is the header of the block, or that of the server if the block is left out.
	Range Range

	cannotPrune bool // the plugin says so

	body   hcl.Body // nil if the block is left out
	header hcl.Range
	doc    *document
}

// locatePath returns the place in the file that a path of a [plugin.Diagnostic]
// leads to: the value of an attribute, the header of a block, or the innermost
// block on the way that is written.
func (p *PluginUse) locatePath(path []string) hcl.Range {
	return schema.Locate(p.body, p.Schema, p.header, path)
}

// Diagnose returns what a plugin found wrong with its configuration in the form
// of all other errors of the file; nil if there is nothing.
func (p *PluginUse) Diagnose(faults plugin.Diagnostics) error {
	return p.doc.failureOf(p.toDiagnostics(faults))
}

func (p *PluginUse) toDiagnostics(faults plugin.Diagnostics) (diags hcl.Diagnostics) {
	for _, f := range faults {
		diags = append(diags, faultAt(p.locatePath(f.Path), f.Summary, f.Detail)...)
	}
	return diags
}

// loadStorage decodes the block with which a server says where it keeps its
// messages; without one it is the default.
func (l *loader) loadStorage(blocks hcl.Blocks, header hcl.Range, cfg *Config) PluginUse {
	p := PluginUse{Kind: plugin.KindStorage, Name: defaultStorage, Instance: defaultStorage, header: header, doc: l.doc}
	label := header
	if len(blocks) > 0 {
		l.refuseRepeated(blocks)
		b := blocks[0]
		p.Name, p.Instance, p.header, p.body, label = b.Labels[0], b.Labels[0], b.DefRange, b.Body, b.LabelRanges[0]
	}
	l.loadUse(&p, label, cfg)
	return p
}

// loadUses decodes the blocks of a kind that may occur several times in a server.
func (l *loader) loadUses(kind plugin.Kind, blocks hcl.Blocks, cfg *Config) (list []PluginUse) {
	if len(blocks) > maxUses {
		l.addFault(blocks[maxUses].DefRange, fmt.Sprintf("more than %d %s plugins in one server", maxUses, kind), "Leave some out.")
		blocks = blocks[:maxUses]
	}
	times := make(map[string]int)
	for _, b := range blocks {
		name := b.Labels[0]
		p := PluginUse{Kind: kind, Name: name, Instance: name, header: b.DefRange, doc: l.doc, body: b.Body}
		if times[name]++; times[name] > 1 {
			p.Instance = fmt.Sprintf("%s#%d", name, times[name])
		}
		l.loadUse(&p, b.LabelRanges[0], cfg)
		list = append(list, p)
	}
	return list
}

// loadUse decodes the body of a block for the plugin with the name at label, and has the
// plugin validate it.
func (l *loader) loadUse(p *PluginUse, label hcl.Range, cfg *Config) {
	p.Range = rangeOf(p.header)
	var ok bool
	var described plugin.Description
	if described, p.External, ok = l.findPlugin(p, label, cfg); !ok {
		return
	}
	p.Schema, p.cannotPrune = described.Schema, !slices.Contains(described.Capabilities, plugin.Prune)
	body := p.body
	if body == nil {
		body = hcl.EmptyBody()
	}
	value, _, diags := schema.Decode(body, p.Schema, l.eval)
	for _, d := range diags {
		if p.body == nil {
			d.Subject = &label // an empty body has no place of its own
		}
	}
	if l.diags = append(l.diags, diags...); diags.HasErrors() {
		return
	}
	p.Listen = p.Schema.ListenAddresses(value)
	var err error
	if p.Msgpack, err = p.Schema.Encode(value); err != nil {
		l.addFault(p.header, err.Error(), "")
		return
	}
	l.askValidate(p)
}

// askValidate asks a plugin for faults that its schema cannot express. In a file
// with other errors it is asked as well, so that all come at once.
func (l *loader) askValidate(p *PluginUse) {
	if l.plugins.Validate == nil {
		return
	}
	err := l.plugins.Validate(*p)
	if faults, ok := errors.AsType[plugin.Diagnostics](err); ok {
		l.diags = append(l.diags, p.toDiagnostics(faults)...)
	} else if err != nil {
		l.failUse(p, faultAt(p.header, fmt.Sprintf("plugin %q refuses its configuration: %v", p.Name, err), ""))
	}
}

// failUse reports a fault that concerns one server only.
func (l *loader) failUse(p *PluginUse, diags hcl.Diagnostics) {
	if l.plugins.KeepFaults {
		p.Fault = l.doc.failureOf(diags)
		l.kept = append(l.kept, diags...)
	} else {
		l.diags = append(l.diags, diags...)
	}
}

// findPlugin looks a plugin up by its name, which stands at label.
func (l *loader) findPlugin(p *PluginUse, label hcl.Range, cfg *Config) (described plugin.Description, e *External, ok bool) {
	kind, name := p.Kind, p.Name
	if b := l.builtIn(kind, name); b != nil {
		return *b, nil, true
	}
	known := l.builtInNames(kind)
	for i, d := range l.declared {
		switch {
		case d.Kind == kind && d.Name == name:
			described, ok := l.describeExternal(d, p, label)
			return described, &cfg.Plugins[i], ok
		case d.Kind == kind:
			known = append(known, d.Name)
		}
	}
	l.addFault(label, fmt.Sprintf("unknown %s plugin %.80q", kind, name),
		schema.Suggest(name, string(kind)+" plugins", known)+
			fmt.Sprintf(" Others need a block: plugin %q \"NAME\" { … }.", kind))
	return described, nil, false
}

func (l *loader) builtIn(kind plugin.Kind, name string) *plugin.Description {
	for i := range l.plugins.BuiltIn {
		if b := &l.plugins.BuiltIn[i]; b.Kind == kind && b.Name == name {
			return b
		}
	}
	return nil
}

// builtInNames lists the built-in plugins of a kind.
func (l *loader) builtInNames(kind plugin.Kind) (names []string) {
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
	header  hcl.Range
	sandbox section
	sound   bool // its block is in order
	asked   bool
	answer  plugin.Description
	err     error
}

// describeExternal asks an external plugin what it is, once. One whose block is not in
// order has been reported and is not run.
func (l *loader) describeExternal(d *declared, p *PluginUse, label hcl.Range) (plugin.Description, bool) {
	if !d.sound {
		return plugin.Description{}, false
	}
	first := !d.asked
	if first {
		d.asked = true
		d.answer, d.err = l.askExternal(d.External)
	}
	switch {
	case !first && !l.plugins.KeepFaults: // was reported
	case d.err == nil:
		l.checkGrants(d, label)
	default:
		l.failUse(p, faultAt(label, fmt.Sprintf("plugin %q cannot be used: %v", d.Name, d.err),
			fmt.Sprintf("It is declared on %s.", l.describePlace(d.header, label))))
	}
	return d.answer, d.err == nil
}

func (l *loader) askExternal(e External) (plugin.Description, error) {
	if l.plugins.Describe == nil {
		return plugin.Description{}, errors.New("external plugins are not supported here")
	}
	d, err := l.plugins.Describe(e)
	if err != nil {
		return plugin.Description{}, err
	}
	return d, d.Validate()
}

// checkGrants compares what a plugin says it needs with what the operator lets it
// do. Connections are asked for by the one and granted by the other, or closed;
// for a plugin that is not confined there is nothing to grant.
func (l *loader) checkGrants(d *declared, label hcl.Range) {
	asks, granted := d.answer.Network != "", d.Sandbox.Network || len(d.Sandbox.Sockets) > 0
	option := "sockets"
	if d.Sandbox.Network {
		option = "network"
	}
	switch {
	case granted && d.Kind == plugin.KindPeerSync:
		l.addFault(d.sandbox.rangeOf(option), fmt.Sprintf("no peersync plugin gets %s", option), "Leave this out: the relay itself sends what the plugin has for others.")
	case granted && !asks:
		l.addFault(d.sandbox.rangeOf(option), fmt.Sprintf("plugin %q does not ask for connections", d.Name), "Leave this out.")
	case asks && d.Kind == plugin.KindPeerSync:
		l.addFault(label, fmt.Sprintf("plugin %q wants the network, and no peersync plugin gets it: %s", d.Name, d.answer.Network), "Use another plugin.")
	case asks && !granted && !d.Sandbox.Off:
		l.addFault(label, fmt.Sprintf("plugin %q needs the network: %s", d.Name, d.answer.Network),
			fmt.Sprintf("If you agree, grant it in its block on %s: sandbox { sockets = [\"/DIRECTORY\"] } for the unix sockets in a directory, or sandbox { network = true } for the whole network.", l.describePlace(d.header, label)))
	}
}
