package config

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/cwtch-relay/cwtch-relay/config/schema"
	"github.com/cwtch-relay/cwtch-relay/sdk/plugin"
)

// Load reads, decodes and checks a file. It starts and writes nothing, apart
// from what plugins.Describe and plugins.Validate do. The error is an [*Error] unless the file
// could not be read. A file with errors of syntax is not examined further.
func Load(path string, plugins Plugins) (*Config, error) {
	l, body, err := begin(path, plugins)
	if err != nil {
		return nil, err
	}
	cfg := l.load(body)
	if err := l.doc.failure(l.diags); err != nil {
		return nil, err
	}
	return cfg, nil
}

// begin reads and parses a file.
func begin(path string, plugins Plugins) (*loader, *hclsyntax.Body, error) {
	dir, src, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	doc, body, err := parse(path, src)
	if err != nil {
		return nil, nil, err
	}
	return &loader{doc: doc, dir: dir, plugins: plugins, eval: evaluation(dir)}, body, nil
}

// read returns the text of a file, and the directory that it is in.
func read(path string) (dir string, src []byte, err error) {
	if dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return "", nil, fmt.Errorf("find configuration: %w", err)
	}
	if src, err = readBounded(path, maxFile); err != nil {
		return "", nil, fmt.Errorf("read configuration: %w", err)
	}
	src, err = utf8Text(path, src)
	return dir, src, err
}

// parse is the part of Load that a file cannot survive with an error.
func parse(name string, src []byte) (*document, *hclsyntax.Body, error) {
	doc := &document{name: name, src: src}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos) // the parser repeats the errors
	if diags := guard(tokens); diags.HasErrors() {
		return nil, nil, doc.failure(diags)
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	doc.file = file
	if diags.HasErrors() {
		return nil, nil, doc.failure(diags)
	}
	body := file.Body.(*hclsyntax.Body)
	if diags := bounded(body); diags.HasErrors() {
		return nil, nil, doc.failure(diags)
	}
	return doc, body, nil
}

// loader collects what is wrong on the way through one file.
type loader struct {
	doc      *document
	dir      string // of the file
	plugins  Plugins
	eval     *hcl.EvalContext
	private  []string    // directories with keys
	declared []*declared // as in Config.Plugins
	diags    hcl.Diagnostics
	kept     hcl.Diagnostics // that are the Fault of a plugin
}

func (l *loader) fail(at hcl.Range, summary, hint string) {
	l.diags = append(l.diags, complain(at, summary, hint)...)
}

// load walks the file from the top. Blocks come in an order of their own, so
// that a server finds the plugins that are declared below it.
func (l *loader) load(body *hclsyntax.Body) *Config {
	top, blocks := l.open(body, body.MissingItemRange(), fileOptions,
		hcl.BlockHeaderSchema{Type: "network", LabelNames: []string{"kind"}},
		hcl.BlockHeaderSchema{Type: "log"},
		hcl.BlockHeaderSchema{Type: "limits"},
		hcl.BlockHeaderSchema{Type: "plugin", LabelNames: []string{"kind", "name"}},
		hcl.BlockHeaderSchema{Type: "server", LabelNames: []string{"name"}})
	of := blocks.ByType()

	cfg := &Config{DataDir: l.path(top, "data_dir")}
	usable := l.directory(top.at("data_dir"), cfg.DataDir, true)
	cfg.Network = l.network(of["network"], cfg.DataDir)
	l.private = []string{cfg.DataDir}
	if t := cfg.Network.Tor; t != nil {
		l.private = append(l.private, t.DataDir)
	}
	cfg.Log = l.log(l.single(of["log"], logOptions))
	cfg.Limits = l.limits(l.single(of["limits"], limitOptions))
	cfg.Plugins = l.externals(of["plugin"])
	cfg.Servers = l.servers(of["server"], cfg)
	l.apartListeners(cfg)
	l.present(body, "network", `Add network "tor" {}.`)
	l.present(body, "server", `Add server "main" {}.`)
	if usable {
		for i, s := range cfg.Servers {
			if summary, hint := examine(s.Dir, true); summary != "" {
				l.failUse(&cfg.Servers[i].Storage, complain(of["server"][i].DefRange, summary, hint))
			}
		}
	}
	if l.diags.HasErrors() || !slices.ContainsFunc(cfg.Servers, func(s Server) bool { return s.Storage.Fault == nil }) {
		l.diags = append(l.diags, l.kept...)
	}
	return cfg
}

// section is a block that was decoded. The values of options that are wrong
// are unknown, and read as zero.
type section struct {
	body   hcl.Body
	header hcl.Range
	schema plugin.Schema
	values map[string]cty.Value
}

// open decodes a body and returns the blocks in it that the schema does not
// describe.
func (l *loader) open(body hcl.Body, header hcl.Range, s plugin.Schema, others ...hcl.BlockHeaderSchema) (section, hcl.Blocks) {
	value, blocks, diags := schema.Decode(body, s, l.eval, others...)
	l.diags = append(l.diags, diags...)
	return section{body, header, s, value.AsValueMap()}, blocks
}

// single decodes the block that may be there once, or the lack of it.
func (l *loader) single(blocks hcl.Blocks, s plugin.Schema) section {
	if len(blocks) == 0 {
		sec, _ := l.open(hcl.EmptyBody(), hcl.Range{}, s)
		return sec
	}
	sec, _ := l.open(blocks[0].Body, blocks[0].DefRange, s)
	l.once(blocks)
	return sec
}

// present complains of a file without a block of a type. One that is there but
// wrong is complained of elsewhere.
func (l *loader) present(body *hclsyntax.Body, kind, hint string) {
	if !slices.ContainsFunc(body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == kind }) {
		l.fail(body.MissingItemRange(), fmt.Sprintf("no %s block", kind), hint)
	}
}

// once complains of every block but the first.
func (l *loader) once(blocks hcl.Blocks) {
	for _, b := range blocks[min(1, len(blocks)):] {
		l.fail(b.DefRange, fmt.Sprintf("second %s block", b.Type),
			fmt.Sprintf("There is one already, on line %d.", blocks[0].DefRange.Start.Line))
	}
}

// at is where an option is written, or else the header of its block.
func (s section) at(name string) hcl.Range {
	return schema.Locate(s.body, s.schema, s.header, []string{name})
}

// wrong reports whether an option had an error.
func (s section) wrong(name string) bool { return !s.get(name).IsWhollyKnown() }

func (s section) set(name string) bool { return !s.wrong(name) && !s.get(name).IsNull() }

func (s section) get(name string) cty.Value {
	value, ok := s.values[name]
	if !ok {
		panic("config: there is no option " + name)
	}
	return value
}

func (s section) text(name string) string {
	if !s.set(name) {
		return ""
	}
	return s.get(name).AsString()
}

func (s section) number(name string) int64 {
	if !s.set(name) {
		return 0
	}
	n, _ := s.get(name).AsBigFloat().Int64() // exact: the schema was checked
	return n
}

func (s section) flag(name string) bool { return s.set(name) && s.get(name).True() }

func (s section) list(name string) []string {
	if !s.set(name) {
		return nil
	}
	var texts []string
	for _, v := range s.get(name).AsValueSlice() {
		texts = append(texts, v.AsString())
	}
	return texts
}
